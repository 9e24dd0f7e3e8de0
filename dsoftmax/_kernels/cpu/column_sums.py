"""Steps on columns for states with further sums: moments, or sums of values, as in `row_sums`.

A group is a vector of columns, one in each lane, and has its state on scratch memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .exp import SCALE, scaled_exp
from .memory import add_compensated, copy, inlined, prefetch
from .row_steps import addition, closed_lanes
from .row_sums import LOWEST
from .simd import (
    VECTOR_BYTES,
    any_greater,
    greater,
    lanes_in_vector,
    load,
    narrow,
    repeat,
    store,
    where_equal,
    where_greater,
    widen,
)

float64 = np.float64


class SumPlaces(NamedTuple):
    """Where the vectors of a group's state are, in bytes from its beginning."""

    m: int
    reference: int
    w: int
    s: int
    s_error: int
    t: int
    t_error: int
    q: int
    q_error: int
    end: int


def sum_places(working: Any) -> SumPlaces:
    """The places for columns of ``working``."""
    wide = 8 * lanes_in_vector(working)
    return SumPlaces(0, VECTOR_BYTES, *(2 * VECTOR_BYTES + i * wide for i in range(8)))


def sums(working: Any, moments: bool) -> tuple[Callable[..., Any], ...]:
    """`reset`, `reduce`, `finish` and `put`: from nothing to the states of the columns.

    With moments, or else with values, of which the sums are at the place of t.
    """
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)
    at = sum_places(working)
    scale = float64(2.0 ** SCALE[working])
    unscale, unscale64 = 1 / scale, 2.0 ** -SCALE[float64]
    zero, one, infinity, nan, lowest = map(working, (0, 1, np.inf, np.nan, LOWEST))
    add = addition(working)

    @inlined
    def reset(state: int) -> None:
        store(repeat(-infinity, n), state + at.m)
        store(repeat(-infinity, n), state + at.reference)
        for place in range(at.w, at.end, 8 * n):
            store(repeat(0.0, n), state + place)

    @inlined
    def reduce(
        state: int,
        begin: bool,
        tile: int,
        rows: int,
        row: int,
        values: int,
        values_row: int,
        kept: int,
        kept_row: int,
        ahead: int,
        ahead_row: int,
    ) -> None:
        """Take the rows of a tile, which may be the first one, into the state; see `states`."""
        top = repeat(-infinity, n)
        for i in range(rows):
            top = greater(load(tile + i * row, working, n), top)
        if any_greater(top, load(state + at.m, working, n)):
            if begin:
                store(top, state + at.m)
                store(top, state + at.reference)
            else:
                rise(state, top)
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        s = s_error = t = t_error = q = q_error = repeat(0.0, n)
        number = repeat(zero, n)
        at_m = repeat(working(scale), n)
        if not moments and any_greater(m, reference):
            at_m = narrow(exp_of_difference(m, reference) * scale, working)
        for i in range(rows):
            prefetch(ahead + i * ahead_row)
            x = load(tile + i * row, working, n)
            number = number + where_equal(x, m, one, zero)
            y = where_equal(x, m, -infinity, x - reference)
            scaled = scaled_exp(y)
            e = widen(scaled)
            s, s_error = add(s, s_error, e)
            if moments:
                t, t_error = add(t, t_error, e * widen(greater(y, repeat(lowest, n))))
                q, q_error = add(q, q_error, e * e)
            else:
                v = load(values + i * values_row, working, n)
                t, t_error = add(t, t_error, widen(where_equal(x, m, at_m, scaled) * v))
        store(load(state + at.w, float64, n) + widen(number), state + at.w)
        take_in(state + at.s, state + at.s_error, s, s_error)
        take_in(state + at.t, state + at.t_error, t, t_error)
        if moments:
            take_in(state + at.q, state + at.q_error, q, q_error)

    @inlined
    def take_in(total: int, error: int, term: Any, term_error: Any) -> None:
        """Add a sum to the one at a place."""
        before, lost = load(total, float64, n), load(error, float64, n)
        after, lost = add_compensated(before, lost + term_error, term)
        store(after, total)
        store(lost, error)

    @inlined
    def rise(state: int, top: Any) -> None:
        """Follow the maxima of a tile where they exceed the running ones."""
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        w = load(state + at.w, float64, n)
        # What was at the maximum joins the rest.
        nothing = repeat(0.0, n)
        joins = where_greater(top, m, w, nothing)
        above = where_equal(m, reference, nothing, widen(m) - widen(reference))
        e = scaled_exp(above) * unscale64 * scale
        take_in(state + at.s, state + at.s_error, joins * e, nothing)
        if moments:
            take_in(state + at.t, state + at.t_error, joins * e * above, nothing)
            take_in(state + at.q, state + at.q_error, joins * e * e, nothing)
        store(where_greater(top, m, nothing, w), state + at.w)
        m = greater(top, m)
        store(m, state + at.m)
        followed = where_greater(m, reference + one, m, reference)
        store(followed, state + at.reference)
        move(state, reference, followed)

    @inlined
    def move(state: int, before: Any, after: Any) -> None:
        """Have the sums over exp(x - before) as sums over exp(x - after), after >= before."""
        nothing = repeat(0.0, n)
        shift = where_equal(before, after, nothing, widen(before) - widen(after))
        factor = scaled_exp(shift) * unscale64
        for place in range(at.s, at.t if moments else at.q, 8 * n):
            store(load(state + place, float64, n) * factor, state + place)
        if moments:
            # Of what is at s and s_error, which are scaled by now.
            for i in range(0, 16 * n, 8 * n):
                s, t = load(state + at.s + i, float64, n), load(state + at.t + i, float64, n)
                t = where_equal(factor, 0.0, nothing, t * factor + s * shift)
                store(t, state + at.t + i)
                q = load(state + at.q + i, float64, n)
                store(q * factor * factor, state + at.q + i)

    @inlined
    def exp_of_difference(a: Any, b: Any) -> Any:
        """exp(a - b) in float64, for a up to a little above b; 1 where both are one infinity."""
        t = where_equal(a, b, 0.0, widen(a) - widen(b))
        return scaled_exp(t) * unscale64

    @inlined
    def of_both(total: int, error: int) -> Any:
        return closed_lanes(load(total, float64, n), load(error, float64, n))

    @inlined
    def finish(state: int, length: int) -> None:
        """Have the state of all rows in m, w, s, t and q."""
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        if any_greater(m, reference):
            move(state, reference, m)
        s = of_both(state + at.s, state + at.s_error) * unscale
        t = of_both(state + at.t, state + at.t_error) * unscale
        q = of_both(state + at.q, state + at.q_error) * unscale
        w = where_equal(m, -infinity, float64(length), load(state + at.w, float64, n))
        # What is NaN equals nothing, not itself either.
        store(where_equal(s, s, m, nan), state + at.m)
        store(where_equal(s, s, w, 0.0), state + at.w)
        store(s, state + at.s)
        store(t, state + at.t)
        store(q * unscale, state + at.q)

    @inlined
    def put(state: int, m: int, w: int, s: int, t: int, q: int, place: int, columns: int) -> None:
        """Copy the states of the first columns to a place in arrays."""
        copy(state + at.m, m + place * item, columns, working)
        copy(state + at.w, w + place * 8, columns, float64)
        copy(state + at.s, s + place * 8, columns, float64)
        copy(state + at.t, t + place * 8, columns, float64)
        if moments:
            copy(state + at.q, q + place * 8, columns, float64)

    return reset, reduce, finish, put
