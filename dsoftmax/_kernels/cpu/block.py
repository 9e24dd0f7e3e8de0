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

from ..._algebra.dtypes import dtype_name, dtype_of, dtypes_for
from ..._algebra.moments import Moments
from ..._algebra.normalizer import State, log_d, quiet
from ..._algebra.sums import Sums
from .. import portable
from ..layout import fits, joint_name, reduced_axes, reduced_in
from ..modes import APPLY, LOGARITHM, REDUCE
from . import kernels
from .call import Call
from .compiler import CannotCompileError, compiled
from .log_calls import LANES, few_log_sums, many_log_sums
from .merging import merge, merged
from .plan import Kind
from .tuning import LONG, NARROW, SHORT_GIVEN, TOGETHER

Array = np.ndarray
Axes = tuple[int, ...]

_INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
NAMES = frozenset(["bool", *_INTEGERS, "float16", "bfloat16", "float32", "float64"])

# Kernels multiply weights and values by exponentials times 2**SCALE, and add the products up: what
# is larger than this may overflow there, in float64 or in the float32 of values beside a float32 x.
_LARGE, _LARGE_32 = 2.0**900, 2.0**100

SMALLEST = {working: np.finfo(working).smallest_normal for working in (np.float32, np.float64)}


def supports(x: Any) -> bool:
    """Whether x is a block for these kernels: NumPy's, not empty, of a dtype they know."""
    return (
        isinstance(x, np.ndarray)
        and dtype_name(x.dtype) in NAMES
        and x.size > 0
        and x.flags.aligned
        and (x.flags.c_contiguous or not any(stride % x.itemsize for stride in x.strides))
    )


def compile_something() -> None:
    """Raise what is raised where kernels cannot be compiled, at little cost where they can."""
    compiled(kernels.load, "float32", False, np.float32)


def _or_portable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function or, where its kernels cannot be compiled, the portable one of its name."""

    @wraps(function)
    def either(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except CannotCompileError:
            return getattr(portable, function.__name__)(*args, **options)

    return either


@_or_portable
def of_block(x: Array, axes: Axes, b: Array | None = None, where: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x; or ``where`` tells which elements are in.
    """
    state = State(*_states("plain" if b is None else "weighted", x, axes, b, where))
    if b is not None and _may_have_overflowed(state.s, b, _LARGE):
        return portable.of_block(x, axes, b)
    return state


@_or_portable
def moments(x: Array, axes: Axes, where: Array | None = None) -> Moments:
    """The moments (m, w, s, t, q) of a block over ``axes``, which stay with length 1."""
    return Moments(*_states("moments", x, axes, None, where))


@_or_portable
def sums(x: Array, axes: Axes, values: tuple[Array, ...], where: Array | None = None) -> Sums:
    """The sums (m, w, s, o) of a block and of values of its shape over ``axes``."""
    dtype = joint_name(x, *values)
    o = []
    for v in values:
        m, w, s, one = _states("values", x, axes, v, where, dtype)
        if _may_have_overflowed(one, v, _LARGE if m.dtype == np.float64 else _LARGE_32):
            return portable.sums(x, axes, values, where)
        o.append(one)
    return Sums(m, w, s, tuple(o))


def _states(
    kind: Kind,
    x: Array,
    axes: Axes,
    b: Array | None,
    where: Array | None,
    dtype: str | None = None,
) -> tuple[Array, ...]:
    """The fields of the state of a kind; exponentials are computed in the dtype, if it is given."""
    arrays = (x, b, where)
    flat = all(a is None or a.flags.c_contiguous for a in arrays)
    columns = few_columns(x, axes) if flat else 0
    if columns:
        wide, rest = _folded(x, columns)
        others = [(None, None) if a is None else _folded(a, columns) for a in (b, where)]
        (wide_b, rest_b), (wide_where, rest_where) = others
        state = _states(kind, wide, (0,), wide_b, wide_where, dtype)
        state = tuple(field.reshape(TOGETHER, columns) for field in state)
        state = merged(kind, state, (0,))
        if len(rest):
            other = _states(kind, rest, (0,), rest_b, rest_where, dtype)
            state = merge(kind, state, other)
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return tuple(field.reshape(kept) for field in state)
    call = Call(reduced_axes(x, axes), x, b=b, where=where, kind=kind, dtype=dtype)
    state = tuple(map(call.to_block, call.reduce()))
    return merged(kind, state, tuple(i for i in call.plan.order if i in axes))


