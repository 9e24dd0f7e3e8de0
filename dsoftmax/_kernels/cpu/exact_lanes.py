"""Exact sums of slices in the lanes of a vector: what `exact_columns` does to a tile of them.

Lanes have accumulators for their first two classes, which are emptied into limbs when a class
changes, or there were as many terms as they take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._algebra.exact import LIMBS, LOWEST, RADIX
from .exact_classes import (
    ANCHORS_AT,
    HELD,
    HELD_BYTES,
    SUM_BYTES,
    anchor_of,
    carry,
    clear,
    limbs,
    slot_for,
)
from .exact_steps import SPANS, accumulating, others
from .exact_tile import LOWER_AT, UPPER_AT, taking
from .exp import SCALE, near_exp
from .memory import inlined, pointer, prefetch
from .simd import (
    VECTOR_BYTES,
    any_at_least,
    any_greater,
    any_less,
    greater,
    lanes_in_vector,
    lesser,
    load,
    repeat,
    store,
    where_equal,
    where_greater,
    where_less,
    widen,
)

int64, float64 = np.int64, np.float64

PANEL = 8  # groups of columns that are worked on together
ROWS = 32  # of a tile
SUM_AT, LANES_AT = 39 * 1024, 40 * 1024  # on scratch memory
FULL = 2.0**47  # more than any exponential of a class; so the units are those of limbs
TERMS = 512  # of a lane until accumulators are emptied: their sum stays below 2**(47 + 9)
MOST = 1 << 18  # multiples of a number that limbs take
TIMES = 1024  # so often until limbs are normalised, to each of which less than 2**52 is added
CALM = 64  # so many tiles in a row were of one class in each lane


def lanes_of(working: Any) -> tuple[Any, ...]:
    """`begin`, `take`, `finish` and `put`, and the size of the state of a group in bytes."""
    n, most = lanes_in_vector(working), max(SPANS[working])
    infinity, nan, zero, one = map(working, (np.inf, np.nan, 0, 1))
    start, add, emptied = accumulating(working, most, n)
    first_of, beyond, put_limbs = limbs(working)
    *_, write, close_without = taking(working)
    _, _, exponential = others(working)
    # Vectors of the working dtype, then of float64, then the classes of each lane.
    (m_at, low_at, anchor_at, first_at, beyond_at, second_at, least_at, limit_at) = (
        k * VECTOR_BYTES for k in range(8)
    )
    wide = 8 * n
    w_at = 8 * VECTOR_BYTES
    upper_at = w_at + wide
    lower_at = upper_at + 4 * wide
    terms_at = lower_at + 4 * wide
    spare_at = terms_at + VECTOR_BYTES
    held_at = spare_at + 2 * VECTOR_BYTES
    group_bytes = held_at + n * HELD_BYTES
    lowest = working(np.finfo(working).min)
    per_unit = tuple(2.0 ** (LOWEST - RADIX * j - SCALE[working]) for j in range(4))
    # Float32 terms of a lane within this of one another need no care.
    plain = 15.0 if working is np.float32 else -1.0

    @inlined
    def begin(state: int) -> None:
        """Hold nothing."""
        store(repeat(-infinity, n), state + m_at)
        store(repeat(infinity, n), state + low_at)
        store(repeat(zero, n), state + anchor_at)
        store(repeat(zero, n), state + second_at)
        for at in (first_at, least_at):
            store(repeat(-infinity, n), state + at)
        for at in (beyond_at, limit_at):
            store(repeat(lowest, n), state + at)
        store(repeat(0.0, n), state + w_at)
        for lane in range(n):
            clear(state + held_at + lane * HELD_BYTES)
        restart(state)
        pointer(state + terms_at, int64)[1] = 0

    @inlined
    def restart(state: int) -> None:
        """Have empty accumulators."""
        keep(start(FULL), state + upper_at)
        keep(start(FULL), state + lower_at)
        pointer(state + terms_at, int64)[0] = 0

    @inlined
    def keep(s: Any, at: int) -> None:
        s1, s2, s3, s4 = s
        store(s1, at)
        store(s2, at + wide)
        store(s3, at + 2 * wide)
        store(s4, at + 3 * wide)

    @inlined
    def kept(at: int) -> Any:
        return (
            load(at, float64, n),
            load(at + wide, float64, n),
            load(at + 2 * wide, float64, n),
            load(at + 3 * wide, float64, n),
        )

    @inlined
    def empty(state: int) -> None:
        """Move what accumulators have to limbs; have NaN for the maximum where there was NaN."""
        if pointer(state + terms_at, int64)[0] == 0:
            return
        keep(emptied(kept(state + upper_at), FULL), state + upper_at)
        keep(emptied(kept(state + lower_at), FULL), state + lower_at)
        times = pointer(state + terms_at, int64)[1] + 1
        for lane in range(n):
            held = state + held_at + lane * HELD_BYTES
            for k in range(2):
                sums = pointer(state + upper_at + k * (lower_at - upper_at), float64)
                if sums[lane] != sums[lane]:
                    set_special(state, lane)
                    break
                words = pointer(held + k * SUM_BYTES, int64)
                words[3] += int64(sums[lane] * per_unit[3])
                words[2] += int64(sums[n + lane] * per_unit[2])
                words[1] += int64(sums[2 * n + lane] * per_unit[1])
                words[0] += int64(sums[3 * n + lane] * per_unit[0])
            if times == TIMES:
                carry(held, HELD)
        restart(state)
        pointer(state + terms_at, int64)[1] = times % TIMES

    @inlined
    def set_special(state: int, lane: int) -> None:
        """Have NaN for the maximum, and no more changes of classes."""
        for at in (m_at, beyond_at, limit_at):
            pointer(state + at, working)[lane] = nan
        for at in (first_at, least_at):
            pointer(state + at, working)[lane] = -infinity

    @inlined
    def settle(state: int, top: Any, below: Any) -> None:
        """Have classes for these elements in each lane, the first of all and of the others."""
        empty(state)
        store(top, state + spare_at)
        store(below, state + spare_at + VECTOR_BYTES)
        found = pointer(state + spare_at, working)
        ms, lows = pointer(state + m_at, working), pointer(state + low_at, working)
        for lane in range(n):
            held = state + held_at + lane * HELD_BYTES
            anchors = pointer(held + ANCHORS_AT, float64)
            if found[lane] == infinity:
                set_special(state, lane)
            if ms[lane] != ms[lane]:
                continue
            for k in range(2):
                x = found[k * n + lane]
                if x > -infinity:
                    anchor = anchor_of(x)
                    if anchor > anchors[0]:
                        ms[lane], lows[lane] = -infinity, infinity
                        pointer(state + w_at, float64)[lane] = 0
                    slot_for(held, anchor, True)
            if anchors[0] > -np.inf:
                first = first_of(anchors[0])
                pointer(state + anchor_at, working)[lane] = working(anchors[0])
                pointer(state + first_at, working)[lane] = first
                pointer(state + beyond_at, working)[lane] = beyond(anchors[0])
                pointer(state + least_at, working)[lane] = first
                if anchors[1] > -np.inf:
                    pointer(state + second_at, working)[lane] = working(anchors[1])
                    pointer(state + least_at, working)[lane] = first_of(anchors[1])
                    pointer(state + limit_at, working)[lane] = beyond(anchors[1])

    @inlined
    def of_class(
        state: int, tile: int, row: int, rows: int, target: int, ahead: int, ahead_row: int
    ) -> Any:
        """As of `exact_steps.exponentials`, in each lane."""
        anchor = load(state + anchor_at, working, n)
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
        """The same."""
        anchor, first = load(state + anchor_at, working, n), load(state + first_at, working, n)
        second, least = load(state + second_at, working, n), load(state + least_at, working, n)
        top = below = rest = repeat(-infinity, n)
        low = low_below = repeat(infinity, n)
        for i in range(rows):
            prefetch(ahead + i * ahead_row)
            x = load(tile + i * row, working, n)
            top = greater(x, top)
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
        return top, below, rest, low, low_below

    @inlined
    def add_tile(at: int, e: int, rows: int, span: Any) -> None:
        """Add exponentials, by how much their logarithms differ in each lane."""
        s = kept(at)
        if any_greater(span, plain):
            for i in range(rows):
                s = add(s, widen(load(e + i * VECTOR_BYTES, working, n)))
        else:
            together = repeat(0.0, n)
            for i in range(rows):
                together = together + widen(load(e + i * VECTOR_BYTES, working, n))
            s = add(s, together)
        keep(s, at)

    @inlined
    def count(state: int, tile: int, row: int, rows: int, top: Any) -> None:
        """Take the maxima of a tile into account."""
        before, w = load(state + m_at, working, n), load(state + w_at, float64, n)
        m = greater(top, before)
        if not any_at_least(top, m):
            return
        number = repeat(zero, n)
        for i in range(rows):
            x = load(tile + i * row, working, n)
            number = number + where_equal(x, m, one, zero)
        w = where_greater(widen(m), widen(before), 0.0, w) + widen(number)
        store(m, state + m_at)
        store(w, state + w_at)

    @inlined
    def add_third(state: int, tile: int, row: int, rows: int, rest: Any) -> None:
        """Add what is of a third class, in lanes that have nothing but the maximum in the first.

        ``rest`` is what is below the second class.
        """
        alone = load(state + low_at, working, n), load(state + m_at, working, n)
        rest = where_less(*alone, -infinity, rest)
        if not any_greater(rest, -infinity):
            return
        store(rest, state + spare_at)
        found, leasts = pointer(state + spare_at, working), pointer(state + least_at, working)
        for lane in range(n):
            if found[lane] > -infinity:
                held = state + held_at + lane * HELD_BYTES
                for i in range(rows):
                    x = pointer(tile + i * row, working)[lane]
                    if -infinity < x < leasts[lane]:
                        anchor = anchor_of(x)
                        slot = slot_for(held, anchor, True)
                        if slot >= 0:
                            e = exponential(x, working(anchor))
                            put_limbs(held + slot * SUM_BYTES, e, 1)

    @inlined
    def take(
        state: int,
        first: bool,
        tile: int,
        row: int,
        rows: int,
        ahead: int,
        ahead_row: int,
        mixed: int,
        scratch: int,
    ) -> int:
        """Add a tile, which may be the first one, and prefetch as many rows from ``ahead``.

        For so many tiles more two classes are expected, which is returned.
        """
        upper, lower = scratch + UPPER_AT, scratch + LOWER_AT
        nothing = repeat(-infinity, n)
        if first:
            top = below = nothing
            for i in range(rows):
                top = greater(load(tile + i * row, working, n), top)
            settle(state, top, nothing)
            if mixed:
                firsts = load(state + first_at, working, n)
                for i in range(rows):
                    x = load(tile + i * row, working, n)
                    below = greater(where_less(x, firsts, x, -infinity), below)
                settle(state, nothing, below)
        while True:
            below, rest, low_below = nothing, nothing, repeat(infinity, n)
            if mixed == 0:
                top, low = of_class(state, tile, row, rows, upper, ahead, ahead_row)
                if any_less(low, load(state + first_at, working, n)):
                    mixed = CALM
                    continue
            else:
                top, below, rest, low, low_below = of_two(
                    state, tile, row, rows, upper, lower, ahead, ahead_row
                )
            if any_at_least(top, load(state + beyond_at, working, n)) or any_at_least(
                below, load(state + limit_at, working, n)
            ):
                settle(state, top, below)
                continue
            break
        add_tile(state + upper_at, upper, rows, top - low)
        store(lesser(low, load(state + low_at, working, n)), state + low_at)
        count(state, tile, row, rows, top)
        if mixed:
            if any_greater(below, -infinity):
                add_tile(state + lower_at, lower, rows, below - low_below)
                add_third(state, tile, row, rows, rest)
                mixed = CALM
            else:
                mixed -= 1
        terms = pointer(state + terms_at, int64)
        terms[0] += rows
        if terms[0] > TERMS - ROWS:
            empty(state)
        return mixed

    @inlined
    def finish(state: int) -> None:
        """Have all sums in limbs, and the exponentials of the maxima."""
        empty(state)
        m, anchor = load(state + m_at, working, n), load(state + anchor_at, working, n)
        store(near_exp(m - anchor), state + spare_at)

    @inlined
    def put(state: int, lane: int, record: int, scratch: int) -> None:
        """Write the record of a lane; without sums if the maximum is none, or NaN."""
        m = pointer(state + m_at, working)[lane]
        if not m > -infinity:
            close_without(record, m, 0)
            return
        held, at_top = state + held_at + lane * HELD_BYTES, scratch + SUM_AT
        words = pointer(at_top, int64)
        for j in range(LIMBS):
            words[j] = 0
        w = int64(pointer(state + w_at, float64)[lane])
        e = float64(pointer(state + spare_at, working)[lane])
        for start in range(0, w, MOST):
            put_limbs(at_top, e, min(w - start, MOST))
            carry(at_top, 1)
        carry(held, HELD)
        write(held, at_top, m, w, record)

    return begin, take, finish, put, group_bytes
