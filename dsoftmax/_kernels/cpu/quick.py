"""Calls on arrays that lie in memory as C has them and take one thread: a look-up, and a kernel.

Of the time of a call on a few elements little else may be left: SciPy takes 5 us for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..in_memory import LARGE, InMemory, may_compile
from ..modes import APPLY, LOGARITHM, REDUCE
from . import kernels
from .block import SMALLEST, few_columns
from .call import address_of, scratch_address
from .compiler import CannotCompileError, compiled
from .log_calls import LANES
from .plan import plan
from .protocol import Work
from .tuning import LARGE_ROWS, SHORT_ROW

Array = np.ndarray

_MODES = {
    "softmax": REDUCE | APPLY,
    "log_softmax": REDUCE | APPLY | LOGARITHM,
    "applied": APPLY,
}
_DTYPES = frozenset([np.dtype(np.float32), np.dtype(np.float64)])


class _Quick(NamedTuple):
    """A kernel with the record that it takes, but for addresses."""

    kernel: Callable[..., None]
    work: Work
    log_sums: Callable[..., None] | None  # what the result is made with, where it is one of states
    shape: tuple[int, ...]  # of the result


def result(output: str, x: Array, axis: Any, keepdims: bool = False) -> Any:
    """The "softmax", "log_softmax" or "logsumexp" of an array; None for what takes more than that.

    Among these are arguments that may be wrong.
    """
    if x.size >= max(LARGE, LARGE_ROWS) or not (axis is None or type(axis) is int):
        return None
    if not x.flags.c_contiguous:
        return None
    known = _known(output, x.dtype, x.shape, axis, keepdims)
    at = address_of(x)
    if known is None or at % x.itemsize:
        return None
    work = Work.from_buffer_copy(known.work)
    work.x, work.scratch = at, scratch_address()
    if known.log_sums is not None:
        return _log_sum(known, x.dtype, work)
    y = np.empty(known.shape, x.dtype)
    work.y = address_of(y)
    known.kernel(work.address)
    return y


def applied(x: Array, m: Array, d: Array) -> Array | None:
    """exp(x - m) / d of an array that is one slice; None for what takes more than that."""
    if x.size >= LARGE or not x.flags.c_contiguous or m.dtype != x.dtype or d.dtype != np.float64:
        return None
    known = _known("applied", x.dtype, x.shape, None, False)
    at = address_of(x)
    if known is None or at % x.itemsize or abs(d) < SMALLEST[x.dtype.type]:
        return None
    y = np.empty(known.shape, x.dtype)
    work = Work.from_buffer_copy(known.work)
    work.x, work.y, work.scratch = at, address_of(y), scratch_address()
    work.m, work.s = address_of(m), address_of(d)
    known.kernel(work.address)
    return y


def _log_sum(known: _Quick, dtype: np.dtype, work: Work) -> Any:
    size = math.prod(known.shape)
    padded = max(size, LANES)
    m, sums = np.ones(padded, dtype), np.ones((4, padded))
    work.m, start = address_of(m), address_of(sums)
    work.w, work.s, y, unusable = range(start, start + 32 * padded, 8 * padded)
    known.kernel(work.address)
    assert known.log_sums is not None
    known.log_sums(work.m, work.w, work.s, y, unusable, padded)
    if sums[3, 0].view(np.int64):
        return None
    if not known.shape:
        return dtype.type(sums[2, 0])
    return sums[2, :size].astype(dtype).reshape(known.shape)


@lru_cache(maxsize=256)
def _known(
    output: str, dtype: np.dtype, shape: tuple[int, ...], axis: int | None, keepdims: bool
) -> _Quick | None:
    ndim = len(shape)
    if not ndim or 0 in shape or dtype not in _DTYPES or not dtype.isnative:
        return None
    if axis is not None and not -ndim <= axis < ndim:
        return None
    reduced = tuple(axis is None or i == axis % ndim for i in range(ndim))
    like = np.empty(shape, dtype)
    mode = _MODES.get(output, REDUCE)
    layout = (dtype, like.strides)
    y = layout if mode & APPLY else None
    axes = tuple(i for i in range(ndim) if reduced[i])
    try:
        with InMemory(shape, _one):
            found = plan(
                shape,
                reduced,
                layout,
                None,
                None,
                y,
                None,
                "plain",
                SHORT_ROW,
                False,
                may_compile(),
            )
            log_sums = None if y else compiled(kernels.log_sums, dtype.type)
    except CannotCompileError:
        return None
    if found.outer or few_columns(like, axes) or (y and not found.at_once):
        return None
    if not found.in_order or (like.size >= LARGE and found.work.width):
        return None
    work = Work.from_buffer_copy(found.work)
    work.mode = mode
    if y is None and not keepdims:
        shape = tuple(n for i, n in enumerate(shape) if not reduced[i])
    elif y is None:
        shape = tuple(1 if reduced[i] else n for i, n in enumerate(shape))
    return _Quick(found.kernel, work, log_sums, shape)


def _one() -> int:
    return 1


forget = _known.cache_clear
