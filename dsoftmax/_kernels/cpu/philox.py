"""The compiled generator of random bits, Philox4x32-10: the same bits as `..philox`.

Also of Gumbel noise: the same as `..noise`, or only where it may be large, see `..gumbel`.  Loops
of arithmetic without a branch, which LLVM makes vectors of; no product is fused with a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ..noise import ALL, SMALLEST, SQRT_HALF, UNIT, log_of
from .memory import exp, inlined, pointer, reinterpret
from .protocol import NOISE_ROUNDINGS as ROUNDINGS
from .protocol import RANDOM_TILE as TILE

_u64 = np.uint64
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_W0, _W1 = _u64(0x9E3779B9), _u64(0xBB67AE85)
_LOW, _32, _21, _11 = _u64(0xFFFFFFFF), _u64(32), _u64(21), _u64(11)
_SQRT_HALF, _ONE = (_u64(np.float64(x).view(_u64)) for x in (SQRT_HALF, 1.0))
_SHIFT, _MANTISSA, _ALL = _u64(52), _u64(2**52 - 1), _u64(ALL)
# An integer in the low bits of 2**52 is that much more than 2**52; exponents are biased by 1023.
_INTEGER, _BIASED = _u64(np.float64(2.0**52).view(_u64)), 2.0**52 + 1023


@njit(inline="always")  # LLVM would inline it too late for loops to become vectors
def _bits_of(counter: Any, first: int, second: int) -> Any:
    """The 53 bits of a counter."""
    c0, c1 = counter & _LOW, counter >> _32
    c2 = c3 = _u64(0)
    k0, k1 = _u64(first), _u64(second)
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c2 = (p1 >> _32) ^ c1 ^ k0, (p0 >> _32) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return (c1 << _21) | (c0 >> _11)


def random_bits() -> Callable[..., None]:
    """The kernel: 53 bits for each of so many indices, with the two words of a key."""

    def kernel(indices: int, bits: int, size: int, first: int, second: int) -> None:
        counters, results = pointer(indices, _u64), pointer(bits, _u64)
        for i in range(size):
            results[i] = _bits_of(counters[i], first, second)

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
    may exceed it, for their bits, for their number, and of memory for a tile of bits.
    """

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
        elements, counters = pointer(x, element), pointer(indices, _u64)
        place_of, bits_of = pointer(places, np.int64), pointer(found, _u64)
        here, least, count = pointer(tile, _u64), pointer(threshold, np.float64)[0], 0
        for begin in range(0, size, TILE):
            length, smallest = min(TILE, size - begin), _ALL
            top, nans = elements[begin], 0
            for i in range(length):
                value = elements[begin + i]
                top = max(top, value)
                nans += value != value
            for i in range(length):
                if indices:
                    bits = _bits_of(counters[begin + i], first, second)
                else:
                    bits = _bits_of(_u64(start + begin + i), first, second)
                here[i] = bits
                smallest = min(smallest, bits)
            most = _limit(np.float64(top), least)
            if not nans and np.float64(smallest) >= most:  # mostly
                continue
            for i in range(length):
                bits = np.float64(here[i])
                if not nans and bits >= most:
                    continue
                if not bits >= _limit(np.float64(elements[begin + i]), least):
                    place_of[count], bits_of[count] = begin + i, here[i]
                    count += 1
        pointer(number, np.int64)[0] = count

    return kernel


@inlined
def _limit(x: float, least: float) -> float:
    """As in `..gumbel`."""
    margin = ROUNDINGS + 2.0**-50 * (abs(least) + abs(x))
    return exp(x - least + margin) * 2.0**53 + 1
