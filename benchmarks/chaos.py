"""Softmax from Zarr to Zarr while workers are lost: ``python -m benchmarks.chaos``.

Every round has its own cluster, its own faults at random moments (repeatable: ``--seed``) and its
own output, which has to be right to the last bit of an undisturbed run.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from distributed import Client, Future, LocalCluster, Status, Worker

import dsoftmax

CHUNK = 20_000


class Unreliable:
    """A Zarr array that takes a while to read, and sometimes fails."""

    def __init__(self, path: Path, seconds: float, failing: float) -> None:
        import zarr

        self.array, self.seconds, self.failing = zarr.open_array(path, mode="r"), seconds, failing
        self.shape, self.dtype, self.ndim = self.array.shape, self.array.dtype, 1

    def __getitem__(self, index: Any) -> np.ndarray:
        time.sleep(self.seconds)
        if random.random() < self.failing:
            raise OSError(f"cannot read elements {index[0].start} to {index[0].stop}")
        return self.array[index]


# What befalls a worker.


def kill(client: Client, address: str, pid: int, seconds: float) -> None:
    """As the kernel does when memory is short."""
    os.kill(pid, signal.SIGKILL)


def freeze(client: Client, address: str, pid: int, seconds: float) -> None:
    """As when the machine swaps."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def pause(client: Client, address: str, pid: int, seconds: float) -> None:
    """As a worker does by itself at 80 % of its memory."""
    client.run(_set_status, Status.paused, workers=[address])
    time.sleep(seconds)
    client.run(_set_status, Status.running, workers=[address])


def restart(client: Client, address: str, pid: int, seconds: float) -> None:
    """By its nanny, at the wish of the client."""
    client.restart_workers([address])


def disconnect(client: Client, address: str, pid: int, seconds: float) -> None:
    """The scheduler loses the connection; the worker ends, and a new one is asked for."""
    scheduler = client.cluster.scheduler
    scheduler.loop.add_callback(scheduler.stream_comms[address].abort)
    client.cluster.scale(len(client.cluster.worker_spec) + 1)


def _set_status(status: Status, dask_worker: Worker) -> None:
    dask_worker.status = status


FAULTS = (kill, freeze, pause, restart, disconnect)


def job(source: Unreliable, target: Path) -> da.Array:
    """A softmax from one Zarr array to another."""
    import zarr

    output = zarr.create_array(
        target, shape=source.shape, chunks=(CHUNK,), dtype=source.dtype, overwrite=True
    )
    x = da.from_array(source, chunks=CHUNK, meta=np.empty(0, source.dtype))
    y = dsoftmax.softmax(x, reread=True, split_every=4)
    return da.store(y, output, lock=False, compute=False)


def disturb(client: Client, future: Future, rng: random.Random, faults: int) -> Iterator[str]:
    """Let faults happen until the job is done, and name them."""
    for _ in range(faults):
        time.sleep(rng.uniform(0, 1.5))
        fault, seconds = rng.choice(FAULTS), rng.uniform(0.1, 2)
        if future.done():
            return
        workers = client.run(os.getpid, on_error="ignore")
        if workers:
            address = rng.choice(sorted(workers))
            fault(client, address, workers[address], seconds)
            yield fault.__name__


def run(folder: Path, expected: np.ndarray, rng: random.Random, faults: int) -> tuple[bool, str]:
    """One round: whether the output is right, and what happened."""
    import zarr

    happened: list[str] = []
    start = time.perf_counter()
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        source = Unreliable(folder / "source", seconds=0.05, failing=0.02)
        # For the readings that fail: losing a worker costs no retry.
        future = client.compute(job(source, folder / "target"), retries=5)
        try:
            for fault in disturb(client, future, rng, faults):
                happened.append(fault)
            future.result(timeout=180)
        except Exception as error:  # counted and shown, whatever it is
            happened.append(f"{type(error).__name__}: {error}")
            return False, ", ".join(happened)
    seconds = time.perf_counter() - start
    right = np.array_equal(zarr.open_array(folder / "target", mode="r")[:], expected)
    verdict = "right" if right else "WRONG"
    return right, f"{verdict} after {seconds:.1f} s with {', '.join(happened) or 'no fault'}"


@click.command()
@click.option("--rounds", default=20, help="[20]")
@click.option("--faults", default=4, help="At most, in each round. [4]")
@click.option("--chunks", default=150, help="Of 20,000 elements, each read twice. [150]")
@click.option("--seed", default=0, help="[0]")
def main(rounds: int, faults: int, chunks: int, seed: int) -> None:
    """Count how many of the disturbed jobs give the result of an undisturbed one."""
    import zarr

    data = np.random.default_rng(seed).normal(size=chunks * CHUNK)
    passed = 0
    with tempfile.TemporaryDirectory(prefix="dsoftmax-chaos-") as temporary:
        folder = Path(temporary)
        zarr.create_array(folder / "source", data=data, chunks=(CHUNK,))
        with dask.config.set(scheduler="synchronous"):
            job(Unreliable(folder / "source", 0, 0), folder / "target").compute()
        expected = zarr.open_array(folder / "target", mode="r")[:]
        if abs(expected.sum() - 1) > 1e-12:
            raise click.ClickException("the undisturbed softmax does not sum to 1")
        for i in range(rounds):
            right, report = run(folder, expected, random.Random(f"{seed} {i}"), faults)
            passed += right
            click.echo(f"{i + 1:3} {report}")
    click.echo(f"{passed} of {rounds}")
    sys.exit(passed < rounds)


if __name__ == "__main__":
    main()
