"""How the command ends early: signals, full disks, lost schedulers and workers, damaged files."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from dsoftmax.cli import job
from dsoftmax.cli.npy import NpyFile

from .command import COMMAND, ENVIRONMENT, run, start, wait_for

resource = pytest.importorskip("resource", reason="limits and signals here are POSIX's")

pytestmark = pytest.mark.system


@pytest.mark.parametrize(("number", "dst"), [(signal.SIGINT, "y.npy"), (signal.SIGTERM, "y.zarr")])
def test_an_interrupted_job_leaves_nothing(tmp_path, number, dst):
    np.save(tmp_path / "x.npy", np.zeros(4_000_000))
    with start(tmp_path, "softmax", "x.npy", dst, "--chunk-size", "64 KiB") as process:
        wait_for("% of", process)
        wait_for("% of", process)  # the second tenth: it is well under way
        assert any(path.name.startswith(f".{dst}.partial") for path in tmp_path.iterdir())
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (128 + number, "")
    assert stderr.splitlines()[-1] == f"Interrupted: {dst} is not written"
    assert all("% of" in line for line in stderr.splitlines()[:-1])
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


# The first of the program, and the first of a command.
@pytest.mark.parametrize("module", ["click", "dask"])
def test_an_interrupt_during_the_imports(tmp_path, module):
    program = "import sys, time; print('importing', file=sys.stderr, flush=True); time.sleep(60)"
    (tmp_path / f"{module}.py").write_text(program)
    with start(tmp_path, "logsumexp", "x.npy") as process:
        wait_for("importing", process)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["logsumexp", "x.npy"], ["--help"]], ids=" ".join)
def test_a_full_standard_output(npy, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=npy.parent,
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: cannot print: [Errno 28] No space left")
    assert "Traceback" not in done.stderr


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


@pytest.mark.parametrize(
    ("dst", "message"),
    [
        ("y.npy", r"Error: cannot write {}/y.npy: File too large (15.26 MiB are needed)"),
        ("y.zarr", r"Error: softmax failed: File too large: {}/y.zarr"),
    ],
)
def test_a_full_disk(tmp_path, dst, message):
    x = np.random.default_rng(0).normal(size=2_000_000)
    np.save(tmp_path / "x.npy", x)
    done = run(tmp_path, "softmax", "x.npy", dst, "--chunk-size", "8MB", preexec_fn=limit_files)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(message.format(tmp_path)), done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


def test_a_silent_scheduler(tmp_path, npy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = run(tmp_path, "softmax", "x.npy", "y.npy", "--scheduler", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: no Dask scheduler answers at {address} (no answer within 10 s); start one with "
        "`dask scheduler`, or leave out --scheduler\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


def test_a_scheduler_without_workers_that_goes_away(tmp_path, npy):
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
        ) as cluster,
        start(
            tmp_path, "softmax", "x.npy", "y.zarr", "--scheduler", cluster.scheduler_address
        ) as process,
    ):
        wait_for("the scheduler has no workers; waiting for one", process)
        cluster.close()
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.splitlines()[-1].startswith("Error: the connection to the scheduler is lost")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


def test_an_address_that_is_not_a_scheduler(cluster):
    (worker,) = cluster.scheduler_info["workers"]
    with pytest.raises(job.JobError, match=r"no Dask scheduler answers at .* \(it is a Worker\)"):
        job.check_scheduler(worker, "")
    with pytest.raises(job.JobError, match="missing port number in address 'nonsense'"):
        job.check_scheduler("nonsense", "")


def test_a_task_that_kills_its_worker(cluster):
    x = da.ones(3, chunks=3).map_blocks(lambda block: os._exit(1), meta=np.empty(0))
    message = r"1 workers? died in a task \(lambda\), probably for lack of memory; try a smaller"
    with Client(cluster) as client, pytest.raises(job.JobError, match=message):
        job.compute("softmax", client, [x])


def test_a_file_that_a_worker_does_not_see(tmp_path, npy, cluster):
    x = NpyFile.at(npy).read((6, 5))
    npy.unlink()
    message = r"softmax failed: No such file or directory: \S*x\.npy; all workers have to see SRC"
    with Client(cluster) as client, pytest.raises(job.JobError, match=message):
        job.compute("softmax", client, [x])


def test_a_damaged_chunk_is_named(tmp_path, cluster):
    x = zarr.create_array(str(tmp_path / "x.zarr"), shape=(2**18,), chunks=(2**17,), dtype="f8")
    x[:] = np.arange(2**18)
    (tmp_path / "x.zarr" / "c" / "1").write_bytes(b"no chunk")
    done = run(tmp_path, "softmax", "x.zarr", "y.zarr", "--scheduler", cluster.scheduler_address)
    assert done.returncode == 1
    assert f"while reading [131072:262144] of {tmp_path / 'x.zarr'}" in done.stderr
    assert not (tmp_path / "y.zarr").exists()


def test_an_error_of_a_task(cluster):
    def fail(block):
        raise ArithmeticError("too\nmany")

    x = da.ones(3, chunks=3).map_blocks(fail, meta=np.empty(0))
    with Client(cluster) as client, pytest.raises(job.JobError) as caught:
        job.compute("softmax", client, [x])
    assert str(caught.value) == "softmax failed: ArithmeticError: too many"


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with job.interruptible():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def interrupted_twice():
    with job.interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)


def test_only_the_first_signal_counts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(job.Interrupted) as caught:
        interrupted_twice()
    assert caught.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == before


def test_timeouts_that_nobody_waits_for_are_not_printed(caplog):
    """As those of Dask's, if a loop stops just when one has passed."""
    caplog.set_level(logging.ERROR, "asyncio")

    async def drop():
        asyncio.get_running_loop().create_future().set_exception(TimeoutError("Timeout"))

    def dropped():
        return [record for record in caplog.records if record.name == "asyncio"]

    asyncio.run(drop())
    assert "never retrieved" in dropped()[0].getMessage()
    caplog.clear()
    with job.connected(None, 1, dashboard=False) as client:
        client.sync(drop)
    asyncio.run(drop())
    assert not dropped()
