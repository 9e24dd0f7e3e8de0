"""Compiled block kernels for NumPy: from a block of any layout to calls of two kernels.

The axes of a block are loops.  Those that run through memory as one are joined; of what remains,
one reduced and up to two kept loops are given to a compiled kernel, and other kept ones, if there
are any, run here.  `rows` takes slices along the fastest axis, `columns` slices across it, and
many short ones.

Where several reduced loops remain, the longest is the one, and the others count as kept: there are
more states then, which are merged, or of which several are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtype_of, result_name, working_name
from ..._algebra.normalizer import State, identity, log_d, merge
from .. import portable
from ..modes import APPLY, LOGARITHM, REDUCE
from . import kernels
from .call import Call, address_of
from .compiler import CannotCompileError, compiled
from .plan import codec
from .tuning import LONG, NARROW, SHORT_GIVEN, TOGETHER

Array = np.ndarray
Axes = tuple[int, ...]

_INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
_NAMES = frozenset(["bool", *_INTEGERS, "float16", "bfloat16", "float32", "float64"])

_MERGED_AT_ONCE = 64

# 2**59 exponentials of less are summed without overflow.
_LARGE_WEIGHT = 2.0**900


def supports(x: Any) -> bool:
    """Whether x is a block for these kernels: NumPy's, not empty, of a dtype they know."""
    return (
        isinstance(x, np.ndarray)
        and dtype_name(x.dtype) in _NAMES
        and x.size > 0
        and x.flags.aligned
        and not any(stride % x.itemsize for stride in x.strides)
    )


def compile_something() -> None:
    """Raise what is raised where kernels cannot be compiled, at little cost where they can."""
    codec(np.dtype(np.float32), np.float32)


def _or_portable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function or, where its kernels cannot be compiled, the portable one of its name."""

    @wraps(function)
    def either(*args: Any) -> Any:
        try:
            return function(*args)
        except CannotCompileError:
            return getattr(portable, function.__name__)(*args)

    return either


@_or_portable
def of_block(x: Array, axes: Axes, b: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x.
    """
    columns = _few_columns(x, axes) if b is None or b.flags.c_contiguous else 0
    if columns:
        wide, rest = _folded(x, columns)
        wide_b, rest_b = (None, None) if b is None else _folded(b, columns)
        folded = of_block(wide, (0,), wide_b)
        state = _merged(State(*(field.reshape(TOGETHER, columns) for field in folded)), (0,))
        if len(rest):
            state = merge(state, of_block(rest, (0,), rest_b))
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return State(*(field.reshape(kept) for field in state))
    call = Call(_reduced(x, axes), x, b=b)
    state = State(*map(call.to_block, call.reduce()))
    if b is not None and _may_have_overflowed(state, b):
        return portable.of_block(x, axes, b)
    return _merged(state, tuple(i for i in call.plan.order if i in axes))


def _few_columns(x: Array, axes: Axes) -> int:
    """How many columns a block has that are few, long and side by side, as of a table; or 0."""
    columns = math.prod(x.shape[len(axes) :])
    row_bytes = columns * np.dtype(working_name(dtype_name(x.dtype))).itemsize
    reduced_are_first = sorted(axes) == list(range(len(axes)))
    few = reduced_are_first and columns > 1 and row_bytes < NARROW and x.flags.c_contiguous
    return columns if few and x.size >= LONG * TOGETHER * columns else 0


def _folded(x: Array, columns: int) -> tuple[Array, Array]:
    """A table with several of its rows in each row, which fill the vectors, and the rows left."""
    table = x.reshape(-1, columns)
    whole = len(table) // TOGETHER * TOGETHER
    return table[:whole].reshape(-1, TOGETHER * columns), table[whole:]


def _may_have_overflowed(state: State, b: Array) -> bool:
    """Whether a sum is not finite, and may be, since kernels multiply weights by 2**SCALE."""
    if np.isfinite(state.s).all():
        return False
    weights = np.abs(b, dtype=np.float64)
    return bool((np.isfinite(weights) & (weights > _LARGE_WEIGHT)).any())


