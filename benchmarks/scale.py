"""What a graph costs, whatever its chunks hold: ``python -m benchmarks.scale``.

The chunks have eight elements, so that all that is measured is Dask: seconds and bytes per chunk to
build a graph, to send it and to run it on two workers.
"""

from __future__ import annotations

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read when SciPy is imported

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import dask
import dask.array as da
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


def measure(name: str, chunks: int, client: Client | None) -> dict[str, Any]:
    """Costs per chunk, in microseconds and bytes; of the run only with a client."""
    gc.collect()
    start = time.perf_counter()
    lazy = job(FUNCTIONS[name], chunks)
    built = time.perf_counter()
    _, frames = serialize(to_serialize(collections_to_expr([lazy])), on_error="raise")
    sent = sum(map(nbytes, frames))
    result = {
        "function": name,
        "chunks": chunks,
        "build_us": (built - start) / chunks * 1e6,
        "wire_bytes": sent / chunks,
    }
    if client is not None:
        result |= run(lazy, chunks, client)
    else:
        start = time.perf_counter()
        tasks = len(dict(dask.optimize(lazy)[0].__dask_graph__()))
        result |= {
            "tasks": tasks / chunks,
            "optimize_us": (time.perf_counter() - start) / chunks * 1e6,
        }
    return result


def run(lazy: Any, chunks: int, client: Client) -> dict[str, Any]:
    """What the scheduler, which is in this process, and two workers take for it."""
    scheduler = client.cluster.scheduler
    process, tasks, bytes_ = psutil.Process(), 0, 0
    before = process.memory_info().rss
    start = time.perf_counter()
    future = client.compute(lazy)
    while not future.done():
        time.sleep(0.05)
        now = len(scheduler.tasks)
        if now >= tasks:
            tasks, bytes_ = now, max(bytes_, process.memory_info().rss - before)
    wait(future)
    seconds = time.perf_counter() - start
    future.result()
    return {
        "tasks": tasks / chunks,
        "run_us": seconds / chunks * 1e6,
        "scheduler_bytes": bytes_ / chunks,
    }


def table(results: list[dict[str, Any]]) -> str:
    """A line per function and number of chunks, with the medians of all rounds."""
    lines = [
        "| | chunks | build, µs | send, bytes | tasks | run, µs | scheduler, bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int, int | None], list[dict[str, Any]]] = {}
    for result in results:
        key = (result["function"], result["chunks"], result["split_every"])
        groups.setdefault(key, []).append(result)
    for (name, chunks, split_every), group in groups.items():
        fan_in = "" if split_every is None else f", split_every={split_every}"
        cells = [
            f"{median(r[column] for r in group):,.{digits}f}" if column in group[0] else "not run"
            for column, digits in (
                ("build_us", 1),
                ("wire_bytes", 0),
                ("tasks", 2),
                ("run_us", 0),
                ("scheduler_bytes", 0),
            )
        ]
        lines.append(f"| {name}{fan_in} | {chunks:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--chunks", default="1000,10000", help="Numbers of chunks. [1000,10000]")
@click.option("--build-only", default="1000000", help="Built and optimised, not run. [1000000]")
@click.option("--fan-in", default="", help="For split_every, with logsumexp, in place of all else.")
@click.option("--functions", default=",".join(FUNCTIONS), help="Which of: " + ", ".join(FUNCTIONS))
@click.option("--saturation", help="For Dask's worker-saturation, as inf. [Dask's]")
@click.option("--rounds", default=3, help="In turns; graphs of 10^5 chunks and more once. [3]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Keep all results here.")
def main(
    chunks: str,
    build_only: str,
    fan_in: str,
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

    def note(name: str, n: int, client: Client | None, split_every: int | None) -> None:
        with dask.config.set({} if split_every is None else {"split_every": split_every}):
            results.append({"split_every": split_every} | measure(name, n, client))
        click.echo(json.dumps(results[-1]), err=True)

    if saturation is not None:
        dask.config.set({"distributed.scheduler.worker-saturation": float(saturation)})
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.submit(abs, 1).result()
        for n in map(int, split(chunks)):
            for _ in range(rounds if n < 10**5 else 1):
                for name in names:
                    for split_every in map(int, split(fan_in)) if fan_in else [None]:
                        note(name, n, client, split_every)
    for n in map(int, split(build_only) if not fan_in else []):
        for name in names:
            note(name, n, None, None)
    if json_path is not None:
        about = {"machine": machine.describe(), "versions": machine.versions()}
        json_path.write_text(json.dumps(about | {"results": results}, indent=1))
    click.echo(table(results))


if __name__ == "__main__":
    main()
