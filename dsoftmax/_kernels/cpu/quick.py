"""Calls on arrays that lie in memory as C has them and take one thread: a look-up, and a kernel.

Of the time of a call on a few elements little else may be left: SciPy takes 5 us for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.normalizer import State
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
_LOG_SUMS = ("logsumexp", "weighted")
_DTYPES = frozenset([np.dtype(np.float32), np.dtype(np.float64)])


class _Quick(NamedTuple):
    """A kernel with the record that it takes, but for addresses."""

    kernel: Callable[..., None]
    work: Work
    log_sums: Callable[..., None] | None  # what a log-sum-exp is made with, of states
    weighted: bool
    shape: tuple[int, ...]  # of the result


def result(output: str, x: Array, axis: Any, keepdims: bool = False, b: Any = None) -> Any:
    """The "softmax", "log_softmax" or "logsumexp" of an array; None for what takes more than that.

    Among these are arguments that may be wrong. Weights are those of a log-sum-exp.
    """
    found = _prepared(output, x, axis, keepdims, b) if x.size < max(LARGE, LARGE_ROWS) else None
    if found is None:
        return None
    known, work = found
    if known.log_sums is not None:
        return _log_sum(known, x.dtype, work)
    y = np.empty(known.shape, x.dtype)
    work.y = address_of(y)
    known.kernel(work.address)
    return y


def state(x: Array, axis: Any) -> State | None:
    """The state (m, w, s) of an array, without axes for axis=None; None for what takes more."""
    if type(x) is not np.ndarray or x.size >= LARGE:
        return None
    found = _prepared("state", x, axis, axis is not None)
    if found is None:
        return None
    known, work = found
    m, rest = np.empty(known.shape, x.dtype), np.empty((2, *known.shape))
    work.m, work.w = address_of(m), address_of(rest)
    work.s = work.w + rest.strides[0]
    known.kernel(work.address)
    return State(m, rest[0, ...], rest[1, ...])


def _prepared(
    output: str, x: Array, axis: Any, keepdims: bool, b: Any = None
) -> tuple[_Quick, Work] | None:
    """What is known of such a call, and a record that has all addresses but those of results."""
    if not (axis is None or type(axis) is int) or not x.flags.c_contiguous:
        return None
    weighted = b is not None
    if weighted and not (type(b) is np.ndarray and b.dtype == x.dtype and b.shape == x.shape):
        return None
    known = _known("weighted" if weighted else output, x.dtype, x.shape, axis, keepdims)
    at = address_of(x)
    if known is None or at % x.itemsize:
        return None
    work = Work.from_buffer_copy(known.work)
    work.x, work.scratch = at, scratch_address()
    if weighted:
        work.b = address_of(b)
        if not b.flags.c_contiguous or work.b % x.itemsize:
            return None
    return known, work


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
    if known.weighted and not np.isfinite(sums[1, :size]).all():  # weights may be too large
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
    mode, weighted = _MODES.get(output, REDUCE), output == "weighted"
    layout = (dtype, like.strides)
    y = layout if mode & APPLY else None
    axes = tuple(i for i in range(ndim) if reduced[i])
    try:
        with InMemory(shape, _one):
            found = plan(
                shape,
                reduced,
                layout,
                layout if weighted else None,
                None,
                y,
                None,
                "weighted" if weighted else "plain",
                SHORT_ROW,
                False,
                may_compile(),
            )
            log_sums = compiled(kernels.log_sums, dtype.type) if output in _LOG_SUMS else None
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
    return _Quick(found.kernel, work, log_sums, weighted, shape)


def _one() -> int:
    return 1


forget = _known.cache_clear
