"""A log that stays in vectors of float64, for the many sums of many short slices.

The argument is x = 2**k y with y between sqrt(1/2) and sqrt(2), and log(y) is 2 atanh(z) with
z = (y - 1) / (y + 1), by a minimax polynomial in z**2: the method and the coefficients of fdlibm
(Sun Microsystems 1993, e_log.c), below 1 ulp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import add_compensated, inlined, pointer
from .simd import (
    VECTOR_BYTES,
    any_greater,
    any_less,
    lanes_in_vector,
    load,
    reinterpret_lanes,
    store,
    widen,
)

Vector = Any

_u64 = np.uint64

_SQRT_HALF, _ONE = (_u64(np.float64(x).view(_u64)) for x in (np.sqrt(0.5), 1.0))
_SHIFT, _MANTISSA = _u64(52), _u64(2**52 - 1)
# An integer in the low bits of 2**52 is that much more than 2**52; exponents are biased by 1023.
_INTEGER, _BIASED = _u64(np.float64(2.0**52).view(_u64)), 2.0**52 + 1023
_LOG_2_HIGH, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_L1, _L2, _L3, _L4 = 0.6666666666666735, 0.3999999999940942, 0.2857142874366239, 0.22222198432149784
_L5, _L6, _L7 = 0.1818357216161805, 0.15313837699209373, 0.14798198605116586


@inlined
def log(x: Vector) -> Vector:
    """The natural logarithm of positive numbers that are finite and not subnormal."""
    high, f, less = _parts(x)
    return high - (less - f)


@inlined
def add_log(m: Vector, a: Vector, b: Vector) -> Vector:
    """m + log(a + b), where m is finite and b is what a is rounded by; NaN if one is NaN.

    Rounded once, at the size of the result: m and the logarithm may cancel.
    """
    d, lost = add_compensated(a, a * 0.0, b)
    high, f, less = _parts(d)
    value, error = add_compensated(m, a * 0.0, high)
    value, error = add_compensated(value, error, f)
    return value + (error + (lost / d - less))


@inlined
def _parts(x: Vector) -> Any:
    """The logarithm as a + b - c, of which a and b are exact and c is small."""
    bits = reinterpret_lanes(x) + (_ONE - _SQRT_HALF)
    k = reinterpret_lanes((bits >> _SHIFT) | _INTEGER) - _BIASED
    f = reinterpret_lanes((bits & _MANTISSA) + _SQRT_HALF) - 1.0
    z = f / (f + 2.0)
    z2 = z * z
    z4 = z2 * z2
    odd = z2 * (_L1 + z4 * (_L3 + z4 * (_L5 + z4 * _L7)))
    even = z4 * (_L2 + z4 * (_L4 + z4 * _L6))
    half = f * f * 0.5
    return k * _LOG_2_HIGH, f, half - (z * (half + (odd + even)) + k * _LOG_2_LOW)


@inlined
def log_of_sum(a: Vector, b: Vector) -> Vector:
    """log(a + b) without losing the smaller, where the larger is 1; NaN if one is NaN."""
    d, lost = add_compensated(a, a * 0.0, b)
    return log(d) + lost / d


def sums(working: Any) -> Callable[..., None]:
    """The kernel for m + log(w + s) of many states, whose m are of ``working``.

    Parameters of the kernel: addresses of m, w, s, of as many float64 for the result and of one for
    the number of vectors whose result is not to be used, where a sum is no positive normal number
    or NaN; how many states there are, a vector at least.
    """
    n = lanes_in_vector(working)
    m_item, smallest, largest = VECTOR_BYTES // n, 2.0**-1022, np.finfo(float).max

    def kernel(m: int, w: int, s: int, result: int, unusable: int, size: int) -> None:
        numbers = pointer(unusable, np.int64)
        numbers[0] = 0
        for begin in range(0, size, n):
            i = min(begin, size - n)
            a, b = load(w + 8 * i, np.float64, n), load(s + 8 * i, np.float64, n)
            numbers[0] += any_less(a + b, smallest) | any_greater(a + b, largest)
            value = widen(load(m + m_item * i, working, n)) + log_of_sum(a, b)
            store(value, result + 8 * i)

    return kernel
