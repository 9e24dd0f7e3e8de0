"""Cases of operations: operations x dtypes x layouts x peers.

Without peers, an operation of dsoftmax is measured beside the floor, on standard normal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pkgutil import resolve_name
from typing import Any

import dask
import dask.array as da
import numpy as np

from .case import Call, Case, Sides, Suite, Target

DTYPES = ("float32", "float64")

Function = Callable[..., Any] | str  # or where to import it from when it is needed: "module:name"


def transposed(x: np.ndarray) -> np.ndarray:
    """A view in which the first axis is the fastest, and the second the slowest."""
    return np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(-1, *range(x.ndim - 1))


def every_second_column(x: np.ndarray) -> np.ndarray:
    """A view of an array that is twice as wide."""
    return np.repeat(x, 2, axis=-1)[..., ::2]


@dataclass(frozen=True)
class Layout:
    """Shape and axis of an array, and into how many blocks it is cut; ``small`` if it is to be."""

    title: str
    shape: tuple[int, ...]
    axis: int
    blocks: tuple[int, ...]
    small: tuple[int, ...] = ()
    lay: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray  # the same in memory otherwise

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        return tuple(n // m for n, m in zip(self.shape, self.blocks, strict=True))


LAYOUTS = {
    "row-1e6": Layout("one row, 10^6", (10**6,), 0, (16,)),
    "row-1e7": Layout("one row, 10^7", (10**7,), 0, (16,)),
    "row-1e8": Layout("one row, 10^8", (10**8,), 0, (16,), (20_000,)),
    "row-5e8": Layout("one row, 5·10^8", (5 * 10**8,), 0, (16,)),
    "labels-1e7": Layout("10^7 with labels", (10**7,), 0, (16,), (32_000,)),
    "long-rows": Layout("rows of 50,000", (2000, 50_000), 1, (16, 1), (32, 1000)),
    "short-rows": Layout("rows of 10", (10**7, 10), 1, (16, 1), (1600, 10)),
    "columns": Layout("columns of 50,000", (50_000, 2000), 0, (1, 16), (1000, 32)),
    "middle-axis": Layout("middle axis of 160", (128, 160, 1000), 1, (16, 1, 1), (16, 40, 50)),
    "attention": Layout("512 rows of 60,000", (512, 60_000), 1, (1, 16), (8, 1600)),
    "tiles": Layout("rows of 10,000 cut in 4", (2000, 10_000), 1, (4, 4), (20, 1000)),
    "images": Layout("three channels of images", (64, 3, 224, 224), 1, (16, 1, 1, 1)),
    "heads": Layout("12 heads, attention to 512", (32, 12, 512, 512), 3, (16, 1, 1, 1)),
    "odd": Layout("(1000, 7, 13), axis of 7", (1000, 7, 13), 1, (8, 1, 1)),
    "fortran": Layout(
        "rows of 2000, Fortran order", (8000, 2000), 1, (16, 1), lay=np.asfortranarray
    ),
    "transposed": Layout(
        "a transposed view, last axis", (100, 200, 500), 2, (4, 4, 1), lay=transposed
    ),
    "every-second": Layout(
        "every second of 20,000 columns", (2000, 10_000), 1, (16, 1), lay=every_second_column
    ),
}


class Data:
    """Inputs: as chunks in memory, and whole where a peer asks for it."""

    def __init__(self, inputs: tuple[da.Array, ...], layout: Layout) -> None:
        self.lay = layout.lay
        self.chunked: tuple[da.Array, ...] = dask.persist(*inputs)

    @cached_property
    def whole(self) -> tuple[np.ndarray, ...]:
        return tuple(map(self.lay, dask.compute(*self.chunked)))


_held: dict[Any, Data] = {}


def held(inputs: Callable[[Layout, str], tuple[da.Array, ...]], layout: Layout, dtype: str) -> Data:
    """The data of a case, for the next ones too; one set at a time is in memory."""
    key = (inputs, layout, dtype)
    if key not in _held:
        _held.clear()
        _held[key] = Data(inputs(layout, dtype), layout)
    return _held[key]


def normal(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Standard normal numbers, as the only input."""
    rng = da.random.default_rng(0)
    x = rng.standard_normal(layout.shape, chunks=layout.chunks, dtype=dtype)
    return (x if layout.lay is np.ascontiguousarray else x.map_blocks(layout.lay, dtype=dtype),)


# Libraries: a call whose whole result is in memory when it returns.


