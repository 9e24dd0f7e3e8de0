"""Goodness of fit in the tail: draws that are seldom made, among 10^9.

With replacement, 10^6 elements have a weight of 10^-12 each, beside one of weight 1, so that about
1000 of 10^9 draws are of these: how many there are of each tenth of them is compared with 100.
Without, the largest keys of n equal elements are points of a Poisson process: the steps between
n exp(-key) are exponential.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import dask.array as da
import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite
from ..machine import available_cores

WEIGHT, RARE, BINS, K = 1e-12, 10**6, 10, 1000
DRAWS, SMALL = 10**9, 10**7
AT_ONCE = 10**6

COLUMNS = {
    "draws": Column("draws", 0),
    "found": Column("of rare elements", 0),
    "expected": Column("expected"),
    "p": Column("p-value", 3),
}


def with_replacement(draws: int) -> Measures:
    from scipy.stats import chi2

    import dsoftmax

    x = np.full(RARE + 1, np.log(WEIGHT))
    x[0] = 0

    def counted(seed: int) -> np.ndarray:
        found = dsoftmax.choice(x, AT_ONCE, rng=seed)
        return np.bincount((found[found > 0] - 1) * BINS // RARE, minlength=BINS)

    with ThreadPoolExecutor(available_cores()) as threads:
        counts = np.sum(list(threads.map(counted, range(draws // AT_ONCE))), axis=0)
    expected = draws * RARE * WEIGHT / (1 + RARE * WEIGHT)
    distance = ((counts - expected / BINS) ** 2 / (expected / BINS)).sum()
    p = float(chi2.sf(distance, BINS))
    return {"draws": draws, "found": float(counts.sum()), "expected": expected, "p": p}


def without_replacement(draws: int) -> Measures:
    from scipy.stats import kstest

    import dsoftmax

    x = da.zeros(draws, chunks=AT_ONCE, dtype="f4")
    keys = dsoftmax.gumbel_topk(x, K, rng=0).keys.compute()
    steps = np.diff(draws * np.exp(-keys), prepend=0)
    return {"draws": draws, "found": K, "expected": K, "p": kstest(steps, "expon").pvalue}


def sides(draws: int, scope: ExitStack) -> Sides:
    def side(function: partial[Measures]) -> Call:
        return function

    functions = {"with replacement": with_replacement, "without": without_replacement}
    return {name: partial(side, partial(f, draws)) for name, f in functions.items()}


def cases(quick: bool) -> Iterator[Case]:
    draws = SMALL if quick else DRAWS
    yield Case(f"{draws:.0e}", f"{draws:.0e} draws", partial(sides, draws))


SUITE = Suite("tails", "Draws of what is seldom drawn", cases, COLUMNS, rounds=1, seconds=0.0)
