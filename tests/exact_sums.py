"""Exact normalizers by their definition, in rational arithmetic, and data that they may fail on."""

from collections import defaultdict
from fractions import Fraction
from math import floor, isfinite

import numpy as np

from dsoftmax._algebra.exact import CLASSES, LIMBS, LOWEST, RADIX
from dsoftmax._kernels.cpu import exp

DIGITS = {"float32": 24, "float64": 53}

# Wide ones cross the borders of classes, at odd multiples of 32.
DATA = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "spread": lambda rng, n: rng.normal(size=n) * 3,
    "wide": lambda rng, n: rng.normal(size=n) * 30,
    "wider": lambda rng, n: rng.normal(size=n) * 1e4,
    "rising": lambda rng, n: np.linspace(-200, 200, n),
    "falling": lambda rng, n: np.linspace(200, -200, n),
    # From one class to where exponentials relative to it would overflow to NaN.
    "jumping": lambda rng, n: np.where(
        np.arange(n) < n // 2, 0.0, rng.choice([604.4, 665.4], n) + rng.normal(size=n) * 0.1
    ),
    "across a border": lambda rng, n: 32 + rng.normal(size=n),
    "on borders": lambda rng, n: rng.integers(-9, 9, n) * 32.0,
    "one giant": lambda rng, n: np.where(np.arange(n) == n // 3, 50.0, rng.normal(size=n) * 9 - 90),
    "equal": lambda rng, n: np.full(n, 0.3),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-30,
    "large": lambda rng, n: 2.0**30 + rng.integers(-9, 9, n) * 64.0,
    "largest": lambda rng, n: rng.choice([3e38, -3e38, 1e38], n),
    "-inf among": lambda rng, n: np.where(rng.random(n) < 0.3, -np.inf, rng.normal(size=n)),
    "only -inf": lambda rng, n: np.full(n, -np.inf),
    "inf among": lambda rng, n: np.where(np.arange(n) % 97 == 5, np.inf, rng.normal(size=n)),
    "NaN among": lambda rng, n: np.where(np.arange(n) == n - 1, np.nan, rng.normal(size=n)),
}


def rounded(value, digits):
    """A rational number rounded to so many binary digits, to even."""
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent  # 2**exponent <= size < 2**(exponent + 1)
    unit = Fraction(2) ** (exponent + 1 - digits)
    return round(value / unit) * unit


def anchor_of(x):
    """The multiple of 64 that x is from -32 up to 32 above."""
    return 64 * floor(Fraction(x) / 64 + Fraction(1, 2))


def exponential(t, name):
    """The exponential of t as the kernels define it: fused multiply-adds, each rounded once."""

    def fused(a, b, c):
        return rounded(a * b + c, DIGITS[name])

    bits = {"float32": "32", "float64": "64"}[name]
    log2_e, high, low, shift = (
        Fraction(float(getattr(exp, f"_{word}_{bits}")))
        for word in ("LOG2_E", "LOG_2_HIGH", "LOG_2_LOW", "ROUND")
    )
    letter, last = ("A", 6) if name == "float32" else ("B", 11)
    c = {k: Fraction(float(getattr(exp, f"_{letter}{k}"))) for k in range(2, last + 1)}
    n = fused(t, log2_e, shift) - shift
    r = fused(n, -low, fused(n, -high, t))
    r2 = rounded(r * r, DIGITS[name])
    if name == "float32":
        q = fused(r2, c[6], fused(c[5], r, c[4]))
        q = fused(r2, fused(r2, q, fused(c[3], r, c[2])), r)
    else:
        r4 = rounded(r2 * r2, DIGITS[name])
        first = fused(fused(c[3], r, c[2]), r2, r)
        middle = fused(fused(c[7], r, c[6]), r2, fused(c[5], r, c[4]))
        q = fused(fused(c[11], r, c[10]), r2, fused(c[9], r, c[8]))
        q = fused(fused(q, r4, middle), r4, first)
    power = Fraction(2) ** int(n)
    return fused(q, power, power)


def value_of(limbs):
    """The number that limbs hold."""
    return sum(Fraction(int(v)) * Fraction(2) ** (RADIX * j - LOWEST) for j, v in enumerate(limbs))


def fields_of(record):
    """m, w, the sum at the maximum, and the classes of the rest with their sums."""
    limbs = [record["top"], *record["rest"]]
    assert all(0 <= v < 2**RADIX for part in limbs for v in part[: LIMBS - 1])
    classes = {a: value_of(v) for a, v in zip(record["anchor"], record["rest"], strict=True)}
    assert all(not v for a, v in classes.items() if a == -np.inf)
    classes = {a: v for a, v in classes.items() if a > -np.inf}
    return float(record["m"]), int(record["w"]), value_of(record["top"]), classes


def expected(x):
    """The same of a slice, by definition."""
    m = float(np.max(x, initial=-np.inf))
    if m != m:
        return m, 0, 0, {}
    w = int((x == m).sum())
    if not isfinite(m):
        return m, w, 0, {}
    sums, top = defaultdict(Fraction), 0
    for value in x[x > -np.inf]:
        anchor = anchor_of(float(value))
        e = exponential(Fraction(float(value)) - anchor, x.dtype.name)
        if value == m:
            top += e
        else:
            sums[float(anchor)] += e
    return m, w, top, {a: sums[a] for a in sorted(sums, reverse=True)[:CLASSES]}
