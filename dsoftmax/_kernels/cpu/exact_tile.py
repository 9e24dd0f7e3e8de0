"""The exact sums of a slice in compiled kernels, tile by tile.

A tile is taken as if all of it were of the class of the highest element so far, or of that and the
class below.  Its maxima and minima tell whether it was; else it is taken class by class.  What a
tile needed, the next one is likely to need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.exact import LIMBS, SPACING
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
    writing,
)
from .exact_steps import SPANS, exponentials, others, summing, unit_above
from .memory import inlined, pointer
from .protocol import TILE_BYTES
from .simd import VECTOR_BYTES

int64, float64 = np.int64, np.float64

# Limbs are normalised after so many tiles: each adds less than 2**55 to a limb, and the elements at
# the maximum, up to 2**11 of a tile, are multiplied by 2**43.
TILES = 128
ADJACENT = 2.0**28  # of smaller anchors the next one below is a float32
CALM = 16  # so many tiles in a row were of one class

# Scratch memory for exponentials of two classes, and what is left of a tile.
UPPER_AT, LOWER_AT, LEFT_AT = (3 * TILE_BYTES + k * (TILE_BYTES + 256) for k in range(3))


class Fields(NamedTuple):
    """Where the numbers of a slice are after its classes, as integers but for m."""

    m: int = 0
    w: int = 1
    pending: int = 2  # elements at the maximum that are not in the sum of these
    tiles: int = 3  # since limbs were normalised
    alone: int = 4  # whether there is nothing but the maximum in the first class
    mixed: int = 5  # for so many tiles more two classes are expected
    lead: int = 6  # which class the last tile began with
    end: int = 7


FIELDS = Fields()
AT_TOP = HELD_BYTES  # the sum of elements at the maximum
NUMBERS_AT = AT_TOP + SUM_BYTES
SUMS_BYTES = NUMBERS_AT + 8 * FIELDS.end


def taking(working: Any) -> tuple[Callable[..., Any], ...]:
    """`begin`, `take` and `close`: the sums of a slice at an address."""
    infinity = working(np.inf)
    fewest, *_ = SPANS[working]
    sums_fewest, sums_middle, sums_most = (summing(working, level) for level in SPANS[working])
    span_fewest, span_middle, _ = SPANS[working].values()
    of_class, of_two, left_below = exponentials(working)
    scan, count_of, exponential = others(working)
    first_of, _, put = limbs(working)
    write, _ = writing(working)
    field = FIELDS

    @inlined
    def begin(held: int) -> None:
        """Hold nothing."""
        clear(held)
        pointer(held + NUMBERS_AT, float64)[field.m] = -np.inf
        words = pointer(held + NUMBERS_AT, int64)
        words[field.tiles] = words[field.mixed] = words[field.lead] = 0
        words[field.alone] = 1
        restart(held)

    @inlined
    def restart(held: int) -> None:
        """Have no element at the maximum."""
        words, limbs = pointer(held + NUMBERS_AT, int64), pointer(held + AT_TOP, int64)
        words[field.w] = words[field.pending] = 0
        for j in range(LIMBS):
            limbs[j] = 0

    @inlined
    def add(at: int, begin: int, size: int, anchor: float, top: Any, low: Any) -> float:
        """Add exponentials of a class to its sum at an address; NaN if there is any."""
        span = float64(top) - float64(low)
        unit = unit_above(min(max(float64(top) - anchor, -SPACING / 2), SPACING / 2))
        if span <= span_fewest:
            sums = sums_fewest(begin, begin + size, unit)
        elif span <= span_middle:
            sums = sums_middle(begin, begin + size, unit)
        else:
            sums = sums_most(begin, begin + size, unit)
        put(at, sums[0], 1)
        if span > span_fewest or fewest > 1:
            put(at, sums[1], 1)
        if span > span_fewest:
            put(at, sums[2], 1)
            put(at, sums[3], 1)
        return sums[0]

    @inlined
    def settle(held: int) -> None:
        """Normalise limbs."""
        words = pointer(held + NUMBERS_AT, int64)
        m = working(pointer(held + NUMBERS_AT, float64)[field.m])
        if words[field.pending] > 0:
            anchor = working(pointer(held + ANCHORS_AT, float64)[0])
            put(held + AT_TOP, exponential(m, anchor), words[field.pending])
        carry(held + AT_TOP, 1)
        carry(held, HELD)
        words[field.pending] = words[field.tiles] = 0

    @inlined
    def by_class(held: int, tile: int, end: int, last: Any, top: Any, scratch: int) -> None:
        """Add a tile with this maximum, from its highest class down as long as they count."""
        words, numbers = pointer(held + NUMBERS_AT, int64), pointer(held + NUMBERS_AT, float64)
        anchors = pointer(held + ANCHORS_AT, float64)
        upper, lower = scratch + UPPER_AT, scratch + LOWER_AT
        highest = top
        while highest > -infinity:
            anchor = anchor_of(highest)
            if anchor > anchors[0]:
                numbers[field.m] = -np.inf
                words[field.alone] = 1
            slot = slot_for(held, anchor, words[field.alone] != 0)
            if slot < 0:
                break
            first, place = first_of(anchor), working(anchor)
            found = of_two(tile, end, last, place, first, place, first, upper, lower, 0)
            size = end - tile + VECTOR_BYTES
            add(held + SUM_BYTES * slot, upper, size, anchor, highest, found[3])
            if slot == 0:
                raise_to(held, highest, found[3])
            if highest == top:
                words[field.lead] = min(slot, 1)
            highest = found[1]
            # What remains of the tile.
            left = scratch + LEFT_AT
            last = left_below(tile, end, last, first, left)
            tile, end = left, left + end - tile

    @inlined
    def only_maximum(m: Any, top: Any, low: Any) -> bool:
        """Whether elements up to top, from low on, leave nothing but the maximum in its class."""
        return low >= max(m, top) and (top <= m or m == -infinity)

    @inlined
    def raise_to(held: int, top: Any, low: Any) -> None:
        """Take the maximum and the minimum of elements of the first class into account."""
        words, numbers = pointer(held + NUMBERS_AT, int64), pointer(held + NUMBERS_AT, float64)
        m = working(numbers[field.m])
        if not only_maximum(m, top, low):
            words[field.alone] = 0
        if top > m:
            numbers[field.m] = top
            restart(held)

    @inlined
    def take_two(held: int, tile: int, end: int, last: Any, scratch: int, ahead: int) -> Any:
        """Add a tile if it is of the classes that are expected: whether it was, and the maximum."""
        words, numbers = pointer(held + NUMBERS_AT, int64), pointer(held + NUMBERS_AT, float64)
        anchors = pointer(held + ANCHORS_AT, float64)
        upper, lower = scratch + UPPER_AT, scratch + LOWER_AT
        lead, alone = words[field.lead], words[field.alone] != 0
        anchor, following = anchors[lead], anchors[lead + 1]
        known, counts = following > -np.inf, lead == 0 or alone
        if not known:
            following = anchor - SPACING
            counts &= abs(anchor) < ADJACENT
        first = first_of(anchor)
        least = first_of(following) if counts else first
        top, below, rest, low, low_below = of_two(
            tile,
            end,
            last,
            working(anchor),
            first,
            working(following),
            least,
            upper,
            lower,
            ahead,
        )
        if top > -infinity and (top == infinity or anchor_of(top) > anchor):
            return False, top
        if lead == 0:
            m = working(numbers[field.m])
            alone &= only_maximum(m, top, low)
        # What is below must not count, unless it is of the second class.
        if counts:
            if below > -infinity and anchor_of(below) > following:
                return False, top
            if rest > -infinity and ((lead == 0 and alone) or not (known or low_below < infinity)):
                return False, top
        elif below > -infinity and (lead == 0 or alone):
            return False, top
        s = add(held + SUM_BYTES * lead, upper, end + VECTOR_BYTES - tile, anchor, top, low)
        if s != s:
            return False, top
        if low_below < infinity:
            at = held + SUM_BYTES * slot_for(held, following, alone)
            add(at, lower, end + VECTOR_BYTES - tile, following, below, low_below)
        if lead == 0:
            raise_to(held, top, low)
        words[field.mixed] = CALM if below > -infinity else max(words[field.mixed] - 1, 0)
        return True, top

    @inlined
    def take(held: int, tile: int, end: int, last: Any, scratch: int, ahead: int) -> bool:
        """Add a tile, whose ``last`` vector is padded with -inf; False if NaN or +inf is in it.

        ``ahead`` is how far away from it the next one is.
        """
        words, numbers = pointer(held + NUMBERS_AT, int64), pointer(held + NUMBERS_AT, float64)
        anchors = pointer(held + ANCHORS_AT, float64)
        top, done = -infinity, False
        if anchors[0] == -np.inf:
            top, number = scan(tile, end, last)
            if number != number or top == infinity:
                return False
            if top == -infinity:
                return True
            slot_for(held, anchor_of(top), True)
        if words[field.mixed] == 0:
            lead = words[field.lead]
            anchor, upper = anchors[lead], scratch + UPPER_AT
            top, low = of_class(tile, end, last, working(anchor), upper, ahead)
            if top == infinity:
                return False
            done = low >= first_of(anchor) and (top == -infinity or anchor_of(top) <= anchor)
            if done:
                at = held + SUM_BYTES * lead
                s = add(at, upper, end + VECTOR_BYTES - tile, anchor, top, low)
                if s != s:
                    return False
                if lead == 0:
                    raise_to(held, top, low)
        if not done:
            done, top = take_two(held, tile, end, last, scratch, ahead)
        if not done:
            top, number = scan(tile, end, last)
            if number != number or top == infinity:
                return False
            words[field.mixed] = CALM
            by_class(held, tile, end, last, top, scratch)
        m = working(numbers[field.m])
        if top == m:
            number_at_top = count_of(tile, end, last, m)
            words[field.w] += number_at_top
            words[field.pending] += number_at_top
        words[field.tiles] += 1
        if words[field.tiles] == TILES:
            settle(held)
        return True

    @inlined
    def close(held: int, out: int) -> None:
        """Write the record of a slice that has an element above -inf."""
        settle(held)
        m = working(pointer(held + NUMBERS_AT, float64)[field.m])
        write(held, held + AT_TOP, m, pointer(held + NUMBERS_AT, int64)[field.w], out)

    return begin, take, close
