"""Rounds of calls that take turns, and what is made of the samples."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .case import Call, Measures

MOST_ROUNDS = 31

Samples = dict[str, dict[str, list[float]]]  # by side and measure


def interleave(
    calls: Mapping[str, Callable[[], Measures]], rounds: int, seconds: float
) -> tuple[Samples, dict[str, str]]:
    """What each call measures, in turns (A B C, B C A, C A B, ...), and why some failed.

    A slow spell of the machine falls on all of them, and none always runs after the same other.
    Samples of one round have the same index.  A call that fails is left out of further rounds.
    """
    samples: Samples = {name: {} for name in calls}
    failed: dict[str, str] = {}
    end, done = time.perf_counter() + seconds, 0
    while done < rounds or (done < MOST_ROUNDS and time.perf_counter() < end):
        names = [name for name in calls if name not in failed]
        turn = done % max(len(names), 1)
        for name in names[turn:] + names[:turn]:
            gc.collect()
            try:
                measures = calls[name]()
            except Exception as error:  # in any way; the others go on
                failed[name] = reason(error)
            else:
                for measure, value in measures.items():
                    samples[name].setdefault(measure, []).append(float(f"{value:.5g}"))
        done += 1
    return {name: measures for name, measures in samples.items() if measures}, failed


def timed(call: Call) -> Measures:
    """The seconds of a call; what it returns is freed after the clock has stopped."""
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return {"seconds": seconds}


def reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


class Summary(NamedTuple):
    median: float
    low: float  # the quartiles
    high: float

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles."""
        return (self.high - self.low) / 2


def summarize(samples: Sequence[float], scale: float = 1.0) -> Summary:
    low, median, high = np.percentile(samples, (25, 50, 75)) * scale
    return Summary(float(median), float(low), float(high))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Summary:
    """How many times longer ``slow`` takes, over the rounds, each of which is a fair pair."""
    return summarize([a / b for a, b in zip(slow, fast, strict=False)])
