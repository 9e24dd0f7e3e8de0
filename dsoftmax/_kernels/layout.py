"""What the kernels of every device agree on: dtypes of blocks, shapes and orders of states."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._algebra.dtypes import dtype_name, dtypes_for, promoted_name

Array = Any
Axes = tuple[int, ...]


def joint_name(x: Array, *others: Array | None) -> str:
    """The dtype that a block promotes to with the weights or values beside it.

    With each alone: integers beside integers are computed in float64, also if float32 is there too.
    """
    name = dtype_name(x.dtype)
    pairs = [promoted_name(name, dtype_name(a.dtype)) for a in others if a is not None]
    return promoted_name(*(dtypes_for(pair).result for pair in pairs)) if pairs else name


def reduced_axes(x: Array, axes: Axes) -> tuple[bool, ...]:
    """For each axis of a block, whether slices run along it."""
    return tuple(i in axes for i in range(x.ndim))


def reduced_in(m: Array, x: Array) -> tuple[bool, ...]:
    """For each axis of a block, whether slices with these states run along it."""
    return tuple(k != n for k, n in zip(m.shape, x.shape, strict=True))


def fits(x: Array, m: Array, d: Array) -> bool:
    """Whether m and d have the dtypes and the shape that `of_block` gives for blocks like x."""
    return (
        m.dtype == dtypes_for(x.dtype).working
        and d.dtype == np.float64
        and m.shape == d.shape
        and m.ndim == x.ndim
        and all(k in (1, n) for k, n in zip(m.shape, x.shape, strict=True))
    )


def to_block(flat: Array, shape: tuple[int, ...], order: Axes) -> Array:
    """A flat state, with its axes in this order, as an array of as many axes as the block."""
    array = flat.reshape(tuple(shape[axis] for axis in order))
    array = array.transpose(tuple(sorted(range(len(order)), key=order.__getitem__)))
    return array.reshape(tuple(n if i in order else 1 for i, n in enumerate(shape)))


def from_block(array: Array, order: Axes) -> Array:
    """The inverse, still to be made flat."""
    return array.transpose(*order, *(i for i in range(array.ndim) if i not in order))
