"""The k best elements along an axis with functions of any array library: sorting, and maxima."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import device

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for
from .._algebra.namespace import array_namespace

Array = Any


def select(
    x: Array, axis: int, k: int, nan_first: bool = True, out: Array | None = None
) -> tuple[Array, Array]:
    """The k best elements along an axis and where they are, best first.

    ``out`` is what comes last, and is as small as an element can be.

    NaN is the best of all, or without ``nan_first`` the last.

    The k best lie in the k groups of consecutive elements with the best maxima.  In groups of
    sqrt(n / k), all that is sorted is about 2 sqrt(n k) elements, and the rest is a maximum: on
    every device, and without a branch that depends on the data.
    """
    xp, n, k = array_namespace(x), x.shape[axis], min(k, x.shape[axis])
    size = math.isqrt(n // max(k, 1))
    if k == 0 or size < 2:
        positions = best_first(x, axis, k, nan_first, out)
        return xp.take_along_axis(x, positions, axis=axis), positions
    ahead, behind = x.shape[:axis], x.shape[axis + 1 :]
    count = n // size

    def grouped(a: Array) -> Array:
        a = a[(slice(None),) * axis + (slice(0, count * size), ...)]
        return xp.reshape(a, (*ahead, count, size, *behind))

    all_out = None if out is None else xp.all(grouped(out), axis=axis + 1)
    best = _max(xp, grouped(x), axis + 1, nan_first)
    _, groups = select(best, axis, k, nan_first, all_out)
    groups = xp.sort(groups, axis=axis)  # so that equal elements stay in the order of x

    def counted(*bounds: int, ndim: int) -> Array:
        numbers = xp.arange(*bounds, dtype=xp.int64, device=device(x))
        return xp.reshape(numbers, (-1,) + (1,) * (ndim - 1))

    starts = xp.expand_dims(groups * size, axis=axis + 1)
    members = starts + counted(size, ndim=1 + len(behind))
    members = xp.reshape(members, (*ahead, k * size, *behind))
    rest = counted(count * size, n, ndim=1 + len(behind))
    rest = xp.broadcast_to(rest, (*ahead, n - count * size, *behind))
    positions = xp.concat([members, rest], axis=axis)
    values = xp.take_along_axis(x, positions, axis=axis)
    best = best_first(values, axis, k, nan_first, taken(out, positions, axis))
    return tuple(xp.take_along_axis(a, best, axis=axis) for a in (values, positions))


def best_first(
    x: Array, axis: int, k: int, nan_first: bool = True, out: Array | None = None
) -> Array:
    """The positions of the k best along an axis, by a stable sort of everything."""
    xp = array_namespace(x)
    first = (slice(None),) * axis + (slice(0, k), ...)
    name = dtype_name(x.dtype)
    if dtypes_for(name).is_inexact:
        # Where argsort puts NaN is left open by the array API.
        x = xp.astype(x, dtype_of(xp, dtypes_for(name).working), copy=False)
        nan = xp.isnan(x)
        order = xp.argsort(xp.where(nan, float("inf"), x), axis=axis, descending=True, stable=True)
        order = _parted(xp, order, nan, axis, nan_first)
    else:  # integers have no NaN
        x = xp.astype(x, xp.uint8) if name == "bool" else x
        order = xp.argsort(x, axis=axis, descending=True, stable=True)
    if out is not None:
        order = _parted(xp, order, out, axis, False)
    return xp.astype(order[first], xp.int64, copy=False)


def taken(x: Array | None, positions: Array, axis: int) -> Array | None:
    return None if x is None else array_namespace(x).take_along_axis(x, positions, axis=axis)


def turned_round(x: Array) -> Array:
    """Elements in the opposite order: -x, or ~x of integers, since there is no -(-128) in int8."""
    return -x if dtypes_for(x.dtype).is_inexact else ~x


def _parted(xp: Any, order: Array, which: Array, axis: int, first: bool) -> Array:
    """An order with some elements before, or after, all others, and otherwise kept."""
    flags = xp.take_along_axis(xp.astype(which, xp.uint8), order, axis=axis)
    parted = xp.argsort(flags, axis=axis, descending=first, stable=True)
    return xp.take_along_axis(order, parted, axis=axis)


def _max(xp: Any, x: Array, axis: int, nan_first: bool) -> Array:
    """The best of each group: NaN if it holds one, or only NaN without ``nan_first``."""
    name = dtype_name(x.dtype)
    if name == "bool":
        return xp.any(x, axis=axis)
    if nan_first or not dtypes_for(name).is_inexact:
        return xp.max(x, axis=axis)
    nan = xp.isnan(x)
    best = xp.max(xp.where(nan, -float("inf"), x), axis=axis)
    return xp.where(xp.all(nan, axis=axis), float("nan"), best)
