"""An exp for vectors of float32 and float64.

The argument is reduced by t = n log 2 + r with |r| <= (log 2) / 2, and exp(t) = 2**n exp(r) with a
minimax polynomial for exp(r).  All of it is there on AVX2, AVX-512 and NEON alike:

- n is rounded by adding 1.5 * 2**(digits - 1), which leaves n in the low bits of the sum.
- 2**n is made in the exponent field, so bits have to be reinterpreted.
- Products are fused with sums where the machine can, and it is written down which: two compilers
  give the same bits.  Nothing is reassociated, which would destroy the two-step reduction.

Measured on AVX-512, with the sum: 0.25 ns for a float32, 0.60 ns for a float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .simd import fused, reinterpret_lanes, zero_below

Vector = Any

# The result is exp(t) * 2**SCALE: a subnormal exp(t) is then a normal number, sums keep all its
# digits, and whoever multiplies by 2**-SCALE rounds it once.
SCALE = {np.float32: 24, np.float64: 64}

# Above this the exponent field would overflow; exp(HIGH) is 2.5e30 and 1.5e287.
HIGH = {np.float32: np.float32(70), np.float64: np.float64(661)}


def scaled_exp(t: Vector) -> Vector:
    """exp(t) * 2**SCALE to within 1 ulp for t <= HIGH; 0 where exp(t) rounds to 0; NaN for NaN."""


def near_exp(t: Vector) -> Vector:
    """The same bits where exp(t) is neither subnormal nor overflows; anything elsewhere."""


@overload(scaled_exp)
def _scaled_exp(t: Vector) -> Callable[[Vector], Vector] | None:
    return {types.float32: _exp32, types.float64: _exp64}.get(t.element)


@overload(near_exp)
def _near_exp(t: Vector) -> Callable[[Vector], Vector] | None:
    return {types.float32: _near32, types.float64: _near64}.get(t.element)


_f32, _u32, _u64 = np.float32, np.uint32, np.uint64

# log 2 in two parts, the first with trailing zeros so that n times it is exact.
_LOG2_E_32, _LOG_2_HIGH_32, _LOG_2_LOW_32 = _f32(1.44269504), _f32(0.693359375), _f32(-2.1219444e-4)
_LOG2_E_64, _LOG_2_HIGH_64 = 1.4426950408889634, 6.93147180369123816490e-01
_LOG_2_LOW_64 = 1.90821492927058770002e-10
_ROUND_32, _ROUND_64 = _f32(1.5 * 2**23), 1.5 * 2**52
_LOWEST_32, _LOWEST_64 = _f32(-103.98), -745.14  # below, exp rounds to 0
_EXPONENT_32 = _u32((127 + SCALE[np.float32]) << 23)
_EXPONENT_64 = _u64((1023 + SCALE[np.float64]) << 52)
_SHIFT_32, _SHIFT_64 = _u32(23), _u64(52)

# r + sum of c_k r**k is q = exp(r) - 1, to 3.1e-9 (float32) and 7.7e-18 (float64) of exp(r).  The
# 1 is added last, when it has become a power of 2: that keeps the error below 1.25 ulp.
_A2, _A3, _A4 = _f32(0.49999994), _f32(0.16666521), _f32(0.04166839)
_A5, _A6 = _f32(0.008368745), _f32(0.001381455)
_B2, _B3, _B4 = 0.500000000000001, 0.16666666666666674, 0.041666666666521524
_B5, _B6, _B7 = 0.008333333333322172, 0.0013888888947962543, 0.00019841269886699926
_B8, _B9 = 2.4801487165838708e-05, 2.755724221351069e-06
_B10, _B11 = 2.7632716110097873e-07, 2.511009630403349e-08


def _exp32(t: Vector) -> Vector:
    return zero_below(t, _LOWEST_32, near_exp(t))


def _exp64(t: Vector) -> Vector:
    return zero_below(t, _LOWEST_64, near_exp(t))


def _near32(t: Vector) -> Vector:
    shifted = fused(t, _LOG2_E_32, _ROUND_32)
    n = shifted - _ROUND_32
    # One step with a float32 log 2 would cost 3 ulp near -87.
    r = fused(n, -_LOG_2_LOW_32, fused(n, -_LOG_2_HIGH_32, t))
    r2 = r * r
    # Estrin's scheme: a shorter chain of dependent operations than Horner's.
    q = fused(r2, fused(r2, _A6, fused(_A5, r, _A4)), fused(_A3, r, _A2))
    q = fused(r2, q, r)
    power = reinterpret_lanes((reinterpret_lanes(shifted) << _SHIFT_32) + _EXPONENT_32)
    return fused(q, power, power)


def _near64(t: Vector) -> Vector:
    shifted = fused(t, _LOG2_E_64, _ROUND_64)
    n = shifted - _ROUND_64
    r = fused(n, -_LOG_2_LOW_64, fused(n, -_LOG_2_HIGH_64, t))
    r2 = r * r
    r4 = r2 * r2
    low = fused(fused(_B3, r, _B2), r2, r)
    middle = fused(fused(_B7, r, _B6), r2, fused(_B5, r, _B4))
    high = fused(fused(_B11, r, _B10), r2, fused(_B9, r, _B8))
    q = fused(fused(high, r4, middle), r4, low)
    power = reinterpret_lanes((reinterpret_lanes(shifted) << _SHIFT_64) + _EXPONENT_64)
    return fused(q, power, power)
