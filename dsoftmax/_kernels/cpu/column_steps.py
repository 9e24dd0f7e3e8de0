"""Steps on a group of columns, which are the lanes of a vector: what `columns` does to a panel.

A group has its state on scratch memory: vectors of m, the reference and the factor or logarithm of
the output in the working dtype; of w, s and what they lack of the exact sums in float64.  Columns
of a tile are given by the address of the first row and the distance in bytes between rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .exp import HIGH, SCALE, scaled_exp
from .log import log_of_sum
from .memory import add_compensated, copy, exp, inlined, pointer, prefetch
from .row_steps import addition
from .simd import (
    VECTOR_BYTES,
    any_at_least,
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


class Places(NamedTuple):
    """Where the vectors of a group's state are, in bytes from its beginning."""

    m: int
    reference: int
    last: int
    w: int
    w_error: int
    s: int
    s_error: int
    end: int


def places(working: Any) -> Places:
    """The places for columns of ``working``."""
    wide = 8 * lanes_in_vector(working)
    short = [i * VECTOR_BYTES for i in range(4)]
    return Places(*short[:3], *(short[3] + i * wide for i in range(5)))


def states(working: Any, weighted: bool) -> tuple[Callable[..., Any], ...]:
    """`reset`, `reduce`, `finish`, `put` and `put_log_sums`: from nothing to the state (m, w, s).

    Or to its logarithm.
    """
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)
    at = places(working)
    scale = float64(2.0 ** SCALE[working])
    unscale, unscale64 = 1 / scale, 2.0 ** -SCALE[float64]
    zero, one, infinity, nan = map(working, (0, 1, np.inf, np.nan))
    add = addition(working)

    @inlined
    def reset(state: int) -> None:
        store(repeat(-infinity, n), state + at.m)
        store(repeat(-infinity, n), state + at.reference)
        for place in (at.w, at.w_error, at.s, at.s_error):
            store(repeat(0.0, n), state + place)

    @inlined
    def reduce(
        state: int,
        begin: bool,
        tile: int,
        rows: int,
        row: int,
        weights: int,
        weights_row: int,
        kept: int,
        kept_row: int,
        ahead: int,
        ahead_row: int,
    ) -> None:
        """Take the rows of a tile, which may be the first one, into the state.

        Unless ``kept`` is 0, their scaled exponentials are written to there.  As many
        bytes are prefetched from ``ahead``.
        """
        top = repeat(-infinity, n)
        for i in range(rows):
            top = greater(load(tile + i * row, working, n), top)
        at_max = any_at_least(top, load(state + at.m, working, n))
        if at_max and begin:
            store(top, state + at.m)
            store(top, state + at.reference)
        elif at_max:
            rise(state, top)
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        s = error = repeat(0.0, n)
        if weighted:
            w, w_error = load(state + at.w, float64, n), load(state + at.w_error, float64, n)
            # Weights at +inf count as infinite: both signs of them give NaN.
            value = where_equal(m, infinity, infinity, repeat(one, n))
            for i in range(rows):
                x, b = load(tile + i * row, working, n), load(weights + i * weights_row, float64, n)
                e = where_equal(x, m, zero, scaled_exp(x - reference))
                s, error = add_compensated(s, error, widen(e) * b)
                e = where_equal(x, m, value, zero)
                w, w_error = add_compensated(w, w_error, widen(e) * b)
            store(w, state + at.w)
            store(w_error, state + at.w_error)
        elif at_max or kept:
            number = repeat(zero, n)
            for i in range(rows):
                prefetch(ahead + i * ahead_row)
                x = load(tile + i * row, working, n)
                e = scaled_exp(x - reference)
                if kept:
                    store(e, kept + i * kept_row)
                number = number + where_equal(x, m, one, zero)
                s, error = add(s, error, widen(where_equal(x, m, zero, e)))
            store(load(state + at.w, float64, n) + widen(number), state + at.w)
        else:
            for i in range(rows):
                prefetch(ahead + i * ahead_row)
                x = load(tile + i * row, working, n)
                s, error = add(s, error, widen(scaled_exp(x - reference)))
        before, lost = load(state + at.s, float64, n), load(state + at.s_error, float64, n)
        s, error = add_compensated(before, lost + error, s)
        store(s, state + at.s)
        store(error, state + at.s_error)

    @inlined
    def rise(state: int, top: Any) -> None:
        """Follow the maxima of a tile where they exceed the running ones."""
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        w, w_error = load(state + at.w, float64, n), load(state + at.w_error, float64, n)
        s, s_error = load(state + at.s, float64, n), load(state + at.s_error, float64, n)
        # What was at the maximum joins the rest.
        term = (w + w_error) * scale * exp_of_difference(m, reference)
        term = where_greater(top, m, term, 0.0)
        s, s_error = add_compensated(s, s_error, where_equal(w, 0.0, 0.0, term))
        w, w_error = where_greater(top, m, 0.0, w), where_greater(top, m, 0.0, w_error)
        m = greater(top, m)
        followed = where_greater(m, reference + one, m, reference)
        factor = exp_of_difference(reference, followed)
        s, s_error = where_equal(s, 0.0, s, s * factor), s_error * factor
        store(m, state + at.m)
        store(followed, state + at.reference)
        store(w, state + at.w)
        store(w_error, state + at.w_error)
        store(s, state + at.s)
        store(s_error, state + at.s_error)

    @inlined
    def exp_of_difference(a: Any, b: Any) -> Any:
        """exp(a - b) in float64, for a up to a little above b; 1 where both are one infinity."""
        t = where_equal(a, b, 0.0, widen(a) - widen(b))
        return scaled_exp(t) * unscale64

    @inlined
    def finish(state: int, length: int) -> None:
        """Have the state of all rows in m, w and s."""
        m, reference = load(state + at.m, working, n), load(state + at.reference, working, n)
        w, w_error = load(state + at.w, float64, n), load(state + at.w_error, float64, n)
        s = (load(state + at.s, float64, n) + load(state + at.s_error, float64, n)) * unscale
        if any_greater(m, reference):
            s = s * exp_of_difference(reference, m)
        if weighted:
            w = where_equal(w, np.inf, w, where_equal(w, -np.inf, w, w + w_error))
        else:
            w = where_equal(m, -infinity, float64(length), w)
        # What is NaN equals nothing, not itself either.
        store(where_equal(s, s, m, nan), state + at.m)
        store(where_equal(s, s, w, 0.0), state + at.w)
        store(s, state + at.s)

    @inlined
    def put(state: int, m: int, w: int, s: int, place: int, columns: int) -> None:
        """Copy m, w and s of the first columns to a place in arrays."""
        copy(state + at.m, m + place * item, columns, working)
        copy(state + at.w, w + place * 8, columns, float64)
        copy(state + at.s, s + place * 8, columns, float64)

    @inlined
    def put_log_sums(state: int, results: int, place: int, columns: int) -> None:
        """Have m + log(w + s), rounded once, of the first columns at a place in an array."""
        w, s = load(state + at.w, float64, n), load(state + at.s, float64, n)
        value = widen(load(state + at.m, working, n)) + log_of_sum(w, s)
        store(narrow(value, working), state + at.last)
        copy(state + at.last, results + place * item, columns, working)

    return reset, reduce, finish, put, put_log_sums


