"""Classes of exact sums in compiled kernels: which one a number is of, and their sums in memory.

The sums of the highest classes so far are held as limbs, from the highest down, with the anchors of
the classes after them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import CLASSES, LIMBS, LOWEST, PLACES, RADIX, SLICE_BYTES, SPACING
from .exp import SCALE
from .memory import inlined, pointer, reinterpret

int64, float64 = np.int64, np.float64

# One more than a state has: it counts while there is nothing but the maximum in the first.
HELD = CLASSES + 1
SUM_BYTES = 8 * LIMBS
ANCHORS_AT = HELD * SUM_BYTES
HELD_BYTES = ANCHORS_AT + 8 * HELD


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
def clear(held: int) -> None:
    """Hold nothing."""
    words, anchors = pointer(held, int64), pointer(held + ANCHORS_AT, float64)
    for j in range(HELD * LIMBS):
        words[j] = 0
    for k in range(HELD):
        anchors[k] = -np.inf


@inlined
def slot_for(held: int, anchor: float, alone: bool) -> int:
    """Where the sum of a class is held, which may be new, or -1 if it does not count.

    ``alone`` is whether there is nothing but the maximum in the first class.
    """
    anchors = pointer(held + ANCHORS_AT, float64)
    for k in range(HELD if alone else HELD - 1):
        if anchor == anchors[k]:
            return k
        if anchor > anchors[k]:
            words = pointer(held, int64)
            for j in range(HELD * LIMBS - 1, (k + 1) * LIMBS - 1, -1):
                words[j] = words[j - LIMBS]
            for j in range(HELD - 1, k, -1):
                anchors[j] = anchors[j - 1]
            for j in range(k * LIMBS, (k + 1) * LIMBS):
                words[j] = 0
            anchors[k] = anchor
            return k
    return -1


@inlined
def carry(at: int, count: int) -> None:
    """Normalise so many sums from an address on."""
    for k in range(count):
        words = pointer(at + k * SUM_BYTES, int64)
        for j in range(LIMBS - 1):
            over = words[j] >> RADIX
            words[j] -= over << RADIX
            words[j + 1] += over


def limbs(working: Any) -> tuple[Callable[..., Any], ...]:
    """`first_of` and `beyond` a class, and `put`, which adds to the sum at an address."""
    word = {np.float32: np.uint32, np.float64: np.uint64}[working]
    scale = 2.0 ** SCALE[working]
    u0, u1, u2, u3 = (2.0 ** (RADIX * j - LOWEST) * scale for j in range(4))
    r0, r1, r2, r3 = 1 / u0, 1 / u1, 1 / u2, 1 / u3

    @inlined
    def first_of(anchor: float) -> Any:
        """The smallest number of the class."""
        first = working(anchor - SPACING / 2)
        if anchor - float64(first) > SPACING / 2:  # it is not representable
            first = working(anchor)
        return first

    @inlined
    def beyond(anchor: float) -> Any:
        """The smallest number above the class."""
        limit = working(anchor + SPACING / 2)
        if float64(limit) - anchor < SPACING / 2:  # rounded down
            step = 1 if anchor > 0 else -1
            limit = reinterpret(word(reinterpret(limit, word) + step), working)
        return limit

    @inlined
    def put(at: int, value: float, times: int) -> None:
        """Add a multiple of a number, which is exact in four limbs."""
        words = pointer(at, int64)
        q = int64(value * r3)
        words[3] += q * times
        value -= q * u3
        q = int64(value * r2)
        words[2] += q * times
        value -= q * u2
        q = int64(value * r1)
        words[1] += q * times
        value -= q * u1
        words[0] += int64(value * r0) * times

    return first_of, beyond, put


def writing(working: Any) -> tuple[Callable[..., Any], ...]:
    """`write` and `close_without`: the record of a slice at an address."""
    top_at, anchors_at, rest_at = (PLACES[name] for name in ("top", "anchor", "rest"))

    @inlined
    def write(held: int, at_top: int, m: Any, w: int, out: int) -> None:
        """Write the record of classes, of the sum of the w elements at the maximum m, and of these.

        All limbs are to be normal.
        """
        record, kept_anchors = pointer(out, int64), pointer(out + anchors_at, float64)
        anchors = pointer(held + ANCHORS_AT, float64)
        record[0] = 0
        pointer(out, working)[0] = m
        record[1] = w
        move(at_top, out + top_at)
        rest, sum_at_top = pointer(held, int64), pointer(at_top, int64)
        only_top = True
        for j in range(LIMBS):
            rest[j] -= sum_at_top[j]
        carry(held, 1)
        for j in range(LIMBS):
            only_top &= rest[j] == 0
        for k in range(CLASSES):
            kept_anchors[k] = anchors[k + only_top]
            move(held + SUM_BYTES * (k + only_top), out + rest_at + SUM_BYTES * k)

    @inlined
    def close_without(out: int, m: Any, w: int) -> None:
        """Write the record of a slice that has no sums."""
        record, kept_anchors = pointer(out, int64), pointer(out + anchors_at, float64)
        for j in range(SLICE_BYTES // 8):
            record[j] = 0
        for k in range(CLASSES):
            kept_anchors[k] = -np.inf
        pointer(out, working)[0] = m
        record[1] = w

    return write, close_without


@inlined
def move(source: int, target: int) -> None:
    """Copy a sum."""
    words, copies = pointer(source, int64), pointer(target, int64)
    for j in range(LIMBS):
        copies[j] = words[j]