def _merged(state: State, axes: Axes) -> State:
    """The states along some axes as one, each of which stays with length 1.

    In a tree of large fan-in, since every merge costs a rounding.
    """
    if not axes:
        return state
    kept = tuple(1 if i in axes else n for i, n in enumerate(state.m.shape))
    rows = [
        np.moveaxis(field, axes, range(len(axes))).reshape(-1, math.prod(kept)) for field in state
    ]
    while (n := len(rows[0])) > 1:
        size = math.ceil(n / _MERGED_AT_ONCE)
        missing = -n % size
        if missing:
            nothing = identity(np, (missing, rows[0].shape[1]), dtype_name(rows[0].dtype))
            rows = [np.concatenate(pair) for pair in zip(rows, nothing, strict=True)]
        parts = range(0, n, size)
        rows = list(merge(*(State(*(row[i : i + size] for row in rows)) for i in parts)))
    return State(*(row.reshape(kept) for row in rows))


@_or_portable
def rescale(x: Array, m: Array, d: Array) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d)."""
    # The kernels multiply by 1 / d, which has to be finite; only weights make d so small.
    if not _fits(x, m, d) or np.abs(d).min() < np.finfo(m.dtype).smallest_normal:
        return portable.rescale(x, m, d)
    return _apply(x, m, d, APPLY)


@_or_portable
def log_rescale(x: Array, m: Array, logarithm: Array) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``."""
    if not _fits(x, m, logarithm):
        return portable.log_rescale(x, m, logarithm)
    return _apply(x, m, logarithm, APPLY | LOGARITHM)


@_or_portable
def log_sum(state: State) -> Array:
    """log(sum b exp(x)) of many states, in float64; NaN where a sum is negative."""
    fields = State(*map(np.ascontiguousarray, state))
    result, unusable = np.empty(state.m.shape), np.empty(1, np.int64)
    kernel = compiled(kernels.log_sums, state.m.dtype.type)
    kernel(*map(address_of, (*fields, result, unusable)), result.size)
    return portable.log_sum(state) if unusable[0] else result


@_or_portable
def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    y = _empty_like(x)
    call = Call(_reduced(x, axes), x, y=y)
    if _few_columns(x, axes) or not call.plan.at_once:
        state = of_block(x, axes)
        return _apply(x, state.m, state.d, APPLY, y)
    call.run(REDUCE | APPLY)
    return y


@_or_portable
def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    y = _empty_like(x)
    call = Call(_reduced(x, axes), x, y=y)
    if _few_columns(x, axes) or not call.plan.at_once:
        state = of_block(x, axes)
        return _apply(x, state.m, log_d(state), APPLY | LOGARITHM, y)
    call.run(REDUCE | APPLY | LOGARITHM)
    return y


def _reduced(x: Array, axes: Axes) -> tuple[bool, ...]:
    return tuple(i in axes for i in range(x.ndim))


def _fits(x: Array, m: Array, d: Array) -> bool:
    """Whether m and d are of the dtypes and shape that `of_block` gives for blocks like x."""
    return (
        m.dtype == working_name(dtype_name(x.dtype))
        and d.dtype == np.float64
        and m.shape == d.shape
        and m.ndim == x.ndim
        and all(k in (1, n) for k, n in zip(m.shape, x.shape, strict=True))
    )


def _apply(x: Array, m: Array, d_or_log: Array, mode: int, y: Array | None = None) -> Array:
    y = _empty_like(x) if y is None else y
    reduced = tuple(k != n for k, n in zip(m.shape, x.shape, strict=True))
    columns = _few_columns(x, tuple(np.flatnonzero(reduced))) if y.flags.c_contiguous else 0
    if columns:
        m, d_or_log = m.reshape(1, columns), d_or_log.reshape(1, columns)
        for part, out in zip(_folded(x, columns), _folded(y, columns), strict=True):
            times = (1, part.shape[1] // columns)
            if len(part):
                _apply(part, np.tile(m, times), np.tile(d_or_log, times), mode, out)
        return y
    call = Call(reduced, x, y=y, short=SHORT_GIVEN)
    m, d_or_log = call.from_block(m), call.from_block(d_or_log)
    call.run(mode, State(m, d_or_log, d_or_log))
    return y


def _empty_like(x: Array) -> Array:
    """An array for the result, of the memory layout of x: passes over both run side by side."""
    return np.empty_like(x, dtype_of(np, result_name(dtype_name(x.dtype))), subok=False)
