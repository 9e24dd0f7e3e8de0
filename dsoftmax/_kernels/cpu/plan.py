"""How the loops over a block are shared out: which a kernel takes, and what it has to know."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name
from ..loops import NO_LOOP, Loop, longest, loops_of
from . import kernels
from .compiler import address, compiled
from .protocol import LANE_BYTES
from .tuning import CACHE_BYTES, FEW, MANY

Axes = tuple[int, ...]
Strides = tuple[int, ...]


class Plan(NamedTuple):
    """How the loops over blocks of one layout are shared out between a kernel and Python."""

    kernel: Callable[..., None]
    layout: tuple[int, ...]  # what the kernel has to know of it
    working: type
    outer: list[Loop]  # the loops that run here
    states: int  # how many of them one run of the kernel takes
    order: Axes  # of the axes of flat arrays of states, in which the kernel's are fastest
    at_once: bool  # whether a slice is best reduced and mapped before the next one is


@lru_cache(maxsize=256)
def plan(
    shape: tuple[int, ...],
    reduced: tuple[bool, ...],
    dtypes: tuple[np.dtype | None, ...],
    strides: tuple[Strides, ...],
    working: type,
    short: int,
) -> Plan:
    loops = loops_of(shape, reduced, strides)
    if sum(loop.reduced for loop in loops) > 1:
        axes = longest(loop for loop in loops if loop.reduced).axes
        one = tuple(i in axes for i in range(len(shape)))
        return plan(shape, one, dtypes, strides, working, short)._replace(at_once=False)
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
    return Plan(
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
        load = codec(x, working)
    if b is not None:
        load_b = codec(b, np.float64)
    if y is not None and (y != working or y_step != item):
        store = address(kernels.store, dtype_name(y), working)
    return load, load_b, store


def codec(dtype: Any, working: type) -> int:
    """The address of the function that loads elements of a dtype into the working one."""
    return address(kernels.load, dtype_name(dtype), not dtype.isnative, working)
