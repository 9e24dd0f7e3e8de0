"""Calls on whole arrays that have been seen before: a look-up, an allocation and a launch.

Of the time of a call on few elements nothing else may be left, for the device needs 5 us for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from . import contiguous, device
from .source import PIECE, ROWS_AT

Array = Any


class Quick(NamedTuple):
    """A launch, and the result that it fills."""

    run: Callable[[int, int], None]
    shape: tuple[int, ...]
    anywhere: bool


def result(output: str, x: Any, axis: Any, keepdims: bool = False) -> Array | None:
    """The "softmax", "log_softmax" or "logsumexp" of an array; None for what takes more than that.

    Among these are arrays that are not CuPy's, and arguments that may be wrong.
    """
    if not (axis is None or type(axis) is int) or not device.is_current(x):
        return None
    at = device.address(x)
    known = _known(
        output, x.shape, x.strides, x.dtype, at % PIECE, axis, keepdims, x.data.device_id
    )
    if known is None:
        return None
    y = device.new(known.shape, x.dtype)
    to = device.address(y)
    if (at - to) % PIECE and not known.anywhere:
        return None
    known.run(at, to)
    return y


@lru_cache(maxsize=256)
def _known(
    output: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    offset: int,
    axis: int | None,
    keepdims: bool,
    on: int,
) -> Quick | None:
    ndim = len(shape)
    if not ndim or 0 in shape or (axis is not None and not -ndim <= axis < ndim):
        return None
    axes = tuple(range(ndim)) if axis is None else (axis % ndim,)
    plan = contiguous.planned(
        shape, strides, dtype, offset == 0, axes, output, device.properties_of(on)
    )
    if plan is None or plan.working or plan.parts or plan.rows.order is not None:
        return None
    if list(strides) != sorted(strides, reverse=True):
        return None
    of_result, anywhere = shape, plan.anywhere
    if output == "logsumexp":
        of_result, anywhere = plan.rows.shape, True
        if not keepdims:
            of_result = tuple(n for i, n in enumerate(of_result) if i not in axes)
    launch = plan.launch
    run = device.prepared(
        on, *launch[:3], plan.call, (ROWS_AT["x"], ROWS_AT["y"]), launch.shared_bytes
    )
    return Quick(run, of_result, anywhere)


forget = _known.cache_clear
