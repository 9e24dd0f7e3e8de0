"""The compiled kernel for slices along the fastest axis: one huge row, or many.

A tile of a row is cut into eight parts of equal length, so that its maximum and its sums are made
element by element: that vectorises without permission to reorder floating-point operations, leaves
NaN to the comparisons, and adds pairwise whatever the width of the machine's vectors.

The state is that of the online softmax (arXiv:1805.02867, Algorithm 3) with two differences.  The
sum is scaled by exp(-reference), and the reference follows the running maximum only when that has
risen by more than 1: a maximum that creeps up in 10^5 steps would else cost as many roundings.
And only a tile that holds the running maximum pays for keeping w apart from s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._exp import HIGH, SCALE
from ._primitives import add_compensated, convert, inlined, pointer
from ._protocol import APPLY, LOGARITHM, REDUCE, TILE_BYTES
from ._tiles import BLOCK, absorb_special_weights, exponentials, multiply

float64 = np.float64


def rows(working: Any, weighted: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64; with weights or without.

    Parameters of the kernel: addresses, the number of rows and their length; the distances in
    bytes between rows and between elements; the addresses of the `_codecs` functions that load
    and store tiles, 0 where elements are contiguous and of the working dtype (``load`` has to be
    given with weights); scratch memory, and the mode.

    With REDUCE alone m, w and s are written; with APPLY alone m is given, and s is d, or log d
    with LOGARITHM; with both the arrays are not used.
    """
    item = np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    scale = float64(2.0 ** SCALE[working])
    unscale = working(1 / scale)
    zero, one, infinity, nan = map(working, (0, 1, np.inf, np.nan))
    high = HIGH[working]
    loaded_at = TILE_BYTES + BLOCK * item
    ready_at = loaded_at + TILE_BYTES
    maxima_at = ready_at + TILE_BYTES
    sums_at = maxima_at + tile_size // 8 * item
    weights_at = sums_at + tile_size
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
        ms, ws, ss = pointer(m_array, working), pointer(w_array, float64), pointer(s_array, float64)
        e, loaded = pointer(scratch, working), pointer(scratch + loaded_at, working)
        maxima, sums = pointer(scratch + maxima_at, working), pointer(scratch + sums_at, float64)
        weights = pointer(scratch + weights_at, float64)
        products = pointer(scratch + products_at, float64)
        for row in range(count):
            m, reference = -infinity, -infinity
            w, w_error, s, s_error = 0.0, 0.0, 0.0, 0.0
            if mode & REDUCE:
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    part = (size + 7) // 8
                    source = x + row * x_row + start * x_step
                    tile = pointer(source, working)
                    if load or 8 * part != size:
                        if load:
                            convert(load, source, scratch + loaded_at, x_step, size)
                        else:
                            for i in range(size):
                                loaded[i] = tile[i]
                        for i in range(size, 8 * part):
                            loaded[i] = -infinity
                        tile = loaded
                    if weighted:
                        source_b = b + row * b_row + start * b_step
                        convert(load_b, source_b, scratch + weights_at, b_step, size)
                        for i in range(size, 8 * part):
                            weights[i] = 0.0
                        absorb_special_weights(tile, weights, 8 * part, infinity)

                    top = largest(tile, maxima, part)
                    if top > m:
                        if w != 0:  # what was at the maximum joins the rest
                            term = (w + w_error) * scale
                            if m != reference:  # nor both -inf
                                term *= math.exp(float64(m) - float64(reference))
                            s, s_error = add_compensated(s, s_error, term)
                            w, w_error = 0.0, 0.0
                        m = top
                        if m > reference + one:
                            if s != 0:
                                factor = math.exp(float64(reference) - float64(m))
                                s, s_error = s * factor, s_error * factor
                            reference = m
                    if top == m:
                        if weighted:
                            # Weights at +inf count as infinite: both signs of them give NaN.
                            value = infinity if m == infinity else one
                            for i in range(8 * part):
                                e[i] = value if tile[i] == m else zero
                            multiply(products, e, weights, 8 * part)
                            w, w_error = add_compensated(w, w_error, total(products, sums, part))
                        number = 0
                        for i in range(8 * part):
                            at_max = tile[i] == m
                            e[i] = -infinity if at_max else tile[i] - reference
                            number += at_max
                        if not weighted:
                            w += number
                    else:
                        for i in range(8 * part):
                            e[i] = tile[i] - reference
                    exponentials(e, 8 * part, item, source + TILE_BYTES)
                    if weighted:
                        multiply(products, e, weights, 8 * part)
                        s, s_error = add_compensated(s, s_error, total(products, sums, part))
                    else:
                        s, s_error = add_compensated(s, s_error, total(e, sums, part))

                if not math.isinf(w):
                    w += w_error
                s = (s + s_error) / scale
                if reference != m:
                    s *= math.exp(float64(reference) - float64(m))
                if s != s:
                    m, w = nan, 0.0
                if m == -infinity and not weighted:
                    w = float64(length)  # and nothing that padded the last tile
                if not mode & APPLY:
                    ms[row], ws[row], ss[row] = m, w, s
            else:
                m, s = ms[row], ss[row]

            if mode & APPLY:
                if mode & LOGARITHM:
                    if mode & REDUCE:
                        s = math.log1p(s / w) + math.log(w)
                    factor_or_log = working(s)
                else:
                    # A maximum of +inf has no softmax, in the whole slice, as in SciPy.
                    factor_or_log = nan if m == infinity else working(1 / (w + s))
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    source = x + row * x_row + start * x_step
                    target = y + row * y_row + start * y_step
                    tile = pointer(source, working)
                    if load:
                        convert(load, source, scratch + loaded_at, x_step, size)
                        tile = loaded
                    # Not over e: loops over what overlaps are not vectorised.
                    out = pointer(scratch + ready_at if store else target, working)
                    if mode & LOGARITHM:
                        for i in range(size):
                            out[i] = (tile[i] - m) - factor_or_log
                    else:
                        too_high = False
                        for i in range(size):
                            e[i] = tile[i] - m
                            too_high |= e[i] > high
                        last = unscale
                        if too_high:  # x is not of the slice that m is of
                            last = one
                            for i in range(size):
                                e[i] = math.exp(float64(e[i]))
                        else:
                            exponentials(e, size, item, source + TILE_BYTES)
                        for i in range(size):
                            out[i] = (e[i] * last) * factor_or_log
                    if store:
                        convert(store, scratch + ready_at, target, y_step, size)

    return kernel


