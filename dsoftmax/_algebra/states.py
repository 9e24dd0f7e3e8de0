"""Operations on states in memory: copy, compare, join, cut and reshape."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .dtypes import dtype_name, dtype_of, holds
from .normalizer import State, quiet

Array = Any
Axes = tuple[int, ...]


def frozen(state: State) -> State:
    """A copy that shares no memory with the data; its NumPy arrays are read-only for good.

    An array that owns its memory can be made writeable again; one backed by bytes cannot.
    """

    def copy(x: Array) -> Array:
        if isinstance(x, (np.ndarray, np.generic)):
            return np.ndarray(x.shape, x.dtype, buffer=x.tobytes())
        return copied(x)

    return State(*map(copy, state))


def copied(x: Array) -> Array:
    return array_namespace(x).asarray(x, copy=True)


def equal(a: State, b: State) -> bool:
    """Whether two states have arrays of the same type and are equal; NaN equals NaN."""

    def same(x: Array, y: Array) -> bool:
        if type(x) is not type(y) or x.shape != y.shape:
            return False
        return bool(array_namespace(x).all((x == y) | ((x != x) & (y != y))))

    return all(map(same, a, b))


def joined(blocks: Any, axes: Axes | None = None, depth: int = 0) -> State:
    """Join nested lists of states into one: depth i lies along ``axes[i]``, or axis i if None."""
    if isinstance(blocks, State):
        return blocks
    first, *rest = (joined(inner, axes, depth + 1) for inner in blocks)
    if not rest:
        return first
    axis = depth if axes is None else axes[depth]
    xp = array_namespace(first.m)
    return State(*(xp.concat(parts, axis=axis) for parts in zip(first, *rest, strict=True)))


def part_of(state: State, axis: int, start: int, length: int) -> State:
    """The states from ``start`` along an axis, at most ``length`` of them."""
    index = (slice(None),) * axis + (slice(start, start + length), ...)
    return State(*(a[index] for a in state))


def expanded(state: State, ndim: int) -> State:
    """The 0-d state of one slice, reshaped to ``ndim`` axes of length 1."""
    xp = array_namespace(state.m)
    return State(*(xp.reshape(a, (1,) * ndim) for a in state))


def dropped(state: State, axes: Axes) -> State:
    """The state without ``axes``, which have length 1."""
    if not axes:
        return state
    xp = array_namespace(state.m)
    return State(*(xp.squeeze(a, axis=axes) for a in state))


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
