"""Memory of a softmax from Zarr to Zarr on two workers of 768 MiB.

Each job has a cluster of its own.  A softmax that is too long to be stored is generated block by
block and written nowhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
import dask.array as da
import numpy as np
import psutil

from .. import by_hand, machine
from ..case import Case, Column, Measures, Sides, Suite
from ..generated import CHUNK, Nowhere, Source, zarr_array
from ..process import cluster, imported

MIB = 2**20
TIMEOUT = 900.0  # seconds after which a job has failed

COLUMNS = {
    "seconds": Column("seconds"),
    "cpu": Column("of CPU"),
    "peak": Column("peaks over idle, MiB", 0, MIB, max),
    "highest": Column("highest worker, MiB", 0, MIB, max),
    "spilled": Column("spilled, MiB", 0, MIB, max),
    "deaths": Column("workers killed", 0, of=max),
    "loads": Column("readings per chunk", 2, of=max),
}

ours = partial(imported, "dsoftmax:softmax")
scipy = partial(imported, "scipy.special:softmax")


def best(x: da.Array) -> da.Array:
    return imported("dsoftmax:softmax_topk", x, 5, axis=0)[0]


Function = Callable[[da.Array], da.Array]
STORED: dict[str, Function] = {
    "dsoftmax": ours,
    "dsoftmax, reread=False": partial(ours, reread=False),
    "SciPy on Dask": scipy,
    "by hand on Dask": partial(by_hand.softmax, axis=0),
}
GENERATED: dict[str, Function] = {"dsoftmax": ours, "dsoftmax.softmax_topk": best}


def job(
    function: Function, folder: Path, source: Source, memory_limit: int = 768 * MIB
) -> Measures:
    """What it took to compute and write a function of an array."""
    target = Nowhere() if source.array is None else zarr_array(folder / "target", source.shape)

    def run(client: Any) -> None:
        source.forget()
        writing = da.store(function(source.lazy()), target, lock=False, compute=False)
        client.compute(writing).result(timeout=TIMEOUT)

    taken = on_workers(run, folder, memory_limit)
    loads = source.loads()
    if source.array is not None:
        check(source.array, target)
    return taken | {"loads": loads}


def on_workers(run: Callable[[Any], None], folder: Path, memory_limit: int) -> Measures:
    """What something took that has a client of two workers, over both of these."""
    with cluster(memory_limit=memory_limit, local_directory=str(folder)) as client:
        client.run(warm_up)
        before = client.run(used).values()
        start = time.perf_counter()
        run(client)
        seconds = time.perf_counter() - start
        after = client.run(used).values()
    taken = {name: sum(w[name] for w in after) for name in ("cpu", "highest", "spilled")}
    return {
        "seconds": seconds,
        "cpu": taken["cpu"] - sum(w["cpu"] for w in before),
        "peak": taken["highest"] - sum(w["idle"] for w in before),
        "highest": max(w["highest"] for w in after),
        "spilled": taken["spilled"],
        "deaths": len({w["pid"] for w in before} - {w["pid"] for w in after}),
    }


def check(source: Any, target: Any) -> None:
    """The result is right: its logarithm is x less a constant, and it sums to 1."""
    assert np.ptp(np.log(target[:CHUNK]) - source[:CHUNK]) < 1e-3, "not a softmax of the input"
    total = float(da.from_array(target, chunks=CHUNK).sum(dtype="f8").compute())
    assert abs(total - 1) < 1e-3, f"the output sums to {total}"


def warm_up() -> None:
    """What would count as memory of the job: libraries, and compiled kernels."""
    import scipy.special  # noqa: F401
    import zarr  # noqa: F401

    x = da.ones(2 * 10**5, dtype="f4", chunks=10**5)  # as small blocks need no compiler
    dask.compute(ours(x, reread=True), scheduler="synchronous")


def used(dask_worker: Any) -> dict[str, float]:
    """By the process, up to now; what a worker had used that was killed is lost."""
    spills = getattr(dask_worker.data, "cumulative_metrics", {})
    return {
        "pid": os.getpid(),
        "idle": psutil.Process().memory_info().rss,
        "cpu": time.process_time(),
        "highest": machine.peak_memory(),
        "spilled": int(spills.get(("disk-write", "bytes"), 0)),
    }


def sides(elements: int, stored: bool, scope: ExitStack) -> Sides:
    folder = Path(scope.enter_context(TemporaryDirectory(prefix="dsoftmax-memory-")))
    source = Source(elements, folder / "reads")
    if stored:
        array = zarr_array(folder / "source", source.shape)
        da.store(source.lazy(), array, lock=False)
        source = Source(elements, folder / "reads", array)
    functions = STORED if stored else GENERATED
    return {name: partial(partial, job, f, folder, source) for name, f in functions.items()}


def cases(quick: bool) -> list[Case]:
    sizes = {"stored": (0.05,), "generated": (0.05,)} if quick else SIZES
    titles = {"stored": "from Zarr to Zarr", "generated": "generated and forgotten"}
    return [
        Case(
            f"{kind}-{gigabytes:g}GB",
            f"{gigabytes:g} GB, {titles[kind]}",
            partial(sides, int(gigabytes * 1e9 / 4), kind == "stored"),
        )
        for kind in sizes
        for gigabytes in sizes[kind]
    ]


SIZES = {"stored": (0.5, 2.0, 8.0), "generated": (64.0,)}
TITLE = "softmax of float32 on two workers of 768 MiB"
SUITE = Suite("memory", TITLE, cases, COLUMNS, seconds=0.0, may_fail=True)
