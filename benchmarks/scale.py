"""What a graph costs, whatever its chunks hold: ``python -m benchmarks.scale``.

The chunks have eight elements, so that all that is measured is Dask: seconds and bytes per chunk to
build a graph, to send it and to run it on two workers, or on threads; and what a scheduler without
workers takes to receive it.
"""

from __future__ import annotations

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read when SciPy is imported

import gc
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
import psutil
from dask.base import collections_to_expr
from distributed import Client, LocalCluster, wait
from distributed.protocol import serialize, to_serialize
from distributed.utils import nbytes

from . import machine
from .memory import by_hand, scipy_on_dask, split

ELEMENTS = 8  # of a chunk


def softmax(x: da.Array) -> da.Array:
    """As "auto" has it of an array that is not as small as this one: every chunk is made twice."""
    import dsoftmax

    return dsoftmax.softmax(x, reread=True)


def logsumexp(x: da.Array) -> da.Array:
    """Every chunk once."""
    import dsoftmax

    return dsoftmax.logsumexp(x)


FUNCTIONS: dict[str, Callable[[da.Array], da.Array]] = {
    "softmax": softmax,
    "logsumexp": logsumexp,
    "SciPy's softmax": scipy_on_dask,
    "softmax by hand": by_hand,
}


def nothing(block: Any) -> Any:
    """In the place of what writes a chunk."""
    return block[:0]


def job(function: Callable[[da.Array], da.Array], chunks: int) -> da.Array:
    """A lazy job whose result goes nowhere."""
    y = function(da.zeros(ELEMENTS * chunks, chunks=ELEMENTS, dtype="f4"))
    return y.map_blocks(nothing, chunks=((0,) * chunks,), dtype=y.dtype) if y.ndim else y


def measure(name: str, chunks: int, how: str, client: Client | None = None) -> dict[str, Any]:
    """Costs per chunk, in microseconds and bytes; ``how`` is one of `WAYS`."""
    gc.collect()
    start = time.perf_counter()
    lazy = job(FUNCTIONS[name], chunks)
    result = {"build_us": time.perf_counter() - start}
    if how in ("on workers", "optimised"):
        _, frames = serialize(to_serialize(collections_to_expr([lazy])), on_error="raise")
        result["wire_bytes"] = sum(map(nbytes, frames))
    result |= WAYS[how](lazy, chunks, client)
    per_chunk = {
        key: value / chunks * (1e6 if key.endswith("_us") else 1) for key, value in result.items()
    }
    return {"function": name, "chunks": chunks, "how": how} | per_chunk


def on_workers(lazy: Any, chunks: int, client: Client) -> dict[str, float]:
    """Two processes of one thread each; the scheduler is in this one."""
    scheduler, tasks = client.cluster.scheduler, 0
    start = time.perf_counter()
    future = client.compute(lazy)
    while not future.done():
        time.sleep(0.05)
        tasks = max(tasks, len(scheduler.tasks))
    wait(future)
    seconds = time.perf_counter() - start
    check(future.result(), chunks)
    return {"tasks": tasks, "run_us": seconds}


def on_threads(lazy: Any, chunks: int, _: None) -> dict[str, float]:
    """Two threads of a process that has done nothing else."""
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    check(lazy.compute(scheduler="threads", num_workers=2), chunks)
    seconds = time.perf_counter() - start
    return {"run_us": seconds, "memory_bytes": (machine.peak_memory() or before) - before}


