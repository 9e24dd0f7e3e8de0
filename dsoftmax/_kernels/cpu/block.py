"""Compiled block kernels for NumPy: from a block of any layout to calls of two kernels.

The axes of a block are loops.  Those that run through memory as one are joined; of what remains,
one reduced and up to two kept loops are given to a compiled kernel, and other kept ones, if there
are any, run here.  `_rows` takes slices along the fastest axis, `_columns` slices across it, and
many short ones.

Where several reduced loops remain, the longest is the one, and the others count as kept: there are
more states then, which are merged, or of which several are the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtype_of, promoted_name, result_name, working_name
from ..._algebra.normalizer import State, identity, log_d, merge
from .. import portable
from ..loops import NO_LOOP, Loop, longest, loops_of
from ..modes import APPLY, LOGARITHM, REDUCE
from . import kernels
from .compiler import CannotCompileError, address, compiled
from .protocol import LANE_BYTES, SCRATCH_BYTES

Array = np.ndarray
Axes = tuple[int, ...]
Strides = tuple[int, ...]

_INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
_NAMES = frozenset(["bool", *_INTEGERS, "float16", "bfloat16", "float32", "float64"])

# Rows shorter than this are worked on side by side if there are MANY of them; if a state is given,
# there is less to do for each row.  FEW columns are worked on one by one.
SHORT_ROW, SHORT_GIVEN, MANY, FEW = 24, 16, 16, 4

# Columns that fill few vectors, or none, get so many of their rows into each row, and those again,
# as long as they are NARROW and there are LONG columns of them.
NARROW, TOGETHER, LONG = 256, 16, 64

# Of the caches: what a panel of columns may take to be read twice, and the size of a line.
CACHE_BYTES, CACHE_LINE = 1 << 19, 64

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
    _load(np.dtype(np.float32), np.float32)


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
    call = _Call(_reduced(x, axes), x, b=b)
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
    kernel(*map(_address, (*fields, result, unusable)), result.size)
    return portable.log_sum(state) if unusable[0] else result


@_or_portable
def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    y = _empty_like(x)
    call = _Call(_reduced(x, axes), x, y=y)
    if _few_columns(x, axes) or not call.plan.at_once:
        state = of_block(x, axes)
        return _apply(x, state.m, state.d, APPLY, y)
    call.run(REDUCE | APPLY)
    return y


@_or_portable
def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    y = _empty_like(x)
    call = _Call(_reduced(x, axes), x, y=y)
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
    call = _Call(reduced, x, y=y, short=SHORT_GIVEN)
    m, d_or_log = call.from_block(m), call.from_block(d_or_log)
    call.run(mode, State(m, d_or_log, d_or_log))
    return y


def _empty_like(x: Array) -> Array:
    """An array for the result, of the memory layout of x: passes over both run side by side."""
    return np.empty_like(x, dtype_of(np, result_name(dtype_name(x.dtype))), subok=False)


class _Plan(NamedTuple):
    """How the loops over blocks of one layout are shared out between a kernel and Python."""

    kernel: Callable[..., None]
    layout: tuple[int, ...]  # what the kernel has to know of it
    working: type
    outer: list[Loop]  # the loops that run here
    states: int  # how many of them one run of the kernel takes
    order: Axes  # of the axes of flat arrays of states, in which the kernel's are fastest
    at_once: bool  # whether a slice is best reduced and mapped before the next one is


@lru_cache(maxsize=256)
def _plan(
    shape: tuple[int, ...],
    reduced: tuple[bool, ...],
    dtypes: tuple[np.dtype | None, ...],
    strides: tuple[Strides, ...],
    working: type,
    short: int,
) -> _Plan:
    loops = loops_of(shape, reduced, strides)
    if sum(loop.reduced for loop in loops) > 1:
        axes = longest(loop for loop in loops if loop.reduced).axes
        one = tuple(i in axes for i in range(len(shape)))
        return _plan(shape, one, dtypes, strides, working, short)._replace(at_once=False)
    inner = loops[-1] if loops else NO_LOOP
    longest_kept = longest(loop for loop in loops if not loop.reduced)
    if inner.reduced:
        row, column = inner, longest_kept
        side_by_side = row.length < short and column.length >= MANY
    else:
        row = longest(loop for loop in loops if loop.reduced)
        column = inner if inner.length >= min(MANY, longest_kept.length) else longest_kept
        side_by_side = column.length >= FEW or row is NO_LOOP
    outer = [loop for loop in loops if loop is not row and loop is not column]
    plane = NO_LOOP
    if side_by_side:
        plane = longest(outer)
        outer = [loop for loop in outer if loop is not plane]
    kept = [loop for loop in (*outer, plane, column) if loop is not NO_LOOP]
    counted = (plane, row, column) if side_by_side else (column, row)
    return _Plan(
        kernel=compiled(
            kernels.columns if side_by_side else kernels.rows, working, dtypes[1] is not None
        ),
        layout=(
            *(loop.length for loop in counted),
            *(stride for loop in counted for stride in loop.strides),
            *_codecs(dtypes, counted[-1], working),
        ),
        working=working,
        outer=outer,
        states=plane.length * column.length,
        order=tuple(axis for loop in kept for axis in loop.axes),
        at_once=not side_by_side or row.length * LANE_BYTES <= CACHE_BYTES,
    )


def _codecs(
    dtypes: tuple[np.dtype | None, ...], lanes: Loop, working: type
) -> tuple[int, int, int]:
    """Addresses of the functions that load x and b and store y, 0 where none is needed."""
    x, b, y = dtypes
    load = load_b = store = 0
    item = np.dtype(working).itemsize
    x_step, _, y_step = (item, item, item) if lanes is NO_LOOP else lanes.strides
    if b is not None or x != working or x_step != item:
        load = _load(x, working)
    if b is not None:
        load_b = _load(b, np.float64)
    if y is not None and (y != working or y_step != item):
        store = address(kernels.store, dtype_name(y), working)
    return load, load_b, store


def _load(dtype: Any, working: type) -> int:
    return address(kernels.load, dtype_name(dtype), not dtype.isnative, working)


class _Call:
    """A plan with the arrays to run it on."""

    def __init__(
        self,
        reduced: tuple[bool, ...],
        x: Array,
        b: Array | None = None,
        y: Array | None = None,
        short: int = SHORT_ROW,
    ) -> None:
        arrays = (x, b, y)
        joint = promoted_name(*(dtype_name(a.dtype) for a in (x, b) if a is not None))
        self.shape = x.shape
        self.plan = _plan(
            x.shape,
            reduced,
            tuple(None if a is None else a.dtype for a in arrays),
            tuple((0,) * x.ndim if a is None else a.strides for a in arrays),
            np.dtype(working_name(joint)).type,  # type: ignore[arg-type]  # it is hashable
            short,
        )
        self.addresses = tuple(0 if a is None else _address(a) for a in arrays)
        self.arrays = arrays  # the kernels only see addresses: keep the memory

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Offsets in bytes of x, b and y in each pass of the outer loops."""
        loops = self.plan.outer
        for index in itertools.product(*(range(loop.length) for loop in loops)):
            yield tuple(
                sum(i * loop.strides[k] for i, loop in zip(index, loops, strict=True))
                for k in range(3)
            )

    def reduce(self) -> State:
        """The flat states."""
        size = math.prod(self.shape[axis] for axis in self.plan.order)
        state = State(np.empty(size, self.plan.working), np.empty(size), np.empty(size))
        self.run(REDUCE, state)
        return state

    def run(self, mode: int, state: State | None = None) -> None:
        """Run the kernel over all loops."""
        plan = self.plan
        m, w, s = (0, 0, 0) if state is None else map(_address, state)
        m_step, sum_step = np.dtype(plan.working).itemsize * plan.states, 8 * plan.states
        scratch = np.empty(SCRATCH_BYTES + CACHE_LINE, np.uint8)
        aligned = -(-_address(scratch) // CACHE_LINE) * CACHE_LINE
        for i, offsets in enumerate(self.offsets()):
            plan.kernel(
                *map(sum, zip(self.addresses, offsets, strict=True)),
                m + i * m_step,
                w + i * sum_step,
                s + i * sum_step,
                *plan.layout,
                aligned,
                mode,
            )

    def to_block(self, flat: Array) -> Array:
        """A flat state as an array of as many dimensions as the block."""
        order = self.plan.order
        array = flat.reshape([self.shape[axis] for axis in order])
        array = array.transpose(sorted(range(len(order)), key=order.__getitem__))
        return array.reshape([n if i in order else 1 for i, n in enumerate(self.shape)])

    def from_block(self, array: Array) -> Array:
        """The inverse; what the axes of several loops share is repeated."""
        order = self.plan.order
        shape = [n if i in order else 1 for i, n in enumerate(self.shape)]
        array = np.broadcast_to(array, shape)
        others = [i for i in range(array.ndim) if i not in order]
        return np.ascontiguousarray(array.transpose(*order, *others)).reshape(-1)


def _address(x: Array) -> int:
    return x.__array_interface__["data"][0]
