"""From exact states to the numbers that they stand for, each within 0.7 ulp.

The exponentials and logarithms are computed here with additions, products and quotients alone, in
pairs of float64 whose sum has 100 digits of 2 and more (T. J. Dekker, 1971, :doi:`10.1007/
BF01397083`): those of C's libraries differ in their last bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import CLASSES, LIMBS, LOWEST, PLACES, RADIX, SLICE_BYTES
from .memory import inlined, pointer, power, reinterpret

int64, float64 = np.int64, np.float64

_LOG_2, _LOG_2_LOW = 0.6931471805599453, 2.3190468138462996e-17
_SPLIT, _ROUND = 2.0**27 + 1, 1.5 * 2.0**52
_EXP_TERMS, _LOG_TERMS, _PAIRS = 21, 17, 8
_LOWEST_LOG = -1100.0  # exp of less times any sum is 0


@inlined
def add(a: float, a_low: float, b: float, b_low: float) -> Any:
    """The sum of two pairs."""
    total = a + b
    virtual = total - a
    low = ((a - (total - virtual)) + (b - virtual)) + (a_low + b_low)
    high = total + low
    return high, low - (high - total)


@inlined
def product(a: float, a_low: float, b: float, b_low: float) -> Any:
    """The product of two pairs, none of them next to the largest or the smallest numbers."""
    p = a * b
    t = a * _SPLIT
    a1 = t - (t - a)
    t = b * _SPLIT
    b1 = t - (t - b)
    a2, b2 = a - a1, b - b1
    low = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
    low += a * b_low + a_low * b
    high = p + low
    return high, low - (high - p)


@inlined
def quotient(a: float, a_low: float, b: float, b_low: float) -> Any:
    """The quotient of two pairs."""
    q = a / b
    p, p_low = product(q, 0.0, b, b_low)
    rest, rest_low = add(a, a_low, -p, -p_low)
    low = (rest + rest_low) / b
    high = q + low
    return high, low - (high - q)


@inlined
def exp(x: float, x_low: float) -> Any:
    """(exp(r), its low part, n): the exponential of x is exp(r) 2**n."""
    n = (x / _LOG_2 + _ROUND) - _ROUND
    p, p_low = product(n, 0.0, _LOG_2, _LOG_2_LOW)
    r, r_low = add(x, x_low, -p, -p_low)
    e, e_low = 1.0, 0.0
    for k in range(_EXP_TERMS, _PAIRS, -1):  # of which only the first digits matter
        e = 1.0 + e * r / k
    for k in range(_PAIRS, 0, -1):
        e, e_low = product(e, e_low, r, r_low)
        e, e_low = quotient(e, e_low, float64(k), 0.0)
        e, e_low = add(e, e_low, 1.0, 0.0)
    return e, e_low, int64(n)


@inlined
def log(x: float) -> Any:
    """The logarithm of a positive number that is finite and not subnormal, by that of fdlibm."""
    bits = reinterpret(x, np.int64)
    k = (bits >> 52) - 1023
    y = reinterpret(bits - (k << 52), np.float64)
    if y > 1.4142135623730951:
        y *= 0.5
        k += 1
    high = y + 1.0
    z, z_low = quotient(y - 1.0, 0.0, high, y - (high - 1.0))
    z2, z2_low = product(z, z_low, z, z_low)
    value, low = 0.0, 0.0
    for j in range(_LOG_TERMS, _PAIRS, -1):
        value = 2.0 / (2 * j + 1) + z2 * value
    for j in range(_PAIRS, -1, -1):
        value, low = product(value, low, z2, z2_low)
        term, term_low = quotient(2.0, 0.0, float64(2 * j + 1), 0.0)
        value, low = add(value, low, term, term_low)
    value, low = product(value, low, z, z_low)
    p, p_low = product(float64(k), 0.0, _LOG_2, _LOG_2_LOW)
    return add(p, p_low, value, low)


@inlined
def scaled(x: float, n: int) -> float:
    """x * 2**n, in two steps, so that neither overflows."""
    half = n // 2
    return x * power(half) * power(n - half)


def exact_finish(working: Any) -> Callable[..., None]:
    """The kernel for so many records: addresses of these, of s, log d and m + log d, in float64.

    They are that of slices without NaN and infinite maxima; else they are what these give.
    """
    w_at, anchors_at, rest_at = (PLACES[name] for name in ("w", "anchor", "rest"))

    @inlined
    def sum_of(limbs: Any) -> Any:
        value, low = 0.0, 0.0
        for j in range(LIMBS - 1, -1, -1):
            value, low = add(value, low, float64(limbs[j]) * 2.0 ** (RADIX * j - LOWEST), 0.0)
        return value, low

    def kernel(records: int, s: int, log_d: int, log_sum: int, size: int) -> None:
        rests, logarithms = pointer(s, float64), pointer(log_d, float64)
        results = pointer(log_sum, float64)
        for i in range(size):
            at = records + i * SLICE_BYTES
            m = float64(pointer(at, working)[0])
            w = float64(pointer(at + w_at, int64)[0])
            anchors = pointer(at + anchors_at, float64)
            rest, rest_low = 0.0, 0.0
            for k in range(CLASSES):
                shift = anchors[k] - m
                if shift > _LOWEST_LOG:
                    virtual = shift - anchors[k]
                    shift_low = (anchors[k] - (shift - virtual)) - (m + virtual)
                    e, e_low, n = exp(shift, shift_low)
                    limbs = pointer(at + rest_at + 8 * LIMBS * k, int64)
                    value, low = sum_of(limbs)
                    value, low = product(value, low, e, e_low)
                    rest, rest_low = add(rest, rest_low, scaled(value, n), scaled(low, n))
            if m != m:
                rest = m
            rests[i] = rest
            d, lost = add(w, 0.0, rest, rest_low)
            if d > 0:
                value, low = log(d)
                ratio = lost / d
                value, low = add(value, low, ratio - 0.5 * ratio * ratio, 0.0)
            else:  # of nothing; or NaN
                value, low = (-np.inf, 0.0) if d == 0 else (d, 0.0)
            logarithms[i] = value
            if math.isinf(m):
                results[i] = m
            else:
                value, low = add(m, 0.0, value, low)
                results[i] = value

    return kernel
