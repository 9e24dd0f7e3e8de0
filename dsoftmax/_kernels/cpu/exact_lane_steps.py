"""Steps on a tile of slices in the lanes of a vector, for exact sums: see `exact_lanes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.exact import LOWEST, RADIX
from .exact_classes import HELD, HELD_BYTES, SUM_BYTES, carry, clear
from .exact_steps import SPANS, accumulating
from .exp import SCALE, near_exp
from .memory import inlined, pointer, prefetch
from .simd import (
    VECTOR_BYTES,
    any_at_least,
    any_greater,
    greater,
    lanes_in_vector,
    lesser,
    load,
    repeat,
    store,
    where_at_least,
    where_equal,
    where_greater,
    where_less,
    widen,
)

int64, float64 = np.int64, np.float64

FULL = 2.0**47  # more than any exponential of a class; so the units are those of limbs
TERMS = 512  # of a lane until accumulators are emptied: their sum stays below 2**(47 + 9)
TIMES = 1024  # so often until limbs are normalised, to each of which less than 2**52 is added


class Places(NamedTuple):
    """Where what a group of lanes has is, in bytes from its beginning.

    - m, low: vectors of the maxima, and of the minima of the first class;
    - anchor, first, beyond: of the class whose sums are in the first accumulators its anchor, its
      smallest number, and the smallest above it; second, least, limit: of the second ones;
    - over: from where on there are but elements at the maximum, which these do not have;
    - w: how many are at the maximum, in float64;
    - upper, lower: the accumulators; terms: how many they have, and how often they were emptied;
    - spare: four vectors;
    - leads: which class has the first accumulators;
    - held: the classes of each lane.
    """

    m: int
    low: int
    anchor: int
    first: int
    beyond: int
    second: int
    least: int
    limit: int
    over: int
    w: int
    upper: int
    lower: int
    terms: int
    spare: int
    leads: int
    held: int
    end: int


def places(working: Any) -> Places:
    """The places for lanes of ``working``."""
    n = lanes_in_vector(working)
    wide = 8 * n
    sizes = [VECTOR_BYTES] * 9 + [wide, 4 * wide, 4 * wide, VECTOR_BYTES, 4 * VECTOR_BYTES, wide]
    starts = [sum(sizes[:k]) for k in range(16)]
    return Places._make([*starts, starts[-1] + n * HELD_BYTES])


def accumulators(working: Any) -> tuple[Callable[..., Any], ...]:
    """`begin`, `empty`, `set_special` and `add_tile`: the sums of a group."""
    n = lanes_in_vector(working)
    infinity, nan, zero = map(working, (np.inf, np.nan, 0))
    start, add, close = accumulating(working, max(SPANS[working]), n)
    at, wide = places(working), 8 * n
    per_unit = tuple(2.0 ** (LOWEST - RADIX * j - SCALE[working]) for j in range(4))
    lowest = working(np.finfo(working).min)
    # Float32 terms of a lane within this of one another need no care.
    plain = 15.0 if working is np.float32 else -1.0

    @inlined
    def begin(state: int) -> None:
        """Hold nothing."""
        store(repeat(-infinity, n), state + at.m)
        store(repeat(infinity, n), state + at.low)
        store(repeat(zero, n), state + at.anchor)
        store(repeat(zero, n), state + at.second)
        for place in (at.first, at.least):
            store(repeat(-infinity, n), state + place)
        for place in (at.beyond, at.limit):
            store(repeat(lowest, n), state + place)
        store(repeat(infinity, n), state + at.over)
        store(repeat(0.0, n), state + at.w)
        for lane in range(n):
            pointer(state + at.leads, int64)[lane] = 0
            clear(state + at.held + lane * HELD_BYTES)
        restart(state)
        pointer(state + at.terms, int64)[1] = 0

    @inlined
    def restart(state: int) -> None:
        """Have empty accumulators."""
        keep(start(FULL), state + at.upper)
        keep(start(FULL), state + at.lower)
        pointer(state + at.terms, int64)[0] = 0

    @inlined
    def keep(s: Any, place: int) -> None:
        s1, s2, s3, s4 = s
        store(s1, place)
        store(s2, place + wide)
        store(s3, place + 2 * wide)
        store(s4, place + 3 * wide)

    @inlined
    def kept(place: int) -> Any:
        return (
            load(place, float64, n),
            load(place + wide, float64, n),
            load(place + 2 * wide, float64, n),
            load(place + 3 * wide, float64, n),
        )

    @inlined
    def empty(state: int) -> None:
        """Move what accumulators have to limbs; have NaN for the maximum where there was NaN."""
        if pointer(state + at.terms, int64)[0] == 0:
            return
        keep(close(kept(state + at.upper), FULL), state + at.upper)
        keep(close(kept(state + at.lower), FULL), state + at.lower)
        times = pointer(state + at.terms, int64)[1] + 1
        for lane in range(n):
            held = state + at.held + lane * HELD_BYTES
            lead = pointer(state + at.leads, int64)[lane]
            for k in range(2):
                sums = pointer(state + at.upper + k * (at.lower - at.upper), float64)
                if sums[lane] != sums[lane]:
                    set_special(state, lane)
                    break
                words = pointer(held + (lead + k) * SUM_BYTES, int64)
                words[3] += int64(sums[lane] * per_unit[3])
                words[2] += int64(sums[n + lane] * per_unit[2])
                words[1] += int64(sums[2 * n + lane] * per_unit[1])
                words[0] += int64(sums[3 * n + lane] * per_unit[0])
            if times == TIMES:
                carry(held, HELD)
        restart(state)
        pointer(state + at.terms, int64)[1] = times % TIMES

    @inlined
    def set_special(state: int, lane: int) -> None:
        """Have NaN for the maximum, and no more changes of classes."""
        for place in (at.m, at.beyond, at.limit):
            pointer(state + place, working)[lane] = nan
        for place in (at.first, at.least):
            pointer(state + place, working)[lane] = -infinity
        pointer(state + at.over, working)[lane] = infinity

    @inlined
    def add_tile(place: int, e: int, rows: int, span: Any) -> None:
        """Add exponentials, by how much their logarithms differ in each lane."""
        s, one = kept(place), float64(rows) / float64(rows)
        if any_greater(span, plain):
            for i in range(rows):
                s = add(s, widen(load(e + i * VECTOR_BYTES, working, n)), one)
        else:
            together = repeat(0.0, n)
            for i in range(rows):
                together = together + widen(load(e + i * VECTOR_BYTES, working, n))
            s = add(s, together, one)
        keep(s, place)

    return begin, empty, set_special, add_tile


def passes(working: Any) -> tuple[Callable[..., Any], ...]:
    """`of_class`, `of_two` and `count`: what is read from a tile."""
    n = lanes_in_vector(working)
    infinity, zero, one = map(working, (np.inf, 0, 1))
    at = places(working)

    @inlined
    def of_class(
        state: int, tile: int, row: int, rows: int, target: int, ahead: int, ahead_row: int
    ) -> Any:
        """As of `exact_steps.exponentials`, in each lane."""
        anchor = load(state + at.anchor, working, n)
        top, low = repeat(-infinity, n), repeat(infinity, n)
        for i in range(rows):
            prefetch(ahead + i * ahead_row)
            x = load(tile + i * row, working, n)
            top, low = greater(x, top), where_equal(x, -infinity, low, lesser(x, low))
            store(where_equal(x, -infinity, zero, near_exp(x - anchor)), target + i * VECTOR_BYTES)
        return top, low

    @inlined
    def of_two(
        state: int,
        tile: int,
        row: int,
        rows: int,
        target: int,
        lower: int,
        ahead: int,
        ahead_row: int,
    ) -> Any:
        """The same of two classes, of what is below ``over``."""
        anchor, first = load(state + at.anchor, working, n), load(state + at.first, working, n)
        second, least = load(state + at.second, working, n), load(state + at.least, working, n)
        over = load(state + at.over, working, n)
        top = highest = below = rest = repeat(-infinity, n)
        low = low_below = repeat(infinity, n)
        for i in range(rows):
            prefetch(ahead + i * ahead_row)
            x = load(tile + i * row, working, n)
            top = greater(x, top)
            x = where_at_least(x, over, -infinity, x)
            highest = greater(x, highest)
            below = greater(where_less(x, first, x, -infinity), below)
            rest = greater(where_less(x, least, x, -infinity), rest)
            low = lesser(where_less(x, first, infinity, x), low)
            y = where_less(x, least, infinity, x)
            low_below = lesser(where_less(x, first, y, infinity), low_below)
            e = near_exp(x - where_less(x, first, second, anchor))
            e = where_equal(x, -infinity, zero, e)
            store(where_less(x, first, zero, e), target + i * VECTOR_BYTES)
            e = where_less(x, least, zero, e)
            store(where_less(x, first, e, zero), lower + i * VECTOR_BYTES)
        return top, highest, below, rest, low, low_below

    @inlined
    def count(state: int, tile: int, row: int, rows: int, top: Any) -> None:
        """Take the maxima of a tile into account."""
        before, w = load(state + at.m, working, n), load(state + at.w, float64, n)
        m = greater(top, before)
        if not any_at_least(top, m):
            return
        number = repeat(zero, n)
        for i in range(rows):
            x = load(tile + i * row, working, n)
            number = number + where_equal(x, m, one, zero)
        w = where_greater(widen(m), widen(before), 0.0, w) + widen(number)
        store(m, state + at.m)
        store(w, state + at.w)

    return of_class, of_two, count
