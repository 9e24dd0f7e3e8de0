"""Weights as integers, for draws with replacement: round(exp(x - m) 2**k).

The exponential is made of products and sums of float64, each rounded by itself, so that it is the
same to the last bit in NumPy, in compiled code, in other array libraries and on all machines.  It
is within 2 ulp, and has the method and the coefficients of `cpu.exp`, whose products are fused.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from .._algebra.namespace import array_namespace

Array = Any

LOWEST = -50.0  # exp of this times any 2**k rounds to 0
LOG2_E, LOG_2_HIGH, LOG_2_LOW = (
    1.4426950408889634,
    6.93147180369123816490e-01,
    1.9082149292705877e-10,
)
ROUND = 1.5 * 2**52  # added to a small number, it leaves its integer in the low bits
B2, B3, B4 = 0.500000000000001, 0.16666666666666674, 0.041666666666521524
B5, B6, B7 = 0.008333333333322172, 0.0013888888947962543, 0.00019841269886699926
B8, B9 = 2.4801487165838708e-05, 2.755724221351069e-06
B10, B11 = 2.7632716110097873e-07, 2.511009630403349e-08

_FIRST_POWER = -100
_POWERS = tuple(2.0**i for i in range(_FIRST_POWER, 64))


def integer_weights(t: Array, k: Array) -> Array:
    """The weights of t = x - m <= 0, which may be -inf, in float64; k from -25 to 62 is int64."""
    xp = array_namespace(t)
    t = xp.where(t > LOWEST, t, LOWEST)
    n = (t * LOG2_E + ROUND) - ROUND
    exp = exp_of(t, n)
    powers = xp.asarray(_POWERS, dtype=xp.float64, device=device(t))
    exponent = xp.reshape(xp.astype(n, xp.int64) + (k - _FIRST_POWER), (-1,))
    scaled = exp * xp.reshape(xp.take(powers, exponent), exp.shape)
    return xp.astype(xp.round(scaled), xp.int64)


def exp_of(t: Any, n: Any) -> Any:
    """exp(t) / 2**n for the integer n next to t / log 2; `cpu.weights` compiles it for numbers."""
    r = (t - n * LOG_2_HIGH) - n * LOG_2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = r + (B2 + B3 * r) * r2
    middle = (B4 + B5 * r) + (B6 + B7 * r) * r2
    high = (B8 + B9 * r) + (B10 + B11 * r) * r2
    return 1.0 + ((high * r4 + middle) * r4 + low)
