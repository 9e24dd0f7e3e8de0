"""The compiled kernel for exact states of slices along one axis: see `_algebra.exact`.

A tile is taken as if all of it were of the class of the highest element so far.  Its minimum and
maximum tell afterwards whether it was, and whether its sum was exact; else it is taken again, with
more accumulators, or class by class.  What a tile needed, the next one is likely to need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import CLASSES, LIMBS, PLACES, SLICE_BYTES, SPACING
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
from .exact_steps import (
    LEVELS,
    LOWEST_T,
    SPAN,
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
    first_of, deposit, put = limbs(working)
    spare_at = 2 * TILE_BYTES
    top_at, anchors_at, rest_at = (PLACES[name] for name in ("top", "anchor", "rest"))

    @inlined
    def suffices(level: int, top: Any, low: Any, anchor: Any) -> bool:
        """Whether so many accumulators are enough for a tile."""
        if level == 1:
            return top - low <= SPAN
        return level == most or low - anchor >= lowest

    @inlined
    def move(source: int, target: int) -> None:
        words, copies = pointer(source, int64), pointer(target, int64)
        for j in range(LIMBS):
            copies[j] = words[j]

    def kernel(work: int) -> None:
        given = pointer(work, int64)
        x, where = given[field.x], given[field.where]
        count, length, scratch = given[field.count], given[field.length], given[field.scratch]
        x_row, x_step = given[field.x_row], given[field.x_step]
        where_row, where_step = given[field.where_row], given[field.where_step]
        load = given[field.load]
        spare, held = scratch + spare_at, scratch + MAXIMA_AT
        anchors = pointer(held + ANCHORS_AT, float64)
        at_top = held + HELD_BYTES
        level = fewest
        for row in range(count):
            flags = where + row * where_row
            clear(held)
            sum_at_top = pointer(at_top, int64)
            for j in range(LIMBS):
                sum_at_top[j] = 0
            m, first0 = -infinity, infinity
            w, pending, since, calm = 0, 0, 0, 0
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
                    slot_for(held, anchor_of(top), True)
                    first0, alone, mixed = first_of(anchors[0]), True, False
                anchor = working(anchors[0])
                while not mixed:
                    if level == fewest:
                        sums, top, low = sum_fewest(tile, end, last, anchor, ahead)
                    elif level == between:
                        sums, top, low = sum_between(tile, end, last, anchor, ahead)
                    else:
                        sums, top, low = sum_most(tile, end, last, anchor, ahead)
                    special = top == infinity
                    if special:
                        break
                    # Of what is above the class, exponentials are nonsense, and may be NaN.
                    mixed = low < first0 or (top > m and anchor_of(top) > anchors[0])
                    special = not mixed and sums[0] != sums[0]
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
                            put(held, sums[0], 1)
                        else:
                            deposit(held, sums)
                        if calm == CALM:
                            level, calm = wanted, 0
                        break
                    level, calm = wanted, 0
                done = not mixed
                if mixed and not alone and abs(anchors[0]) < ADJACENT:
                    following = anchors[0] - SPACING
                    least = first_of(following)
                    sums, rest, top, low = sum_both(
                        tile, end, last, anchor, first0, working(following), least, ahead
                    )
                    some = rest[0] != 0 or rest[1] != 0 or rest[2] != 0 or rest[3] != 0
                    # Nothing may be left out that is of the second class.
                    done = anchors[1] == following or some or low >= least
                    done &= top <= m or (top < infinity and anchor_of(top) == anchors[0])
                    done &= sums[0] == sums[0]
                    if done:
                        if some:
                            deposit(held + SUM_BYTES * slot_for(held, following, False), rest)
                        deposit(held, sums)
                        mixed, low = low < first0, top
                if not (done or special):
                    top, number = scan(tile, end, last)
                    special = number != number or top == infinity
                    if special:
                        break
                    highest, beyond, mixed = top, infinity, False
                    top, low = -infinity, infinity
                    while highest > -infinity:
                        place = anchor_of(highest)
                        mixed |= place < anchors[0]
                        if place > anchors[0]:
                            m, first0, alone = -infinity, first_of(place), True
                        slot = slot_for(held, place, alone)
                        if slot < 0:
                            break
                        first = first_of(place)
                        sums, below, least = sum_class(
                            tile, end, last, working(place), first, beyond
                        )
                        deposit(held + SUM_BYTES * slot, sums)
                        if slot == 0:
                            top, low = highest, least
                            if -infinity < m < top or low < top:
                                alone = False
                        highest, beyond = below, first
                if special:
                    break
                if top > m:
                    if m > -infinity:
                        alone = False
                    m = top
                    w, pending = 0, 0
                    for j in range(LIMBS):
                        sum_at_top[j] = 0
                if low < m:
                    alone = False
                if top == m:
                    number_at_top = count_of(tile, end, last, m)
                    w += number_at_top
                    pending += number_at_top
                since += 1
                if since == TILES:
                    since = 0
                    put(at_top, exponential(m, working(anchors[0])), pending)
                    carry(at_top, 1)
                    carry(held, HELD)
                    pending = 0

            out = given[field.m] + row * SLICE_BYTES
            record, kept_anchors = pointer(out, int64), pointer(out + anchors_at, float64)
            for j in range(SLICE_BYTES // 8):
                record[j] = 0
            for k in range(CLASSES):
                kept_anchors[k] = -np.inf
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
                put(at_top, exponential(m, working(anchors[0])), pending)
                carry(at_top, 1)
                move(at_top, out + top_at)
                rest_of_class = pointer(held, int64)
                for j in range(LIMBS):
                    rest_of_class[j] -= sum_at_top[j]
                carry(held, HELD)
                only_top = True
                for j in range(LIMBS):
                    only_top &= rest_of_class[j] == 0
                for k in range(CLASSES):
                    kept_anchors[k] = anchors[k + only_top]
                    move(held + SUM_BYTES * (k + only_top), out + rest_at + SUM_BYTES * k)
            pointer(out, working)[0] = m
            record[1] = w

    return kernel