@inlined
def largest(tile: Any, maxima: Any, part: int) -> Any:
    """The maximum of eight parts; NaN is passed over, and gets into s."""
    p = part
    for i in range(p):
        maxima[i] = max(
            max(max(tile[i], tile[i + p]), max(tile[i + 2 * p], tile[i + 3 * p])),
            max(max(tile[i + 4 * p], tile[i + 5 * p]), max(tile[i + 6 * p], tile[i + 7 * p])),
        )
    left = part
    while left > 8:
        right = left // 2
        left -= right
        for i in range(right):
            maxima[i] = max(maxima[i], maxima[i + left])
    top = maxima[0]
    for i in range(1, left):
        top = max(top, maxima[i])
    return top


@inlined
def total(e: Any, sums: Any, part: int) -> Any:
    """The sum of eight parts in float64, pairwise."""
    p = part
    for i in range(p):
        sums[i] = (
            (float64(e[i]) + float64(e[i + p])) + (float64(e[i + 2 * p]) + float64(e[i + 3 * p]))
        ) + (
            (float64(e[i + 4 * p]) + float64(e[i + 5 * p]))
            + (float64(e[i + 6 * p]) + float64(e[i + 7 * p]))
        )
    left = part
    while left > 8:
        right = left // 2
        left -= right
        for i in range(right):
            sums[i] += sums[i + left]
    result = sums[0]
    for i in range(1, left):
        result += sums[i]
    return result
