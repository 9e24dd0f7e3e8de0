"""Memory of a softmax from Zarr to Zarr on small workers: ``python -m benchmarks.memory``.

Each job has a cluster of its own, of two workers with one thread and 768 MiB each.  The jobs of
one size take turns round by round; a softmax that is too long to be stored is generated block by
block and written nowhere.
"""

from __future__ import annotations

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read when SciPy is imported, here and by the workers

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any, NamedTuple

import click
import dask
import dask.array as da
import numpy as np
import psutil
from dask.utils import format_bytes
from distributed import Client, LocalCluster, Worker

from . import machine

MIB = 2**20
WORKERS = 2
MEMORY_LIMIT = 768 * MIB
CHUNK = 5 * 10**6  # elements of float32: 20 MB
INTERVAL = 0.05  # between two looks at the memory


@dataclass
class Result:
    """What one job took, over both workers."""

    peer: str
    gigabytes: float
    seconds: float
    cpu: float  # seconds of both workers, but of those that were killed
    idle: int  # bytes of both processes before the job
    peak: int  # the most they had at a time, looked at every `INTERVAL` seconds
    highest: int  # the most that one of them ever had, as the system counts it
    spilled: int  # bytes written to disk for want of memory
    deaths: int  # workers that were killed for want of memory, with their counts
    loads: float  # readings per chunk
    error: str | None = None


class Stored:
    """A Zarr array that notes each reading of a chunk in a file, from any process."""

    def __init__(self, path: Path, log: Path) -> None:
        import zarr

        self.array, self.log = zarr.open_array(path, mode="r"), str(log)
        self.shape, self.dtype, self.ndim = self.array.shape, self.array.dtype, 1

    def __getitem__(self, index: Any) -> np.ndarray:
        with open(self.log, "ab") as log:
            log.write(b".")
        return self.array[index]


class Generated:
    """Normal numbers that are drawn where they are read, always the same ones."""

    dtype, ndim = np.dtype("f4"), 1

    def __init__(self, elements: int, log: Path) -> None:
        self.shape, self.log = (elements,), str(log)

    def __getitem__(self, index: Any) -> np.ndarray:
        with open(self.log, "ab") as log:
            log.write(b".")
        start, stop, _ = index[0].indices(self.shape[0])
        return np.random.default_rng(start).standard_normal(stop - start, dtype="f4")


class Nowhere:
    """A target that forgets what is written to it."""

    def __setitem__(self, index: Any, value: Any) -> None:
        pass


def dsoftmax(x: da.Array) -> da.Array:
    """What the package does by itself."""
    from dsoftmax import softmax

    return softmax(x)


def holding(x: da.Array) -> da.Array:
    """The same, but for the second reading."""
    from dsoftmax import softmax

    return softmax(x, reread=False)


def scipy_on_dask(x: da.Array) -> da.Array:
    """As `scipy.special` computes it of a Dask array."""
    from scipy.special import softmax

    return softmax(x)


def by_hand(x: da.Array) -> da.Array:
    """As one writes it, careful of the precision."""
    e = da.exp(x - x.max())
    return e / e.sum()


PEERS: dict[str, Callable[[da.Array], da.Array]] = {
    "dsoftmax": dsoftmax,
    "dsoftmax holding": holding,
    "SciPy on Dask": scipy_on_dask,
    "by hand on Dask": by_hand,
}


def write_source(path: Path, elements: int) -> None:
    """Normal numbers as a Zarr array, uncompressed: they would not get smaller."""
    import zarr

    target = zarr.create_array(
        path, shape=(elements,), chunks=(CHUNK,), dtype="f4", compressors=None
    )
    for start in range(0, elements, CHUNK):
        n = min(CHUNK, elements - start)
        target[start : start + n] = np.random.default_rng(start).standard_normal(n, dtype="f4")