def on_a_scheduler(lazy: Any, chunks: int, _: None) -> dict[str, float]:
    """A scheduler without workers: until it has all tasks, and what they weigh in its process."""
    options = {"n_workers": 0, "processes": False, "protocol": "tcp", "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        before = psutil.Process().memory_info().rss
        start = time.perf_counter()
        future = client.compute(lazy)
        # It answers when it has made all tasks of a graph, and knows what to do first.
        while not (tasks := client.run_on_scheduler(_count)):
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        gc.collect()
        used = psutil.Process().memory_info().rss - before
        future.cancel()
    return {"tasks": tasks, "run_us": seconds, "memory_bytes": used}


def optimised(lazy: Any, chunks: int, _: None) -> dict[str, float]:
    """As a scheduler does it, or the threads' one."""
    start = time.perf_counter()
    tasks = len(dict(dask.optimize(lazy)[0].__dask_graph__()))
    return {"tasks": tasks, "optimize_us": time.perf_counter() - start}


WAYS: dict[str, Callable[..., dict[str, float]]] = {
    "on workers": on_workers,
    "optimised": optimised,
    "on threads": on_threads,
    "on a scheduler": on_a_scheduler,
}


def _count(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def check(result: Any, chunks: int) -> None:
    """What was computed is right: a logarithm of zeros, or nothing."""
    if result.ndim == 0:
        np.testing.assert_allclose(result, np.log(ELEMENTS * chunks), rtol=1e-6)
    else:
        assert result.shape == (0,)


def alone(*arguments: Any) -> dict[str, Any]:
    """`measure` in a process of its own, whose memory tells of nothing else."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(measure, *arguments).result()


COLUMNS = {  # and their digits
    "build_us": ("build, µs", 1),
    "wire_bytes": ("send, bytes", 0),
    "optimize_us": ("optimise, µs", 0),
    "tasks": ("tasks", 2),
    "run_us": ("run, µs", 0),
    "memory_bytes": ("memory, bytes", 0),
}


def table(results: list[dict[str, Any]]) -> str:
    """A line per function, number of chunks and way, with the medians of all rounds."""
    titles = [title for title, _ in COLUMNS.values()]
    lines = [
        "| | chunks | | " + " | ".join(titles) + " |",
        "|" + "---|" * (len(titles) + 3),
    ]
    groups: dict[tuple[str, int, str, int | None], list[dict[str, Any]]] = {}
    for result in results:
        key = (result["function"], result["chunks"], result["how"], result["split_every"])
        groups.setdefault(key, []).append(result)
    for (name, chunks, how, split_every), group in groups.items():
        fan_in = "" if split_every is None else f", split_every={split_every}"
        cells = [
            f"{median(r[column] for r in group):,.{digits}f}" if column in group[0] else ""
            for column, (_, digits) in COLUMNS.items()
        ]
        lines.append(f"| {name}{fan_in} | {chunks:,} | {how} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _numbers(ctx: click.Context, param: click.Parameter, text: str) -> list[int]:
    if wrong := [item for item in split(text) if not item.isdecimal() or int(item) == 0]:
        raise click.BadParameter(f"{wrong[0]!r} is not a number of chunks")
    return [int(item) for item in split(text)]


@click.command()
@click.option(
    "--chunks", default="1000,10000", callback=_numbers, help="Run on workers. [1000,10000]"
)
@click.option(
    "--build-only", default="1000000", callback=_numbers, help="Built, optimised. [1000000]"
)
@click.option("--threads", default="", callback=_numbers, help="Run on two threads. [none]")
@click.option(
    "--scheduler", default="", callback=_numbers, help="Sent to a scheduler without workers. [none]"
)
@click.option(
    "--fan-in", default="", callback=_numbers, help="For split_every, with logsumexp on workers."
)
@click.option("--functions", default=",".join(FUNCTIONS), help="Which of: " + ", ".join(FUNCTIONS))
@click.option("--saturation", help="For Dask's worker-saturation, as inf. [Dask's]")
@click.option("--rounds", default=3, help="In turns; graphs of 10^5 chunks and more once. [3]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Keep all results here.")
def main(  # noqa: C901  # one command line
    chunks: list[int],
    build_only: list[int],
    threads: list[int],
    scheduler: list[int],
    fan_in: list[int],
    functions: str,
    saturation: str | None,
    rounds: int,
    json_path: Path | None,
) -> None:
    """Measure what graphs cost per chunk, and print a table."""
    names = ["logsumexp"] if fan_in else split(functions)
    if unknown := set(names) - set(FUNCTIONS):
        raise click.BadParameter(f"there is no {unknown.pop()!r}; use {', '.join(FUNCTIONS)}")
    results: list[dict[str, Any]] = []
    fans: list[int | None] = [*fan_in] or [None]

    def note(split_every: int | None, take: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        with dask.config.set({} if split_every is None else {"split_every": split_every}):
            results.append({"split_every": split_every} | take(*arguments))
        click.echo(json.dumps(results[-1]), err=True)

    if saturation is not None:
        dask.config.set({"distributed.scheduler.worker-saturation": float(saturation)})
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.submit(abs, 1).result()
        for n in chunks:
            for _ in range(rounds if n < 10**5 else 1):
                for name in names:
                    for split_every in fans:
                        note(split_every, measure, name, n, "on workers", client)
    ways = {"optimised": build_only, "on threads": threads, "on a scheduler": scheduler}
    for way, numbers in ways.items() if not fan_in else ():
        for n in numbers:
            for name in names:
                note(None, alone, name, n, way)
    if json_path is not None:
        about = {"machine": machine.describe(), "versions": machine.versions()}
        json_path.write_text(json.dumps(about | {"results": results}, indent=1))
    click.echo(table(results))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scale")
