"""Who is measured: dsoftmax, the floor, and other ways to the same result.

A `Peer` is loaded once per process, which imports its library, and is then handed each array once,
outside the timer.  Every call ends with its whole result in memory: chunks that `persist` made, or
one array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from .cases import FUNCTIONS, Case, Layout

Call = Callable[[Any, int], Any]
PEERS: dict[str, Peer] = {}


class Data:
    """One array: as chunks in memory, and whole where a peer asks for it."""

    def __init__(self, layout: Layout, dtype: str) -> None:
        rng = da.random.default_rng(0)
        x = rng.standard_normal(layout.shape, chunks=layout.chunks, dtype=dtype)
        self.chunked: da.Array = x.persist()

    @cached_property
    def whole(self) -> np.ndarray:
        """The same numbers as one NumPy array."""
        return self.chunked.compute()


class Loaded(NamedTuple):
    """A peer whose library is imported: how it takes an array, and its calls by function."""

    prepare: Callable[[Data], Any]
    calls: dict[str, Call]


class Peer(NamedTuple):
    """One way to compute the functions.

    ``load`` is told the number of threads, and raises ImportError where the library is missing.
    ``covers`` says whether a case is worth the time and fits in memory.
    """

    label: str
    load: Callable[[int], Loaded]
    covers: Callable[[Case], bool]


def peer(
    name: str, label: str, covers: Callable[[Case], bool] = lambda case: True
) -> Callable[[Callable[[int], Loaded]], Callable[[int], Loaded]]:
    """Enter a loader into `PEERS`."""

    def enter(load: Callable[[int], Loaded]) -> Callable[[int], Loaded]:
        PEERS[name] = Peer(label, load, covers)
        return load

    return enter


def _fits(case: Case) -> bool:
    """Up to 10^8 elements: copies for each library and their temporaries stay below 10 GiB."""
    return case.layout.elements <= 10**8


def _one_core(case: Case) -> bool:
    """What uses one core is as fast per element on a fifth of the data, and takes long on all."""
    return _fits(case) and (len(case.layout.shape) == 1 or case.layout.elements <= 3 * 10**7)


@peer("dsoftmax", "dsoftmax")
def _dsoftmax(threads: int) -> Loaded:
    import dsoftmax

    return Loaded(_chunked, _calls(_functions_of(dsoftmax), _persist))


@peer("floor", "floor")
def _floor(threads: int) -> Loaded:
    """What the memory takes: x read once, and for an output of the size of x, read and written."""

    def read(x: da.Array, axis: int) -> Any:
        return x.max().persist()

    def read_and_write(x: da.Array, axis: int) -> Any:
        return x.max().persist(), (x + 1).persist()

    return Loaded(
        _chunked, {"softmax": read_and_write, "log_softmax": read_and_write, "logsumexp": read}
    )


@peer("scipy-dask", "SciPy on Dask", _fits)
def _scipy_dask(threads: int) -> Loaded:
    import scipy.special

    return Loaded(_chunked, _calls(_functions_of(scipy.special), _persist))


@peer("by-hand", "by hand on Dask")
def _by_hand(threads: int) -> Loaded:
    def softmax(x: da.Array, axis: int) -> da.Array:
        e = da.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    def log_softmax(x: da.Array, axis: int) -> da.Array:
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted - da.log(da.exp(shifted).sum(axis=axis, keepdims=True))

    def logsumexp(x: da.Array, axis: int) -> da.Array:
        m = x.max(axis=axis, keepdims=True)
        return da.log(da.exp(x - m).sum(axis=axis)) + m.squeeze(axis)

    functions = {"softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp}
    return Loaded(_chunked, _calls(functions, _persist))


@peer("torch", "torch", _fits)
def _torch(threads: int) -> Loaded:
    import torch

    torch.set_num_threads(threads)
    return Loaded(lambda data: torch.from_numpy(data.whole), _calls(_functions_of(torch)))


@peer("jax", "JAX", _fits)
def _jax(threads: int) -> Loaded:
    """Compiled; its threads are as many as the cores that the process may run on."""
    import jax

    jax.config.update("jax_enable_x64", True)
    functions: dict[str, Any] = {
        "softmax": jax.nn.softmax,
        "log_softmax": jax.nn.log_softmax,
        "logsumexp": jax.scipy.special.logsumexp,
    }
    compiled = {name: jax.jit(function, static_argnums=1) for name, function in functions.items()}
    return Loaded(lambda data: jax.device_put(data.whole), _calls(compiled, jax.block_until_ready))


@peer("scipy-numpy", "SciPy on NumPy", _one_core)
def _scipy_numpy(threads: int) -> Loaded:
    import scipy.special

    return Loaded(_whole, _calls(_functions_of(scipy.special)))


@peer("dsoftmax-numpy", "dsoftmax on NumPy", _fits)
def _dsoftmax_numpy(threads: int) -> Loaded:
    import dsoftmax

    return Loaded(_whole, _calls(_functions_of(dsoftmax)))


def _chunked(data: Data) -> da.Array:
    return data.chunked


def _whole(data: Data) -> np.ndarray:
    return data.whole


def _persist(y: da.Array) -> da.Array:
    return y.persist()


def _keep(y: Any) -> Any:
    return y


def _functions_of(module: Any) -> dict[str, Callable[..., Any]]:
    return {name: getattr(module, name) for name in FUNCTIONS}


def _calls(
    functions: dict[str, Callable[..., Any]], finish: Callable[[Any], Any] = _keep
) -> dict[str, Call]:
    """All of them take the axis second; ``finish`` is timed with the call."""
    return {name: partial(_finished, finish, function) for name, function in functions.items()}


def _finished(finish: Callable[[Any], Any], function: Callable[..., Any], x: Any, axis: int) -> Any:
    return finish(function(x, axis))
