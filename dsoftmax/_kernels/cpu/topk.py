"""The compiled selection for NumPy blocks: from a block of any layout to calls of `best`.

How a block lies in memory is looked at once for all blocks of a layout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.normalizer import State
from ..in_memory import LARGE, InMemory
from ..loops import NO_LOOP, Loop, longest, loops_of
from ..modes import REDUCE
from . import block, kernels
from .call import address_of, scratch_address
from .compiler import CannotCompileError, address, compiled
from .plan import codec
from .protocol import MAXIMA, SCRATCH_BYTES, TILE_BYTES, Selection, Work
from .tuning import CACHE_LINE, MANY, SEGMENT_BYTES, SHORT_ROW, SHORTEST_RUN

Array = np.ndarray


class _Plan(NamedTuple):
    """The kernel for blocks of a layout, and its records, but for addresses of arrays."""

    kernel: Callable[..., None]
    selection: Selection
    work: Work
    fused: bool  # whether it computes states, too
    outer: tuple[Loop, ...]  # the loops that run here, a call of the kernel in each pass
    found: tuple[int, ...]  # the shape of the results as the kernel writes them
    states: tuple[int, ...]  # and of the states, segment by segment
    shape: tuple[int, ...]  # of the results with their axes in the order of loops,
    order: tuple[int, ...]  # and the axes of that in the order of the block; () if the same


def supports(x: Any) -> bool:
    """Whether x is a block for this kernel: its elements are exact in float32 or float64."""
    return block.supports(x) and dtype_name(x.dtype) not in ("int64", "uint64")


def of_block(x: Array, axis: int, k: int, normalized: bool) -> tuple[Array, Array, State | None]:
    """The k best along an axis, best first, where they are, and the state (m, w, s) if asked for.

    k is from 1 to the length of the axis.
    """
    plan = _plan(x.shape, x.strides, x.dtype, axis, k, normalized)
    working = np.dtype(dtypes_for(x.dtype).working).type
    values, indices = np.empty(plan.found, working), np.empty(plan.found, np.int64)
    states = [np.empty(plan.states, dtype) for dtype in (working, float, float)[: 3 * plan.fused]]
    scratch = scratch_address()
    work = Work.from_buffer_copy(plan.work)
    work.scratch = scratch + SCRATCH_BYTES
    selection = Selection.from_buffer_copy(plan.selection)
    selection.work, selection.scratch, selection.rows_scratch = work.address, scratch, work.scratch
    names = ("values", "indices", "m", "w", "s")
    results = [(address_of(a), a.strides[0]) for a in (values, indices, *states)]
    start = address_of(x)
    for i, index in enumerate(itertools.product(*(range(loop.length) for loop in plan.outer))):
        offset = sum(j * loop.strides[0] for j, loop in zip(index, plan.outer, strict=True))
        selection.x = start + offset
        for name, (first, step) in zip(names, results):  # noqa: B905  # no states, unless fused
            setattr(selection, name, first + i * step)
        plan.kernel(selection.address)

    def to_block(a: Array, length: int) -> Array:
        a = a.reshape(*plan.shape, length)
        return a.transpose(plan.order) if plan.order else a

    normalizer = block.of_block(x, (axis,)) if normalized and not plan.fused else None
    if plan.fused:
        normalizer = State(*(to_block(field[:, 0, :], 1) for field in states))
    values = to_block(values, k).astype(x.dtype.newbyteorder("="), copy=False)
    return values, to_block(indices, k), normalizer


def quick(x: Any, k: Any, axis: Any, normalized: bool) -> tuple[Array, Array, State | None] | None:
    """`of_block` of an array in memory; None for what takes more.

    Among these are large arrays, which are cut, and arguments that may be wrong.
    """
    if type(x) is not np.ndarray or x.size >= LARGE or type(k) is not int or not supports(x):
        return None
    if axis is None and x.flags.c_contiguous:
        x, axis = x.reshape(-1), 0
    if type(axis) is not int or not -x.ndim <= axis < x.ndim or not 0 < k <= x.shape[axis]:
        return None
    try:
        with InMemory(x.shape, lambda: 1):
            return of_block(x, axis % x.ndim, k, normalized)
    except CannotCompileError:
        return None


@lru_cache(maxsize=256)
def _plan(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype,
    axis: int,
    k: int,
    normalized: bool,
) -> _Plan:
    ndim, working = len(shape), np.dtype(dtypes_for(dtype).working).type
    item = np.dtype(working).itemsize
    loops = loops_of(shape, tuple(i == axis for i in range(ndim)), (strides,))
    slices = next((loop for loop in loops if loop.reduced), NO_LOOP)
    kept = [loop for loop in loops if not loop.reduced]
    side_by_side = loops[-1:] == kept[-1:] != [] and kept[-1].length >= MANY
    row = kept[-1] if side_by_side else longest(kept)
    outer = [loop for loop in kept if loop is not row]
    fused = normalized and slices.strides[0] == dtype.itemsize and slices.length >= SHORT_ROW
    calls = math.prod(loop.length for loop in outer)
    step = slices.strides[0]
    segment = min(slices.length, SEGMENT_BYTES // min(max(abs(step), 1), CACHE_LINE))
    in_a_row = row if side_by_side else slices
    contiguous = dtype == working and in_a_row.strides[0] == item
    load = 0 if contiguous else codec(dtype, working)
    selection = Selection(
        count=row.length,
        length=slices.length,
        x_row=row.strides[0],
        x_step=step,
        k=k,
        segment=segment,
        run=min(max(SHORTEST_RUN, 8 * k), TILE_BYTES // item),
        together=max(1, SEGMENT_BYTES // (segment * item)),
        load=load,
        rows=address(kernels.rows, working, False, False) if fused else 0,
    )
    order = [i for loop in (*outer, row) for i in loop.axes]
    order += [i for i in range(ndim) if i not in order and i != axis] + [axis]
    return _Plan(
        compiled(kernels.best_columns if side_by_side else kernels.best_rows, working),
        selection,
        Work(x_row=row.strides[0], x_step=step, load=load, mode=REDUCE | MAXIMA),
        fused,
        tuple(outer),
        (calls, row.length, k),
        (calls, math.ceil(slices.length / segment) if fused else 0, row.length),
        tuple(shape[i] for i in order[:-1]),
        () if order == sorted(order) else tuple(sorted(range(ndim), key=order.__getitem__)),
    )


forget = _plan.cache_clear
