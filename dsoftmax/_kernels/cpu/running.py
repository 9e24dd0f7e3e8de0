"""Running log-sum-exps of NumPy blocks: from a block of any layout to calls of `running_sums`."""

from __future__ import annotations

import itertools

import numpy as np

from ..._algebra.dtypes import dtype_of, dtypes_for
from ..._algebra.prefix import Prefix
from ..loops import NO_LOOP, longest, loops_of
from . import kernels
from .call import address_of, scratch_address
from .compiler import address, compiled
from .plan import codec
from .protocol import Running

Array = np.ndarray


def takes(before: Prefix) -> bool:
    """Whether the kernel has the logarithms of what follows: where no weights had other signs."""
    normal = (before.d >= np.finfo(np.float64).tiny) & (before.d < np.inf)
    return bool(np.all(normal | ~np.isfinite(before.m)))


def of_block(x: Array, before: Prefix | None, axis: int, reverse: bool) -> Array:
    """The running log-sum-exps of a block along an axis, after the state of what comes before."""
    name = dtypes_for(x.dtype).result
    working = np.dtype(dtypes_for(name).working).type
    y = np.empty_like(x, dtype_of(np, name), subok=False)
    kept = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    state = (np.full(kept, -np.inf), np.zeros(kept), np.zeros(kept)) if before is None else before
    result = y
    if reverse:
        x, y = np.flip(x, axis), np.flip(y, axis)
    reduced = tuple(i == axis for i in range(x.ndim))
    loops = loops_of(x.shape, reduced, (x.strides, y.strides))
    slices = next((loop for loop in loops if loop.reduced), NO_LOOP)
    rows = longest(loop for loop in loops if not loop.reduced)
    outer = [loop for loop in loops if loop is not rows and loop is not slices]
    order = [i for loop in (*outer, rows) for i in loop.axes]
    order += [i for i in range(x.ndim) if i not in order]
    # Written to by the kernel, and so copies.
    m, d, lost = (
        np.array(field.transpose(order), np.float64, order="C").reshape(-1) for field in state
    )
    record = Running(count=rows.length, length=slices.length)
    record.x_row, record.y_row = rows.strides[:2]
    record.x_step, record.y_step = slices.strides[:2]
    record.scratch = scratch_address()
    if x.dtype != np.float64 or record.x_step != x.itemsize:
        record.load = codec(x.dtype, np.float64)
    if y.dtype != working or record.y_step != y.itemsize:
        record.store = address(kernels.store, name, working)
    kernel = compiled(kernels.running_sums, working)
    starts = itertools.product(*(range(loop.length) for loop in outer))
    for i, index in enumerate(starts):
        x_at, y_at = (
            sum(j * loop.strides[k] for j, loop in zip(index, outer, strict=True)) for k in (0, 1)
        )
        record.x, record.y = address_of(x) + x_at, address_of(y) + y_at
        done = 8 * i * rows.length
        record.m, record.d, record.lost = (address_of(a) + done for a in (m, d, lost))
        kernel(record.address)
    return result
