"""One block on its own device: the state of a block, and the maps from a state to an output.

Kernels know one block and nothing of its neighbours.  They are chosen by the type of the block:
compiled ones for NumPy's, CUDA for CuPy's, else those that any array-API library runs.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device, is_array_api_obj

from .._algebra.dtypes import dtype_name, dtype_of, is_sparse, result_name, supported, type_name
from .._algebra.normalizer import State, common_namespace, log_d
from . import portable
from .cpu import block as on_cpu
from .cpu.compiler import CannotCompileError
from .cuda import block as on_cuda

Array = Any
Axes = tuple[int, ...]

# Smaller blocks are not worth a compiler, which takes seconds where code was not kept: without it
# they take 0.2 ms at most.
_SMALL = 1 << 12


class Weighted(NamedTuple):
    """A block and its weights, which broadcast."""

    a: Array
    b: Array


def of_block(x: Array | Weighted, axes: Axes) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    Masked entries take no part, and masked weights are 0.
    """
    if isinstance(x, Weighted):
        a, b = _plain(x.a), _plain(x.b, fill=0)
        if isinstance(b, np.ndarray) and b.size == 1 and not isinstance(a, np.ndarray):
            b = _moved(b, a)
        a, b = common_namespace(a, b).broadcast_arrays(a, b)
        return _kernels_for(a, b).of_block(a, axes, b)
    x = _plain(x)
    return _kernels_for(x).of_block(x, axes)


def rescale(x: Array, state: State) -> Array:
    """exp(x - m) / d; masked entries stay masked."""
    data = _plain(x)
    common_namespace(data, state.m)
    return _masked_like(x, _kernels_for(data).rescale(data, state.m, state.d))


def log_rescale(x: Array, state: State) -> Array:
    """(x - m) - log d; masked entries stay masked."""
    data = _plain(x)
    common_namespace(data, state.m)
    return _masked_like(x, _kernels_for(data).log_rescale(data, state.m, log_d(state)))


def log_sum(state: State) -> Array:
    """log(sum b exp(x)), in the accumulator's precision; NaN where a real sum is negative."""
    many = (
        all(map(on_cpu.supports, state)) and state.s.dtype == np.float64 and state.s.size >= _SMALL
    )
    return (on_cpu if many and _can_compile() else portable).log_sum(state)


def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    data = _plain(x)
    return _masked_like(x, _kernels_for(data).softmax(data, axes))


def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    data = _plain(x)
    return _masked_like(x, _kernels_for(data).log_softmax(data, axes))


def _kernels_for(*blocks: Array) -> ModuleType:
    if not all(map(on_cpu.supports, blocks)):
        return on_cuda if all(map(on_cuda.supports, blocks)) else portable
    if blocks[0].size < _SMALL and _numba_is_installed():
        return portable
    return on_cpu if _can_compile() else portable


@cache
def _numba_is_installed() -> bool:
    try:
        return find_spec("numba") is not None
    except (ImportError, ValueError):  # it is kept from being imported
        return False


def _can_compile() -> bool:
    """Whether kernels can be compiled here, as far as is known; one warning if not."""
    try:
        on_cpu.compile_something()
    except CannotCompileError:
        return False
    return True


def as_block(x: Any, ndim: int | None = None) -> Array:
    """A block as an array: lists and numbers become NumPy's, subclasses of NumPy's plain ones.

    Of ``ndim`` dimensions, if that is given.

    Raises
    ------
    TypeError
        For what a block may be in spite of what its array says: objects, sparse matrices.
    ValueError
        If it has another number of dimensions.
    """
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray and not isinstance(x, np.ma.MaskedArray):
            x = np.asarray(x)
    elif isinstance(x, (list, tuple, int, float, complex, np.generic)):
        x = np.asarray(x)
    elif not is_array_api_obj(x) or is_sparse(x):
        hint = "lambda block: block.toarray()" if is_sparse(x) else "numpy.asarray"
        raise TypeError(
            f"a block is a {type_name(x)}, not an array; make arrays of the blocks first, as "
            f"x.map_blocks({hint}) does"
        )
    if not supported(name := dtype_name(x.dtype)):
        raise TypeError(
            f"a block is an array of dtype {name}, which its Dask array does not say; convert the "
            "blocks first, as with x.map_blocks(lambda block: block.astype('float64'))"
        )
    if ndim is not None and x.ndim != ndim:
        raise ValueError(
            f"a block has shape {tuple(x.shape)}, and its Dask array says that it has {ndim} "
            "dimensions; reshape the blocks first, as with x.map_blocks"
        )
    return x


def _plain(x: Any, fill: float = -np.inf) -> Array:
    """The data of a block with ``fill`` in place of what is masked: exp(-inf) adds nothing.

    And aligned, as an array is not that came over a network.
    """
    x = as_block(x)
    if isinstance(x, np.ma.MaskedArray):
        masked = x.mask is not np.ma.nomask
        x = np.ma.filled(x.astype(result_name(dtype_name(x.dtype))), fill) if masked else x
        x = np.ma.getdata(x, subok=False)
    return np.require(x, requirements="A") if isinstance(x, np.ndarray) else x


def _moved(b: Array, a: Array) -> Array:
    """One number, which is NumPy's at first, as an array of the library and on the device of a."""
    xp = common_namespace(a)
    return xp.full(b.shape, b.item(), dtype=dtype_of(xp, dtype_name(b.dtype)), device=device(a))


def _masked_like(x: Array, y: Array) -> Array:
    if not isinstance(x, np.ma.MaskedArray):
        return y
    return np.ma.array(y, mask=np.ma.getmask(x).copy())  # a mask is written to as its array is
