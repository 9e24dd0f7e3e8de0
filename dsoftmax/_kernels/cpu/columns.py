"""The compiled kernel for slices across the fastest axis, and for many short ones.

Panels of columns are worked on in tiles of a few rows, one column in each lane of the vectors.  The
columns may be any elements at equal distances: short rows are columns of a transposed block, which
the codecs transpose tile by tile.

The state of each column is kept as in `rows`, on scratch memory, group by group: a group is a
vector of columns.  Where their number is no multiple of that, the last two groups overlap, and
what both hold is computed twice; fewer columns than a vector are copied to scratch memory.  So are
columns that are not all at equal distances, but in runs: short ones of many planes.

The kernel is one function, with all of these ways through it, and so one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..modes import APPLY, LOGARITHM, REDUCE
from .column_steps import given_states, outputs, places, states
from .column_sums import sum_places, sums
from .masks import count, masking
from .memory import convert, copy, inlined, pointer
from .protocol import LANE_BYTES, SHORT, TILE_BYTES, WORK
from .row_steps import absorb_special_weights
from .simd import VECTOR_BYTES, lanes_in_vector

int64, float64 = np.int64, np.float64


def columns(working: Any, kind: str, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64.

    The kind is "plain" or "weighted", or it is "moments" or "values" for the states of
    `row_sums.row_sums`, and no output. The kernel takes the address of a `protocol.Work`; its modes
    are those of `rows.rows`, and REDUCE with LOGARITHM alone: then m + log(w + s) is written to m,
    of plain slices of which nothing is masked.
    """
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)
    weighted, valued, summed = kind == "weighted", kind == "values", kind in ("moments", "values")
    if summed:
        reset, reduce, finish, put = sums(working, not valued)
        put_log_sums = put  # which is never called
    else:
        reset, reduce, finish, put, put_log_sums = states(working, weighted)
    take = given_states(working)
    _, overwrite = masking(working)
    zero, infinity = working(0), working(np.inf)
    to_factor, to_logarithm, write_kept, write_exponentials, write_logarithms = outputs(working)
    at, field = sum_places(working) if summed else places(working), WORK
    ready_at = TILE_BYTES
    states_at = ready_at + TILE_BYTES
    widest = LANE_BYTES if summed else 2 * LANE_BYTES  # of a panel
    spare_at = states_at + widest // VECTOR_BYTES * at.end
    weights_at = spare_at + LANE_BYTES // 4

    @inlined
    def transfer(
        codec: int,
        source: int,
        source_row: int,
        target: int,
        target_row: int,
        rows: int,
        step: int,
        size: int,
    ) -> None:
        """Copy rows of a tile to scratch memory or from there, by a codec if there is one."""
        for i in range(rows):
            if codec:
                convert(codec, source + i * source_row, target + i * target_row, step, size)
            else:
                copy(source + i * source_row, target + i * target_row, size, working)

    @inlined
    def transfer_runs(
        codec: int,
        source: int,
        source_row: int,
        source_run: int,
        target: int,
        target_row: int,
        target_run: int,
        rows: int,
        step: int,
        size: int,
        run: int,
    ) -> None:
        """The same of columns in runs."""
        for i in range(rows):
            begin, to = source + i * source_row, target + i * target_row
            for _ in range(0, size, run):
                if codec:
                    convert(codec, begin, to, step, run)
                else:
                    copy(begin, to, run, working)
                begin, to = begin + source_run, to + target_run

    @inlined
    def fill(tile: int, row: int, rows: int, size: int, lanes: int) -> None:
        """Have -inf beyond the columns: what happens to be there must not choose another way."""
        for i in range(rows):
            elements = pointer(tile + i * row, working)
            for j in range(size, lanes):
                elements[j] = -infinity

    @inlined
    def overwrite_rows(
        tile: int,
        row: int,
        where: int,
        where_row: int,
        step: int,
        rows: int,
        size: int,
        value: Any,
        spare: int,
    ) -> None:
        for i in range(rows):
            overwrite(tile + i * row, where + i * where_row, step, size, value, spare)

    @inlined
    def count_masked(
        state: int, where: int, where_row: int, step: int, length: int, columns: int
    ) -> None:
        """Have the number of elements that are in where all of these are -inf."""
        ms, ws = pointer(state + at.m, working), pointer(state + at.w, float64)
        for j in range(columns):
            if ms[j] == -infinity:
                ws[j] = count(where + j * step, where_row, length)

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, b, where, y = given[field.x], given[field.b], given[field.where], given[field.y]
        m_array, w_array, s_array = given[field.m], given[field.w], given[field.s]
        t_array, q_array = given[field.t], given[field.q]
        length, width = given[field.length], given[field.width]
        x_plane, x_row, x_step = given[field.x_plane], given[field.x_row], given[field.x_step]
        b_plane, b_row, b_step = given[field.b_plane], given[field.b_row], given[field.b_step]
        y_plane, y_row, y_step = given[field.y_plane], given[field.y_row], given[field.y_step]
        where_plane, where_row = given[field.where_plane], given[field.where_row]
        where_step = given[field.where_step]
        load, load_b, store = given[field.load], given[field.load_b], given[field.store]
        scratch, mode = given[field.scratch], given[field.mode]
        run, x_run, y_run = given[field.run], given[field.x_run], given[field.y_run]
        states_to, spare = scratch + states_at, scratch + spare_at
        both = mode & REDUCE and mode & APPLY
        # The softmax of slices in one tile is made of the exponentials that were summed.
        keep = length <= SHORT and both and not mode & LOGARITHM
        # What has been copied of slices in one tile is still there for their logarithms.
        again = not (length <= SHORT and both)
        depth = length if length <= SHORT else SHORT // 2
        panel = LANE_BYTES
        if load or load_b or store or keep or masked or run:  # tiles on scratch memory
            panel = min(panel, TILE_BYTES // depth)
        elif not mode & REDUCE:  # whole rows, if possible: no tile is read twice
            depth, panel = 1, 2 * panel
        panel = panel // VECTOR_BYTES * n
        if run:
            panel = panel // run * run
        for plane in range(given[field.count]):
            for first in range(0, width, panel):
                size = min(panel, width - first)
                groups = (size + n - 1) // n
                pitch = groups * VECTOR_BYTES
                whole = size == groups * n
                copied = load or load_b or size < n or masked or run
                ready = store or size < n or (copied and not whole) or run
                # Where the last group begins: the last two overlap, unless they are copied.
                tail = pitch if copied else (size - n) * item
                source = x + plane * x_plane + first * x_step
                target = y + plane * y_plane + first * y_step
                if run:
                    source = x + plane * x_plane + first // run * x_run
                    target = y + plane * y_plane + first // run * y_run
                flags = where + plane * where_plane + first * where_step
                place = plane * width + first

                if mode & REDUCE:
                    for group in range(groups):
                        reset(states_to + group * at.end)
                    for start in range(0, length, depth):
                        rows = min(depth, length - start)
                        tile, row = source + start * x_row, x_row
                        if run:
                            transfer_runs(
                                load,
                                tile,
                                row,
                                x_run,
                                scratch,
                                pitch,
                                run * item,
                                rows,
                                x_step,
                                size,
                                run,
                            )
                        elif copied:
                            transfer(load, tile, row, scratch, pitch, rows, x_step, size)
                        if copied:
                            tile, row = scratch, pitch
                            fill(tile, row, rows, size, groups * n)
                        kept = flags + start * where_row
                        if masked:
                            overwrite_rows(
                                tile, row, kept, where_row, where_step, rows, size, -infinity, spare
                            )
                        next_tile = source + (start + rows) * x_row
                        ragged = load or size < n or run
                        if ragged:
                            next_tile = source + (size // run * x_run if run else size * x_step)
                        others, others_row = scratch + weights_at, pitch
                        if weighted or valued:
                            others = b + plane * b_plane + first * b_step + start * b_row
                            others_row = b_row
                        if weighted or (valued and copied):
                            begin, begin_row = others, others_row
                            others = scratch + weights_at
                            others_row = groups * n * 8 if weighted else pitch
                            transfer(
                                load_b, begin, begin_row, others, others_row, rows, b_step, size
                            )
                        if valued and masked:
                            overwrite_rows(
                                others,
                                others_row,
                                kept,
                                where_row,
                                where_step,
                                rows,
                                size,
                                zero,
                                spare,
                            )
                        if weighted:
                            for i in range(rows):
                                values = pointer(tile + i * row, working)
                                row_weights = pointer(others + i * others_row, float64)
                                absorb_special_weights(values, row_weights, size, infinity)
                        for group in range(groups):
                            offset = group * VECTOR_BYTES
                            reduce(
                                states_to + group * at.end,
                                start == 0,
                                tile + min(offset, tail),
                                rows,
                                row,
                                others + (group * n * 8 if weighted else min(offset, tail)),
                                others_row,
                                scratch + offset if keep else 0,
                                pitch,
                                next_tile + (offset * rows if ragged else min(offset, tail)),
                                VECTOR_BYTES if ragged else x_row,
                            )
                    for group in range(groups):
                        finish(states_to + group * at.end, length)
                        if masked:
                            begin = min(group * VECTOR_BYTES, tail) // item
                            count_masked(
                                states_to + group * at.end,
                                flags + begin * where_step,
                                where_row,
                                where_step,
                                length,
                                min(n, size - begin),
                            )
                if not both:
                    for group in range(groups):
                        state = states_to + group * at.end
                        begin = min(group * VECTOR_BYTES, tail) // item
                        columns = min(n, size - begin)
                        if summed:
                            arrays = (m_array, w_array, s_array, t_array, q_array)
                            put(state, *arrays, place + begin, columns)
                        elif mode & REDUCE and mode & LOGARITHM:
                            put_log_sums(state, m_array, place + begin, columns)
                        elif mode & REDUCE:
                            put(state, m_array, w_array, s_array, place + begin, columns)
                        else:
                            take(state, m_array, s_array, place + begin, columns)

                if not summed and mode & APPLY:
                    for group in range(groups):
                        state = states_to + group * at.end
                        if not mode & LOGARITHM:
                            to_factor(state)
                        elif both:
                            to_logarithm(state)
                    for start in range(0, length, depth):
                        rows = min(depth, length - start)
                        tile, row = source + start * x_row, x_row
                        if run and again:
                            transfer_runs(
                                load,
                                tile,
                                row,
                                x_run,
                                scratch,
                                pitch,
                                run * item,
                                rows,
                                x_step,
                                size,
                                run,
                            )
                        elif copied and again:
                            transfer(load, tile, row, scratch, pitch, rows, x_step, size)
                        if copied and again:
                            fill(scratch, pitch, rows, size, groups * n)
                        if copied or keep:
                            tile, row = scratch, pitch
                        kept = flags + start * where_row
                        if masked and again:
                            overwrite_rows(
                                tile, row, kept, where_row, where_step, rows, size, -infinity, spare
                            )
                        out, out_row = target + start * y_row, y_row
                        if ready:
                            out, out_row = scratch + ready_at, pitch
                        for i in range(rows):
                            begin, to = tile + i * row, out + i * out_row
                            if keep:
                                write_kept(states_to, groups, tail, begin, to)
                            elif mode & LOGARITHM:
                                write_logarithms(states_to, groups, tail, begin, to)
                            else:
                                write_exponentials(states_to, groups, tail, begin, to)
                        if masked:  # where the slice has no softmax, -inf has not become 0
                            nothing = -infinity if mode & LOGARITHM else zero
                            overwrite_rows(
                                out,
                                out_row,
                                kept,
                                where_row,
                                where_step,
                                rows,
                                size,
                                nothing,
                                spare,
                            )
                        end = target + start * y_row
                        if run:
                            transfer_runs(
                                store,
                                out,
                                pitch,
                                run * item,
                                end,
                                y_row,
                                y_run,
                                rows,
                                y_step,
                                size,
                                run,
                            )
                        elif ready:
                            transfer(store, out, pitch, end, y_row, rows, y_step, size)

    return kernel
