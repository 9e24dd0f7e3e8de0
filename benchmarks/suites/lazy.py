"""Arrays that are generated where they are read, of which no worker could hold much.

1000 draws without replacement from 10^9 log-weights, on threads of a process of its own, beside the
generation of the numbers; and the running log-sum-exps of 4 GB, on two workers of 1 GiB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
import dask.array as da
import psutil

from .. import machine
from ..case import Case, Measures, Sides, Suite
from ..generated import Source
from ..process import alone, imported
from .memory import COLUMNS, MIB, job, warm_up

ELEMENTS, K = 10**9, 1000


def largest(x: da.Array) -> tuple[da.Array]:
    return (x.max(),)


def drawn(x: da.Array) -> Any:
    return imported("dsoftmax:gumbel_topk", x, K, rng=0)


def running(x: da.Array) -> da.Array:
    return imported("dsoftmax:cumulative_logsumexp", x)


def on_threads(function: Callable[[da.Array], Any], source: Source) -> Measures:
    """What a reduction took in this process."""
    warm_up()
    dask.compute(*function(da.zeros(10 * K, dtype="f4", chunks=5 * K)))  # compiled, or loaded
    idle, begun = psutil.Process().memory_info().rss, time.process_time()
    source.forget()
    start = time.perf_counter()
    dask.compute(*function(source.lazy()), scheduler="threads")
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - begun,
        "peak": machine.peak_memory() - idle,
        "loads": source.loads(),
    }


def of_source(elements: int, scope: ExitStack) -> tuple[Path, Source]:
    folder = Path(scope.enter_context(TemporaryDirectory(prefix="dsoftmax-lazy-")))
    return folder, Source(elements, folder / "reads")


def draw_sides(elements: int, scope: ExitStack) -> Sides:
    _, source = of_source(elements, scope)
    functions = {"floor": largest, "dsoftmax": drawn}
    return {
        name: partial(partial, alone, on_threads, function, source)
        for name, function in functions.items()
    }


def running_sides(elements: int, scope: ExitStack) -> Sides:
    folder, source = of_source(elements, scope)
    return {"dsoftmax": partial(partial, job, running, folder, source, 1024 * MIB)}


def cases(quick: bool) -> Iterator[Case]:
    n = 10**7 if quick else ELEMENTS
    yield Case("draws", f"{K} of {n:.0e}", partial(draw_sides, n))
    yield Case("running", f"running sums of {n:.0e}", partial(running_sides, n))


SUITE = Suite("lazy", "float32 that is generated", cases, COLUMNS, rounds=1, seconds=0.0)