def given_states(working: Any) -> Callable[..., Any]:
    """`take`: the state of columns as it was given."""
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)
    at = places(working)

    @inlined
    def take(state: int, m: int, d: int, place: int, columns: int) -> None:
        """Have m and d, or log d, from a place in arrays."""
        copy(m + place * item, state + at.m, columns, working)
        copy(d + place * 8, state + at.s, columns, float64)
        store(repeat(0.0, n), state + at.w)
        store(narrow(load(state + at.s, float64, n), working), state + at.last)

    return take


def outputs(working: Any) -> tuple[Callable[..., Any], ...]:
    """`to_factor`, `to_logarithm`, `write_kept`, `write_exponentials` and `write_logarithms`."""
    n = lanes_in_vector(working)
    at = places(working)
    unscale = working(2.0 ** -SCALE[working])
    infinity, nan, high = working(np.inf), working(np.nan), HIGH[working]

    @inlined
    def to_factor(state: int) -> None:
        """Have 1 / d at `last`, for d = w + s."""
        m = load(state + at.m, working, n)
        d = load(state + at.w, float64, n) + load(state + at.s, float64, n)
        # A maximum of +-inf has no softmax, in the whole slice, as in SciPy.
        factor = where_equal(m, infinity, nan, narrow(1.0 / d, working))
        store(where_equal(m, -infinity, nan, factor), state + at.last)

    @inlined
    def to_logarithm(state: int) -> None:
        """Have log d at `last`."""
        w, s = load(state + at.w, float64, n), load(state + at.s, float64, n)
        store(narrow(log_of_sum(w, s), working), state + at.last)

    # A row at a time, through all groups: what is written in order is written faster.

    @inlined
    def write_kept(states: int, groups: int, tail: int, kept: int, y: int) -> None:
        """A row of scaled exponentials, one group after the other, to the softmax."""
        for group in range(groups):
            offset = group * VECTOR_BYTES
            factor = load(states + group * at.end + at.last, working, n)
            store(load(kept + offset, working, n) * unscale * factor, y + min(offset, tail))

    @inlined
    def write_exponentials(states: int, groups: int, tail: int, x: int, y: int) -> None:
        """A row of the softmax: exp(x - m) times the factor."""
        top = repeat(-infinity, n)
        for group in range(groups):
            state, offset = states + group * at.end, min(group * VECTOR_BYTES, tail)
            t = load(x + offset, working, n) - load(state + at.m, working, n)
            top = greater(t, top)
            e = scaled_exp(t) * unscale * load(state + at.last, working, n)
            store(e, y + offset)
        if any_greater(top, high):  # x is not of the slice that m is of
            for group in range(groups):
                state, offset = states + group * at.end, min(group * VECTOR_BYTES, tail)
                m, factor = pointer(state + at.m, working), pointer(state + at.last, working)
                elements, results = pointer(x + offset, working), pointer(y + offset, working)
                for i in range(n):
                    if elements[i] - m[i] > high:
                        results[i] = working(exp(float64(elements[i] - m[i]))) * factor[i]

    @inlined
    def write_logarithms(states: int, groups: int, tail: int, x: int, y: int) -> None:
        """A row of (x - m) - log d."""
        for group in range(groups):
            state, offset = states + group * at.end, min(group * VECTOR_BYTES, tail)
            t = load(x + offset, working, n) - load(state + at.m, working, n)
            store(t - load(state + at.last, working, n), y + offset)

    return to_factor, to_logarithm, write_kept, write_exponentials, write_logarithms
