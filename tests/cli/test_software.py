"""Schedulers and workers without this version of dsoftmax: an error, and no waiting in vain."""

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, LocalCluster

import dsoftmax
from dsoftmax.cli import job, workers

from .command import run

pytestmark = pytest.mark.system

OPTIONS = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}

# A module that a worker loads before it starts.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "dsoftmax":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def cluster():
    """A scheduler in this process, without workers."""
    with LocalCluster(n_workers=0, **OPTIONS) as cluster:
        yield cluster


@contextlib.contextmanager
def worker(address, folder):
    """A worker that cannot import dsoftmax, as a process."""
    folder.joinpath("without.py").write_text(WITHOUT)
    arguments = [address, "--no-nanny", "--no-dashboard", "--preload", "without.py"]
    with subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def test_a_worker_without_it(tmp_path, npy, cluster):
    address = cluster.scheduler_address
    with worker(address, tmp_path), Client(cluster) as client:
        client.wait_for_workers(1, timeout=30)
        done = run(tmp_path, "softmax", "x.npy", "y.npy", "--scheduler", address, "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the worker at tcp://127.0.0.1:")
    assert f"has no dsoftmax, and this is {workers.__version__}; install the same" in done.stderr
    assert not tmp_path.joinpath("y.npy").exists()


@contextlib.contextmanager
def begun(client):
    """A job that a worker has begun and that does not end, as a future, while it is entered."""

    def wait(block):
        Event("begun").set()
        Event("ended").wait()
        return block

    jobs = [da.ones(1).map_blocks(wait, meta=np.ones(1))]
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(job.compute, "softmax", client, jobs, quiet=True)
        try:
            Event("begun", client=client).wait(timeout=30)
            yield future
        finally:
            Event("ended", client=client).set()


def test_a_worker_without_it_that_comes_later(tmp_path):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **OPTIONS) as cluster,
        Client(cluster) as client,
        begun(client) as future,
        worker(cluster.scheduler_address, tmp_path),
        pytest.raises(workers.JobError, match=r"the worker at tcp://\S+ has no dsoftmax, and this"),
    ):
        future.result(timeout=30)


def test_a_worker_of_another_version_that_comes_later(monkeypatch):
    message = r"the worker at tcp://\S+ has dsoftmax 9\.8, and this is"
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **OPTIONS) as cluster,
        Client(cluster) as client,
        begun(client) as future,
    ):
        monkeypatch.setattr(dsoftmax, "__version__", "9.8")
        cluster.scale(2)
        with pytest.raises(workers.JobError, match=message):
            future.result(timeout=30)


def test_a_scheduler_without_it(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "dsoftmax", None)
    message = r"the scheduler at tcp://\S+ has no dsoftmax, and this is"
    with Client(cluster) as client, pytest.raises(workers.JobError, match=message):
        workers.check_software(client)


def test_another_version(monkeypatch):
    monkeypatch.setattr(workers, "__version__", "9.8")
    with job.connected(None, 1, dashboard=False) as client:
        message = r"the scheduler at \S+ has dsoftmax \S+, and this is 9\.8; install the same"
        with pytest.raises(workers.JobError, match=message):
            job.compute("softmax", client, [da.ones(3)], quiet=True)


def test_a_cluster_that_has_no_time_to_answer(cluster, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_TIMEOUT", 0)
    with Client(cluster) as client:
        workers.check_software(client)
