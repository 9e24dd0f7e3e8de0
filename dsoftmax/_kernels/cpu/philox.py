"""The compiled generator of random bits, Philox4x32-10: the same bits as `..philox`.

Also of Gumbel noise: the same as `..noise`, or only where it may be large, see `..gumbel`.  Loops
of arithmetic without a branch, which LLVM makes vectors of; no product is fused with a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ..noise import ALL, SMALLEST, SQRT_HALF, UNIT, log_of
from ..philox import LOW_BITS
from .memory import exp, inlined, pointer, reinterpret
from .protocol import NOISE_ROUNDINGS as ROUNDINGS
from .protocol import RANDOM_TILE as TILE
from .simd import any_not_below, greater, lanes_in_vector, largest, load

COUNTERS, HIGH = TILE // 4, 2.0**LOW_BITS  # bits are at least so many times their high word

_u32, _u64 = np.uint32, np.uint64
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_W0, _W1 = _u64(0x9E3779B9), _u64(0xBB67AE85)
_LOW, _32, _21, _11 = _u64(0xFFFFFFFF), _u64(32), _u64(LOW_BITS), _u64(32 - LOW_BITS)
_0, _1, _2 = _u64(0), _u64(1), _u64(2)
_LOW_WORDS = _u64(1 << 31)  # the fourth word of their counters
_SQRT_HALF, _ONE = (_u64(np.float64(x).view(_u64)) for x in (SQRT_HALF, 1.0))
_SHIFT, _MANTISSA, _ALL = _u64(52), _u64(2**52 - 1), _u64(ALL)
# An integer in the low bits of 2**52 is that much more than 2**52; exponents are biased by 1023.
_INTEGER, _BIASED = _u64(np.float64(2.0**52).view(_u64)), 2.0**52 + 1023


@njit(inline="always")  # LLVM would inline it too late for loops to become vectors
def _words_of(counter: Any, half: Any, first: int, second: int) -> Any:
    """The four words of a counter, with others above their 32 bits."""
    c0, c1 = counter, counter >> _32
    c2, c3 = _u64(0), half
    k0, k1 = _u64(first), _u64(second)
    for _ in range(10):
        p0, p1 = (c0 & _LOW) * _M0, (c2 & _LOW) * _M1
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1, (p0 >> _32) ^ c3 ^ k1, p0
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(inline="always")
def _word_of(index: Any, half: Any, first: int, second: int) -> Any:
    c0, c1, c2, c3 = _words_of(index >> _2, half, first, second)
    odd, upper = index & _1, index & _2
    return ((c3 if odd else c2) if upper else (c1 if odd else c0)) & _LOW


@njit(inline="always")
def _joined(high: Any, low: Any) -> Any:
    return (high << _21) | (low >> _11)


def random_bits() -> Callable[..., None]:
    """The kernel: 53 bits for each of so many indices, with the two words of a key."""

    def kernel(indices: int, bits: int, size: int, first: int, second: int) -> None:
        given, results = pointer(indices, _u64), pointer(bits, _u64)
        for i in range(size):
            high = _word_of(given[i], _0, first, second)
            results[i] = _joined(high, _word_of(given[i], _LOW_WORDS, first, second))

    return kernel


_log_of = njit(inline="always")(log_of)


@njit(inline="always")
def _log(x: float) -> Any:
    bits = reinterpret(x, _u64) + (_ONE - _SQRT_HALF)
    k = reinterpret((bits >> _SHIFT) | _INTEGER, np.float64) - _BIASED
    f = reinterpret((bits & _MANTISSA) + _SQRT_HALF, np.float64) - 1.0
    return _log_of(f, k)


def gumbel_noise() -> Callable[..., None]:
    """The kernel: noise in float64 for each of so many random bits."""

    def kernel(bits: int, result: int, size: int) -> None:
        given, noise = pointer(bits, _u64), pointer(result, np.float64)
        for i in range(size):
            exponential = -_log(np.float64(_ALL - given[i]) * UNIT)
            noise[i] = -_log(SMALLEST if given[i] == 0 else exponential)

    return kernel


def noisy_candidates(element: Any) -> Callable[..., None]:
    """The kernel that finds what may be among the best, of elements plus Gumbel noise.

    Parameters of the kernel: the address of the elements and how many there are; the address of
    their indices, or 0 and the first of indices that follow one another; the two words of a key;
    the address of the least of the best so far, in float64; addresses for the places of those that
    may exceed it, for their bits, for their number, and of memory for the high words of a tile.

    The low words are computed only of elements whose high words do not tell.  A tile begins at an
    index that TILE divides, so that its counters are whole: each fills a column of the table.
    """
    lanes, item, infinity = lanes_in_vector(element), element().nbytes, element(np.inf)

    @inlined
    def largest_of(x: int, begin: int, end: int) -> tuple[float, bool]:
        """The largest element, and whether one is infinite or NaN, when it tells nothing."""
        if end - begin == TILE:
            tops = load(x + begin * item, element, lanes)
            special = any_not_below(tops, infinity)
            for i in range(begin + lanes, end, lanes):
                some = load(x + i * item, element, lanes)
                special |= any_not_below(some, infinity)
                tops = greater(some, tops)
            return largest(tops), special
        elements = pointer(x, element)
        top, special = elements[begin], False
        for i in range(begin, end):
            special |= not elements[i] < infinity
            top = max(top, elements[i])
        return top, special

    def kernel(
        x: int,
        size: int,
        indices: int,
        start: int,
        first: int,
        second: int,
        threshold: int,
        places: int,
        found: int,
        number: int,
        tile: int,
    ) -> None:
        elements, given = pointer(x, element), pointer(indices, _u64)
        place_of, bits_of = pointer(places, np.int64), pointer(found, _u64)
        words, least, count = pointer(tile, _u32), pointer(threshold, np.float64)[0], 0
        for base in range(0 if indices else -(start % TILE), size, TILE):
            begin, end = max(base, 0), min(base + TILE, size)
            if indices:
                for i in range(TILE):
                    index = given[min(base + i, size - 1)]
                    words[_place(i)] = _u32(_word_of(index, _0, first, second))
            else:
                counter = _u64((start + base) >> 2)
                for i in range(COUNTERS):
                    c0, c1, c2, c3 = _words_of(counter + _u64(i), _0, first, second)
                    words[i], words[i + COUNTERS] = _u32(c0), _u32(c1)
                    words[i + 2 * COUNTERS], words[i + 3 * COUNTERS] = _u32(c2), _u32(c3)
            smallest = words[0]
            for i in range(TILE):
                smallest = min(smallest, words[i])
            top, special = largest_of(x, begin, end)
            most = _limit(np.float64(top), least)
            if not special and smallest * HIGH >= most:  # mostly
                continue
            for i in range(begin, end):
                high = words[_place(i - base)]
                if not special and high * HIGH >= most:
                    continue
                limit = _limit(np.float64(elements[i]), least)
                if high * HIGH >= limit:
                    continue
                index = given[i] if indices else _u64(start + i)
                bits = _joined(_u64(high), _word_of(index, _LOW_WORDS, first, second))
                if not np.float64(bits) >= limit:  # or NaN
                    place_of[count], bits_of[count] = i, bits
                    count += 1
        pointer(number, np.int64)[0] = count

    return kernel


@njit(inline="always")
def _place(i: int) -> int:
    """Where the word of element i of a tile is."""
    return (i & 3) * COUNTERS + (i >> 2)


@inlined
def _limit(x: float, least: float) -> float:
    """As in `..gumbel`."""
    size = abs(x) if x > -math.inf else 0.0  # which is below any that is finite
    margin = ROUNDINGS + 2.0**-50 * (abs(least) + size)
    return exp(x - least + margin) * 2.0**53 + 1
