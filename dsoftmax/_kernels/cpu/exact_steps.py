"""Exact sums of a tile: nothing is rounded but the exponentials, whatever their order.

Terms are added to a first accumulator of each lane, of which what they are rounded by is known
exactly and added to a second one, and so on (Fast2Sum; T. J. Dekker, 1971, :doi:`10.1007/
BF01397083`).  An accumulator begins with a power of 2, so that its unit is the same whatever is
added: that of limb 3 for the first, of limb 2 for the second.  The last one has no such unit, and
adds what is left without rounding.

A term of t = x - anchor is at most 2**47 and a multiple of u 2**(t / log 2 - 1), where u is 2**-23
(float32) or 2**-52.  There are 2**11 terms of a tile at most, and so:

- a first accumulator starts at 1.5 * 2**57: its unit is 2**5, that of limb 3, and the sum over all
  lanes of what is added to it has 53 bits;
- what it is rounded by is up to 2**4, and that of a tile up to 2**15: with the unit of limb 2,
  2**-38, that is 53 bits again.  So two accumulators suffice if all terms are multiples of 2**-38,
  which float32 are for t >= -10;
- three suffice for multiples of 2**-81, the unit of limb 1: all float32, and float64 for t >= -20;
- four suffice for all float64, which are multiples of 2**-99.

Float32 terms need but one accumulator, without a unit, if those of a tile are within exp(12) of one
another: they are multiples of some 2**k then and their sum is less than 2**(k + 53).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import RADIX
from .exp import SCALE, scaled_exp
from .memory import inlined, prefetch
from .simd import (
    VECTOR_BYTES,
    count_equal,
    greater,
    lanes_in_vector,
    largest,
    lesser,
    load,
    repeat,
    smallest,
    total,
    where_at_least,
    where_equal,
    where_less,
    widen,
)

FIRST = 57  # the exponent of the first accumulator

# How many accumulators there may be, the fewest first, with the lowest t that they take, or for one
# by how much t may differ.
LEVELS = {np.float32: (1, 2, 3), np.float64: (3, 4)}
LOWEST_T = {np.float32: {2: -10, 3: -32}, np.float64: {3: -20, 4: -32}}
SPAN = 12


def accumulating(working: Any, accumulators: int) -> tuple[Callable[..., Any], ...]:
    """`start`, `add` and `close`: four accumulators of each lane, of which some are not used."""
    n = lanes_in_vector(working)
    seeds = [1.5 * 2.0 ** (FIRST - RADIX * k + SCALE[working]) for k in range(3)]
    seed1, seed2, seed3 = (seed if accumulators > k + 1 else 0.0 for k, seed in enumerate(seeds))

    @inlined
    def start() -> Any:
        return repeat(seed1, n), repeat(seed2, n), repeat(seed3, n), repeat(0.0, n)

    @inlined
    def add(s: Any, e: Any) -> Any:
        s1, s2, s3, s4 = s
        new = s1 + e
        if accumulators == 1:
            return new, s2, s3, s4
        e = e - (new - s1)
        s1, new = new, s2 + e
        if accumulators == 2:
            return s1, new, s3, s4
        e = e - (new - s2)
        s2, new = new, s3 + e
        if accumulators == 3:
            return s1, s2, new, s4
        e = e - (new - s3)
        return s1, s2, new, s4 + e

    @inlined
    def close(s: Any) -> Any:
        """The sums over all lanes."""
        return total(s[0] - seed1), total(s[1] - seed2), total(s[2] - seed3), total(s[3])

    return start, add, close


def summing(working: Any, accumulators: int) -> Callable[..., Any]:
    """A function for the sums of the scaled exponentials of a tile relative to an anchor.

    It gives those of four accumulators, the maximum, and the minimum of what is above -inf.
    """
    n = lanes_in_vector(working)
    infinity = working(np.inf)
    start, add, close = accumulating(working, accumulators)

    @inlined
    def sums(tile: int, end: int, last: Any, anchor: Any, ahead: int) -> Any:
        top = greater(last, repeat(-infinity, n))
        low = lesser(where_equal(last, -infinity, infinity, last), repeat(infinity, n))
        s = add(start(), widen(scaled_exp(last - anchor)))
        for at in range(tile, end, VECTOR_BYTES):
            prefetch(at + ahead)
            x = load(at, working, n)
            top = greater(x, top)
            low = lesser(where_equal(x, -infinity, infinity, x), low)
            s = add(s, widen(scaled_exp(x - anchor)))
        return close(s), largest(top), smallest(low)

    return sums


def summing_class(working: Any, accumulators: int) -> Callable[..., Any]:
    """The same of the elements with first <= x < beyond alone; the maximum is of those below."""
    n = lanes_in_vector(working)
    infinity, zero = working(np.inf), working(0)
    start, add, close = accumulating(working, accumulators)

    @inlined
    def sums(tile: int, end: int, last: Any, anchor: Any, first: Any, beyond: Any) -> Any:
        below, low = repeat(-infinity, n), repeat(infinity, n)
        s = start()
        for at in range(tile, end + VECTOR_BYTES, VECTOR_BYTES):
            x = last
            if at < end:
                x = load(at, working, n)
            below = greater(where_less(x, first, x, -infinity), below)
            y = where_less(x, first, infinity, where_at_least(x, beyond, infinity, x))
            low = lesser(y, low)
            e = where_equal(y, infinity, zero, scaled_exp(x - anchor))
            s = add(s, widen(e))
        return close(s), largest(below), smallest(low)

    return sums


def summing_both(working: Any, accumulators: int) -> Callable[..., Any]:
    """The same of all elements from ``first`` on, and of those below, of the next class.

    What is less than ``least`` is left out.
    """
    n = lanes_in_vector(working)
    infinity, zero = working(np.inf), working(0)
    start, add, close = accumulating(working, accumulators)

    @inlined
    def sums(
        tile: int, end: int, last: Any, anchor: Any, first: Any, below: Any, least: Any, ahead: int
    ) -> Any:
        top, low = repeat(-infinity, n), repeat(infinity, n)
        s, rest = start(), start()
        for at in range(tile, end + VECTOR_BYTES, VECTOR_BYTES):
            prefetch(at + ahead)
            x = last
            if at < end:
                x = load(at, working, n)
            top = greater(x, top)
            low = lesser(where_equal(x, -infinity, infinity, x), low)
            e = scaled_exp(x - where_less(x, first, below, repeat(anchor, n)))
            s = add(s, widen(where_less(x, first, zero, e)))
            e = where_at_least(x, first, zero, where_less(x, least, zero, e))
            rest = add(rest, widen(e))
        return close(s), close(rest), largest(top), smallest(low)

    return sums


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
        return np.float64(largest(scaled_exp(repeat(x, n) - anchor)))

    return scan, count_of, exponential
