"""Operations on states in memory: copy, compare, join, cut and reshape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dtypes import dtype_name, dtype_of, holds
from .namespace import array_namespace
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
    """A copy that shares no memory with the data; its NumPy arrays are read-only for good.

    An array that owns its memory can be made writeable again; one backed by bytes cannot.
    """

    def copy(x: Array) -> Array:
        if isinstance(x, (np.ndarray, np.generic)):
            return np.ndarray(x.shape, x.dtype, buffer=x.tobytes())
        return copied(x)

    return mapped(copy, state)


def copied(x: Array) -> Array:
    return array_namespace(x).asarray(x, copy=True)


def equal(a: State, b: State) -> bool:
    """Whether two states have arrays of the same type and are equal; NaN equals NaN."""

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
    """The states from ``start`` along an axis, at most ``length`` of them."""
    index = (slice(None),) * axis + (slice(start, start + length), ...)
    return mapped(lambda a: a[index], state)


def expanded(state: State, ndim: int) -> State:
    """The state of one slice, which has no axes, with so many of length 1."""
    return mapped(lambda a: array_namespace(a).reshape(a, (1,) * ndim), state)


def dropped(state: State, axes: Axes) -> State:
    """The state without ``axes``, which have length 1."""
    if not axes:
        return state
    return mapped(lambda a: array_namespace(a).squeeze(a, axis=axes), state)


def unwrap_scalar(x: Array) -> Array:
    """x, or a NumPy scalar if x is a 0-d NumPy array, as ufuncs return."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def of_dtype(x: Array, name: str) -> Array:
    """Cast x to the announced dtype: a block may have another one than its Dask array says.

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
            f"a block has dtype {own}, but its Dask array has {name}; give the array the dtype of "
            f"its blocks, e.g. with map_blocks(..., dtype={own!r})"
        )
    xp = array_namespace(x)
    with quiet():  # a logarithm may exceed the largest float16, as for weights of 1e9
        return xp.astype(x, dtype_of(xp, name))
