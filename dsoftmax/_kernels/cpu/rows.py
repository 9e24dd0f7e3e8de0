"""The compiled kernel for slices along the fastest axis: one huge row, or many.

The state is that of the online softmax (arXiv:1805.02867, Algorithm 3), taken tile by tile in the
first-level cache, with two differences.  The sum is scaled by exp(-reference), and the reference
follows the running maximum only when that has risen by more than 1: a maximum that creeps up in
10^5 steps would else cost as many roundings.  And only a tile that holds the running maximum pays
for keeping w apart from s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..modes import APPLY, LOGARITHM, REDUCE
from .exp import SCALE
from .masks import count as count_in
from .masks import masking
from .memory import add_compensated, convert, exp, log, log1p, pointer
from .protocol import MAXIMA, MAXIMA_AT, TILE_BYTES, WORK
from .row_steps import absorb_special_weights, keeping, maps, reductions, tiles
from .simd import lanes_in_vector

int64, float64 = np.int64, np.float64


def rows(working: Any, weighted: bool, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64; with weights, a mask or neither.

    The kernel takes the address of a `protocol.Work`, of which there are no planes.

    With REDUCE alone m, w and s are written; with APPLY alone m is given, and s is d, or log d
    with LOGARITHM; with both the arrays are not used.  With MAXIMA too, the maximum of every tile
    is left on the scratch memory.
    """
    field, item = WORK, np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    n = lanes_in_vector(working)
    scale = float64(2.0 ** SCALE[working])
    zero, one, infinity, nan = map(working, (0, 1, np.inf, np.nan))
    fetch, vectors_of = tiles(working, masked)
    _, overwrite = masking(working)
    maximum_of, sum_below, sum_of_rest, weighted_sums_of = reductions(working)
    write_logarithms, write_exponentials = maps(working)
    sum_and_keep, write_kept = keeping(working)
    ready_at = TILE_BYTES
    spare_at = ready_at + TILE_BYTES
    weights_at = kept_at = spare_at + TILE_BYTES // 4

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, b, where, y = given[field.x], given[field.b], given[field.where], given[field.y]
        count, length = given[field.count], given[field.length]
        x_row, x_step = given[field.x_row], given[field.x_step]
        b_row, b_step = given[field.b_row], given[field.b_step]
        y_row, y_step = given[field.y_row], given[field.y_step]
        where_row, where_step = given[field.where_row], given[field.where_step]
        load, load_b, store = given[field.load], given[field.load_b], given[field.store]
        scratch, mode = given[field.scratch], given[field.mode]
        ms = pointer(given[field.m], working)
        ws, ss = pointer(given[field.w], float64), pointer(given[field.s], float64)
        spare = scratch + spare_at
        loaded, weights = pointer(scratch, working), pointer(scratch + weights_at, float64)
        maxima = pointer(scratch + MAXIMA_AT, working)
        tiles_of_row = (length + tile_size - 1) // tile_size
        # The softmax of a row in one tile is made of the exponentials that were summed.
        keep = mode == REDUCE | APPLY and length <= tile_size and not weighted
        for row in range(count):
            flags = where + row * where_row
            m, reference = -infinity, -infinity
            w, w_error, s, s_error = 0.0, 0.0, 0.0, 0.0
            steady = False
            if mode & REDUCE:
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    source = x + row * x_row + start * x_step
                    kept = flags + start * where_step
                    tile = fetch(
                        load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                    )
                    if weighted:
                        source_b = b + row * b_row + start * b_step
                        convert(load_b, source_b, scratch + weights_at, b_step, size)
                        for i in range(size, (size + n - 1) // n * n):
                            weights[i] = 0.0
                        absorb_special_weights(loaded, weights, size, infinity)
                    tile, end, last = vectors_of(
                        tile, size, tile == scratch or size <= n, -infinity, scratch
                    )
                    ahead = source + TILE_BYTES - tile
                    if steady:  # most likely the maximum stays what it is
                        terms, top = sum_below(tile, end, last, reference, ahead)
                    else:
                        terms, top = 0.0, maximum_of(tile, end, last)
                    if top > m:
                        if w != 0:  # what was at the maximum joins the rest
                            term = (w + w_error) * scale
                            if m != reference:  # nor both -inf
                                term *= exp(float64(m) - float64(reference))
                            s, s_error = add_compensated(s, s_error, term)
                            w, w_error = 0.0, 0.0
                        m = top
                        if m > reference + one:
                            if s != 0:
                                factor = exp(float64(reference) - float64(m))
                                s, s_error = s * factor, s_error * factor
                            reference = m
                    if weighted:
                        terms, term, error = weighted_sums_of(
                            tile, end, scratch + weights_at, m, reference
                        )
                        w, w_error = add_compensated(w, w_error, term)
                        w_error += error
                    elif keep:
                        last_at = end if tile == scratch else tile + (size - n) * item
                        terms, number = sum_and_keep(
                            tile, end, last, m, ahead, last_at, scratch + kept_at
                        )
                        w += number
                    elif top == m:
                        terms, number = sum_of_rest(tile, end, last, m, reference, ahead)
                        w += number
                    elif not steady:
                        terms, top = sum_below(tile, end, last, reference, ahead)
                    steady = top < m and not weighted
                    if mode & MAXIMA:
                        maxima[row * tiles_of_row + start // tile_size] = top
                    s, s_error = add_compensated(s, s_error, terms)

                if not math.isinf(w):
                    w += w_error
                s = (s + s_error) / scale
                if reference != m:
                    s *= exp(float64(reference) - float64(m))
                if s != s:
                    m, w = nan, 0.0
                if m == -infinity and not weighted:
                    # And nothing that padded the last tile.
                    w = float64(count_in(flags, where_step, length) if masked else length)
                if not mode & APPLY:
                    ms[row], ws[row], ss[row] = m, w, s
            else:
                m, s = ms[row], ss[row]

            if mode & APPLY:
                nothing = zero
                if mode & LOGARITHM:
                    nothing = -infinity
                    if mode & REDUCE:
                        s = log1p(s / w) + log(w)
                    factor_or_log = working(s)
                else:
                    # A maximum of +inf has no softmax, in the whole slice, as in SciPy.
                    factor_or_log = nan if m == infinity else working(1 / (w + s))
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    source = x + row * x_row + start * x_step
                    target = y + row * y_row + start * y_step
                    kept = flags + start * where_step
                    out = scratch + ready_at if store else target
                    if keep:
                        tile = scratch + kept_at
                    else:
                        tile = fetch(
                            load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                        )
                    if keep:
                        write_kept(tile, out, size, spare, factor_or_log)
                    elif mode & LOGARITHM:
                        write_logarithms(tile, out, size, m, factor_or_log)
                    else:
                        ahead = source + TILE_BYTES
                        write_exponentials(tile, out, size, spare, m, factor_or_log, ahead)
                    if masked and not -infinity < m < infinity:  # else it is what exp(-inf) gives
                        overwrite(out, kept, where_step, size, nothing, spare)
                    if store:
                        convert(store, out, target, y_step, size)

    return kernel
