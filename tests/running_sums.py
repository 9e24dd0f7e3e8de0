"""Running log-sum-exps: what is hard to sum, what is right, and how far from it results are."""

import mpmath
import numpy as np

from .oracle import EPS

RNG = np.random.default_rng(0)
LENGTH = 3000

# What is hard: small values of large terms, maxima that rise slowly, fast, or late.
DATA = {
    "normal": RNG.normal(size=LENGTH) * 5,
    "sums near 1": RNG.normal(size=LENGTH) - np.log(LENGTH),
    "rising slowly": np.arange(LENGTH) * 1e-3 - 4,
    "rising fast": np.sort(RNG.normal(size=LENGTH)) * 300,
    "falling": -np.sort(RNG.normal(size=LENGTH)) * 3,
    "steps": np.arange(LENGTH) // 100 * 1.5,
    "equal": np.full(LENGTH, -6.1),
    "late": np.concatenate([RNG.normal(size=LENGTH - 9) - 900, RNG.normal(size=9)]),
    "huge": RNG.choice([1e308, -1e308, 1e300, 0.0], size=LENGTH),
}


def running(x):
    """The oracle: sums of exponentials in 60 digits, as float64 and what these are rounded by."""
    total, sums = mpmath.mpf(0), []
    for value in x:
        total += mpmath.exp(mpmath.mpf(float(value)))
        sums.append(mpmath.log(total))
    rounded = np.array([float(exact) for exact in sums])
    return rounded, np.array(
        [float(e - r) for e, r in zip(sums, map(mpmath.mpf, rounded), strict=True)]
    )


EXPECTED = {name: running(x) for name, x in DATA.items()}


def worst(actual, expected):
    """The largest error, in units of u max(1, |value|)."""
    rounded, rest = expected
    return np.max(np.abs((actual - rounded) - rest) / np.maximum(1, np.abs(rounded))) / EPS


INF, NAN = np.inf, np.nan
SPECIAL = [
    ([-INF, -INF, 1, -INF], [-INF, -INF, 1, 1]),
    ([1, INF, 2, -INF, INF], [1, INF, INF, INF, INF]),
    ([INF, 1], [INF, INF]),
    ([0, NAN, 1, INF, -INF], [0, NAN, NAN, NAN, NAN]),
    ([INF, NAN, INF], [INF, NAN, NAN]),
    ([NAN, -INF], [NAN, NAN]),
    ([-INF, NAN, 3], [-INF, NAN, NAN]),
    ([-INF], [-INF]),
    ([1e308, 1e308, -1e308], [1e308, 1e308, 1e308]),
    ([-1e308, 5e-324, 710], [-1e308, 5e-324, 710]),
]
