"""The compiled kernel for slices across the fastest axis, and for many short ones.

Panels of columns are worked on side by side, one column in each lane of the vectors, in tiles of a
few rows.  The columns may be any elements at equal distances: short rows are columns of a
transposed block, which the codecs transpose tile by tile.

The state of each column is kept as in `_rows`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._exp import HIGH, SCALE
from ._primitives import add_compensated, convert, inlined, pointer, prefetch
from ._protocol import APPLY, LANE_BYTES, LOGARITHM, REDUCE, SHORT, TILE_BYTES
from ._tiles import BLOCK, CACHE_LINE, absorb_special_weights, exponentials, multiply

float64 = np.float64


def columns(working: Any, weighted: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64; with weights or without.

    Parameters of the kernel: as of `_rows.rows`, but for ``count`` planes of ``width`` columns
    of ``length``, and the distances in bytes between planes, rows and columns.
    """
    item = np.dtype(working).itemsize
    tile_size, lanes = TILE_BYTES // item, LANE_BYTES // item
    scale = float64(2.0 ** SCALE[working])
    inverse_scale = 1 / scale
    unscale = working(inverse_scale)
    zero, one, infinity, nan = map(working, (0, 1, np.inf, np.nan))
    high = HIGH[working]
    loaded_at = TILE_BYTES + BLOCK * item
    last_at = loaded_at + TILE_BYTES
    ready_at = last_at + TILE_BYTES
    maxima_at = ready_at + TILE_BYTES
    sums_at = maxima_at + 5 * LANE_BYTES
    table_at = sums_at + 5 * 8 * lanes
    weights_at = table_at + 8 * SHORT
    products_at = weights_at + 8 * tile_size

    def kernel(
        x: int,
        b: int,
        y: int,
        m_array: int,
        w_array: int,
        s_array: int,
        count: int,
        length: int,
        width: int,
        x_plane: int,
        b_plane: int,
        y_plane: int,
        x_row: int,
        b_row: int,
        y_row: int,
        x_step: int,
        b_step: int,
        y_step: int,
        load: int,
        load_b: int,
        store: int,
        scratch: int,
        mode: int,
    ) -> None:
        e, last = pointer(scratch, working), pointer(scratch + last_at, working)
        absent = pointer(scratch + maxima_at, working)
        top = pointer(scratch + maxima_at + LANE_BYTES, working)
        reference = pointer(scratch + maxima_at + 2 * LANE_BYTES, working)
        number = pointer(scratch + maxima_at + 3 * LANE_BYTES, working)
        w_error = pointer(scratch + sums_at, float64)
        s_error = pointer(scratch + sums_at + 8 * lanes, float64)
        sums = pointer(scratch + sums_at + 16 * lanes, float64)
        row_at = pointer(scratch + table_at, np.int64)
        weights = pointer(scratch + weights_at, float64)
        products = pointer(scratch + products_at, float64)
        for i in range(lanes):
            absent[i] = -infinity
        whole_in_tile = length <= SHORT
        depth = length if whole_in_tile else SHORT // 2
        panel = tile_size
        if mode & REDUCE:  # whole vectors
            panel = min(lanes, tile_size // (32 * ((depth + 3) // 4 * 4)) * 32)
        for plane in range(count):
            for first in range(0, width, panel):
                n = min(panel, width - first)
                source = x + plane * x_plane + first * x_step
                target = y + plane * y_plane + first * y_step
                place = plane * width + first
                m_at, w_at, s_at = m_array + item * place, w_array + 8 * place, s_array + 8 * place
                if mode & REDUCE and mode & APPLY:
                    m_at = scratch + maxima_at + 4 * LANE_BYTES
                    w_at = scratch + sums_at + 24 * lanes
                    s_at = scratch + sums_at + 32 * lanes
                m, w, s = pointer(m_at, working), pointer(w_at, float64), pointer(s_at, float64)

                if mode & REDUCE:
                    for i in range(n):
                        m[i], reference[i] = -infinity, -infinity
                        w[i], w_error[i], s[i], s_error[i] = 0.0, 0.0, 0.0, 0.0
                    for start in range(0, length, depth):
                        size = min(depth, length - start)
                        padded = (size + 3) // 4 * 4
                        begin = source + start * x_row
                        if weighted:
                            weights_to = scratch + weights_at
                            begin_b = b + plane * b_plane + first * b_step + start * b_row
                            locate(row_at, size, begin_b, b_row, load_b, weights_to, b_step, n, 8)
                        loaded_to = scratch + loaded_at
                        locate(row_at, size, begin, x_row, load, loaded_to, x_step, n, item)
                        for row in range(size, padded):
                            row_at[row] = scratch + maxima_at
                        if weighted:
                            loaded = pointer(loaded_to, working)
                            for i in range(size * n, padded * n):
                                weights[i] = 0.0
                            absorb_special_weights(loaded, weights, size * n, infinity)

                        for i in range(n):
                            top[i] = -infinity
                        for row in range(0, padded, 4):
                            r0 = pointer(row_at[row], working)
                            r1 = pointer(row_at[row + 1], working)
                            r2 = pointer(row_at[row + 2], working)
                            r3 = pointer(row_at[row + 3], working)
                            for i in range(n):
                                top[i] = max(max(max(top[i], r0[i]), r1[i]), max(r2[i], r3[i]))
                        at_max = False
                        for i in range(n):
                            at_max |= top[i] >= m[i]
                        if at_max:
                            if start == 0:
                                for i in range(n):
                                    m[i], reference[i] = top[i], top[i]
                            else:
                                rise(n, top, m, reference, w, w_error, s, s_error, one, scale)
                            if weighted:
                                for row in range(padded):
                                    r = pointer(row_at[row], working)
                                    for i in range(n):
                                        value = infinity if m[i] == infinity else one
                                        e[row * n + i] = value if r[i] == m[i] else zero
                                multiply(products, e, weights, padded * n)
                                add_rows(products, padded, n, sums, w, w_error)
                            else:
                                for i in range(n):
                                    number[i] = zero
                        for row in range(size):
                            r = pointer(row_at[row], working)
                            out = pointer(scratch + row * n * item, working)
                            if at_max:
                                for i in range(n):
                                    hit = r[i] == m[i]
                                    out[i] = -infinity if hit else r[i] - reference[i]
                                    number[i] += one if hit else zero
                            else:
                                for i in range(n):
                                    out[i] = r[i] - reference[i]
                            if not load:
                                for offset in range(0, n * item, CACHE_LINE):
                                    prefetch(row_at[row] + depth * x_row + offset)
                        if at_max and not weighted:
                            for i in range(n):
                                w[i] += number[i]
                        exponentials(e, size * n, item, scratch)
                        for i in range(size * n, padded * n):
                            e[i] = zero
                        if weighted:
                            multiply(products, e, weights, padded * n)
                            add_rows(products, padded, n, sums, s, s_error)
                        else:
                            add_rows(e, padded, n, sums, s, s_error)

                    special = False
                    for i in range(n):
                        s[i] = (s[i] + s_error[i]) * inverse_scale
                        special |= (s[i] != s[i]) | (reference[i] != m[i]) | (m[i] == -infinity)
                    if weighted:
                        for i in range(n):
                            if not math.isinf(w[i]):
                                w[i] += w_error[i]
                    if special:
                        for i in range(n):
                            if s[i] != s[i]:
                                m[i], w[i] = nan, 0.0
                            elif reference[i] != m[i]:
                                s[i] *= math.exp(float64(reference[i]) - float64(m[i]))
                            elif m[i] == -infinity and not weighted:
                                w[i] = float64(length)  # and nothing that fills the last tile

                if mode & APPLY:
                    # A slice in one tile has its exponentials there, all but those of the maximum.
                    reuse = mode & REDUCE and whole_in_tile and not mode & LOGARITHM
                    for i in range(n):
                        if mode & LOGARITHM:
                            if mode & REDUCE:
                                s[i] = math.log1p(s[i] / w[i]) + math.log(w[i])
                            last[i] = s[i]
                        else:
                            d = w[i] + s[i] if mode & REDUCE else s[i]
                            undefined = m[i] == infinity or (reuse and m[i] == -infinity)
                            last[i] = nan if undefined else working(1 / d)
                    depth_out = min(tile_size // n, depth)
                    for start in range(0, length, depth_out):
                        size = min(depth_out, length - start)
                        final = unscale
                        if not reuse:
                            begin = source + start * x_row
                            loaded_to = scratch + loaded_at
                            locate(row_at, size, begin, x_row, load, loaded_to, x_step, n, item)
                            too_high = False
                            for row in range(size):
                                r = pointer(row_at[row], working)
                                out = pointer(scratch + row * n * item, working)
                                for i in range(n):
                                    out[i] = r[i] - m[i]
                                    too_high |= out[i] > high
                            if mode & LOGARITHM:
                                pass
                            elif too_high:  # x is not of the slice that m is of
                                final = one
                                for i in range(size * n):
                                    e[i] = math.exp(float64(e[i]))
                            else:
                                exponentials(e, size * n, item, scratch)
                        for row in range(size):
                            into = target + (start + row) * y_row
                            r = pointer(row_at[row], working)
                            term = pointer(scratch + row * n * item, working)
                            # Not over the terms: loops over what overlaps are not vectorised.
                            out = pointer(scratch + ready_at if store else into, working)
                            if mode & LOGARITHM:
                                for i in range(n):
                                    out[i] = term[i] - last[i]
                            elif reuse:
                                for i in range(n):
                                    value = one if r[i] == m[i] else term[i] * unscale
                                    out[i] = value * last[i]
                            else:
                                for i in range(n):
                                    out[i] = (term[i] * final) * last[i]
                            if store:
                                convert(store, scratch + ready_at, into, y_step, n)

    return kernel


@inlined
def locate(
    row_at: Any,
    size: int,
    begin: int,
    row: int,
    load: int,
    loaded: int,
    step: int,
    n: int,
    item: int,
) -> None:
    """Note the addresses of the rows of a tile, where they are or where they are loaded to."""
    for i in range(size):
        row_at[i] = begin + i * row
        if load:
            convert(load, row_at[i], loaded + i * n * item, step, n)
            row_at[i] = loaded + i * n * item


@inlined
def rise(
    n: int,
    top: Any,
    m: Any,
    reference: Any,
    w: Any,
    w_error: Any,
    s: Any,
    s_error: Any,
    one: Any,
    scale: Any,
) -> None:
    """Follow the maxima of a tile where they exceed the running ones."""
    for i in range(n):
        if top[i] > m[i]:
            if w[i] != 0:  # what was at the maximum joins the rest
                term = (w[i] + w_error[i]) * scale
                if m[i] != reference[i]:
                    term *= math.exp(float64(m[i]) - float64(reference[i]))
                s[i], s_error[i] = add_compensated(s[i], s_error[i], term)
                w[i], w_error[i] = 0.0, 0.0
            m[i] = top[i]
            if m[i] > reference[i] + one:
                if s[i] != 0:
                    factor = math.exp(float64(reference[i]) - float64(m[i]))
                    s[i], s_error[i] = s[i] * factor, s_error[i] * factor
                reference[i] = m[i]


@inlined
def add_rows(e: Any, rows: int, n: int, sums: Any, total: Any, error: Any) -> None:
    """Add the rows of a tile of n columns to compensated totals."""
    for i in range(n):
        sums[i] = 0.0
    for row in range(0, rows, 4):
        j = row * n
        for i in range(n):
            sums[i] += (float64(e[j + i]) + float64(e[j + n + i])) + (
                float64(e[j + 2 * n + i]) + float64(e[j + 3 * n + i])
            )
    for i in range(n):
        total[i], error[i] = add_compensated(total[i], error[i], sums[i])