def few_columns(x: Array, axes: Axes) -> int:
    """How many columns a block has that are few, long and side by side, as of a table; or 0."""
    if len(axes) == x.ndim:
        return 0
    columns = math.prod(x.shape[len(axes) :])
    row_bytes = columns * np.dtype(dtypes_for(x.dtype).working).itemsize
    reduced_are_first = sorted(axes) == list(range(len(axes)))
    few = reduced_are_first and columns > 1 and row_bytes < NARROW and x.flags.c_contiguous
    return columns if few and x.size >= max(LONG, TOGETHER * columns) else 0


def _folded(x: Array, columns: int) -> tuple[Array, Array]:
    """A table with several of its rows in each row, which fill the vectors, and the rows left."""
    table = x.reshape(-1, columns)
    whole = len(table) // TOGETHER * TOGETHER
    return table[:whole].reshape(-1, TOGETHER * columns), table[whole:]


def _may_have_overflowed(sums: Array, b: Array, large: float) -> bool:
    """Whether a sum is not finite, and the reason may be that some weights or values are large."""
    if np.isfinite(sums).all():
        return False
    sizes = np.abs(b, dtype=np.float64)
    return bool((np.isfinite(sizes) & (sizes > large)).any())


@_or_portable
def rescale(x: Array, m: Array, d: Array, where: Array | None = None) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d).

    0 for elements that are out.
    """
    # The kernels multiply by 1 / d, which has to be finite; only weights make d so small.
    if not fits(x, m, d):
        return portable.rescale(x, m, d, where)
    small = np.abs(d) < SMALLEST[m.dtype.type]
    if (small if where is None else small & (m > -np.inf)).any():
        return portable.rescale(x, m, d, where)
    return _apply(x, m, d, APPLY, where)


@_or_portable
def log_rescale(x: Array, m: Array, logarithm: Array, where: Array | None = None) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``.

    -inf for elements that are out.
    """
    if not fits(x, m, logarithm):
        return portable.log_rescale(x, m, logarithm, where)
    return _apply(x, m, logarithm, APPLY | LOGARITHM, where)


@_or_portable
def log_sum(state: State) -> Array:
    """log(sum b exp(x)) of many states, in float64; NaN where a sum is negative."""
    few = state.m.size < LANES
    result, unusable = few_log_sums(state) if few else many_log_sums(state)
    if unusable:  # the other results keep their bits
        with quiet():
            d = state.d
        usable = (d >= SMALLEST[np.float64]) & (d < np.inf)
        result = np.where(usable, result, portable.log_sum(state))
    return result


@_or_portable
def softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The softmax of a block that holds its slices whole."""
    y, done = _whole(x, axes, where, REDUCE | APPLY)
    if not done:
        state = of_block(x, axes, None, where)
        _apply(x, state.m, state.d, APPLY, where, y)
    return y


@_or_portable
def log_softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    y, done = _whole(x, axes, where, REDUCE | APPLY | LOGARITHM)
    if not done:
        state = of_block(x, axes, None, where)
        _apply(x, state.m, log_d(state), APPLY | LOGARITHM, where, y)
    return y


def _whole(x: Array, axes: Axes, where: Array | None, mode: int) -> tuple[Array, bool]:
    """An output, and whether it was written: else each slice is best read twice."""
    y = _empty_like(x)
    call = Call(reduced_axes(x, axes), x, where=where, y=y)
    done = call.plan.at_once and not few_columns(x, axes)
    if done:
        call.run(mode)
    return y, done


def _apply(
    x: Array,
    m: Array,
    d_or_log: Array,
    mode: int,
    where: Array | None = None,
    y: Array | None = None,
) -> Array:
    y = _empty_like(x) if y is None else y
    reduced = reduced_in(m, x)
    flat = all(a is None or a.flags.c_contiguous for a in (where, y))
    columns = few_columns(x, tuple(i for i, along in enumerate(reduced) if along)) if flat else 0
    if columns:
        m, d_or_log = m.reshape(1, columns), d_or_log.reshape(1, columns)
        kept = (None, None) if where is None else _folded(where, columns)
        for part, is_in, out in zip(_folded(x, columns), kept, _folded(y, columns), strict=True):
            times = (1, part.shape[1] // columns)
            if len(part):
                _apply(part, np.tile(m, times), np.tile(d_or_log, times), mode, is_in, out)
        return y
    call = Call(reduced, x, where=where, y=y, short=SHORT_GIVEN // m.itemsize)
    m, d_or_log = call.from_block(m), call.from_block(d_or_log)
    call.run(mode, m, d_or_log)
    return y


def _empty_like(x: Array) -> Array:
    """An array for the result, of the memory layout of x: passes over both run side by side."""
    return np.empty_like(x, dtype_of(np, dtypes_for(x.dtype).result), subok=False)
