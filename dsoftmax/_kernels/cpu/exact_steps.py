"""Exact sums of a tile: nothing is rounded but the exponentials, whatever their order.

The exponentials are computed first, and kept, with the maximum and the minimum of their class.
These tell how few accumulators give their exact sum.

Terms are added to a first accumulator of each lane, of which what they are rounded by is known
exactly and added to a second one, and so on (Fast2Sum; T. J. Dekker, 1971, :doi:`10.1007/
BF01397083`).  An accumulator begins with a power of 2, so that its unit is the same whatever is
added.  The last one has no such unit, and adds what is left without rounding.

Let all terms be less than 2**T.  There are 2**11 of a tile at most, and 2**7 of a lane.

- A first accumulator starts at 1.5 * 2**(T + 10): its unit is 2**(T - 42), and the sum over all
  lanes of what is added to it has 53 bits.
- What it is rounded by is less than 2**(T - 43), to which the same applies, and so on: the k-th
  accumulator has terms of less than 2**(T - 43 (k - 1)).
- The k-th may be the last one if all terms are multiples of 2**(T - 43 k + 1), as they are if
  none is less than 2**(T - 43 k + 24) of float32 or 2**(T - 43 k + 53) of float64.

So 2**T may exceed the smallest term by 19, 62 and 105 bits (float32), or 33, 76 and 119 (float64),
of which 3 are lost to powers of 2: see `SPANS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import RADIX, SPACING
from .exp import SCALE, near_exp
from .memory import inlined, power, prefetch
from .simd import (
    VECTOR_BYTES,
    count_equal,
    fused,
    greater,
    lanes_in_vector,
    largest,
    lesser,
    load,
    repeat,
    smallest,
    store,
    total,
    where_equal,
    where_less,
    widen,
)

int64, float64 = np.int64, np.float64

# By how much the elements of a tile may differ for so many accumulators.
SPANS = {
    np.float32: {1: 12.0, 2: 40.0, 3: SPACING},
    np.float64: {2: 20.0, 3: 50.0, 4: SPACING},
}
_LOG2_E = 1.4426950408889634


@inlined
def unit_above(t: float) -> float:
    """2**T, for terms up to exp(t)."""
    return power(int64(t * _LOG2_E + SPACING) - int64(SPACING - 2.0))


def accumulating(working: Any, accumulators: int, lanes: int) -> tuple[Callable[..., Any], ...]:
    """`start`, `add` and `close`: four accumulators of each lane, of which some are not used."""
    seeds = [1.5 * 2.0 ** (10 + SCALE[working] - RADIX * k) for k in range(3)]
    seed1, seed2, seed3 = (seed if accumulators > k + 1 else 0.0 for k, seed in enumerate(seeds))
    # Some processors have units for fused products beside those for sums, so some differences are
    # such products with -1. That saves 11 % of the time of wide float32 data on an EPYC, and none
    # of float64, whose exponentials have enough of them.
    spread = working is np.float32

    @inlined
    def start(unit: float) -> Any:
        """For terms below a power of 2."""
        s1, s2, s3 = seed1 * unit, seed2 * unit, seed3 * unit
        return repeat(s1, lanes), repeat(s2, lanes), repeat(s3, lanes), repeat(0.0, lanes)

    @inlined
    def add(s: Any, e: Any, one: Any) -> Any:
        """Add terms; ``one`` is a number over itself, of which LLVM does not know that it is 1."""
        s1, s2, s3, s4 = s
        minus = repeat(-one, lanes)
        new = s1 + e
        if accumulators == 1:
            return new, s2, s3, s4
        e = fused(fused(s1, minus, new), minus, e) if spread else e - (new - s1)
        s1, new = new, s2 + e
        if accumulators == 2:
            return s1, new, s3, s4
        e = e - (fused(s2, minus, new) if spread else new - s2)
        s2, new = new, s3 + e
        if accumulators == 3:
            return s1, s2, new, s4
        e = e - (new - s3)
        return s1, s2, new, s4 + e

    @inlined
    def close(s: Any, unit: float) -> Any:
        """What was added, in each lane."""
        s1, s2, s3, s4 = s
        return s1 - seed1 * unit, s2 - seed2 * unit, s3 - seed3 * unit, s4

    return start, add, close


def summing(working: Any, accumulators: int) -> Callable[..., Any]:
    """A function for the sums of the scaled exponentials between two addresses."""
    few = accumulators == min(SPANS[working])
    # An addition takes as long as four others that do not wait for it.
    lanes = lanes_in_vector(working) * (2 if few or working is np.float64 else 1)
    step = lanes * np.dtype(working).itemsize
    start, add, close = accumulating(working, accumulators, lanes)

    @inlined
    def sums(begin: int, end: int, unit: float) -> Any:
        s, one = start(unit), unit / unit
        for at in range(begin, end, step):
            s = add(s, widen(load(at, working, lanes)), one)
        s1, s2, s3, s4 = close(s, unit)
        return total(s1), total(s2), total(s3), total(s4)

    return sums


def exponentials(working: Any) -> tuple[Callable[..., Any], ...]:
    """`of_class`, `of_two` and `below`: a tile to scratch memory.

    A tile is given by the addresses of its first vector and of the end of its whole ones, and by
    its last vector, for which there is room beyond that end.  A vector more is written, of zeros.
    """
    n = lanes_in_vector(working)
    infinity, zero = working(np.inf), working(0)

    @inlined
    def of_class(tile: int, end: int, last: Any, anchor: Any, target: int, ahead: int) -> Any:
        """Scaled exponentials as if all were of a class, the maximum, and the minimum above -inf.

        What is so many bytes ahead is prefetched.
        """
        top, low = repeat(-infinity, n), repeat(infinity, n)
        for at in range(tile, end, VECTOR_BYTES):
            prefetch(at + ahead)
            x = load(at, working, n)
            top, low = greater(x, top), where_equal(x, -infinity, low, lesser(x, low))
            store(where_equal(x, -infinity, zero, near_exp(x - anchor)), target)
            target += VECTOR_BYTES
        top, low = greater(last, top), where_equal(last, -infinity, low, lesser(last, low))
        store(where_equal(last, -infinity, zero, near_exp(last - anchor)), target)
        store(repeat(zero, n), target + VECTOR_BYTES)
        return largest(top), smallest(low)

    @inlined
    def of_two(
        tile: int,
        end: int,
        last: Any,
        anchor: Any,
        first: Any,
        following: Any,
        least: Any,
        target: int,
        lower: int,
        ahead: int,
    ) -> Any:
        """The same of all elements from ``first`` on, and of those from ``least`` to there.

        It gives the maximum of all and the minimum of the former, the maximum of what is below
        ``first`` and the minimum of the latter, and the maximum of what is below ``least``.
        """
        top = below = rest = repeat(-infinity, n)
        low = low_below = repeat(infinity, n)
        for at in range(tile, end + VECTOR_BYTES, VECTOR_BYTES):
            prefetch(at + ahead)
            x = last
            if at < end:
                x = load(at, working, n)
            top = greater(x, top)
            below = greater(where_less(x, first, x, -infinity), below)
            rest = greater(where_less(x, least, x, -infinity), rest)
            low = lesser(where_less(x, first, infinity, x), low)
            y = where_less(x, least, infinity, x)
            low_below = lesser(where_less(x, first, y, infinity), low_below)
            e = near_exp(x - where_less(x, first, following, repeat(anchor, n)))
            store(where_less(x, first, zero, e), target)  # NaN is of the first class
            store(where_less(x, first, where_less(x, least, zero, e), zero), lower)
            target, lower = target + VECTOR_BYTES, lower + VECTOR_BYTES
        store(repeat(zero, n), target)
        store(repeat(zero, n), lower)
        tops = largest(top), largest(below), largest(rest)
        return (*tops, smallest(low), smallest(low_below))

    @inlined
    def below(tile: int, end: int, last: Any, first: Any, target: int) -> Any:
        """The elements below a number, and -inf for others; the last vector is not written."""
        for at in range(tile, end, VECTOR_BYTES):
            x = load(at, working, n)
            store(where_less(x, first, x, -infinity), target)
            target += VECTOR_BYTES
        return where_less(last, first, last, -infinity)

    return of_class, of_two, below


def others(working: Any) -> tuple[Callable[..., Any], ...]:
    """`scan`, `count_of` and `exponential`."""
    n = lanes_in_vector(working)
    infinity = working(np.inf)

    @inlined
    def scan(tile: int, end: int, last: Any) -> Any:
        """The maximum of a tile, and NaN if it holds NaN."""
        top = greater(last, repeat(-infinity, n))
        nan = where_equal(last, last, 0.0, widen(last))
        for at in range(tile, end, VECTOR_BYTES):
            x = load(at, working, n)
            top = greater(x, top)
            nan = where_equal(x, x, nan, widen(x))
        return largest(top), total(nan)

    @inlined
    def count_of(tile: int, end: int, last: Any, m: Any) -> int:
        """How many elements of a tile are m."""
        number = count_equal(last, m)
        for at in range(tile, end, VECTOR_BYTES):
            number += count_equal(load(at, working, n), m)
        return number

    @inlined
    def exponential(x: Any, anchor: Any) -> float:
        """The scaled exponential of one number, by the same arithmetic."""
        return np.float64(largest(near_exp(repeat(x, n) - anchor)))

    return scan, count_of, exponential
