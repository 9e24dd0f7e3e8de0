"""The compiled selection for NumPy blocks: from a block of any layout to calls of `best`."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.normalizer import State
from ..loops import NO_LOOP, longest, loops_of
from ..modes import REDUCE
from . import block, kernels
from .call import address_of, scratch_address
from .compiler import address, compiled
from .plan import codec
from .protocol import MAXIMA, SCRATCH_BYTES, TILE_BYTES, Selection, Work
from .tuning import CACHE_LINE, MANY, SEGMENT_BYTES, SHORT_ROW, SHORTEST_RUN


def supports(x: Any) -> bool:
    """Whether x is a block for this kernel: its elements are exact in float32 or float64."""
    return block.supports(x) and dtype_name(x.dtype) not in ("int64", "uint64")


def of_block(
    x: np.ndarray, axis: int, k: int, normalized: bool
) -> tuple[np.ndarray, np.ndarray, State | None]:
    """The k best along an axis, best first, where they are, and the state (m, w, s) if asked for.

    k is from 1 to the length of the axis.
    """
    reduced = tuple(i == axis for i in range(x.ndim))
    loops = loops_of(x.shape, reduced, (x.strides,))
    slices = next((loop for loop in loops if loop.reduced), NO_LOOP)
    kept = [loop for loop in loops if not loop.reduced]
    side_by_side = loops[-1:] == kept[-1:] != [] and kept[-1].length >= MANY
    row = kept[-1] if side_by_side else longest(kept)
    outer = [loop for loop in kept if loop is not row]
    working = np.dtype(dtypes_for(x.dtype).working).type
    lengths = [loop.length for loop in outer]
    values = np.empty((math.prod(lengths), row.length, k), working)
    indices = np.empty(values.shape, np.int64)
    fused = normalized and slices.strides[0] == x.itemsize and slices.length >= SHORT_ROW
    states = _select(x, outer, row, slices, values, indices, fused, side_by_side)

    order = [i for loop in (*outer, row) for i in loop.axes]
    order += [i for i in range(x.ndim) if i not in order and i != axis] + [axis]

    def to_block(a: np.ndarray) -> np.ndarray:
        shape = [a.shape[-1] if i == axis else x.shape[i] for i in order]
        return a.reshape(shape).transpose(sorted(range(x.ndim), key=order.__getitem__))

    normalizer = block.of_block(x, (axis,)) if normalized and not fused else None
    if fused:
        normalizer = State(*(to_block(field[:, 0, :, None]) for field in states))
    return to_block(values).astype(x.dtype, copy=False), to_block(indices), normalizer


def _select(
    x: np.ndarray,
    outer: list[Any],
    row: Any,
    slices: Any,
    values: np.ndarray,
    indices: np.ndarray,
    fused: bool,
    side_by_side: bool,
) -> State:
    """Fill values and indices; the states, segment by segment, the first that of all of them."""
    working, k = values.dtype.type, values.shape[-1]
    item, step = values.itemsize, slices.strides[0]
    segment = min(slices.length, SEGMENT_BYTES // min(max(abs(step), 1), CACHE_LINE))
    shape = (len(values), math.ceil(slices.length / segment) if fused else 0, row.length)
    states = State(np.empty(shape, working), np.empty(shape), np.empty(shape))
    scratch = scratch_address()
    in_a_row = row if side_by_side else slices
    contiguous = x.dtype == working and in_a_row.strides[0] == item
    work = Work(x_row=row.strides[0], x_step=step, scratch=scratch + SCRATCH_BYTES)
    work.load = 0 if contiguous else codec(x.dtype, working)
    work.mode = REDUCE | MAXIMA
    selection = Selection(
        count=row.length,
        length=slices.length,
        x_row=row.strides[0],
        x_step=step,
        k=k,
        segment=segment,
        run=min(max(SHORTEST_RUN, 8 * k), TILE_BYTES // item),
        together=max(1, SEGMENT_BYTES // (segment * item)),
        load=work.load,
        rows=address(kernels.rows, working, False, False) if fused else 0,
        work=work.address,
        scratch=scratch,
        rows_scratch=work.scratch,
    )
    kernel = compiled(kernels.best_columns if side_by_side else kernels.best_rows, working)
    for i, index in enumerate(itertools.product(*(range(loop.length) for loop in outer))):
        offset = sum(j * loop.strides[0] for j, loop in zip(index, outer, strict=True))
        selection.x = address_of(x) + offset
        selection.values, selection.indices = address_of(values[i]), address_of(indices[i])
        if fused:
            selection.m, selection.w, selection.s = (address_of(field[i]) for field in states)
        kernel(selection.address)
    return states
