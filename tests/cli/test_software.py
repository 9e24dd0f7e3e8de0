"""Schedulers and workers without this version of dsoftmax: an error, and no waiting in vain."""

import contextlib
import subprocess
import sys

import dask.array as da
import pytest
from distributed import Client, LocalCluster

from dsoftmax.cli import job

from .command import run

pytestmark = pytest.mark.system

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
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=0, **options) as cluster:
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
    assert f"has no dsoftmax, and this is {job.__version__}; install the same ver" in done.stderr
    assert not tmp_path.joinpath("y.npy").exists()


def test_a_scheduler_without_it(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "dsoftmax", None)
    message = r"the scheduler at tcp://\S+ has no dsoftmax, and this is"
    with Client(cluster) as client, pytest.raises(job.JobError, match=message):
        job.check_software(client)


def test_another_version(monkeypatch):
    monkeypatch.setattr(job, "__version__", "9.8")
    with job.connected(None, 1, dashboard=False) as client:
        message = r"the scheduler at \S+ has dsoftmax \S+, and this is 9\.8; install the same"
        with pytest.raises(job.JobError, match=message):
            job.compute("softmax", client, [da.ones(3)], quiet=True)


def test_a_cluster_that_has_no_time_to_answer(cluster, monkeypatch):
    monkeypatch.setattr(job, "CONNECT_TIMEOUT", 0)
    with Client(cluster) as client:
        job.check_software(client)
