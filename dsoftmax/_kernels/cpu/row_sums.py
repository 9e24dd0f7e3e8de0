"""The compiled kernel for states of rows with further sums, of one reading of the exponentials.

*Moments* are t, the sum of (x - m) exp(x - m), and q, that of exp(x - m)**2, both without the
elements at the maximum m: entropies and effective sample sizes come of them.  *Values* give
o, the sum of v exp(x - m) over all elements: expectations.

The loop over tiles is that of `rows`, and so is the reference that follows the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .exp import SCALE, scaled_exp
from .masks import count
from .memory import add_compensated, closed, exp, inlined, pointer, prefetch
from .protocol import TILE_BYTES, WORK
from .row_steps import addition, closed_lanes, reductions, tiles
from .simd import (
    VECTOR_BYTES,
    count_equal,
    fused,
    greater,
    halved,
    lanes_in_vector,
    largest,
    load,
    lower_half,
    repeat,
    total,
    upper_half,
    where_equal,
    widen,
)

int64, float64 = np.int64, np.float64

# exp(t) is 0 below, and t exp(t) with it.
LOWEST = -800

# Parts of a tile, of so many vectors. Within a part terms of t, q and o are added as they are,
# t in the working dtype. The sums of parts are added in float64, for float64 with compensation:
# with that for each term it takes 1.37 times as long, without any 10^3 equal terms are 14 u off.
PART = {np.float32: 4, np.float64: 16}


def row_sums(working: Any, moments: bool, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``: with moments, or else with values, which are weights b.

    The kernel takes the address of a `protocol.Work`, of which there are no planes, no output and
    no mode: it writes m, w, s and either t and q, or o.
    """
    field, item = WORK, np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    n = lanes_in_vector(working)
    scale = float64(2.0 ** SCALE[working])
    zero, one, infinity, nan = map(working, (0, 1, np.inf, np.nan))
    maximum_of, *_ = reductions(working)
    fetch, vectors_of = tiles(working, masked)
    moments_below, moments_of_rest, values_below, sums_of_values = steps(working)

    @inlined
    def moved(s: float, t: float, q: float, shift: float) -> Any:
        """The sums over exp(x - r) as sums over exp(x - r + shift), where shift <= 0."""
        factor = exp(shift)
        if not moments:  # as in a plain sum, 0 times an infinite value is NaN
            return s * factor, t * factor, q
        if factor == 0:  # NaN stays in s, and the shift may be -inf
            return s * factor, 0.0, 0.0
        return s * factor, (t + s * shift) * factor, q * factor * factor

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, b, where = given[field.x], given[field.b], given[field.where]
        length, scratch = given[field.length], given[field.scratch]
        x_row, b_row, where_row = given[field.x_row], given[field.b_row], given[field.where_row]
        x_step, b_step, where_step = (
            given[field.x_step],
            given[field.b_step],
            given[field.where_step],
        )
        load_x, load_b = given[field.load], given[field.load_b]
        ms = pointer(given[field.m], working)
        ws, ss = pointer(given[field.w], float64), pointer(given[field.s], float64)
        ts, qs = pointer(given[field.t], float64), pointer(given[field.q], float64)
        second, spare = (
            scratch + TILE_BYTES + VECTOR_BYTES,
            scratch + 2 * TILE_BYTES + 2 * VECTOR_BYTES,
        )
        for row in range(given[field.count]):
            flags = where + row * where_row
            m, reference = -infinity, -infinity
            w, s, t, q = 0.0, 0.0, 0.0, 0.0
            s_error, t_error, q_error = 0.0, 0.0, 0.0
            steady = False
            for start in range(0, length, tile_size):
                size = min(tile_size, length - start)
                source = x + row * x_row + start * x_step
                kept = flags + start * where_step
                tile = fetch(
                    load_x, source, x_step, size, kept, where_step, -infinity, scratch, spare
                )
                padded = tile == scratch or size <= n
                tile, end, last = vectors_of(tile, size, padded, -infinity, scratch)
                if not moments:
                    source_b = b + row * b_row + start * b_step
                    values = fetch(
                        load_b, source_b, b_step, size, kept, where_step, zero, second, spare
                    )
                    values, _, last_values = vectors_of(values, size, padded, zero, second)
                ahead = source + TILE_BYTES - tile
                terms, t_terms, q_terms, number = 0.0, 0.0, 0.0, 0
                if not steady:
                    top = maximum_of(tile, end, last)
                elif moments:  # most likely the maximum stays what it is
                    terms, t_terms, q_terms, top = moments_below(tile, end, last, reference, ahead)
                else:
                    terms, t_terms, top = values_below(
                        tile, end, last, values, last_values, reference, ahead
                    )
                if top > m:
                    if w != 0:  # what was at the maximum joins the rest
                        above = 0.0 if m == reference else float64(m) - float64(reference)
                        e = exp(above) * scale
                        s, s_error = add_compensated(s, s_error, w * e)
                        if moments:
                            t, t_error = add_compensated(t, t_error, w * e * above)
                            q, q_error = add_compensated(q, q_error, w * e * e)
                        w = 0.0
                    m = top
                    if m > reference + one:
                        shift = float64(reference) - float64(m)
                        s, t, q = closed(s, s_error), closed(t, t_error), closed(q, q_error)
                        s, t, q = moved(s, t, q, shift)
                        s_error, t_error, q_error = 0.0, 0.0, 0.0
                        reference = m
                if not (steady and top < m):
                    if moments:
                        terms, t_terms, q_terms, number = moments_of_rest(
                            tile, end, last, m, reference, ahead
                        )
                    else:
                        terms, t_terms, number = sums_of_values(
                            tile, end, last, values, last_values, m, reference, ahead
                        )
                w += number
                steady = top < m
                s, s_error = add_compensated(s, s_error, terms)
                t, t_error = add_compensated(t, t_error, t_terms)
                q, q_error = add_compensated(q, q_error, q_terms)

            s, t = closed(s, s_error) / scale, closed(t, t_error) / scale
            q = closed(q, q_error) / scale / scale
            if reference != m:
                s, t, q = moved(s, t, q, float64(reference) - float64(m))
            if s != s:
                m, w = nan, 0.0
            if m == -infinity:  # and nothing that padded the last tile
                w = float64(count(flags, where_step, length) if masked else length)
            ms[row], ws[row], ss[row], ts[row] = m, w, s, t
            if moments:
                qs[row] = q

    return kernel


