"""Cases of operations: operations x dtypes x layouts x peers.

Without peers, an operation of dsoftmax is measured beside the floor, on standard normal numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pkgutil import resolve_name
from typing import Any

import dask
import dask.array as da
import numpy as np

from .case import Call, Case, Sides, Suite, Target
from .layouts import LAYOUTS, Layout

DTYPES = ("float32", "float64")

Function = Callable[..., Any] | str  # or where to import it from when it is needed: "module:name"


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
    """Compiled; its threads are as many as the cores that the process may run on.

    Its arrays have no strides: it copies those that are not in C order, which is in its time.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    in_order = all(x.flags.c_contiguous for x in data.whole)
    inputs = jax.device_put(data.whole) if in_order else data.whole
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
