"""What a task takes beside its kernel: from Dask's call of a stage to the kernel, and back.

Tasks are taken from graphs and called as a worker does, and so are the kernels that they run, in
turns: for a block of 1000 elements, and for a merge of the states of 16 blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import convert_legacy_graph
from dask.order import order

from ..case import Call, Case, Column, Measures, Sides, Suite

COLUMNS = {
    "between": Column("beside the kernel, us", unit=1e-6),
    "task": Column("task, us", unit=1e-6),
    "kernel": Column("kernel, us", unit=1e-6),
}
BLOCK, BLOCKS = 1000, 16
CALLS, TURNS = 20, 15


def task(y: da.Array, name: str) -> tuple[Any, dict[Any, Any]]:
    """A task of a graph whose key begins with a name, and what it is called with."""
    graph = convert_legacy_graph(dict(y.__dask_graph__()))
    values: dict[Any, Any] = {}
    for key in sorted(graph, key=order(graph).__getitem__):
        node = graph[key]
        known = {k: values[k] for k in node.dependencies}
        if isinstance(key, tuple) and key[0].startswith(name):
            return node, known
        values[key] = node(known)
    raise LookupError(f"no task of {y} has a key that begins with {name}")


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - start) / CALLS


def beside(whole: Callable[[], Any], kernel: Callable[[], Any]) -> Measures:
    pairs = [(seconds(whole), seconds(kernel)) for _ in range(TURNS)]
    both, alone = (median(taken) for taken in zip(*pairs, strict=True))
    return {"between": median(a - b for a, b in pairs), "task": both, "kernel": alone}


def sides(stage: str, scope: ExitStack) -> Sides:
    def make() -> Call:
        import dsoftmax
        from dsoftmax import operations

        rng = np.random.default_rng(0)
        x = da.from_array(rng.normal(size=BLOCK * BLOCKS), chunks=BLOCK)
        y = dsoftmax.softmax(x, reread=False, split_every=BLOCKS)
        node, known = task(y, stage)
        monoid, axes = operations.NORMALIZER, (0,)
        of_block = partial(monoid.of_block, axes=axes)
        blocks = [x.blocks[i].compute() for i in range(BLOCKS)]
        states = list(map(of_block, blocks))
        rescale: Any = operations.SOFTMAX.rescale
        kernels = {
            "softmax-normalizer": partial(of_block, blocks[0]),
            "softmax-merge": partial(monoid.merge, *states),
            "softmax-rescale": partial(rescale, blocks[0], states[0]),
        }
        return partial(beside, partial(node, known), kernels[stage])

    return {"dsoftmax": make}


STAGES = ("softmax-normalizer", "softmax-merge", "softmax-rescale")
CASES = [Case(stage, stage, partial(sides, stage), cores="one") for stage in STAGES]
TITLE = f"Tasks for blocks of {BLOCK} elements, and for {BLOCKS} states"
SUITE = Suite("tasks", TITLE, lambda quick: CASES, COLUMNS, rounds=5, seconds=0.0)