def on_dask(function: Callable[..., Any], data: Data, axis: int) -> Call:
    def call() -> Any:
        y = function(*data.chunked, axis)
        return dask.persist(*y) if isinstance(y, tuple) else y.persist()

    return call


def on_numpy(function: Callable[..., Any], data: Data, axis: int) -> Call:
    return partial(function, *data.whole, axis)


def on_torch(function: Callable[..., Any], data: Data, axis: int) -> Call:
    import torch

    return partial(function, *map(torch.from_numpy, data.whole), axis)


def on_jax(function: Callable[..., Any], data: Data, axis: int) -> Call:
    """Compiled; its threads are as many as the cores that the process may run on."""
    import jax

    jax.config.update("jax_enable_x64", True)
    inputs = jax.device_put(data.whole)
    compiled = jax.jit(function, static_argnums=len(inputs))
    return lambda: jax.block_until_ready(compiled(*inputs, axis))


# The peers that are not on Dask, and how many elements they get: the copies for each library and
# their temporaries stay below 10 GiB.
PEERS = {
    "torch": on_torch,
    "JAX": on_jax,
    "NumPy": on_numpy,
    "SciPy on NumPy": on_numpy,
    "pandas": on_numpy,
    "dsoftmax on pandas": on_numpy,
    "dsoftmax on NumPy": on_numpy,
}
MOST = 10**8


def read(*inputs: Any) -> Any:
    return inputs[0].max()


def read_and_write(*inputs: Any) -> Any:
    return inputs[0].max(), inputs[0] + 1


@dataclass(frozen=True)
class Operation:
    """An operation of dsoftmax, and how it is measured.

    All functions are called with the ``inputs`` and the axis.  Results as large as the input are
    written by the floor too.  Layouts in ``each`` are measured on every number of cores, not on the
    largest only.
    """

    name: str  # as in dsoftmax.operations.OPERATIONS
    function: Function
    writes: bool = False
    peers: Mapping[str, Function] = field(default_factory=dict)
    layouts: tuple[str, ...] = ("row-1e8", "long-rows", "short-rows", "columns")
    each: tuple[str, ...] = ()
    targets: Mapping[tuple[str, str], tuple[Target, ...]] = field(default_factory=dict)
    yardsticks: tuple[str, ...] = ()  # the peers that compute something else
    inputs: Callable[[Layout, str], tuple[da.Array, ...]] = normal
    dtypes: tuple[str, ...] = DTYPES

    def case(self, name: str, dtype: str, quick: bool) -> Case:
        layout = LAYOUTS[name]
        if quick:
            layout = replace(layout, shape=layout.small, title=f"shape {layout.small}")
        return Case(
            f"{self.name}-{dtype}-{name}",
            f"{self.name} {dtype}, {layout.title}",
            lambda scope: self.sides(layout, dtype),
            layout.elements,
            "each" if name in self.each else "most",
            self.targets.get((dtype, name), ()),
            ("floor", *self.yardsticks),
            labels={"operation": self.name, "dtype": dtype, "layout": layout.title},
        )

    def sides(self, layout: Layout, dtype: str) -> Sides:
        functions = {"dsoftmax": self.function, "floor": read_and_write if self.writes else read}
        functions |= {**self.peers, "dsoftmax on NumPy": self.function}

        def prepare(library: Callable[..., Call], function: Function) -> Call:
            found = resolve_name(function) if isinstance(function, str) else function
            return library(found, held(self.inputs, layout, dtype), layout.axis)

        return {
            peer: partial(prepare, PEERS.get(peer, on_dask), function)
            for peer, function in functions.items()
            if layout.elements <= MOST or not (peer in PEERS or peer == "SciPy on Dask")
        }


def suite(name: str, title: str, operations: Iterable[Operation]) -> Suite:
    """A suite of operations; cases of one array are neighbours, so that it is made once.

    A quick one has all operations of the first layout, and one of each other.
    """
    measured = tuple(operations)

    def cases(quick: bool) -> list[Case]:
        layouts = [name for name in LAYOUTS if LAYOUTS[name].small or not quick]
        return [
            operation.case(layout, dtype, quick)
            for i, layout in enumerate(layouts)
            for dtype in DTYPES
            for j, operation in enumerate(measured)
            if layout in operation.layouts and dtype in operation.dtypes
            if not quick or i in (0, j + 1, j + 1 + len(measured))
        ]

    return Suite(name, title, cases, operations=tuple(op.name for op in measured))
