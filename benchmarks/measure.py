"""All cases with all peers, in one process that runs on as many cores as it may use."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from .cases import Case, select
from .peers import PEERS, Data, Loaded
from .timing import interleave, ratio, summarize

if TYPE_CHECKING:
    from .worker import Spec

# A relative difference from dsoftmax, which the tests hold to a few ulp, that no rounding explains:
# the peer computes something else.  Libraries that sum 10^8 float32 in float32 reach 0.02.
GROSS = {"float32": 0.1, "float64": 1e-6}

Calls = dict[str, Callable[[], Any]]
Report = dict[str, Any]


def measure(spec: Spec) -> Report:
    """Samples of every case, and which peers are absent or failed where."""
    loaded, absent = load(spec.threads)
    results, failures = [], []
    with dask.config.set(scheduler="threads", num_workers=spec.threads):
        for case, calls in prepare(select(spec.quick, spec.most_cores, spec.only), loaded):
            differences, failed = check(case, calls)
            failures += [
                {"peer": name, "case": case.name, "threads": spec.threads, "reason": reason}
                for name, reason in failed.items()
            ]
            calls = {name: call for name, call in calls.items() if name not in failed}
            seconds = interleave(calls, spec.rounds, spec.seconds)
            results.append(record(case) | {"differences": differences, "seconds": seconds})
            progress(spec.threads, case, seconds)
    return {"cases": results, "absent": absent, "failures": failures}


def load(threads: int) -> tuple[dict[str, Loaded], list[Report]]:
    """The peers whose libraries can be imported, and why the others cannot."""
    loaded, absent = {}, []
    for name, peer in PEERS.items():
        try:
            loaded[name] = peer.load(threads)
        except ImportError as error:
            absent.append({"peer": name, "reason": str(error)})
    gc.collect()
    gc.freeze()  # 0.1 s less in every collection before a sample
    return loaded, absent


def prepare(cases: list[Case], loaded: dict[str, Loaded]) -> Iterator[tuple[Case, Calls]]:
    """Each case with calls that have their input; one array at a time is in memory."""
    for (layout, dtype), group in groupby(cases, key=lambda case: (case.layout, case.dtype)):
        data = Data(layout, dtype)
        inputs: dict[str, Any] = {}
        for case in group:
            calls: Calls = {}
            for name, peer in loaded.items():
                if PEERS[name].covers(case):
                    if name not in inputs:
                        inputs[name] = peer.prepare(data)
                    calls[name] = partial(peer.calls[case.function], inputs[name], layout.axis)
            yield case, calls


def check(case: Case, calls: Calls) -> tuple[dict[str, float], dict[str, str]]:
    """Run every call once: how far the peers are from dsoftmax, and of those that fail why."""
    ours = sample(calls["dsoftmax"]())
    differences, failed = {}, {}
    for name, call in calls.items():
        if name in ("dsoftmax", "floor"):
            continue
        try:
            differences[name] = distance(case, sample(call()), ours)
        except Exception as error:  # a peer may fail in any way; the others are measured
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            if not differences[name] <= GROSS[case.dtype]:  # NaN is not
                failed[name] = f"differs from dsoftmax by {differences[name]:.1e}"
    return differences, failed


def distance(case: Case, theirs: np.ndarray, ours: np.ndarray) -> float:
    """The largest relative difference; of logarithms, absolute where they are below 1."""
    if theirs.shape != ours.shape:
        raise ValueError(f"shape {theirs.shape} is not {ours.shape}")
    scale = np.abs(ours) if case.function == "softmax" else np.maximum(np.abs(ours), 1)
    return float(np.max(np.abs(theirs - ours) / scale))


def sample(y: Any) -> np.ndarray:
    """About 10^4 evenly spaced elements, of any kind of array."""
    if not isinstance(y, da.Array):
        y = np.asarray(y)
    per_axis = math.ceil(10_000 ** (1 / max(y.ndim, 1)))
    spaced = y[tuple(slice(None, None, math.ceil(n / per_axis)) for n in y.shape)]
    return np.array(spaced, dtype=np.float64)


def record(case: Case) -> Report:
    """A case as it is kept in the JSON file."""
    return {
        "case": case.name,
        "function": case.function,
        "dtype": case.dtype,
        "layout": case.layout.name,
        "title": case.layout.title,
        "shape": case.layout.shape,
        "axis": case.layout.axis,
        "chunks": case.layout.chunks,
        "elements": case.layout.elements,
    }


def progress(threads: int, case: Case, seconds: dict[str, list[float]]) -> None:
    """One line on standard error."""
    ours = summarize(seconds["dsoftmax"], 1e9 / case.layout.elements)
    floor = ratio(seconds["dsoftmax"], seconds["floor"])
    print(
        f"on {threads}  {case.name:32} {ours.median:8.2f} ns  {floor:6.1f} x floor"
        f"  ({len(seconds['dsoftmax'])} rounds)",
        file=sys.stderr,
        flush=True,
    )
