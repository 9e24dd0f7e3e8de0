"""Gumbel noise of random bits: -log(-log(1 - v)) for numbers v of 53 bits.

The logarithms are made of sums, products and quotients of float64, each rounded by itself, so that
noise is the same to the last bit in NumPy, in compiled code, in other array libraries and on
devices.  Below 1 ulp each, by the method and the coefficients of fdlibm (Sun Microsystems 1993,
e_log.c), as in `cpu.log`.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from .._algebra.namespace import array_namespace

Array = Any

LOG_2_HIGH, LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
L1, L2, L3, L4 = 0.6666666666666735, 0.3999999999940942, 0.2857142874366239, 0.22222198432149784
L5, L6, L7 = 0.1818357216161805, 0.15313837699209373, 0.14798198605116586
SQRT_HALF = 0.5**0.5

ALL = 2**53  # bits are below it
UNIT, SMALLEST = 2.0**-53, 2.0**-54  # v = 0 counts as half of the next number

_POWERS = tuple(2.0**-k for k in range(-64, 64))


def noise(bits: Array) -> Array:
    """Noise in float64 of int64 from 0 to 2**53 - 1: the less, the larger; no digit is lost."""
    xp = array_namespace(bits)
    exponential = -_log(xp.astype(ALL - bits, xp.float64) * UNIT)  # 1 - v is exact
    return -_log(xp.where(bits == 0, SMALLEST, exponential))


def _log(x: Array) -> Array:
    """The natural logarithm of numbers from 2**-54 to 2**6."""
    xp = array_namespace(x)
    powers = xp.asarray(_POWERS, dtype=xp.float64, device=device(x))
    k = xp.floor(xp.log2(x) + 0.5)  # or one more or less, as libraries round
    y = x * xp.reshape(xp.take(powers, xp.reshape(xp.astype(k, xp.int64) + 64, (-1,))), x.shape)
    less, more = (xp.astype(off, xp.float64) for off in (y < SQRT_HALF, y >= 2 * SQRT_HALF))
    k = k + more - less
    f = y * (1.0 + less - 0.5 * more) - 1.0
    return log_of(f, k)


def log_of(f: Any, k: Any) -> Any:
    """log((1 + f) 2**k), of arrays; `cpu.philox` compiles it for numbers."""
    z = f / (f + 2.0)
    z2 = z * z
    z4 = z2 * z2
    odd = z2 * (L1 + z4 * (L3 + z4 * (L5 + z4 * L7)))
    even = z4 * (L2 + z4 * (L4 + z4 * L6))
    half = f * f * 0.5
    small = half - (z * (half + (odd + even)) + k * LOG_2_LOW)
    return k * LOG_2_HIGH - (small - f)
