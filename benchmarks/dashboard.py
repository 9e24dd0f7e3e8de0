"""What it costs to look at a softmax: ``python -m benchmarks.dashboard``.

The same job on the same cluster, in turns with nobody, with a viewer of Dask's status page and
with a viewer of /softmax.  The viewer is a process of its own, which keeps its copy of the page up
to date as a browser does; it runs on the same cores, and what it takes counts against the page.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
import dask.array as da
from distributed import Client, LocalCluster

import dsoftmax

from . import machine

VIEWERS = {"nobody": None, "Dask's status page": "status", "/softmax": "softmax"}


def look_at(address: str, ready: Any, end: Any) -> None:
    """Keep a copy of a page up to date until the end."""
    from bokeh.client import pull_session

    session = pull_session(url=address)
    ready.set()
    while not end.wait(0.1):
        session.force_roundtrip()
    session.close()


@contextmanager
def viewer(address: str | None) -> Iterator[None]:
    """Somebody who looks at a page; nobody without an address."""
    if address is None:
        yield
        return
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=look_at, args=(address, ready, end), daemon=True)
    process.start()
    if not ready.wait(60):
        raise click.ClickException(f"nobody could look at {address}")
    try:
        yield
    finally:
        end.set()
        process.join()


def job(chunks: int, elements: int) -> da.Array:
    """A softmax that is generated, reduced, rescaled and summed, chunk by chunk."""
    x = da.random.default_rng(0).standard_normal(chunks * elements, dtype="f4", chunks=elements)
    return dsoftmax.softmax(x, reread=True).sum(dtype="f8")


def measure(chunks: int, elements: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, by who looked."""
    seconds: dict[str, list[float]] = {name: [] for name in VIEWERS}
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"preload": ["dsoftmax.dashboard"]},
        ) as cluster,
        Client(cluster) as client,
    ):
        job(chunks, elements).compute()  # compiles
        names = list(VIEWERS)
        for turn in range(rounds):
            for name in names[turn % 3 :] + names[: turn % 3]:
                page = VIEWERS[name]
                address = client.dashboard_link.removesuffix("status") + page if page else None
                with viewer(address):
                    y = job(chunks, elements)
                    start = time.perf_counter()
                    y.compute()
                    seconds[name].append(time.perf_counter() - start)
    return seconds


@click.command()
@click.option("--chunks", type=click.IntRange(min=2), default=400, show_default=True)
@click.option(
    "--elements",
    type=click.IntRange(min=1),
    default=2_500_000,
    show_default=True,
    help="Per chunk.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
def main(chunks: int, elements: int, rounds: int, json_path: Path | None) -> None:
    """Measure what a viewer adds to the time of a job."""
    seconds = measure(chunks, elements, rounds)
    nobody = seconds["nobody"]
    click.echo(f"{chunks} chunks of {elements} float32, {rounds} rounds, medians")
    for name, samples in seconds.items():
        added = median(b / a - 1 for a, b in zip(nobody, samples, strict=True))
        text = "" if samples is nobody else f"  {added:+.1%}"
        click.echo(f"{name:<20} {median(samples):6.2f} s{text}")
    if json_path is not None:
        result = {
            "machine": machine.describe(),
            "versions": machine.versions(),
            "chunks": chunks,
            "elements": elements,
            "seconds": seconds,
        }
        json_path.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
