"""The compiled kernel for exact states of slices along one axis: see `_algebra.exact`.

A tile is taken as if all of it were of the class of the highest element so far.  Its minimum and
maximum tell afterwards whether it was, and whether its sum was exact; else it is taken again, with
more accumulators, or class by class.  What a tile needed, the next one is likely to need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import CLASSES, LIMBS, SLICE_BYTES, SPACING
from .exact_steps import (
    LEVELS,
    LOWEST_T,
    SPAN,
    limbs,
    others,
    summing,
    summing_both,
    summing_class,
)
from .masks import count as count_in
from .memory import inlined, pointer
from .protocol import MAXIMA_AT, TILE_BYTES, WORK
from .row_steps import tiles

int64, float64 = np.int64, np.float64

# Sums of classes are kept on scratch memory: those of the highest three, and of what is at the
# maximum.  The third counts only while there is nothing but the maximum in the first.
HELD = CLASSES + 1
# Limbs are normalised after so many tiles: each adds less than 2**54 to a limb, and the elements at
# the maximum, up to 2**11 of a tile, are multiplied by 2**43.
TILES = 256
ADJACENT = 2.0**28  # of smaller anchors the next one below is a float32
CALM = 16  # so many tiles in a row could have done with fewer accumulators


def exact_rows(working: Any, masked: bool) -> Callable[..., None]:
    """The kernel for tiles of ``working``, float32 or float64, with a mask or without.

    It takes the address of a `protocol.Work` without planes, weights, output and mode, and writes
    records of `_algebra.exact` to m.
    """
    field, item = WORK, np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    infinity, nan = working(np.inf), working(np.nan)
    fetch, vectors_of = tiles(working, masked)
    fewest, *_, most = LEVELS[working]
    between = LEVELS[working][-2]
    lowest = working(LOWEST_T[working][between])
    sum_fewest, sum_between, sum_most = (
        summing(working, level) for level in (fewest, between, most)
    )
    sum_class, sum_both = summing_class(working, most), summing_both(working, most)
    scan, count_of, exponential = others(working)
    deposit, put, carry = limbs(working)
    spare_at = 2 * TILE_BYTES

    @inlined
    def anchor_of(x: Any) -> float:
        """The multiple of 64 that is nearest to a finite number."""
        wide = float64(x)
        if abs(wide) >= 2.0**62:
            return wide
        scaled = wide / SPACING
        below = float64(int64(scaled))
        if below > scaled:
            below -= 1.0
        if wide - SPACING * below >= SPACING / 2:
            below += 1.0
        return SPACING * below

    @inlined
    def first_of(anchor: float) -> Any:
        """The smallest number of the class."""
        first = working(anchor - SPACING / 2)
        if anchor - float64(first) > SPACING / 2:  # it is not representable
            first = working(anchor)
        return first

    @inlined
    def suffices(level: int, top: Any, low: Any, anchor: Any) -> bool:
        """Whether so many accumulators are enough for a tile."""
        if level == 1:
            return top - low <= SPAN
        return level == most or low - anchor >= lowest

    @inlined
    def clear(at: Any) -> None:
        for j in range(LIMBS):
            at[j] = 0

    @inlined
    def move(source: Any, target: Any) -> None:
        for j in range(LIMBS):
            target[j] = source[j]

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, where = given[field.x], given[field.where]
        count, length, scratch = given[field.count], given[field.length], given[field.scratch]
        x_row, x_step = given[field.x_row], given[field.x_step]
        where_row, where_step = given[field.where_row], given[field.where_step]
        load = given[field.load]
        spare, held = scratch + spare_at, scratch + MAXIMA_AT
        slot0, slot1 = pointer(held, int64), pointer(held + 8 * LIMBS, int64)
        slot2 = pointer(held + 16 * LIMBS, int64)
        at_top = pointer(held + 24 * LIMBS, int64)
        level = fewest
        for row in range(count):
            flags = where + row * where_row
            for j in range((HELD + 1) * LIMBS):
                slot0[j] = 0
            m = -infinity
            w, pending, since, calm = 0, 0, 0, 0
            anchor0 = anchor1 = anchor2 = -np.inf
            first0 = infinity
            alone, mixed, special = True, False, False
            for start in range(0, length, tile_size):
                size = min(tile_size, length - start)
                source = x + row * x_row + start * x_step
                kept = flags + start * where_step
                tile = fetch(
                    load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                )
                tile, end, last = vectors_of(
                    tile, size, tile == scratch or size <= 64 // item, -infinity, scratch
                )
                ahead = source + TILE_BYTES - tile
                top, low = -infinity, infinity
                if m == -infinity:
                    top, number = scan(tile, end, last)
                    special = number != number or top == infinity
                    if special:
                        break
                    if top == -infinity:
                        continue
                    anchor0 = anchor_of(top)
                    first0, alone, mixed = first_of(anchor0), True, False
                anchor, first = working(anchor0), first0
                while not mixed:
                    if level == fewest:
                        sums, top, low = sum_fewest(tile, end, last, anchor, ahead)
                    elif level == between:
                        sums, top, low = sum_between(tile, end, last, anchor, ahead)
                    else:
                        sums, top, low = sum_most(tile, end, last, anchor, ahead)
                    special = sums[0] != sums[0] or top == infinity
                    mixed = low < first or (top > m and anchor_of(top) > anchor0)
                    if special or mixed:
                        break
                    wanted = most
                    if suffices(fewest, top, low, anchor):
                        wanted = fewest
                    elif suffices(between, top, low, anchor):
                        wanted = between
                    calm = calm + 1 if wanted < level else 0
                    if suffices(level, top, low, anchor):
                        if level == 1:
                            put(slot0, sums[0], 1)
                        else:
                            deposit(slot0, sums)
                        if calm == CALM:
                            level, calm = wanted, 0
                        break
                    level, calm = wanted, 0
                done = not mixed
                if mixed and not alone and abs(anchor0) < ADJACENT:
                    next_anchor = anchor0 - SPACING
                    least = first_of(next_anchor)
                    sums, rest, top, low = sum_both(
                        tile, end, last, anchor, first, working(next_anchor), least, ahead
                    )
                    nothing = rest[0] == 0 and rest[1] == 0 and rest[2] == 0 and rest[3] == 0
                    done = anchor1 == next_anchor or not nothing or low >= least
                    if top == infinity or (top > m and anchor_of(top) > anchor0):
                        done = False
                    if sums[0] != sums[0]:
                        done = False
                    if done:
                        if not nothing:
                            if anchor1 < next_anchor:
                                move(slot1, slot2)
                                clear(slot1)
                                anchor2, anchor1 = anchor1, next_anchor
                            deposit(slot1, rest)
                        deposit(slot0, sums)
                        mixed = low < first
                        low = top
                if not (done or special):
                    top, number = scan(tile, end, last)
                    special = number != number or top == infinity
                    if special:
                        break
                    highest, beyond, mixed = top, infinity, False
                    top, low = -infinity, infinity
                    while highest > -infinity:
                        place = anchor_of(highest)
                        mixed |= place < anchor0
                        if place < anchor1 and (not alone or place < anchor2):
                            break
                        first = first_of(place)
                        sums, below, lowest_of_class = sum_class(
                            tile, end, last, working(place), first, beyond
                        )
                        if place >= anchor0:
                            if place > anchor0:
                                move(slot1, slot2)
                                move(slot0, slot1)
                                clear(slot0)
                                anchor2, anchor1, anchor0 = anchor1, anchor0, place
                                first0, alone = first, True
                                m = -infinity
                            deposit(slot0, sums)
                            top, low = highest, lowest_of_class
                            if -infinity < m < top or low < top:
                                alone = False
                        elif place >= anchor1:
                            if place > anchor1:
                                move(slot1, slot2)
                                clear(slot1)
                                anchor2, anchor1 = anchor1, place
                            deposit(slot1, sums)
                        else:
                            if place > anchor2:
                                clear(slot2)
                                anchor2 = place
                            deposit(slot2, sums)
                        highest, beyond = below, first
                if special:
                    break
                if top > m:
                    if m > -infinity:
                        alone = False
                    m = top
                    w, pending = 0, 0
                    clear(at_top)
                if low < m:
                    alone = False
                if top == m:
                    number_at_top = count_of(tile, end, last, m)
                    w += number_at_top
                    pending += number_at_top
                since += 1
                if since == TILES:
                    since = 0
                    carry(slot0)
                    carry(slot1)
                    carry(slot2)
                    put(at_top, exponential(m, working(anchor0)), pending)
                    carry(at_top)
                    pending = 0

            out = given[field.m] + row * SLICE_BYTES
            record = pointer(out, int64)
            for j in range(SLICE_BYTES // 8):
                record[j] = 0
            anchors = pointer(out + 16 + 8 * LIMBS, float64)
            rest1 = pointer(out + 16 + 8 * (LIMBS + CLASSES), int64)
            rest2 = pointer(out + 16 + 8 * (2 * LIMBS + CLASSES), int64)
            anchors[0] = anchors[1] = -np.inf
            if special:
                m, w = infinity, 0
                for start in range(0, length, tile_size):
                    size = min(tile_size, length - start)
                    source = x + row * x_row + start * x_step
                    kept = flags + start * where_step
                    tile = fetch(
                        load, source, x_step, size, kept, where_step, -infinity, scratch, spare
                    )
                    elements = pointer(tile, working)
                    for i in range(size):
                        w += elements[i] == infinity
                        if elements[i] != elements[i]:
                            m = nan
                if m != m:
                    w = 0
            elif m == -infinity:  # and nothing that padded the last tile
                w = count_in(flags, where_step, length) if masked else length
            else:
                put(at_top, exponential(m, working(anchor0)), pending)
                carry(at_top)
                move(at_top, pointer(out + 16, int64))
                for j in range(LIMBS):
                    slot0[j] -= at_top[j]
                carry(slot0)
                carry(slot1)
                carry(slot2)
                some = int64(0)
                for j in range(LIMBS):
                    some |= slot0[j]
                if some != 0:
                    anchors[0], anchors[1] = anchor0, anchor1
                    move(slot0, rest1)
                    move(slot1, rest2)
                else:
                    anchors[0], anchors[1] = anchor1, anchor2
                    move(slot1, rest1)
                    move(slot2, rest2)
            pointer(out, working)[0] = m
            record[1] = w

    return kernel