@contextmanager
def cluster(folder: Path) -> Iterator[Client]:
    """Two small workers; they die when they have to, and the job goes on."""
    with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            memory_limit=MEMORY_LIMIT,
            dashboard_address=":0",
            local_directory=str(folder),
        ) as workers,
        Client(workers) as client,
    ):
        client.run(_warm_up)
        yield client


class Peak:
    """The most resident memory that the workers of a cluster have, together and one of them.

    As the system tells it: the scheduler hears of it twice a second only.
    """

    def __init__(self, workers: LocalCluster) -> None:
        self.workers, self.together, self.single = workers, 0, 0
        self._done = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            sizes = [size(nanny.pid) for nanny in list(self.workers.workers.values())]
            self.together = max(self.together, sum(sizes))
            self.single = max(self.single, *sizes)


def size(pid: int | None) -> int:
    """Resident bytes of a process, 0 of one that has ended or is being started again."""
    try:
        return 0 if pid is None else psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def run(peer: str, elements: int, folder: Path, stored: bool, timeout: float) -> Result:
    """One job on a cluster of its own."""
    import zarr

    log = folder / "reads"
    log.unlink(missing_ok=True)
    target_path = folder / "target"
    shutil.rmtree(target_path, ignore_errors=True)
    result = Result(peer, elements * 4 / 1e9, math.nan, math.nan, 0, 0, 0, 0, 0, math.nan)
    with cluster(folder) as client:
        if stored:
            source: Any = Stored(folder / "source", log)
            target: Any = zarr.create_array(
                target_path, shape=(elements,), chunks=(CHUNK,), dtype="f4", compressors=None
            )
        else:
            source, target = Generated(elements, log), Nowhere()
        with Peak(client.cluster) as idle:
            time.sleep(1)
        result.idle = idle.together
        before = list(client.run(_worker).values())
        log.write_bytes(b"")
        start = time.perf_counter()
        with Peak(client.cluster) as peak:
            x = da.from_array(source, chunks=CHUNK, meta=np.empty(0, "f4"))
            writing = da.store(PEERS[peer](x), target, lock=False, compute=False)
            future = client.compute(writing)
            try:
                future.result(timeout=timeout)
            except Exception as error:  # memory ran out, or time did
                result.error = f"{type(error).__name__}: {str(error)[:200]}"
        result.seconds = time.perf_counter() - start
        result.peak = peak.together
        after = list(client.run(_worker).values())
        result.deaths = len({worker.pid for worker in before} - {worker.pid for worker in after})
        result.cpu = sum(worker.cpu for worker in after) - sum(worker.cpu for worker in before)
        result.highest = max(peak.single, *(worker.highest for worker in after))
        result.spilled = sum(worker.spilled for worker in after)
        result.loads = log.stat().st_size / math.ceil(elements / CHUNK)
        if stored and result.error is None:
            check(source.array, target)
    return result


def check(source: Any, target: Any) -> None:
    """The result is right: its logarithm is x less a constant, and it sums to 1."""
    first = slice(0, min(CHUNK, source.shape[0]))
    shift = np.log(target[first]) - source[first]
    assert np.ptp(shift) < 1e-3, "the output is not a softmax of the input"
    total = sum(
        float(target[start : start + CHUNK].sum(dtype="f8"))
        for start in range(0, target.shape[0], CHUNK)
    )
    assert abs(total - 1) < 1e-3, f"the output sums to {total}"


def _warm_up() -> None:
    """What would count as memory of the job: libraries, and compiled kernels."""
    import scipy.special  # noqa: F401
    import zarr  # noqa: F401

    import dsoftmax

    x = da.ones(2 * 10**5, dtype="f4", chunks=10**5)  # as small blocks need no compiler
    dask.compute(dsoftmax.softmax(x, reread=True), scheduler="synchronous")


class _Worker(NamedTuple):
    pid: int
    cpu: float
    highest: int
    spilled: int


def _worker(dask_worker: Worker) -> _Worker:
    """What the process has used up to now."""
    spills = getattr(dask_worker.data, "cumulative_metrics", {})
    spilled = int(spills.get(("disk-write", "bytes"), 0))
    return _Worker(os.getpid(), time.process_time(), machine.peak_memory() or 0, spilled)


