"""States in memory, as values: copied, compared, joined, cut and reshaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .dtypes import dtype_name, dtype_of, holds
from .normalizer import quiet

Array = Any
State = Any  # a named tuple of arrays, or of tuples of such: (m, w, s), with t and q, with sums
Axes = tuple[int, ...]


def mapped(function: Callable[..., Array], *states: State) -> State:
    """What a function makes of the arrays of one or more states of a kind, field by field."""
    first = states[0]
    if not isinstance(first, tuple):
        return function(*states)
    fields = [mapped(function, *several) for several in zip(*states, strict=True)]
    return type(first)(*fields) if hasattr(first, "_fields") else tuple(fields)


def frozen(state: State) -> State:
    """A copy that shares no memory with the data, and that nobody can write to if it is NumPy's.

    What owns its memory can be made writeable again; a buffer of bytes cannot.
    """

    def copy(x: Array) -> Array:
        if isinstance(x, (np.ndarray, np.generic)):
            return np.ndarray(x.shape, x.dtype, buffer=x.tobytes())
        return copied(x)

    return mapped(copy, state)


def copied(x: Array) -> Array:
    return array_namespace(x).asarray(x, copy=True)


def equal(a: State, b: State) -> bool:
    """Whether two states are of one kind and equal, NaN being equal to NaN."""

    def same(x: Array, y: Array) -> bool:
        if type(x) is not type(y) or x.shape != y.shape:
            return False
        return bool(array_namespace(x).all((x == y) | ((x != x) & (y != y))))

    return type(a) is type(b) and all(map(same, a, b))


def joined(blocks: Any, axes: Axes | None = None, depth: int = 0) -> State:
    """One state of nested lists of blocks, the outermost along the first of some, or all, axes."""
    if hasattr(blocks, "_fields"):
        return blocks
    first, *rest = (joined(inner, axes, depth + 1) for inner in blocks)
    if not rest:
        return first
    axis = depth if axes is None else axes[depth]
    return concatenated([first, *rest], axis)


def concatenated(states: Sequence[State], axis: int) -> State:
    """One state of several, side by side along an axis."""
    xp = array_namespace(states[0].m)
    return mapped(lambda *parts: xp.concat(parts, axis=axis), *states)


def part_of(state: State, axis: int, start: int, length: int) -> State:
    """The states from ``start`` along an axis, ``length`` of them if there are as many."""
    index = (slice(None),) * axis + (slice(start, start + length), ...)
    return mapped(lambda a: a[index], state)


def expanded(state: State, ndim: int) -> State:
    """The state of one slice, which has no axes, with so many of length 1."""
    return mapped(lambda a: array_namespace(a).reshape(a, (1,) * ndim), state)


def dropped(state: State, axes: Axes) -> State:
    """The state without some axes of length 1."""
    if not axes:
        return state
    return mapped(lambda a: array_namespace(a).squeeze(a, axis=axes), state)


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
