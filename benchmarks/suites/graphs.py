"""What a graph costs per chunk, whatever its chunks hold.

The chunks have eight elements, so that all that is measured is Dask: to build a graph, to send it
and to run it on two workers or on threads, and what a scheduler alone takes to receive it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import psutil

from .. import by_hand, machine
from ..case import Case, Column, Measures, Sides, Suite
from ..process import alone, cluster, imported
from .memory import Function, ours, scipy

ELEMENTS = 8  # of a chunk
COLUMNS = {
    "build": Column("build, µs", unit=1e-6),
    "wire": Column("send, bytes", 0),
    "optimize": Column("optimise, µs", 0, 1e-6),
    "tasks": Column("tasks", 2),
    "run": Column("run, µs", 0, 1e-6),
    "memory": Column("memory, bytes", 0),
}
logsumexp = partial(imported, "dsoftmax:logsumexp")
FUNCTIONS: dict[str, Function] = {
    # As "auto" has it of larger arrays: every chunk is made twice.
    "dsoftmax": partial(ours, reread=True),
    "dsoftmax.logsumexp": logsumexp,
    "SciPy on Dask": scipy,
    "by hand on Dask": partial(by_hand.softmax, axis=0),
}
FAN_IN: dict[str, Function] = {
    f"dsoftmax.logsumexp, split_every={n}": partial(logsumexp, split_every=n) for n in (4, 16, 64)
}


def nothing(block: Any) -> Any:
    """In the place of what writes a chunk."""
    return block[:0]


def measure(function: Function, chunks: int, way: str, client: Any = None) -> Measures:
    """Costs per chunk, in seconds and bytes."""
    from dask.base import collections_to_expr
    from distributed.protocol import serialize, to_serialize
    from distributed.utils import nbytes

    start = time.perf_counter()
    y = function(da.zeros(ELEMENTS * chunks, chunks=ELEMENTS, dtype="f4"))
    lazy = y.map_blocks(nothing, chunks=((0,) * chunks,), dtype=y.dtype) if y.ndim else y
    taken = {"build": time.perf_counter() - start}
    if way in ("workers", "optimised"):
        _, frames = serialize(to_serialize(collections_to_expr([lazy])), on_error="raise")
        taken["wire"] = sum(map(nbytes, frames))
    taken |= WAYS[way](lazy, chunks, client)
    return {name: value / chunks for name, value in taken.items()}


def on_workers(lazy: Any, chunks: int, client: Any) -> Measures:
    """Two processes of one thread each; the scheduler is in this one."""
    tasks, start = 0, time.perf_counter()
    future = client.compute(lazy)
    while not future.done():
        time.sleep(0.02)
        tasks = max(tasks, len(client.cluster.scheduler.tasks))
    seconds = time.perf_counter() - start
    check(future.result(), chunks)
    return {"tasks": tasks, "run": seconds}


def on_threads(lazy: Any, chunks: int, _: None) -> Measures:
    """Two threads."""
    before, start = machine.peak_memory(), time.perf_counter()
    check(lazy.compute(scheduler="threads", num_workers=2), chunks)
    return {"run": time.perf_counter() - start, "memory": machine.peak_memory() - before}


def on_a_scheduler(lazy: Any, chunks: int, _: None) -> Measures:
    """A scheduler without workers: until it has all tasks, and what they weigh in its process."""
    with cluster(n_workers=0, processes=False, protocol="tcp") as client:
        before, start = psutil.Process().memory_info().rss, time.perf_counter()
        future = client.compute(lazy)
        count = partial(client.run_on_scheduler, lambda dask_scheduler: len(dask_scheduler.tasks))
        # It answers when it has made all tasks of a graph, and knows what to do first.
        while not (tasks := count()):
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        used = psutil.Process().memory_info().rss - before
        future.cancel()
    return {"tasks": tasks, "run": seconds, "memory": used}


def optimised(lazy: Any, chunks: int, _: None) -> Measures:
    """As a scheduler does it, or the threads' one."""
    start = time.perf_counter()
    tasks = len(dict(dask.optimize(lazy)[0].__dask_graph__()))
    return {"tasks": tasks, "optimize": time.perf_counter() - start}


WAYS: dict[str, Callable[..., Measures]] = {
    "workers": on_workers,
    "optimised": optimised,
    "threads": on_threads,
    "scheduler": on_a_scheduler,
}


def check(result: Any, chunks: int) -> None:
    """What was computed is right: a logarithm of zeros, or nothing."""
    right = [] if result.ndim else np.log(ELEMENTS * chunks)
    np.testing.assert_allclose(result, right, rtol=1e-6)


def sides(functions: dict[str, Function], chunks: int, way: str, scope: ExitStack) -> Sides:
    if way != "workers":  # in a process of its own, whose memory tells of nothing else
        return {n: partial(partial, alone, measure, f, chunks, way) for n, f in functions.items()}
    client = scope.enter_context(cluster())
    client.submit(abs, 1).result()
    return {n: partial(partial, measure, f, chunks, way, client) for n, f in functions.items()}


def case(way: str, n: int, functions: dict[str, Function] = FUNCTIONS) -> Case:
    name = f"{'fan-in-' * (functions is FAN_IN)}{way}-{n}"
    return Case(name, f"{way}, {n:,} chunks", partial(sides, functions, n, way))


def usual(quick: bool) -> list[Case]:
    sizes = [(way, 50) for way in WAYS] if quick else SIZES
    return [*(case(*size) for size in sizes), case("workers", 50 if quick else 1000, FAN_IN)]


def huge(quick: bool) -> list[Case]:
    return [case(way, 100 if quick else 10**6) for way in ("threads", "scheduler")]


LARGE = (("optimised", 10**6), ("threads", 10**4), ("scheduler", 10**4))
SIZES = [("workers", 10**3), ("workers", 10**4), *LARGE]
TITLE = "What a graph costs per chunk of 8 elements"
SUITE = Suite("graphs", TITLE, usual, COLUMNS, seconds=0.0)
HUGE = Suite("huge-graphs", TITLE, huge, COLUMNS, rounds=1, seconds=0.0)