def steps(working: Any) -> tuple[Callable[..., Any], ...]:
    """The steps on tiles, as `row_steps.reductions`."""
    n = lanes_in_vector(working)
    infinity, zero, lowest = map(working, (np.inf, 0, LOWEST))
    scale = float64(2.0 ** SCALE[working])
    add = addition(working)

    part_bytes = PART[working] * VECTOR_BYTES

    # Sums of float32 in float64 have half the lanes: with all of them, AVX2 has too few registers.
    half = n // 2 if working is np.float32 else n

    @inlined
    def add_products(a: Any, b: Any, sums: Any) -> Any:
        """The sums with the products of two vectors, in float64."""
        if half == n:
            return fused(a, b, sums)
        wide_a, wide_b = widen(a), widen(b)
        sums = fused(lower_half(wide_a), lower_half(wide_b), sums)
        return fused(upper_half(wide_a), upper_half(wide_b), sums)

    @inlined
    def of_part(terms: Any) -> Any:
        """The sums of a part, as they are added to those of a tile."""
        return widen(halved(terms)) if half < n else terms

    @inlined
    def moments_of(y: Any, s: Any, error: Any, t: Any, q: Any) -> Any:
        """The sums with the scaled exponentials of y, and of a part with the terms of t and q."""
        e = scaled_exp(y)
        s, error = add(s, error, widen(e))
        return s, error, fused(e, greater(y, repeat(lowest, n)), t), add_products(e, e, q)

    @inlined
    def moments_below(tile: int, end: int, last: Any, reference: Any, ahead: int) -> Any:
        """The sums of scaled exponentials of x - reference if that is small, and the maximum."""
        top = greater(last, repeat(-infinity, n))
        s = error = repeat(0.0, n)
        t_error = q_error = none = repeat(0.0, half)
        s, error, t_part, q = moments_of(last - reference, s, error, repeat(zero, n), none)
        t = of_part(t_part)
        for part in range(tile, end, part_bytes):
            t_part, q_part = repeat(zero, n), none
            for at in range(part, min(part + part_bytes, end), VECTOR_BYTES):
                prefetch(at + ahead)
                x = load(at, working, n)
                top = greater(x, top)
                s, error, t_part, q_part = moments_of(x - reference, s, error, t_part, q_part)
            t, t_error = add(t, t_error, of_part(t_part))
            q, q_error = add(q, q_error, q_part)
        return total(s + error), total(t + t_error), total(q + q_error), largest(top)

    @inlined
    def moments_of_rest(tile: int, end: int, last: Any, m: Any, reference: Any, ahead: int) -> Any:
        """The same sums without the elements that are m, and the number of those."""
        s = error = repeat(0.0, n)
        t_error = q_error = none = repeat(0.0, half)
        y = where_equal(last, m, -infinity, last - reference)
        s, error, t_part, q = moments_of(y, s, error, repeat(zero, n), none)
        t, number = of_part(t_part), count_equal(last, m)
        for part in range(tile, end, part_bytes):
            t_part, q_part = repeat(zero, n), none
            for at in range(part, min(part + part_bytes, end), VECTOR_BYTES):
                prefetch(at + ahead)
                x = load(at, working, n)
                number += count_equal(x, m)
                y = where_equal(x, m, -infinity, x - reference)
                s, error, t_part, q_part = moments_of(y, s, error, t_part, q_part)
            t, t_error = add(t, t_error, of_part(t_part))
            q, q_error = add(q, q_error, q_part)
        return total(s + error), total(t + t_error), total(q + q_error), number

    @inlined
    def values_below(
        tile: int, end: int, last: Any, values: int, last_values: Any, reference: Any, ahead: int
    ) -> Any:
        """The sum of scaled exponentials, as above, that of all times values, and the maximum."""
        top = greater(last, repeat(-infinity, n))
        e = scaled_exp(last - reference)
        s, o = widen(e), add_products(e, last_values, repeat(0.0, half))
        error, o_error = repeat(0.0, n), repeat(0.0, half)
        values -= tile
        for part in range(tile, end, part_bytes):
            o_part = repeat(0.0, half)
            for at in range(part, min(part + part_bytes, end), VECTOR_BYTES):
                prefetch(at + ahead)
                x = load(at, working, n)
                top = greater(x, top)
                e = scaled_exp(x - reference)
                s, error = add(s, error, widen(e))
                o_part = add_products(e, load(at + values, working, n), o_part)
            o, o_error = add(o, o_error, o_part)
        return total(s + error), total(closed_lanes(o, o_error)), largest(top)

    @inlined
    def sums_of_values(
        tile: int,
        end: int,
        last: Any,
        values: int,
        last_values: Any,
        m: Any,
        reference: Any,
        ahead: int,
    ) -> Any:
        """The sum without the elements that are m, that of all times values, and their number."""
        at_m = zero  # the scaled exponential of m - reference
        if m > -infinity:
            above = 0.0 if m == reference else float64(m) - float64(reference)
            at_m = working(exp(above) * scale)
        e = scaled_exp(where_equal(last, m, -infinity, last - reference))
        s = widen(e)
        o = add_products(where_equal(last, m, at_m, e), last_values, repeat(0.0, half))
        error, o_error = repeat(0.0, n), repeat(0.0, half)
        number = count_equal(last, m)
        values -= tile
        for part in range(tile, end, part_bytes):
            o_part = repeat(0.0, half)
            for at in range(part, min(part + part_bytes, end), VECTOR_BYTES):
                prefetch(at + ahead)
                x = load(at, working, n)
                number += count_equal(x, m)
                e = scaled_exp(where_equal(x, m, -infinity, x - reference))
                s, error = add(s, error, widen(e))
                e = where_equal(x, m, at_m, e)
                o_part = add_products(e, load(at + values, working, n), o_part)
            o, o_error = add(o, o_error, o_part)
        return total(s + error), total(closed_lanes(o, o_error)), number

    return moments_below, moments_of_rest, values_below, sums_of_values
