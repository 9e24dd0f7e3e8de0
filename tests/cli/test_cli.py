"""The command line as a process: what it writes and prints."""

import errno
import io
import os
import re
from unittest.mock import patch

import click
import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client
from scipy import special

import dsoftmax
from dsoftmax._kernels.cpu import compiler, kernels
from dsoftmax.cli import job
from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.output import range_of
from dsoftmax.cli.plan import Sources, plan
from dsoftmax.cli.workers import News, listening

from .command import run, summary

pytestmark = pytest.mark.system


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
    assert re.fullmatch(r"\S+ s, (\S+ elements per second|kernels .*)", lines.pop("time"))
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
    page = cluster.dashboard_link.removesuffix("status") + "softmax"
    assert f"dashboard  {page}" in done.stderr
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


def test_a_report_that_cannot_be_written_does_not_hide_the_number(tmp_path, npy):
    done = run(tmp_path, "logsumexp", "x.npy", "--quiet", "--report", f"{'r' * 300}.html")
    assert done.returncode == 1
    assert float(done.stdout) == pytest.approx(np.logaddexp.reduce(np.load(npy), axis=None))
    message = f"Error: cannot write the report {'r' * 300}.html: {os.strerror(errno.ENAMETOOLONG)}"
    assert done.stderr.splitlines()[-1] == message


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


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((), None, "0.0"),
        ((3,), None, "{log_3}"),
        ((2, 1), (0, 1), "{log_2}"),
        ((2, 3), (1,), "{log_3} to {log_3}, of 2 slices"),
        ((0, 3), (1,), "none, of 0 slices"),
    ],
)
@pytest.mark.parametrize("operation", ["softmax", "log-softmax", "logsumexp", "entropy"])
def test_the_range_of_logsumexp(tmp_path, operation, shape, axis, expected):
    function = dsoftmax.entropy if operation == "entropy" else dsoftmax.logsumexp
    logs = {f"log_{n}": function(da.zeros(n, chunks=n)).compute() for n in (2, 3)}
    assert logs["log_3"] == pytest.approx(np.log(3), rel=1e-15)
    assert shown_range(tmp_path, operation, np.zeros(shape), axis) == expected.format(**logs)


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
    sources = Sources(NpyFile.at(tmp_path / "x.npy"))
    planned = plan(operation, sources, None, {"axis": axis, "keepdims": True})
    return range_of(dask.compute(*planned.extremes), planned.found.numbers.size)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(cluster):
    terminal = Terminal()
    with Client(cluster) as client, click.progressbar(length=100, file=terminal) as bar:
        futures = client.compute([da.ones(9, chunks=1).sum()])
        client.sync(job.Progress(futures, News(), bar).listen)
    assert "[####################################]  100%" in terminal.getvalue()
    assert " of " not in terminal.getvalue()


def compiling(block, folder):
    """A block, for which a small kernel is compiled that is neither loaded nor in the folder."""
    compiler._kernels.pop((kernels.random_bits,), None)
    with patch.dict(os.environ, {"NUMBA_CACHE_DIR": folder}):
        compiler.compiled(kernels.random_bits)
    return block


def test_workers_say_that_they_compile(tmp_path, cluster):
    heard = []
    for folder in ("one", "one", "other"):
        x = da.ones(1).map_blocks(compiling, str(tmp_path / folder), meta=np.ones(1))
        with Client(cluster) as client, listening(client) as news:
            client.compute(x).result()
            heard.append(news.compiling)
    assert heard == [True, False, True]


@pytest.mark.parametrize(
    ("file", "before"), [(io.StringIO(), ""), (Terminal(), "\r\033[K")], ids=["file", "terminal"]
)
def test_a_line_says_that_kernels_are_compiled(cluster, file, before):
    with Client(cluster), click.progressbar(length=100, file=file) as bar:
        progress = job.Progress([], News(), bar)
        for remaining in (3, 2, 1):
            progress._draw_bar(remaining, 4)
            progress.news.hear((0.0, {}))
    (line,) = (line for line in file.getvalue().splitlines(keepends=True) if "compil" in line)
    assert line.endswith(
        "kernels, which takes seconds; each only once, if its code can be kept on disk\n"
    )
    assert file.getvalue().count(f"{before}compiling kernels") == 1
