"""The compiled kernel for exact states of slices across the fastest axis: see `_algebra.exact`.

Panels of columns are worked on in tiles of rows, one column in each lane of the vectors, as in
`columns`.  Each lane has classes of its own: those of its first two are added at a time, and what
is of a third, while that counts, element by element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import SLICE_BYTES
from .exact_classes import writing
from .exact_lanes import LANES_AT, PANEL, ROWS, lanes_of
from .masks import count, masking
from .memory import convert, copy, inlined, pointer
from .protocol import TILE_BYTES, WORK
from .simd import VECTOR_BYTES, lanes_in_vector

int64 = np.int64


def exact_columns(working: Any, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64, with a mask or without.

    It takes the address of a `protocol.Work` without runs, weights, output and mode, and writes
    records of `_algebra.exact` to m.
    """
    field, n = WORK, lanes_in_vector(working)
    begin, take, finish, put, group_bytes = lanes_of(working)
    _, close_without = writing(working)
    _, overwrite = masking(working)
    infinity, nan = working(np.inf), working(np.nan)
    spare_at = 2 * TILE_BYTES

    @inlined
    def fetch(
        load: int,
        source: int,
        x_row: int,
        x_step: int,
        rows: int,
        size: int,
        where: int,
        where_row: int,
        where_step: int,
        scratch: int,
    ) -> None:
        """Copy rows of a group to scratch memory, with -inf for what is out and beyond them."""
        for i in range(rows):
            target = scratch + i * VECTOR_BYTES
            if load:
                convert(load, source + i * x_row, target, x_step, size)
            else:
                copy(source + i * x_row, target, size, working)
            if masked:
                flags, spare = where + i * where_row, scratch + spare_at
                overwrite(target, flags, where_step, size, -infinity, spare)
            elements = pointer(target, working)
            for j in range(size, n):
                elements[j] = -infinity

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, where = given[field.x], given[field.where]
        length, width = given[field.length], given[field.width]
        x_plane, x_row, x_step = given[field.x_plane], given[field.x_row], given[field.x_step]
        where_plane, where_row = given[field.where_plane], given[field.where_row]
        where_step = given[field.where_step]
        load, scratch = given[field.load], given[field.scratch]
        states = scratch + LANES_AT
        mixed = 0
        for plane in range(given[field.count]):
            for start in range(0, width, PANEL * n):
                size = min(PANEL * n, width - start)
                groups = (size + n - 1) // n
                source = x + plane * x_plane + start * x_step
                flags = where + plane * where_plane + start * where_step
                out = given[field.m] + (plane * width + start) * SLICE_BYTES
                for group in range(groups):
                    begin(states + group * group_bytes)
                for first in range(0, length, ROWS):
                    rows = min(ROWS, length - first)
                    for group in range(groups):
                        tile, row = source + group * n * x_step + first * x_row, x_row
                        lanes = min(n, size - group * n)
                        if load or masked or lanes < n:
                            kept = flags + group * n * where_step + first * where_row
                            fetch(
                                load,
                                tile,
                                x_row,
                                x_step,
                                rows,
                                lanes,
                                kept,
                                where_row,
                                where_step,
                                scratch,
                            )
                            tile, row = scratch, VECTOR_BYTES
                        ahead = x_row * rows
                        if first + rows == length:  # on to the next panel
                            ahead = PANEL * n * x_step - first * x_row
                        ahead += source + group * n * x_step + first * x_row
                        state = states + group * group_bytes
                        mixed = take(
                            state, first == 0, tile, row, rows, ahead, x_row, mixed, scratch
                        )
                for i in range(size):
                    group, lane = i // n, i % n
                    record = out + i * SLICE_BYTES
                    if lane == 0:
                        finish(states + group * group_bytes)
                    put(states + group * group_bytes, lane, record, scratch)
                    m = pointer(record, working)[0]
                    if m != m:
                        m, w = infinity, 0
                        for first in range(length):
                            fetch(
                                load,
                                source + i * x_step + first * x_row,
                                x_row,
                                x_step,
                                1,
                                1,
                                flags + i * where_step + first * where_row,
                                where_row,
                                where_step,
                                scratch,
                            )
                            element = pointer(scratch, working)[0]
                            w += element == infinity
                            if element != element:
                                m = nan
                        close_without(record, m, 0 if m != m else w)
                    elif m == -infinity:
                        w = length
                        if masked:
                            w = count(flags + i * where_step, where_row, length)
                        close_without(record, m, w)

    return kernel
