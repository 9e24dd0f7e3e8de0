"""The command line as a process, as its users meet it; what needs no cluster also in-process."""

import contextlib
import io
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from distributed import Client, LocalCluster
from scipy import special

import dsoftmax
from dsoftmax.cli import commands as cli
from dsoftmax.cli import job
from dsoftmax.cli.npy import NpyFile
from dsoftmax.operations import OPERATIONS

resource = pytest.importorskip("resource", reason="limits and signals here are POSIX's")

COMMAND = [sys.executable, "-m", "dsoftmax"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(dsoftmax.__file__).parents[1])}


def run(cwd, *arguments, **options):
    """The command as a process, once it has ended."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@contextlib.contextmanager
def start(cwd, *arguments):
    """The command as a running process, in a process group as a shell gives it one."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(text, process):
    """Read what a process says of its progress up to a line that contains a text."""
    return next(line for line in process.stderr if text in line)


def summary(stdout):
    """The lines of a result, by name."""
    return {line[:19].strip(): line[19:].strip() for line in stdout.splitlines()}


def invoke(*arguments):
    """The command in this process: for what ends before a cluster starts."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def npy(tmp_path):
    """A .npy file of 6 x 5."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 5)))
    return tmp_path / "x.npy"


@pytest.fixture(scope="module")
def cluster():
    """A worker process that is not replaced when a task kills it too often: once."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


# The main job.


def test_softmax_of_npy(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 20000)).astype("f4")
    np.save(tmp_path / "x.npy", x)
    done = run(tmp_path, "softmax", "x.npy", "y.npy", "--axis", "-1", "--chunk-size", "64 KiB")
    assert (done.returncode, done.stderr.splitlines()[0][:28]) == (
        0,
        "dashboard  http://127.0.0.1:",
    )
    assert "100% of" in done.stderr
    assert "Traceback" not in done.stderr
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(y, special.softmax(x, axis=-1), rtol=2e-6)
    assert y.dtype == "f4"
    lines = summary(done.stdout)
    least, _, greatest, *of_slices = lines.pop("logsumexp").split()
    assert float(lines.pop("elements per second")) > 0
    assert lines == {
        "shape": "(50, 20000)",
        "dtype": "float32",
        "chunks": "(1, 16384), 100 in all",
        "written to": "y.npy",
    }
    lse = special.logsumexp(x.astype("f8"), axis=-1)
    extremes = [float(least), float(greatest.rstrip(","))]
    np.testing.assert_allclose(extremes, [lse.min(), lse.max()], rtol=2e-7)
    assert of_slices == ["of", "50", "slices"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "y.npy"}


def test_log_softmax_of_zarr_on_a_cluster(tmp_path, cluster):
    x = np.random.default_rng(0).integers(-9, 9, (200, 30))
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(20, 10))
    np.save(tmp_path / "y.npy", x)
    zarr.create_array(tmp_path / "y.zarr", data=x)
    done = run(
        tmp_path,
        *("log-softmax", "x.zarr", "y.zarr", "--overwrite"),
        *("--axis", "0", "--axis", "1", "--chunk-size", "4kB"),
        *("--scheduler", cluster.scheduler_address),
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert f"dashboard  {cluster.dashboard_link}" in done.stderr
    y = zarr.open_array(tmp_path / "y.zarr", mode="r")
    assert (y.chunks, y.dtype) == ((20, 10), "f8")
    np.testing.assert_allclose(y[:], special.log_softmax(x), rtol=1e-12)
    lines = summary(done.stdout)
    assert lines["chunks"] == "(20, 20), 20 in all"
    np.testing.assert_allclose(float(lines["logsumexp"]), special.logsumexp(x), rtol=1e-14)


def test_logsumexp_and_a_report(tmp_path, npy):
    done = run(tmp_path, "logsumexp", "x.npy", "--report", "report.html", "--threads", "1")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    expected = special.logsumexp(np.load(npy))
    np.testing.assert_allclose(float(summary(done.stdout)["logsumexp"]), expected, rtol=1e-14)
    assert "bokeh" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--axis", "1"], special.logsumexp(np.ones((6, 5)), 1)),
        (["--axis", "0,1", "--keepdims"], special.logsumexp(np.ones((6, 5)), keepdims=True)),
    ],
)
def test_logsumexp_to_a_file(tmp_path, options, expected):
    np.save(tmp_path / "x.npy", np.ones((6, 5)))
    done = run(tmp_path, "logsumexp", "x.npy", "y.npy", *options)
    assert done.returncode == 0
    actual = np.load(tmp_path / "y.npy")
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def save_packed(path):
    """0, 1, 2, missing / 1, 1, 1, 1, as xarray packs them."""
    zarr.create_array(
        path,
        data=np.array([[0, 2, 4, -9], [2, 2, 2, 2]], "i2"),
        chunks=(1, 2),
        dimension_names=["x", "y"],
        attributes={"scale_factor": 0.5, "_FillValue": -9, "units": "K"},
    )


def test_softmax_of_packed_numbers(tmp_path, cluster):
    save_packed(tmp_path / "x.zarr")
    address = cluster.scheduler_address
    done = run(tmp_path, "softmax", "x.zarr", "y.zarr", "--axis", "1", "--scheduler", address)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    lines = summary(done.stdout)
    assert lines["decoded"] == "scale_factor 0.5, missing -9 as NaN"
    lse = lines["logsumexp"].split()
    np.testing.assert_allclose([float(lse[0]), float(lse[2].rstrip(","))], 1 + np.log(4))
    assert " ".join(lse[3:]) == "of 2 slices, 1 of them NaN"
    y = zarr.open_array(tmp_path / "y.zarr", mode="r")
    np.testing.assert_allclose(y[:], [[np.nan] * 4, [0.25] * 4], rtol=1e-15)
    assert (y.dtype, dict(y.attrs), y.metadata.dimension_names) == (
        "f8",
        {"units": "K"},
        ("x", "y"),
    )


@pytest.mark.parametrize(
    ("options", "expected", "names"),
    [
        (["--axis", "1"], special.logsumexp([[0, 2, 4, -9], [2] * 4], 1), ("x",)),
        (["--axis", "0", "--keepdims"], special.logsumexp([[0, 2, 4, -9], [2] * 4], 0)[None], "xy"),
        ([], special.logsumexp([0, 2, 4, -9, 2, 2, 2, 2]), ()),
    ],
)
def test_logsumexp_of_numbers_as_stored(tmp_path, options, expected, names):
    save_packed(tmp_path / "x.zarr")
    done = run(tmp_path, "logsumexp", "x.zarr", "y.zarr", "--stored", *options)
    assert (done.returncode, "decoded" in done.stdout) == (0, False)
    y = zarr.open_array(tmp_path / "y.zarr", mode="r")
    np.testing.assert_allclose(y[...], expected, rtol=1e-15)
    assert tuple(y.metadata.dimension_names or ()) == tuple(names)


def test_a_npy_is_always_as_stored(npy):
    done = run(npy.parent, "log-softmax", "x.npy", "y.npy", "--stored")
    assert (done.returncode, "decoded" in done.stdout) == (0, False)
    y = np.load(npy.with_name("y.npy"))
    np.testing.assert_allclose(y, special.log_softmax(np.load(npy)), rtol=1e-14)


# How it ends early.


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


def test_an_interrupt_during_the_imports(tmp_path):
    # the first of them, and it takes long
    program = "import sys, time; print('importing', file=sys.stderr, flush=True); time.sleep(60)"
    (tmp_path / "click.py").write_text(program)
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
    assert done.stderr.splitlines()[-1].startswith(message.format(tmp_path))
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


def test_a_silent_scheduler(tmp_path, npy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = run(tmp_path, "softmax", "x.npy", "y.npy", "--scheduler", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: no Dask scheduler answers at {address} (nothing within 10 s); start one with "
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
        wait_for("  0% of", process)
        cluster.close()
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.splitlines()[-1].startswith("Error: the connection to the scheduler is lost")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy"}


def test_an_address_that_is_not_a_scheduler(cluster):
    (worker,) = cluster.scheduler_info["workers"]
    with pytest.raises(job.JobError, match=r"no Dask scheduler answers at .* \(it is a Worker\)"):
        job.check_scheduler(worker)
    with pytest.raises(job.JobError, match="missing port number in address 'nonsense'"):
        job.check_scheduler("nonsense")


def test_a_task_that_kills_its_worker(cluster):
    x = da.ones(3, chunks=3).map_blocks(lambda block: os._exit(1), meta=np.empty(0))
    message = r"1 workers? died of a task \(lambda\), probably for want of memory; try a smaller"
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


# What is refused before a cluster starts: one line, and nothing is written.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--axis", "2"],
            "softmax: axis 2 is out of bounds for array of dimension 2 (shape (6, 5))",
        ),
        (["--axis", "-3"], "softmax: axis -3 is out of bounds"),
        (["--axis", "0,-2"], "softmax: duplicate value in 'axis' (0, -2); name each axis once"),
        (["--axis", "0", "--axis", "0"], "softmax: duplicate value in 'axis' (0, 0)"),
        (["--axis", "rows"], "--axis is 'rows'; give integers, as --axis 0,2 or --axis -1"),
        (["--chunk-size", "much"], "--chunk-size is 'much'; give a size, as '64 MiB'"),
        (["--chunk-size", "0"], "--chunk-size is '0'; give a size"),
        (["--chunk-size=-1kB"], "--chunk-size is '-1kB'; give a size"),
        (["--report", "x.npy"], "--report is 'x.npy'; give the name of an .html file"),
        (["--report", "no/r.html"], "--report is 'no/r.html'; there is no such directory"),
        (["--report", "s3://b/r.html"], "--report is 's3://b/r.html'; there is no such directory"),
        (["--scheduler", "tcp://a:1", "--threads", "2"], "--threads is for this process"),
    ],
)
def test_refused_options(npy, arguments, message):
    result = invoke("softmax", npy, npy.with_name("y.npy"), *arguments)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {message}")
    assert result.output.count("\n") == 1
    assert {path.name for path in npy.parent.iterdir()} == {"x.npy"}


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3, "c16"),
        np.zeros(3, "U2"),
        np.zeros(3, "M8[s]"),
        np.zeros(3, "V2"),  # how NumPy saves a bfloat16
        np.zeros(3, [("a", "f4")]),
    ],
    ids=str,
)
@pytest.mark.parametrize("operation", ["softmax", "logsumexp"])
def test_refused_dtypes(tmp_path, operation, value):
    np.save(tmp_path / "x.npy", value)
    result = invoke(operation, tmp_path / "x.npy", tmp_path / "y.npy")
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {tmp_path}/x.npy has dtype {value.dtype}; convert it to a real float, integer or "
        "bool\n"
    )


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        ("missing.npy", "y.npy", "missing.npy: No such file or directory"),
        ("group.zarr", "y.npy", "group.zarr is a Zarr group, not an array; name one of its arrays"),
        ("x.npy", "x.npy", "x.npy is the source itself; write to another path"),
        ("x.npy", "no/y.npy", "no is not a directory"),
        ("x.npy", "group.zarr", "exists; choose another name, or give --overwrite"),
        ("x.npy", "y.csv", "y.csv ends in neither .npy nor .zarr, the formats to write"),
        ("x.npy", "x.npy/y.npy", "x.npy is not a directory"),
        ("x.npy", "x.npy/y.zarr", "x.npy is not a directory"),
        ("x.npy", "/dev/fd/y.npy", "cannot write /proc/"),  # where nobody can, not even root
        ("x.npy", "/dev/fd/y.zarr", "cannot write /proc/"),
        ("long.npy", "y.zarr", f"Error: cannot write {np.dtype('g')} as Zarr: "),
    ],
)
def test_refused_files(tmp_path, npy, src, dst, message):
    np.save(tmp_path / "long.npy", np.ones(3, "g"))
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    zarr.create_array(tmp_path / "group.zarr", name="a", data=np.zeros(3))
    result = invoke("softmax", tmp_path / src, tmp_path / dst)
    assert (result.exit_code, result.output[:7]) == (1, "Error: ")
    assert message in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "long.npy", "group.zarr"}


@pytest.mark.parametrize("operation", ["softmax", "log-softmax", "logsumexp"])
def test_refused_attributes(tmp_path, operation):
    zarr.create_array(tmp_path / "x.zarr", data=np.zeros(3, "i1"), attributes={"_Unsigned": "true"})
    result = invoke(operation, tmp_path / "x.zarr", tmp_path / "y.zarr")
    assert (result.exit_code, result.output) == (
        1,
        f"Error: cannot decode {tmp_path}/x.zarr: its _Unsigned is 'true', which is not supported; "
        "correct the attribute or write the values unpacked, or give --stored to take the numbers "
        "as they are stored\n",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"x.zarr"}


def test_empty_paths(npy):
    for arguments in (("", "y.npy"), (npy, "")):
        result = invoke("softmax", *arguments)
        assert result.output == (
            "Error: a path is empty; name a .npy file or the directory of a Zarr array\n"
        )


@pytest.mark.parametrize("option", ["--overwrite", "--keepdims"])
def test_options_of_a_destination_that_is_not_given(npy, option):
    result = invoke("logsumexp", npy, option)
    assert result.exit_code == 1
    assert result.output == f"Error: {option} is for DST; name a file to write\n"


def test_an_empty_slice(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 0)))
    result = invoke("softmax", tmp_path / "x.npy", tmp_path / "y.npy", "--axis", "1")
    assert result.output.startswith("Error: softmax: x has shape (3, 0), empty along axis 1")


def test_a_report_without_bokeh(npy, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    result = invoke("logsumexp", npy, "--report", "report.html")
    assert result.output == (
        'Error: --report needs bokeh: python -m pip install "dsoftmax[dashboard]"\n'
    )


def test_a_dashboard_without_bokeh(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert job.dashboard_link(None).startswith("needs bokeh: python -m pip install")


def test_usage_errors_have_code_2(npy):
    result = invoke("softmax", npy)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        "Error: Missing argument 'DST'.",
    )


def test_version_and_help(tmp_path):
    assert run(tmp_path, "--version").stdout == f"dsoftmax, version {dsoftmax.__version__}\n"
    assert all(name in invoke("--help").stdout for name in ("softmax", "log-softmax", "logsumexp"))
    assert "--axis AXIS[,AXIS...]" in invoke("log-softmax", "--help").stdout


# Parts.


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((), None, "0.0"),
        ((3,), None, f"{np.log(3)}"),
        ((2, 1), (0, 1), f"{np.log(2)}"),
        ((2, 3), (1,), f"{np.log(3)} to {np.log(3)}, of 2 slices"),
        ((0, 3), (1,), "none, of 0 slices"),
    ],
)
@pytest.mark.parametrize("operation", ["softmax", "log-softmax", "logsumexp"])
def test_the_range_of_logsumexp(tmp_path, operation, shape, axis, expected):
    assert shown_range(tmp_path, operation, np.zeros(shape), axis) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([[0, np.nan], [1, -np.inf], [3, -np.inf]], "1.0 to 3.0, of 3 slices, 1 of them NaN"),
        ([[np.nan, 0], [0, np.nan]], "none, of 2 slices, 2 of them NaN"),
        ([[np.inf, 0], [-np.inf, -np.inf]], "-inf to inf, of 2 slices"),
        ([[np.nan, 0]], "nan"),
    ],
)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
@pytest.mark.parametrize("operation", ["softmax", "logsumexp"])
def test_the_range_of_what_is_not_nan(tmp_path, operation, dtype, x, expected):
    assert shown_range(tmp_path, operation, np.array(x, dtype), (1,)) == expected


def shown_range(tmp_path, operation, x, axis):
    np.save(tmp_path / "x.npy", x)
    chosen = next(one for one in OPERATIONS if one.key == operation)
    plan = cli._plan(chosen, NpyFile.at(tmp_path / "x.npy"), axis, None, keepdims=True)
    return cli._range(dask.compute(*plan.extremes), plan.slices)


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


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(cluster):
    terminal = Terminal()
    with Client(cluster) as client, click.progressbar(length=100, file=terminal) as bar:
        futures = client.compute([da.ones(9, chunks=1).sum()])
        client.sync(job.Progress(futures, bar).listen)
    assert "[####################################]  100%" in terminal.getvalue()
    assert " of " not in terminal.getvalue()
