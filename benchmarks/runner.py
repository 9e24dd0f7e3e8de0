"""The one runner: sides are prepared, their results compared, and then they take turns."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import dask
import numpy as np

from . import timing
from .case import Call, Case, Suite
from .process import Process
from .suites import SUITES

OURS = "dsoftmax"  # the name of the side, or its beginning
# A difference that no rounding explains. Libraries that sum 10^8 float32 in float32 reach 0.02.
GROSS = 0.1

Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the command line says; None leaves it to the suite."""

    quick: bool = False
    only: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    rounds: int | None = None
    seconds: float | None = None

    def select(self, suite: Suite) -> list[Case]:
        cases = suite.cases(self.quick)
        return [case for case in cases if not self.only or any(t in case.name for t in self.only)]


def run(suite: Suite, settings: Settings, threads: list[int]) -> Iterator[Record]:
    """Records of all cases, in a process for each number of cores."""
    cases = settings.select(suite)
    for n in sorted({1, *threads}):
        cores = {"one"} if n == 1 else set()
        cores |= {"each"} if n in threads else set()
        cores |= {"most"} if n == max(threads) else set()
        names = [case.name for case in cases if case.cores in cores]
        if names:
            with Process(n) as process:
                process(begin, n)
                for name in names:
                    yield process(measure_named, suite.name, name, settings) | {"threads": n}


def begin(threads: int) -> None:
    dask.config.set({"scheduler": "threads", "num_workers": threads, "dsoftmax.threads": threads})


def freeze() -> None:
    """Leave the libraries out of collections of garbage, which then take 0.1 s less."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def find(suite_name: str, case_name: str, quick: bool) -> tuple[Suite, Case]:
    suite = SUITES[suite_name]
    return suite, {case.name: case for case in suite.cases(quick)}[case_name]


def measure_named(suite_name: str, case_name: str, settings: Settings) -> Record:
    return measure(*find(suite_name, case_name, settings.quick), settings)


def measure(suite: Suite, case: Case, settings: Settings) -> Record:
    """One case, as it is kept in the JSON file."""
    tried, differences = Tried(), {}
    rounds, seconds = (2, 0.0) if settings.quick else (suite.rounds, suite.seconds)
    with ExitStack() as scope:
        sides = tried("all sides", case.sides, scope) or {}
        calls = {
            name: tried(name, make)
            for name, make in sides.items()
            if not settings.sides or name.startswith(OURS) or name in settings.sides
        }
        if not suite.columns:
            calls = {name: call for name, call in calls.items() if call is not None}
            differences = compare(calls, case.yardsticks, tried)
            calls = {name: partial(timing.timed, call) for name, call in calls.items()}
        freeze()
        samples, late = timing.interleave(
            {name: call for name, call in calls.items() if name not in tried},
            settings.rounds or rounds,
            seconds if settings.seconds is None else settings.seconds,
        )
    medians = {
        f"{side}, {name}": float(f"{np.median(values):.3g}")
        for side, measures in samples.items()
        for name, values in list(measures.items())[:1]
    }
    print(f"{suite.name} {case.name}: {medians}", file=sys.stderr, flush=True)
    return {
        "suite": suite.name,
        "case": case.name,
        "title": case.title,
        "heading": case.heading or suite.title,
        "elements": case.elements,
        "labels": dict(case.labels),
        "targets": [asdict(t) for t in case.targets if not settings.quick],
        "samples": samples,
        "differences": differences,
        "absent": tried.absent,
        "failed": tried.failed | late,
    }


class Tried:
    """Calls functions for sides, and notes why some cannot be measured."""

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def __call__(self, side: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ImportError as error:
            self.absent[side] = str(error)
        except Exception as error:  # in any way; the others are measured
            self.failed[side] = timing.reason(error)

    def __contains__(self, side: str) -> bool:
        return side in self.absent or side in self.failed


def compare(calls: dict[str, Call], yardsticks: tuple[str, ...], tried: Tried) -> dict[str, float]:
    """Run every call once: how far the results of the peers are from those of dsoftmax."""
    ours: Any = tried(OURS, lambda: sample(calls[OURS]())) if OURS in calls else None
    differences = {}
    for name, call in calls.items():
        if name in yardsticks or (ours is None and name != OURS):
            tried(name, call)
        elif name != OURS:
            differences[name] = tried(name, lambda call=call: distance(sample(call()), ours))
    return {name: found for name, found in differences.items() if found is not None}


def sample(result: Any) -> list[np.ndarray]:
    """About 10^4 evenly spaced elements of each array of a result, of any kind of array."""
    sampled = []
    for y in result if isinstance(result, tuple) else (result,):
        per_axis = math.ceil(10_000 ** (1 / max(y.ndim, 1)))
        spaced = y[tuple(slice(None, None, math.ceil(n / per_axis)) for n in y.shape)]
        for to_host in ("compute", "get", "cpu"):  # of Dask, CuPy, torch
            if hasattr(spaced, to_host):
                spaced = getattr(spaced, to_host)()
        sampled.append(np.asarray(spaced))
    return sampled


def distance(theirs: list[np.ndarray], ours: list[np.ndarray]) -> float:
    """The largest difference, relative to the elements or to their median if that is larger.

    A peer may lack the last arrays, as `dask.array.topk` the indices.
    """
    largest = 0.0
    for a, b in zip(theirs, ours, strict=False):
        if a.shape != b.shape:
            raise ValueError(f"shape {a.shape} is not {b.shape}")
        if b.dtype.kind in "iu":
            np.testing.assert_array_equal(a, b)
        else:
            a, b = a.astype("f8"), b.astype("f8")
            scale = np.maximum(np.abs(b), max(float(np.median(np.abs(b))), 1e-300))
            largest = float(np.maximum(largest, np.max(np.abs(a - b) / scale)))
    if not largest <= GROSS:  # NaN is not
        raise ValueError(f"differs from dsoftmax by {largest:.1e}")
    return largest
