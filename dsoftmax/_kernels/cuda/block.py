"""CUDA block kernels for CuPy: one reading of a block for its state, one for its result.

A block of any layout is described to a kernel as loops (`plan`), and never copied or moved.
Where there are too few slices for all of the device, each is taken in parts, whose states a second
kernel merges.  Nothing waits for the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtype_of, promoted_name, result_name, working_name
from ..._algebra.normalizer import State, log_d
from .. import portable
from ..loops import Loop
from ..modes import APPLY, LOGARITHM, REDUCE
from . import device
from .plan import Plan, merge_plan, plan
from .source import (
    CALL,
    CONTIGUOUS,
    ELEMENTS,
    MERGE,
    STRIDED,
    WEIGHTED,
    merge_kernel,
    slices_kernel,
)

Array = Any
Axes = tuple[int, ...]


# Fields of a plan that go to the kernel as they are.
_PLANNED = ("slices", "length", "portion", "portions", "parts", "lanes", "team", "members_adjacent")


def supports(x: Any) -> bool:
    """Whether x is a block for these kernels: CuPy's, not empty, of a dtype they know."""
    return (
        device.is_array(x)
        and dtype_name(x.dtype) in ELEMENTS
        and x.size > 0
        and not device.address(x) % x.dtype.itemsize
        and not any(stride % x.dtype.itemsize for stride in x.strides)
    )


