"""Exact sums of slices in the lanes of a vector: what `exact_columns` does to a tile of them.

Lanes have accumulators for their first two classes, which are emptied into limbs when a class
changes, or there were as many terms as they take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._algebra.exact import LIMBS
from .exact_classes import (
    ANCHORS_AT,
    HELD,
    HELD_BYTES,
    SUM_BYTES,
    anchor_of,
    carry,
    limbs,
    slot_for,
    writing,
)
from .exact_lane_steps import TERMS, accumulators, passes, places
from .exact_steps import others
from .exact_tile import LOWER_AT, UPPER_AT
from .exp import near_exp
from .memory import inlined, pointer
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
    where_at_least,
    where_less,
)

int64, float64 = np.int64, np.float64

PANEL = 8  # groups of columns that are worked on together
ROWS = 32  # of a tile
SUM_AT, LANES_AT = 39 * 1024, 40 * 1024  # on scratch memory
MOST = 1 << 18  # multiples of a number that limbs take
CALM = 64  # so many tiles in a row were of one class in each lane


def lanes_of(working: Any) -> tuple[Any, ...]:
    """`begin`, `take`, `finish` and `put`, and the size of the state of a group in bytes."""
    n = lanes_in_vector(working)
    infinity = working(np.inf)
    begin, empty, set_special, add_tile = accumulators(working)
    of_class, of_two, count = passes(working)
    first_of, beyond, put_limbs = limbs(working)
    write, close_without = writing(working)
    _, _, exponential = others(working)
    at = places(working)
    lowest = working(np.finfo(working).min)

    @inlined
    def put_maximum(state: int, lane: int, target: int, e: float) -> None:
        """Add the elements at the maximum, of this exponential, to a sum at an address."""
        w = int64(pointer(state + at.w, float64)[lane])
        for start in range(0, w, MOST):
            put_limbs(target, e, min(w - start, MOST))
            carry(target, 1)

    @inlined
    def at_maximum(state: int, lane: int) -> float:
        """The exponential of the maximum."""
        anchor = pointer(state + at.held + lane * HELD_BYTES + ANCHORS_AT, float64)[0]
        return exponential(pointer(state + at.m, working)[lane], working(anchor))

    @inlined
    def settle(state: int, top: Any, highest: Any, below: Any, low: Any) -> None:
        """Have classes for the maxima of a tile in each lane.

        They are those of all, of what is below ``over``, and of what is below the first of two
        classes; ``low`` is the minimum of what is not below ``over``.
        """
        empty(state)
        found = pointer(state + at.spare, working)
        store(top, state + at.spare)
        store(highest, state + at.spare + VECTOR_BYTES)
        store(below, state + at.spare + 2 * VECTOR_BYTES)
        store(low, state + at.spare + 3 * VECTOR_BYTES)
        leads = pointer(state + at.leads, int64)
        ms, lows = pointer(state + at.m, working), pointer(state + at.low, working)
        for lane in range(n):
            held = state + at.held + lane * HELD_BYTES
            anchors = pointer(held + ANCHORS_AT, float64)
            if found[lane] == infinity:
                set_special(state, lane)
            if ms[lane] != ms[lane]:
                continue
            if leads[lane] == 1 and (found[lane] > ms[lane] or found[3 * n + lane] < ms[lane]):
                put_maximum(state, lane, held, at_maximum(state, lane))
                leads[lane] = 0
            for k in range(3):
                x = found[k * n + lane]
                if x > -infinity:
                    anchor = anchor_of(x)
                    if anchor > anchors[0]:
                        ms[lane], lows[lane] = -infinity, infinity
                        pointer(state + at.w, float64)[lane] = 0
                    slot_for(held, anchor, True)
            if anchors[0] > -np.inf:
                set_classes(state, lane, anchors, leads[lane])

    @inlined
    def set_classes(state: int, lane: int, anchors: Any, lead: int) -> None:
        """Have the two classes of a lane from ``lead`` on."""
        first = first_of(anchors[lead])
        over = first_of(anchors[0]) if lead == 1 else infinity
        pointer(state + at.over, working)[lane] = over
        pointer(state + at.anchor, working)[lane] = working(anchors[lead])
        pointer(state + at.first, working)[lane] = first
        pointer(state + at.beyond, working)[lane] = beyond(anchors[lead])
        if anchors[lead + 1] > -np.inf:
            pointer(state + at.second, working)[lane] = working(anchors[lead + 1])
            pointer(state + at.least, working)[lane] = first_of(anchors[lead + 1])
            pointer(state + at.limit, working)[lane] = beyond(anchors[lead + 1])
        else:
            pointer(state + at.least, working)[lane] = first
            pointer(state + at.limit, working)[lane] = lowest

    @inlined
    def add_third(state: int, tile: int, row: int, rows: int, rest: Any) -> None:
        """Add what is of a third class, in lanes that have nothing but the maximum in the first.

        ``rest`` is what is below the second class.  From then on these lanes have their second and
        third class in the accumulators.
        """
        low, m = load(state + at.low, working, n), load(state + at.m, working, n)
        rest = where_less(low, m, -infinity, rest)
        rest = where_less(load(state + at.over, working, n), infinity, -infinity, rest)
        if not any_greater(rest, -infinity):
            return
        empty(state)
        store(rest, state + at.spare)
        found, leasts = pointer(state + at.spare, working), pointer(state + at.least, working)
        for lane in range(n):
            if found[lane] > -infinity:
                held = state + at.held + lane * HELD_BYTES
                for i in range(rows):
                    x = pointer(tile + i * row, working)[lane]
                    if -infinity < x < leasts[lane]:
                        anchor = anchor_of(x)
                        slot = slot_for(held, anchor, True)
                        if slot >= 0:
                            e = exponential(x, working(anchor))
                            put_limbs(held + slot * SUM_BYTES, e, 1)
                words = pointer(held, int64)
                for j in range(LIMBS):
                    words[j] = 0
                pointer(state + at.leads, int64)[lane] = 1
                set_classes(state, lane, pointer(held + ANCHORS_AT, float64), 1)

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
        nothing, nowhere = repeat(-infinity, n), repeat(infinity, n)
        if first:
            top = below = nothing
            for i in range(rows):
                top = greater(load(tile + i * row, working, n), top)
            settle(state, top, nothing, nothing, nowhere)
            if mixed:
                firsts = load(state + at.first, working, n)
                for i in range(rows):
                    x = load(tile + i * row, working, n)
                    below = greater(where_less(x, firsts, x, -infinity), below)
                settle(state, nothing, nothing, below, nowhere)
        over = load(state + at.over, working, n)
        while True:
            below, rest, low_below, low_over = nothing, nothing, nowhere, nowhere
            if mixed == 0 and not any_less(over, infinity):
                top, low = of_class(state, tile, row, rows, upper, ahead, ahead_row)
                highest = top
                if any_less(low, load(state + at.first, working, n)):
                    mixed = CALM
                    continue
            else:
                top, highest, below, rest, low, low_below = of_two(
                    state, tile, row, rows, upper, lower, ahead, ahead_row
                )
            m = load(state + at.m, working, n)
            if any_at_least(top, over):
                for i in range(rows):
                    x = load(tile + i * row, working, n)
                    low_over = lesser(where_at_least(x, over, x, infinity), low_over)
            if (
                any_at_least(highest, load(state + at.beyond, working, n))
                or any_at_least(below, load(state + at.limit, working, n))
                or any_greater(where_less(over, infinity, top, -infinity), m)
                or any_less(low_over, m)
            ):
                settle(state, top, highest, below, low_over)
                over = load(state + at.over, working, n)
                continue
            break
        add_tile(state + at.upper, upper, rows, highest - low)
        before = load(state + at.low, working, n)
        store(where_less(over, infinity, before, lesser(low, before)), state + at.low)
        count(state, tile, row, rows, top)
        if any_greater(below, -infinity):
            add_tile(state + at.lower, lower, rows, below - low_below)
            mixed = CALM
        else:
            mixed = max(mixed - 1, 0)
        terms = pointer(state + at.terms, int64)
        terms[0] += rows
        add_third(state, tile, row, rows, rest)
        if terms[0] > TERMS - ROWS:
            empty(state)
        return mixed

    @inlined
    def finish(state: int) -> None:
        """Have all sums in limbs, and the exponentials of the maxima."""
        empty(state)
        m, anchor = load(state + at.m, working, n), load(state + at.anchor, working, n)
        store(near_exp(m - anchor), state + at.spare)

    @inlined
    def put(state: int, lane: int, record: int, scratch: int) -> None:
        """Write the record of a lane; without sums if the maximum is none, or NaN."""
        m = pointer(state + at.m, working)[lane]
        if not m > -infinity:
            close_without(record, m, 0)
            return
        held, at_top = state + at.held + lane * HELD_BYTES, scratch + SUM_AT
        words = pointer(at_top, int64)
        for j in range(LIMBS):
            words[j] = 0
        w = int64(pointer(state + at.w, float64)[lane])
        e = float64(pointer(state + at.spare, working)[lane])
        if pointer(state + at.leads, int64)[lane] == 1:
            e = at_maximum(state, lane)
            put_maximum(state, lane, held, e)
        put_maximum(state, lane, at_top, e)
        carry(held, HELD)
        write(held, at_top, m, w, record)

    return begin, take, finish, put, at.end
