"""Interleaved timing and what is made of the samples."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

MOST_ROUNDS = 31


def interleave(
    calls: dict[str, Callable[[], Any]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds that each call takes, measured in turns: A B C, B C A, C A B, ...

    A slow spell of the machine falls on all of them, and none always runs after the same other.
    Results are freed, and garbage collected, between the timed stretches.

    Parameters
    ----------
    calls : dict of str to callable
        Without arguments. They should have run once.
    rounds : int
        At least so many samples of each.
    seconds : float
        Go on until so much time has passed, up to `MOST_ROUNDS` rounds.

    Returns
    -------
    dict of str to list of float
        All samples; those of one round have the same index.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    end = time.perf_counter() + seconds
    for done in count():
        if done >= rounds and (done >= MOST_ROUNDS or time.perf_counter() > end):
            return samples
        turn = done % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()
            start = time.perf_counter()
            result = calls[name]()
            samples[name].append(time.perf_counter() - start)
            del result
    raise AssertionError("unreachable")


class Summary(NamedTuple):
    """Median and quartiles of some samples."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles."""
        return (self.high - self.low) / 2


def summarize(samples: Sequence[float], scale: float = 1.0) -> Summary:
    """Median and quartiles, times ``scale``."""
    low, median, high = np.percentile(samples, (25, 50, 75)) * scale
    return Summary(float(median), float(low), float(high))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times longer ``slow`` takes: the median over the rounds, each a fair pair."""
    return float(np.median(np.divide(slow, fast)))