def of_block(x: Array, axes: Axes, b: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x.
    """
    planned = _planned(x, _reduced(x, axes), b=b)
    if planned is None:
        return portable.of_block(x, axes, b)
    parts = _empty_state(x, planned.slices * planned.parts, b)
    _run(planned, REDUCE, x, b=b, state=parts)
    merged = _merged(parts, planned) if planned.parts > 1 else parts
    return State(*(_to_block(field, x.shape, planned) for field in merged))


def rescale(x: Array, m: Array, d: Array) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d)."""
    y = _applied(APPLY, x, m, d)
    return portable.rescale(x, m, d) if y is None else y


def log_rescale(x: Array, m: Array, logarithm: Array) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``."""
    y = _applied(APPLY | LOGARITHM, x, m, logarithm)
    return portable.log_rescale(x, m, logarithm) if y is None else y


def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    y = _fused(REDUCE | APPLY, x, axes)
    if y is None:
        state = of_block(x, axes)
        y = rescale(x, state.m, state.d)
    return y


def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    y = _fused(REDUCE | APPLY | LOGARITHM, x, axes)
    if y is None:
        state = of_block(x, axes)
        y = log_rescale(x, state.m, log_d(state))
    return y


def _fused(mode: int, x: Array, axes: Axes) -> Array | None:
    """The result of one kernel that reads x twice, the second time from the cache.

    None where it would not find it there.
    """
    y = _empty_like(x)
    planned = _planned(x, _reduced(x, axes), y=y)
    if planned is None or not planned.cached:
        return None
    _run(planned, mode, x, y=y)
    return y


def _applied(mode: int, x: Array, m: Array, d_or_log: Array) -> Array | None:
    """The result of a block with given states.

    None if these are not of the dtypes and the shape that `of_block` gives for such blocks.
    """
    fits = (
        m.dtype == working_name(dtype_name(x.dtype))
        and d_or_log.dtype == np.float64
        and m.shape == d_or_log.shape
        and m.ndim == x.ndim
        and all(k in (1, n) for k, n in zip(m.shape, x.shape, strict=True))
    )
    if not fits:
        return None
    y = _empty_like(x)
    planned = _planned(x, tuple(k != n for k, n in zip(m.shape, x.shape, strict=True)), y=y)
    if planned is None:
        return None
    m, d_or_log = _from_block(m, planned), _from_block(d_or_log, planned)
    _run(planned, mode, x, y=y, state=State(m, None, d_or_log))
    return y


def _reduced(x: Array, axes: Axes) -> tuple[bool, ...]:
    return tuple(i in axes for i in range(x.ndim))


def _planned(
    x: Array, reduced: tuple[bool, ...], b: Array | None = None, y: Array | None = None
) -> Plan | None:
    strides = tuple((0,) * x.ndim if a is None else tuple(a.strides) for a in (x, b, y))
    items = (x.dtype.itemsize, 0 if y is None else y.dtype.itemsize)
    return plan(tuple(x.shape), reduced, strides, items, device.properties(x))


def _empty_like(x: Array) -> Array:
    """An array for the result, of the memory layout of x."""
    return device.empty_like(x, dtype_of(np, result_name(dtype_name(x.dtype))))


def _empty_state(x: Array, size: int, b: Array | None) -> State:
    """Flat arrays for as many states of blocks like x, with weights like b."""
    m = device.empty(x, (size,), _working(x, b))
    return State(m, *(device.empty(x, (size,), "float64") for _ in range(2)))


def _working(x: Array, b: Array | None) -> str:
    return working_name(promoted_name(*(dtype_name(a.dtype) for a in (x, b) if a is not None)))


def _run(
    planned: Plan,
    mode: int,
    x: Array,
    b: Array | None = None,
    y: Array | None = None,
    state: State | None = None,
) -> None:
    """Launch the kernel for a block; ``state`` is filled, or with APPLY alone read."""
    call = np.zeros(1, CALL)
    arrays = {"x": x, "b": b, "y": y}
    if state is not None:
        arrays |= state._asdict()
    for name, array in arrays.items():
        call[name] = 0 if array is None else device.address(array)
    call["x_dtype"] = _number(x)
    if b is not None:
        call["b_dtype"] = _number(b)
    for name in _PLANNED:
        call[name] = getattr(planned, name)
    call["logarithm"] = bool(mode & LOGARITHM)
    for name in ("kept", "outer", "inner"):
        _describe(call[name][0], getattr(planned, name))
    if b is not None:
        kernel = slices_kernel(_working(x, b), WEIGHTED, REDUCE)
    else:
        layout = CONTIGUOUS if planned.contiguous else STRIDED
        kernel = slices_kernel(dtype_name(x.dtype), layout, mode & ~LOGARITHM)
    device.launch(kernel, x, planned.grid, planned.threads, call)


def _number(x: Array) -> int:
    """Of the dtype of x, as the kernels for weighted blocks know it."""
    return list(ELEMENTS).index(dtype_name(x.dtype))


def _describe(field: Any, loops: list[Loop]) -> None:
    field["count"] = len(loops)
    for i, loop in enumerate(loops):
        field["loop"][i] = (loop.length, *loop.strides)


def _merged(parts: State, planned: Plan) -> State:
    """The states of slices from those of their parts."""
    on = parts.m
    whole = State(*(device.empty(on, (planned.slices,), field.dtype) for field in parts))
    shape = merge_plan(planned.slices, planned.parts)
    call = np.zeros(1, MERGE)
    for name in State._fields:
        call[name] = device.address(getattr(parts, name))
        call[f"to_{name}"] = device.address(getattr(whole, name))
    call["slices"], call["parts"] = planned.slices, planned.parts
    call["lanes"], call["team"] = shape.lanes, shape.team
    device.launch(merge_kernel(dtype_name(on.dtype)), on, shape.grid, shape.threads, call)
    return whole


def _to_block(flat: Array, shape: tuple[int, ...], planned: Plan) -> Array:
    """A flat state as an array of as many dimensions as the block."""
    order = planned.order
    array = flat.reshape(tuple(shape[axis] for axis in order))
    array = array.transpose(tuple(sorted(range(len(order)), key=order.__getitem__)))
    return array.reshape(tuple(n if i in order else 1 for i, n in enumerate(shape)))


def _from_block(array: Array, planned: Plan) -> Array:
    """The elements of a state one after the other, in the order in which slices are counted."""
    order = planned.order
    others = [i for i in range(array.ndim) if i not in order]
    return device.flat(array.transpose(*order, *others))
