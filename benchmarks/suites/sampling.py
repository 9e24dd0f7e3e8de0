"""A run of a program that takes many logarithms of a few numbers: nested sampling with dynesty.

It takes them from `scipy.special`; then the same run with those of dsoftmax, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite

COLUMNS = {
    "dsoftmax": Column("dsoftmax, s", digits=2),
    "SciPy": Column("SciPy, s", digits=2),
    "ratio": Column("times SciPy", digits=2),
}
LIVE, PARAMETERS, TURNS = 200, 3, 5


def log_likelihood(v: np.ndarray) -> float:
    return -50 * float(np.sum(v**2))


def prior(u: np.ndarray) -> np.ndarray:
    return 2 * u - 1


def run(logsumexp: Callable[..., Any]) -> tuple[float, float]:
    """Seconds of a run, and the evidence that it finds."""
    from dynesty import NestedSampler, bounding, dynamicsampler, utils

    with ExitStack() as scope:
        for module in (bounding, dynamicsampler, utils):
            scope.enter_context(patch.object(module, "logsumexp", logsumexp))
        rng = np.random.default_rng(1)
        sampler = NestedSampler(log_likelihood, prior, PARAMETERS, nlive=LIVE, rstate=rng)
        start = time.perf_counter()
        sampler.run_nested(print_progress=False)
        return time.perf_counter() - start, float(sampler.results.logz[-1])


def beside(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Measures:
    pairs = [(run(ours), run(theirs)) for _ in range(TURNS)]
    if any(a[1] != b[1] for a, b in pairs):
        raise ValueError(f"the evidence is not the same: {pairs}")
    own, other = (median(one[0] for one in side) for side in zip(*pairs, strict=True))
    return {"dsoftmax": own, "SciPy": other, "ratio": median(a[0] / b[0] for a, b in pairs)}


def sides(scope: ExitStack) -> Sides:
    def make() -> Call:
        import dynesty  # noqa: F401  # missing, it is named
        from scipy.special import logsumexp

        import dsoftmax

        dsoftmax.compile(["float64"])
        return partial(beside, dsoftmax.logsumexp, logsumexp)

    return {"dsoftmax": make}


CASES = [Case("dynesty", f"{PARAMETERS} parameters, {LIVE} live points", sides, cores="one")]
SUITE = Suite("sampling", "Nested sampling", lambda quick: CASES, COLUMNS, rounds=1, seconds=0.0)
