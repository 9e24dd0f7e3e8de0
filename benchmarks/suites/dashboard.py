"""What it costs to look at a softmax.

The same job on the same cluster, in turns with nobody, with a viewer of Dask's status page and
with a viewer of /softmax.  The viewer is a process of its own, which keeps its copy of the page up
to date as a browser does; it runs on the same cores, and what it takes counts against the page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from typing import Any

import dask.array as da

from ..case import Case, Column, Measures, Sides, Suite
from ..process import cluster

VIEWERS = {"dsoftmax, nobody looks": None, "Dask's status page": "status", "/softmax": "softmax"}


def look_at(address: str, ready: Any, end: Any) -> None:
    """Keep a copy of a page up to date until the end."""
    from bokeh.client import pull_session

    session = pull_session(url=address)
    ready.set()
    while not end.wait(0.1):
        session.force_roundtrip()
    session.close()


@contextmanager
def viewer(address: str) -> Iterator[None]:
    """Somebody who looks at a page."""
    context = get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=look_at, args=(address, ready, end), daemon=True)
    process.start()
    if not ready.wait(60):
        raise RuntimeError(f"nobody could look at {address}")
    try:
        yield
    finally:
        end.set()
        process.join()


def job(client: Any, page: str | None, chunks: int, elements: int) -> Measures:
    """A softmax that is generated, reduced, rescaled and summed, chunk by chunk."""
    import dsoftmax

    with viewer(client.dashboard_link.removesuffix("status") + page) if page else nullcontext():
        x = da.random.default_rng(0).standard_normal(chunks * elements, dtype="f4", chunks=elements)
        y = dsoftmax.softmax(x, reread=True).sum(dtype="f8")
        start = time.perf_counter()
        client.compute(y).result()
        return {"seconds": time.perf_counter() - start}


def sides(chunks: int, elements: int, scope: ExitStack) -> Sides:
    options = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "processes": True}
    preload = {"preload": ["dsoftmax.dashboard"]}
    client = scope.enter_context(cluster(**options, scheduler_kwargs=preload))
    job(client, None, chunks, elements)  # compiles
    return {
        name: partial(partial, job, client, page, chunks, elements)
        for name, page in VIEWERS.items()
    }


def cases(quick: bool) -> list[Case]:
    chunks, elements = (4, 1000) if quick else (400, 2_500_000)
    title = f"{chunks} chunks of {elements:,} float32"
    return [Case("looking", title, partial(sides, chunks, elements))]


SUITE = Suite(
    "dashboard",
    "A softmax on two workers, and who looks at it",
    cases,
    {"seconds": Column("seconds", 2)},
    rounds=7,
    seconds=0.0,
)
