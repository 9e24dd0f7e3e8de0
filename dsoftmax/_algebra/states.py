"""States in memory, as values: copied, compared, joined, cut and reshaped."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .dtypes import dtype_name, dtype_of, holds
from .normalizer import State, quiet

Array = Any
Axes = tuple[int, ...]


def frozen(state: State) -> State:
    """A copy that shares no memory with the data, and that nobody can write to if it is NumPy's.

    What owns its memory can be made writeable again; a buffer of bytes cannot.
    """

    def copy(x: Array) -> Array:
        if isinstance(x, (np.ndarray, np.generic)):
            return np.ndarray(x.shape, x.dtype, buffer=x.tobytes())
        return copied(x)

    return State(*map(copy, state))


def copied(x: Array) -> Array:
    return array_namespace(x).asarray(x, copy=True)


def equal(a: State, b: State) -> bool:
    """Whether two states are of one kind and equal, NaN being equal to NaN."""

    def same(x: Array, y: Array) -> bool:
        if type(x) is not type(y) or x.shape != y.shape:
            return False
        return bool(array_namespace(x).all((x == y) | ((x != x) & (y != y))))

    return all(map(same, a, b))


def joined(blocks: Any, axes: Axes | None = None, depth: int = 0) -> State:
    """One state of nested lists of blocks, the outermost along the first of some, or all, axes."""
    if isinstance(blocks, State):
        return blocks
    first, *rest = (joined(inner, axes, depth + 1) for inner in blocks)
    if not rest:
        return first
    axis = depth if axes is None else axes[depth]
    xp = array_namespace(first.m)
    return State(*(xp.concat(parts, axis=axis) for parts in zip(first, *rest, strict=True)))


def part_of(state: State, axis: int, start: int, length: int) -> State:
    """The states from ``start`` along an axis, ``length`` of them if there are as many."""
    index = (slice(None),) * axis + (slice(start, start + length), ...)
    return State(*(a[index] for a in state))


def expanded(state: State, ndim: int) -> State:
    """The state of one slice, which has no axes, with so many of length 1."""
    xp = array_namespace(state.m)
    return State(*(xp.reshape(a, (1,) * ndim) for a in state))


def dropped(state: State, axes: Axes) -> State:
    """The state without some axes of length 1."""
    if not axes:
        return state
    xp = array_namespace(state.m)
    return State(*(xp.squeeze(a, axis=axes) for a in state))


def unwrap_scalar(x: Array) -> Array:
    """A NumPy scalar for a NumPy array of no dimension, as ufuncs return."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def of_dtype(x: Array, name: str) -> Array:
    """x in the dtype that was announced: blocks may be of another than their array says.

    Raises
    ------
    TypeError
        If more than precision would be lost.
    """
    own = dtype_name(x.dtype)
    if own == name:
        return x
    if not holds(name, own):
        raise TypeError(
            f"a block gives {own}, and its Dask array says {name}: make the array say what its "
            f"blocks are, as map_blocks(..., dtype={own!r}) does"
        )
    xp = array_namespace(x)
    with quiet():  # a logarithm may exceed the largest float16, as those of weights of 1e9 do
        return xp.astype(x, dtype_of(xp, name))
