"""Blocks whose slices are the columns of a table without gaps, of one dtype that they stay in.

As in `contiguous`, what is to be launched is worked out once for each shape, and each function
gives None for blocks that the general kernels have to take.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.normalizer import State
from ..layout import fits, from_block, reduced_in, to_block
from ..loops import loops_of
from . import device
from .merging import empty_states, merged
from .source import ITEM, PIECE, ROWS
from .switch import Columns, Launch, apply_columns_launch, columns_launch

Array = Any
Axes = tuple[int, ...]


class Table(NamedTuple):
    """A block as a table."""

    name: str  # of the dtype
    slices: int
    length: int
    order: Axes  # of the kept axes in memory


def state(x: Array, axes: Axes) -> State | None:
    """The state (m, w, s)."""
    table = _table(x.shape, x.strides, x.dtype, axes)
    if table is None or device.address(x) % PIECE:
        return None
    cut = _cut(table, device.properties(x).multiprocessors)
    if cut is None:
        return None
    working = dtypes_for(table.name).working
    fields = empty_states("plain", x, table.slices * cut.parts, working)
    numbers = {"count": cut.fold, "gives": cut.rows}
    _run(cut.launch, table, x, numbers | dict(zip("mws", map(device.address, fields), strict=True)))
    if cut.parts > 1:
        fields = merged("plain", fields, table.slices, cut.parts, working)
    return State(*(to_block(field, x.shape, table.order) for field in fields))


def rescale(output: str, x: Array, m: Array, d_or_log: Array) -> Array | None:
    """The softmax or log-softmax with given states: m, and d or log d."""
    if not fits(x, m, d_or_log):
        return None
    axes = tuple(i for i, gone in enumerate(reduced_in(m, x)) if gone)
    table = _table(x.shape, x.strides, x.dtype, axes)
    if table is None or device.address(x) % PIECE:
        return None
    y = device.empty_like(x, x.dtype)
    if device.address(y) % PIECE:
        return None
    launch, fold = _applied(table, output)
    m, d_or_log = (device.flat(from_block(a, table.order)) for a in (m, d_or_log))
    numbers = {"y": device.address(y), "m": device.address(m), "s": device.address(d_or_log)}
    _run(launch, table, x, numbers | {"count": fold})
    return y


def _run(launch: Launch, table: Table, x: Array, numbers: dict[str, int]) -> None:
    call = np.zeros(1, ROWS)
    numbers |= {"x": device.address(x), "rows": table.slices, "length": table.length}
    for name, number in numbers.items():
        call[name] = number
    device.launch(launch.kernel, x, launch.grid, launch.threads, call)


@lru_cache(maxsize=1024)
def _table(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, axes: Axes
) -> Table | None:
    name = dtype_name(dtype)
    loops = loops_of(shape, tuple(i in axes for i in range(len(shape))), (strides,))
    if name not in ITEM or [loop.reduced for loop in loops] != [True, False]:
        return None
    along, across = loops
    if across.strides != (ITEM[name],) or along.strides != (ITEM[name] * across.length,):
        return None
    return Table(name, across.length, along.length, across.axes)


@lru_cache(maxsize=256)
def _cut(table: Table, multiprocessors: int) -> Columns | None:
    return columns_launch(table.name, table.slices, table.length, multiprocessors)


@lru_cache(maxsize=256)
def _applied(table: Table, output: str) -> tuple[Launch, int]:
    return apply_columns_launch(table.name, output, table.slices, table.length)
