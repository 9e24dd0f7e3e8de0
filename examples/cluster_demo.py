"""A softmax that no worker could hold, on an existing Dask cluster: the demo of docker-compose.

    python examples/cluster_demo.py --scheduler tcp://127.0.0.1:8786 --folder /shared/folder

It writes a Zarr array of scores (or takes yours), runs the command line on it, and checks every
number of the result independently: with NumPy in this process, block by block. The cluster's
workers must see the folder under the same path. The exit code is 0 only if everything is right.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import click
import dask.array as da
import numpy as np
import zarr
from dask.utils import format_bytes, parse_bytes
from distributed import Client, Scheduler

CHUNK = 4 * 2**20  # elements of float32: 16 MiB, a thirtieth of a small worker
TOLERANCE = 1e-4  # of a probability in float32, with scores up to 100


def write_scores(path: Path, nbytes: int) -> None:
    """Random scores, written by the workers; the same ones each time."""
    shutil.rmtree(path, ignore_errors=True)
    rng = da.random.default_rng(0)
    scores = 4 * rng.standard_normal(max(1, nbytes // 4), dtype="f4", chunks=CHUNK)
    scores.astype("f4").to_zarr(str(path))


def run_command(scheduler: str, source: Path, target: Path, report: Path) -> int:
    """Run the command line, as a user would."""
    command = ["dsoftmax", "softmax", str(source), str(target), "--overwrite"]
    command += ["--scheduler", scheduler, "--chunk-size", "16 MiB", "--report", str(report)]
    click.echo("$ " + " ".join(command))
    return subprocess.run(command, check=False).returncode


def kill_a_worker(client: Client) -> None:
    """Kill one worker, once a third of the chunks have been reduced."""

    def reduced(dask_scheduler: Scheduler) -> float:
        tasks = [t for t in dask_scheduler.tasks.values() if "softmax-normalizer" in t.group_key]
        done = sum(task.state in ("memory", "released", "forgotten") for task in tasks)
        return done / len(tasks) if tasks else 0.0

    while client.run_on_scheduler(reduced) < 1 / 3:
        time.sleep(0.2)
    victim = min(client.scheduler_info(n_workers=-1)["workers"])
    click.echo(f"killing {victim}")
    client.run(os._exit, 1, workers=[victim], on_error="ignore", wait=False)


def blocks(array: zarr.Array) -> list[slice]:
    """The chunks of an array as slices."""
    return [slice(start, start + CHUNK) for start in range(0, array.shape[0], CHUNK)]


def verify(source: Path, target: Path) -> None:
    """Compare every element with what NumPy gives; sums over blocks are added by `math.fsum`."""
    x, y = zarr.open_array(source, mode="r"), zarr.open_array(target, mode="r")
    if x.shape != y.shape:
        raise click.ClickException(f"the result has shape {y.shape}, the scores {x.shape}")
    m = max(float(x[part].max()) for part in blocks(x))
    d = math.fsum(float(np.exp(x[part].astype("f8") - m).sum()) for part in blocks(x))
    click.echo(f"logsumexp by NumPy     {m + math.log(d)}")
    worst = 0.0
    for part in blocks(x):
        expected = np.exp(x[part].astype("f8") - m) / d
        worst = max(worst, float(np.abs(y[part] / expected - 1).max()))
    total = math.fsum(float(y[part].sum(dtype="f8")) for part in blocks(y))
    click.echo(f"sum of the result      {total}")
    error = max(worst, abs(total - 1))
    click.echo(f"largest relative error {error:.1e}")
    if not error < TOLERANCE:
        raise click.ClickException(f"that is more than {TOLERANCE}: the result is wrong")
    click.echo("the result is right")


@click.command()
@click.option("--scheduler", required=True, help="Its address, e.g. tcp://127.0.0.1:8786.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/data"),
    show_default=True,
    help="For scores, result and report; the workers see it too.",
)
@click.option("--size", default="3 GB", show_default=True, help="Size of the random scores.")
@click.option(
    "--scores",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Use this Zarr array of one axis in place of random scores.",
)
@click.option("--workers", default=1, show_default=True, help="Number of workers to wait for.")
@click.option("--kill-worker", is_flag=True, help="Kill a worker halfway.")
def main(
    scheduler: str, folder: Path, size: str, scores: Path | None, workers: int, kill_worker: bool
) -> None:
    """Write scores, take their softmax on the cluster, check it."""
    source = scores or folder / "scores.zarr"
    target, report = folder / "probabilities.zarr", folder / "report.html"
    with Client(scheduler, timeout=60) as client:
        client.wait_for_workers(workers, timeout=120)
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        memory = max(worker["memory_limit"] for worker in known)
        click.echo(f"workers                {len(known)}, of {format_bytes(memory)} at most")
        if scores is None:
            write_scores(source, parse_bytes(size))
        nbytes = zarr.open_array(source, mode="r").nbytes
        click.echo(f"scores                 {source}, {format_bytes(nbytes)}")
        if kill_worker:
            threading.Thread(target=kill_a_worker, args=(client,), daemon=True).start()
        if run_command(scheduler, source, target, report) != 0:
            raise click.ClickException("the softmax failed")
    click.echo(f"report                 {report}")
    verify(source, target)


if __name__ == "__main__":
    main()
