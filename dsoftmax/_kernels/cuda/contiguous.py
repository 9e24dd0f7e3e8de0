"""Blocks whose slices are rows one after the other: a state or a result in one launch, or two.

What is to be launched depends on the shape, the strides, the dtype and the result: it is worked out
once for each, and later calls only fill in addresses.  Each function gives None for blocks that the
general kernels have to take.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.normalizer import State
from ..layout import fits, from_block, reduced_in, to_block
from ..loops import Loop, loops_of
from . import device
from .device import Properties
from .plan import MAX_GRID
from .source import ITEM, OUTPUTS, PIECE, ROWS, ROWS_AT
from .switch import Launch, apply_launch, long_launch, rows_launch, staged_launch

Array = Any
Axes = tuple[int, ...]

LONG = 1024  # rows that are not that long, and fit nowhere, have one element


class Rows(NamedTuple):
    """A block as rows."""

    name: str  # of the dtype
    slices: int
    length: int
    shape: tuple[int, ...]  # of one number for each row, in the order of rows
    order: Axes | None  # of the kept axes in memory, if it is not that of the block

    def in_block(self, field: Array, x: Array) -> Array:
        """One number for each row as an array of as many axes as the block."""
        return field if self.order is None else to_block(field, x.shape, self.order)

    def in_rows(self, field: Array) -> Array:
        """The inverse, flat."""
        return device.flat(field if self.order is None else from_block(field, self.order))


class Planned(NamedTuple):
    """A launch for a block, ready but for addresses."""

    rows: Rows
    launch: Launch
    call: np.ndarray
    working: str = ""  # the dtype of maxima, if the launch gives states
    anywhere: bool = False  # whether x and the result may begin at any address
    parts: int = 0  # of all rows, with states of their own on the way

    def run(self, x: Array, **arrays: Array) -> None:
        """Launch it for x and what the arrays are called in a call."""
        call = self.call.copy()
        numbers = call.view(np.int64)
        numbers[0] = device.address(x)
        for name, array in arrays.items():
            numbers[ROWS_AT[name]] = device.address(array)
        if self.parts:
            scratch = device.zeros(x, (3 * self.parts + self.rows.slices,), "float64")
            numbers[ROWS_AT["parts"]] = device.address(scratch)
            numbers[ROWS_AT["done"]] = device.address(scratch) + 24 * self.parts
        launch = self.launch
        device.launch(launch.kernel, x, *launch[1:3], call, launch.shared_bytes)


def state(x: Array, axes: Axes) -> State | None:
    """The state (m, w, s)."""
    plan = _plan_for(x, axes, "state")
    if plan is None:
        return None
    m, w, s = device.empties(x, plan.rows.shape, (plan.working, "float64", "float64"))
    plan.run(x, m=m, w=w, s=s)
    return State(*(plan.rows.in_block(field, x) for field in (m, w, s)))


def logsumexp(x: Array, axes: Axes) -> Array | None:
    """The log-sum-exp, in the dtype of x."""
    plan = _plan_for(x, axes, "logsumexp")
    if plan is None:
        return None
    y = device.empty(x, plan.rows.shape, x.dtype)
    plan.run(x, y=y)
    return plan.rows.in_block(y, x)


def result(output: str, x: Array, axes: Axes) -> Array | None:
    """The "softmax" or the "log_softmax"."""
    plan = _plan_for(x, axes, output)
    if plan is None:
        return None
    if plan.working:  # the row is too long for one launch
        m, d = device.empties(x, plan.rows.shape, (plan.working, "float64"))
        plan.run(x, m=m, s=d)
        return _applied(output, x, axes, m, d)
    y = device.empty_like(x, x.dtype) if plan.anywhere else device.empty_beside(x)
    plan.run(x, y=y)
    return y


def rescale(output: str, x: Array, m: Array, d_or_log: Array) -> Array | None:
    """The same with given states: m, and d or log d."""
    if not fits(x, m, d_or_log):
        return None
    axes = tuple(i for i, gone in enumerate(reduced_in(m, x)) if gone)
    return _applied(output, x, axes, m, d_or_log)


def _applied(output: str, x: Array, axes: Axes, m: Array, d_or_log: Array) -> Array | None:
    plan = _plan_for(x, axes, f"apply_{output}")
    if plan is None:
        return None
    y = device.empty_beside(x)
    if m.shape != (plan.rows.slices,):
        m, d_or_log = plan.rows.in_rows(m), plan.rows.in_rows(d_or_log)
    plan.run(x, y=y, m=m, s=d_or_log)
    return y


def _plan_for(x: Array, axes: Axes, output: str) -> Planned | None:
    aligned = device.address(x) % PIECE == 0
    return planned(x.shape, x.strides, x.dtype, aligned, axes, output, device.properties(x))


@lru_cache(maxsize=1024)
def planned(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    aligned: bool,
    axes: Axes,
    output: str,
    properties: Properties,
) -> Planned | None:
    """The plan for an output of a block; "apply_" and a result for one of given states."""
    rows = _rows(shape, strides, dtype_name(dtype), axes)
    if rows is None:
        return None
    name, count, length = rows[:3]
    numbers = {"rows": count, "length": length}
    if output.startswith("apply_"):
        applied = apply_launch(name, output.removeprefix("apply_"), count, length)
        if applied is None:
            return None
        launch, numbers["gives"], numbers["count"] = applied
        return Planned(rows, launch, _call(numbers))
    working = dtypes_for(name).working
    if short := rows_launch(name, output, count, length, aligned):
        kind = working if output == "state" else ""
        anywhere = short.kernel.name.startswith("tiny")
        return Planned(rows, short, _call(numbers), kind, anywhere)
    if staged := staged_launch(name, output, count, length, properties):
        return Planned(rows, staged, _call(numbers))
    long, parts = long_launch(name, count, length, properties.multiprocessors)
    numbers |= {"count": parts, "gives": OUTPUTS.index(output)}
    if length < LONG or long.grid[0] > MAX_GRID[0]:
        return None
    return Planned(rows, long, _call(numbers), working, parts=0 if parts == 1 else count * parts)


forget = planned.cache_clear  # what is known of blocks


def _call(numbers: dict[str, int]) -> np.ndarray:
    call = np.zeros(1, ROWS)
    for name, number in numbers.items():
        call[name] = number
    return call


def _rows(shape: tuple[int, ...], strides: tuple[int, ...], name: str, axes: Axes) -> Rows | None:
    if name not in ITEM:
        return None
    reduced = tuple(i in axes for i in range(len(shape)))
    kept, length = _kept_and_length(loops_of(shape, reduced, (strides,)), ITEM[name])
    if not length:
        return None
    along = list(zip(shape, reduced, strict=True))
    count = math.prod(n for n, gone in along if not gone)
    if kept == tuple(sorted(kept)):
        return Rows(name, count, length, tuple(1 if gone else n for n, gone in along), None)
    return Rows(name, count, length, (count,), kept)


def _kept_and_length(loops: list[Loop], item: int) -> tuple[Axes, int]:
    """The kept axes in the order of memory, and the length of rows; 0 if there are none."""
    if not loops or not loops[-1].reduced or loops[-1].strides != (item,):
        return (), 0
    *kept, row = loops
    if kept and (len(kept) > 1 or kept[0].reduced or kept[0].strides != (item * row.length,)):
        return (), 0
    return tuple(axis for loop in kept for axis in loop.axes), row.length
