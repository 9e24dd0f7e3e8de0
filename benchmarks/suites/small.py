"""Small NumPy arrays beside SciPy, where a call is all overhead.

Both take turns within a measure, some calls each, so that a slow spell falls on both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite

COLUMNS = {
    "dsoftmax": Column("dsoftmax, us", unit=1e-6),
    "SciPy": Column("SciPy, us", unit=1e-6),
    "ratio": Column("times SciPy", digits=2),
}
SIZES = (1, 20, 200, 1000, 4095, 4096)
FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
CALLS, TURNS = 20, 15


def seconds(function: Callable[[Any], Any], x: np.ndarray) -> float:
    """Of one call, as the mean of some in a row."""
    start = time.perf_counter()
    for _ in range(CALLS):
        function(x)
    return (time.perf_counter() - start) / CALLS


def beside(ours: Callable[[Any], Any], theirs: Callable[[Any], Any], x: np.ndarray) -> Measures:
    pairs = [(seconds(ours, x), seconds(theirs, x)) for _ in range(TURNS)]
    own, other = (median(taken) for taken in zip(*pairs, strict=True))
    return {"dsoftmax": own, "SciPy": other, "ratio": median(a / b for a, b in pairs)}


def merged(x: np.ndarray) -> Any:
    """The normalizer of two parts."""
    from dsoftmax import Normalizer

    half = x.size // 2
    return Normalizer.of(x[:half]).merge(Normalizer.of(x[half:]))


def merging(scope: ExitStack) -> Sides:
    def make() -> Call:
        import dsoftmax

        dsoftmax.compile(["float64"])
        x = np.array([0.1, 0.3, 0.08, -0.09])
        return lambda: {"dsoftmax": median(seconds(merged, x) for _ in range(TURNS))}

    return {"dsoftmax": make}


def sides(name: str, size: int, dtype: str, scope: ExitStack) -> Sides:
    def make() -> Call:
        import scipy.special

        import dsoftmax

        dsoftmax.compile([dtype])  # for what is not compiled when it first comes, nobody waits
        x = np.random.default_rng(0).normal(size=size).astype(dtype)
        return partial(beside, getattr(dsoftmax, name), getattr(scipy.special, name), x)

    return {"dsoftmax": make}


CASES = [
    Case(
        f"{name}-{dtype}-{size}",
        f"{name}, {dtype}, {size}",
        partial(sides, name, size, dtype),
        cores="one",
    )
    for name in FUNCTIONS
    for dtype in ("float32", "float64")
    for size in SIZES
] + [Case("normalizer", "Normalizer.of two parts of 2, merged", merging, cores="one")]
SUITE = Suite("small", "Small NumPy arrays", lambda quick: CASES, COLUMNS, rounds=5, seconds=0.0)
