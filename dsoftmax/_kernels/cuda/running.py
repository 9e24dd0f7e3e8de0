"""Running log-sum-exps of CuPy blocks of any layout: one launch, or three where slices are few.

These are cut into parts then: the sum of each, what comes before each, and the results. Nothing
waits for the device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtype_of, dtypes_for
from ..._algebra.prefix import Prefix
from ..layout import from_block
from ..loops import loops_of
from . import block, device
from .plan import MAX_GRID
from .source import ELEMENTS, LOOPS, MAX_LOOPS, THREADS, TYPED, Kernel
from .topk import parts_of

Array = Any

_ARRAYS = ("x", "y", "m", "d", "lost", "reference", "value", "error")
_NUMBERS = ("x_dtype", "y_dtype", "slices", "length", "parts", "portion", "x_step", "y_step")
RUN = np.dtype([*((name, "i8") for name in (*_ARRAYS, *_NUMBERS)), ("kept", LOOPS)])
TILE, SHORTEST = 4 * THREADS, THREADS  # elements

SUMS_KERNEL = Kernel("run_sums", "RUN_SUMS(run_sums)")
PARTS_KERNEL = Kernel("run_parts", "RUN_PARTS(run_parts)")
RESULTS_KERNELS = {
    name: Kernel(f"run_{name}", f"RUN_RESULTS(run_{name}, {ELEMENTS[name]}::Real)")
    for name in TYPED
}


def of_block(x: Array, before: Prefix | None, axis: int, reverse: bool) -> Array | None:
    """The running log-sum-exps of a block along an axis, after the state of what comes before.

    None if slices are short, and too few threads had something to do, or if there are more loops
    than the kernels take.
    """
    if x.shape[axis] < SHORTEST:
        return None
    name = dtypes_for(x.dtype).result
    y = device.empty_like(x, dtype_of(np, name))
    reduced = tuple(i == axis for i in range(x.ndim))
    loops = loops_of(x.shape, reduced, (x.strides, (0,) * x.ndim, y.strides))
    kept = [loop for loop in loops if not loop.reduced]
    slices, length = math.prod(loop.length for loop in kept), x.shape[axis]
    parts, portion = parts_of(slices, length, TILE, device.properties(x))
    if len(kept) > MAX_LOOPS or slices * parts > MAX_GRID[0]:
        return None
    call = np.zeros(1, RUN)
    last = length - 1 if reverse else 0
    for field, array in (("x", x), ("y", y)):
        step = array.strides[axis]
        call[field] = device.address(array) + last * step
        call[f"{field}_step"] = -step if reverse else step
        call[f"{field}_dtype"] = list(ELEMENTS).index(dtype_name(array.dtype))
    call["slices"], call["length"] = slices, length
    call["parts"], call["portion"] = parts, portion
    call["kept"]["count"] = len(kept)
    for i, loop in enumerate(kept):
        call["kept"]["loop"][0, i] = (loop.length, *loop.strides, 0)
    order = tuple(i for loop in kept for i in loop.axes)
    fields = [] if before is None else [from_block(field, order) for field in before]
    fields = [device.flat(field.astype("float64")) for field in fields]
    for name_of, field in zip(Prefix._fields, fields, strict=False):
        call[name_of] = device.address(field)
    kernel = RESULTS_KERNELS[dtypes_for(name).working]
    if parts > 1:
        scratch = device.empty(x, (3, slices * parts), "float64")
        for i, field in enumerate(("reference", "value", "error")):
            call[field] = device.address(scratch) + 8 * i * slices * parts
        device.launch(SUMS_KERNEL, x, (slices * parts, 1), THREADS, call)
        device.launch(PARTS_KERNEL, x, (slices, 1), THREADS, call)
    device.launch(kernel, x, (slices * parts, 1), THREADS, call)
    return y


supports = block.supports
