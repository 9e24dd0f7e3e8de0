"""The compiled kernel for exact states of slices along one axis: see `_algebra.exact`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import SLICE_BYTES
from .exact_classes import ANCHORS_AT, writing
from .exact_tile import taking
from .masks import count as count_in
from .memory import pointer
from .protocol import MAXIMA_AT, TILE_BYTES, WORK
from .row_steps import tiles

int64, float64 = np.int64, np.float64


def exact_rows(working: Any, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64, with a mask or without.

    It takes the address of a `protocol.Work` without planes, weights, output and mode, and writes
    records of `_algebra.exact` to m.
    """
    field, item = WORK, np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    infinity, nan = working(np.inf), working(np.nan)
    fetch, vectors_of = tiles(working, masked)
    begin, take, close = taking(working)
    _, close_without = writing(working)
    spare_at = 2 * TILE_BYTES

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, where = given[field.x], given[field.where]
        count, length, scratch = given[field.count], given[field.length], given[field.scratch]
        x_row, x_step = given[field.x_row], given[field.x_step]
        where_row, where_step = given[field.where_row], given[field.where_step]
        load = given[field.load]
        spare, held = scratch + spare_at, scratch + MAXIMA_AT
        for row in range(count):
            flags = where + row * where_row
            out = given[field.m] + row * SLICE_BYTES
            begin(held)
            special = False
            for start in range(0, length, tile_size):
                size = min(tile_size, length - start)
                source = x + row * x_row + start * x_step
                kept = flags + start * where_step
                tile = fetch(
                    load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                )
                tile, end, last = vectors_of(
                    tile, size, tile == scratch or size <= 64 // item, -infinity, scratch
                )
                if not take(held, tile, end, last, scratch, source + TILE_BYTES - tile):
                    special = True
                    break
            if special:
                m, w = infinity, 0
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    source = x + row * x_row + start * x_step
                    kept = flags + start * where_step
                    tile = fetch(
                        load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                    )
                    elements = pointer(tile, working)
                    for i in range(size):
                        w += elements[i] == infinity
                        if elements[i] != elements[i]:
                            m = nan
                close_without(out, m, 0 if m != m else w)
            elif pointer(held + ANCHORS_AT, float64)[0] == -np.inf:
                # Not what padded the last tile.
                w = count_in(flags, where_step, length) if masked else length
                close_without(out, -infinity, w)
            else:
                close(held, out)

    return kernel