def table(results: Iterable[Result]) -> str:
    """One line per size and peer, with the median time and the most memory of all rounds."""
    lines = [
        "| float32 | | seconds | of CPU | peak over idle | highest worker | spilled | loads |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[float, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.gigabytes, result.peer), []).append(result)
    for (gigabytes, peer), group in groups.items():
        done = [result for result in group if result.error is None]
        if not done:
            lines.append(f"| {gigabytes:g} GB | {peer} | failed: {group[0].error} | | | | | |")
            continue
        times = [result.seconds for result in done]
        spread = f" ({min(times):.1f} to {max(times):.1f})" if len(done) > 1 else ""
        failed = len(group) - len(done)
        cells = [
            f"{median(times):.1f}{spread}" + (f", {failed} failed" if failed else ""),
            f"{median(result.cpu for result in done):.1f}",
            format_bytes(max(result.peak - result.idle for result in done)),
            format_bytes(max(result.highest for result in done)),
            format_bytes(max(result.spilled for result in done)),
            f"{max(result.loads for result in done):.2f}",
        ]
        lines.append(f"| {gigabytes:g} GB | {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _sizes(ctx: click.Context, param: click.Parameter, text: str) -> list[float]:
    sizes = []
    for item in split(text):
        try:
            sizes.append(float(item))
        except ValueError:
            raise click.BadParameter(f"{item!r} is not a number of GB") from None
        if not 4e-9 <= sizes[-1] < math.inf:
            raise click.BadParameter(f"{item} GB is not a size of an array")
    return sizes


def _peers(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    if unknown := [item for item in split(text) if item not in PEERS]:
        raise click.BadParameter(f"there is no {unknown[0]!r}; use {', '.join(PEERS)}")
    return split(text)


@click.command()
@click.option(
    "--stored", default="0.5,2,8", callback=_sizes, help="GB to go from Zarr to Zarr. [0.5,2,8]"
)
@click.option(
    "--generated", default="64", callback=_sizes, help="GB to be generated and forgotten. [64]"
)
@click.option("--rounds", default=3, help="Of the stored sizes. [3]")
@click.option(
    "--peers", default=",".join(PEERS), callback=_peers, help="Which of: " + ", ".join(PEERS)
)
@click.option("--timeout", default=900.0, help="Seconds after which a job counts as failed. [900]")
@click.option("--folder", type=click.Path(path_type=Path), help="For the data. [a temporary one]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Keep all results here.")
def main(
    stored: list[float],
    generated: list[float],
    rounds: int,
    peers: list[str],
    timeout: float,
    folder: Path | None,
    json_path: Path | None,
) -> None:
    """Measure the memory of softmax on two workers of 768 MiB, and print a table."""
    results: list[Result] = []

    def measure(peer: str, gigabytes: float, folder: Path, is_stored: bool) -> None:
        result = run(peer, int(gigabytes * 1e9 / 4), folder, is_stored, timeout)
        results.append(result)
        click.echo(json.dumps(asdict(result)), err=True)
        if json_path is not None:
            everything: dict[str, Any] = {
                "machine": machine.describe(),
                "versions": machine.versions(),
            }
            everything["results"] = [asdict(result) for result in results]
            json_path.write_text(json.dumps(everything, indent=1))

    with tempfile.TemporaryDirectory(dir=folder, prefix="dsoftmax-memory-") as temporary:
        place = Path(temporary)
        for gigabytes in stored:
            shutil.rmtree(place / "source", ignore_errors=True)
            write_source(place / "source", int(gigabytes * 1e9 / 4))
            for i in range(rounds):
                for peer in peers[i % len(peers) :] + peers[: i % len(peers)]:
                    measure(peer, gigabytes, place, True)
        shutil.rmtree(place / "source", ignore_errors=True)
        for gigabytes in generated:
            measure("dsoftmax", gigabytes, place, False)
    click.echo(table(results))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.memory")
