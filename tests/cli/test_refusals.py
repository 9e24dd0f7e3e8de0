"""What the command refuses before a cluster starts: one line, and nothing is written."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import dsoftmax
from dsoftmax.cli import page

from .command import COMMANDS, invoke, run
from .files import raising


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--axis", "2"],
            "softmax: --axis 2 is out of bounds for an array of dimension 2 (shape (6, 5))",
        ),
        (["--axis", "-3"], "softmax: --axis -3 is out of bounds"),
        (["--axis", "0,-2"], "softmax: duplicate value in --axis 0,-2; name each axis once"),
        (["--axis", "0", "--axis", "0"], "softmax: duplicate value in --axis 0,0"),
        (["--axis", "rows"], "--axis is 'rows'; give integers, e.g. --axis 0,2 or --axis -1"),
        (["--where", "a.npy", "--where", "b.npy"], "--where is given 2 times; give one array"),
        (["--by", "a.npy", "--by", "b.npy"], "--by is given 2 times; give one array (dsoftmax."),
        (["--chunk-size", "much"], "--chunk-size is 'much'; give a size, e.g. 64MiB"),
        (["--chunk-size", "0"], "--chunk-size is '0'; give a size"),
        (["--chunk-size=-1kB"], "--chunk-size is '-1kB'; give a size"),
        (["--chunk-size", "1e999"], "--chunk-size is '1e999'; give a size"),
        (["--report", "x.npy"], "--report is 'x.npy'; give the name of an .html file"),
        (["--report", "no/r.html"], "--report is 'no/r.html'; there is no such directory"),
        (["--report", "s3://b/r.html"], "--report is 's3://b/r.html'; there is no such directory"),
        (["--scheduler", "tcp://a:1", "--threads", "2"], "--threads is for this process"),
    ],
)
def test_refused_options(npy, arguments, message):
    result = invoke("softmax", npy, npy.with_name("y.npy"), *arguments)
    assert result.exit_code == 2
    assert result.output.splitlines()[0] == "Usage: dsoftmax softmax [OPTIONS] SRC DST"
    assert result.output.splitlines()[-1].startswith(f"Error: {message}")
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
    ("code", "src", "dst", "message"),
    [
        (1, "missing.npy", "y.npy", "missing.npy: No such file or directory"),
        (
            1,
            "x.npz",
            "y.npy",
            "of a Zarr array; name one of the arrays in it, as in zip://NAME.npy::",
        ),
        (1, "x.csv", "y.npy", "of a Zarr array; in Python, dsoftmax.dataframe takes the columns"),
        (1, "x.txt", "y.npy", "is neither a .npy file nor the directory of a Zarr array; save it"),
        (1, "group.zarr", "y.npy", "group.zarr is a Zarr group, not an array; name one of its"),
        (2, "x.npy", "x.npy", "x.npy is the source itself; write to another path"),
        (1, "x.npy", "no/y.npy", "no is not a directory"),
        (1, "x.npy", "group.zarr", "exists; choose another name, or give --overwrite"),
        (
            2,
            "x.npy",
            "y.csv",
            "y.csv ends in neither .npy nor .zarr; give DST one of these endings",
        ),
        (1, "x.npy", "x.npy/y.npy", "x.npy is not a directory"),
        (1, "x.npy", "x.npy/y.zarr", "x.npy is not a directory"),
        (1, "x.npy", "/dev/fd/y.npy", "cannot write /proc/"),  # where nobody can, not even root
        (1, "x.npy", "/dev/fd/y.zarr", "cannot write /proc/"),
        (1, "long.npy", "y.zarr", f"Error: cannot write {np.dtype('g')} as Zarr: "),
    ],
)
def test_refused_files(tmp_path, npy, code, src, dst, message):
    np.save(tmp_path / "long.npy", np.ones(3, "g"))
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    zarr.create_array(tmp_path / "group.zarr", name="a", data=np.zeros(3))
    if src.startswith("x."):
        (tmp_path / src).touch()
    before = {path.name for path in tmp_path.iterdir()}
    result = invoke("softmax", tmp_path / src, tmp_path / dst)
    assert result.exit_code == code
    assert result.output.splitlines()[-1].startswith("Error: ")
    assert message in result.output
    assert {path.name for path in tmp_path.iterdir()} == before


def test_the_arrays_of_an_archive_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", scores=np.zeros(3))
    result = invoke("logsumexp", tmp_path / "x.npz")
    assert f"as in zip://scores.npy::{tmp_path}/x.npz" in result.output
    assert invoke("logsumexp", f"zip://scores.npy::{tmp_path}/x.npz").exit_code == 0


@pytest.mark.parametrize(
    ("method", "hidden", "message"),
    [
        ("is_dir", "x.npy", "cannot read {}/x.npy: Permission denied"),
        ("exists", "x.npy", "cannot read {}/x.npy: Permission denied"),
        ("is_dir", "closed", "cannot write {}/closed/y.npy: Permission denied"),
        ("exists", "y.npy", "cannot write {}/closed/y.npy: Permission denied"),
    ],
)
def test_files_that_cannot_be_reached(npy, monkeypatch, method, hidden, message):
    """As in a directory that may not be entered, which root may."""
    closed = npy.parent / "closed"
    closed.mkdir()
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, method, raising(getattr(Path, method), hidden, denied))
    result = invoke("softmax", npy, closed / "y.npy")
    assert (result.exit_code, result.output) == (1, f"Error: {message.format(npy.parent)}\n")
    assert not list(closed.iterdir())


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("length", [240, 280])  # too long with the temporary name, and without
def test_long_names(npy, suffix, length):
    path = npy.with_name("y" * length + suffix)
    result = invoke("softmax", npy, path)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: cannot write {path}: {os.strerror(errno.ENAMETOOLONG)}\n",
    )


def test_links_in_a_circle(npy):
    npy.with_name("loop.npy").symlink_to("loop.npy")
    result = invoke("logsumexp", npy.with_name("loop.npy"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot ")


@pytest.mark.parametrize("operation", COMMANDS)
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
        assert result.exit_code == 2
        assert result.output.splitlines()[-1] == (
            "Error: a path is empty; name a .npy file or the directory of a Zarr array"
        )


@pytest.mark.parametrize("option", ["--overwrite", "--keepdims"])
def test_options_of_a_destination_that_is_not_given(npy, option):
    result = invoke("logsumexp", npy, option)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: {option} is for DST; name a file to write"


def test_a_mean_has_no_axes_to_keep(npy):
    options = ("--mean", "--keepdims")
    result = invoke("cross-entropy", npy, npy, npy.with_name("y.npy"), *options)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        "Error: --mean gives one number; leave out --keepdims",
    )


@pytest.mark.parametrize("dst", [[], ["y.npy"]])
def test_more_draws_than_can_be_planned(npy, dst):
    result = invoke("choice", npy, *dst, "--size", 10**20)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        f"Error: Invalid value for '--size' / '-n': {10**20} is not in the range 0<=x<={2**36}.",
    )


def test_an_empty_slice(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 0)))
    result = invoke("softmax", tmp_path / "x.npy", tmp_path / "y.npy", "--axis", "1")
    assert result.exit_code == 2
    message = "Error: softmax: SRC has shape (3, 0), empty along axis 1"
    assert result.output.splitlines()[-1].startswith(message)


def test_a_report_that_is_a_directory(npy):
    report = npy.with_name("report.html")
    report.mkdir()
    result = invoke("logsumexp", npy, "--report", report)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        f"Error: --report is {str(report)!r}, a directory; give the name of a file",
    )


@pytest.mark.parametrize("exists", [False, True])
def test_a_report_that_may_not_be_written(npy, monkeypatch, exists):
    report = npy.with_name("report.html")
    if exists:
        report.touch()
    asked = []

    def access(path, mode):
        if mode == os.W_OK:
            asked.append(str(path))
        return mode != os.W_OK

    monkeypatch.setattr(os, "access", access)
    result = invoke("logsumexp", npy, "--report", report)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: cannot write the report {report}: Permission denied\n",
    )
    assert asked == [str(report if exists else npy.parent)]


def test_a_report_without_bokeh(npy, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    result = invoke("logsumexp", npy, "--report", "report.html")
    assert result.output == (
        "Error: --report needs bokeh: python -m pip install '.[dashboard]' in a clone of "
        "dsoftmax's repository\n"
    )


def test_a_dashboard_without_bokeh(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert page.dashboard_link(None, True).startswith("needs bokeh: python -m pip install")


def test_usage_errors_have_code_2(npy):
    result = invoke("softmax", npy)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        "Error: Missing argument 'DST'.",
    )


def test_version_and_help(tmp_path):
    assert run(tmp_path, "--version").stdout == f"dsoftmax, version {dsoftmax.__version__}\n"
    assert all(name in invoke("--help").stdout for name in COMMANDS)
    assert "--axis AXIS[,AXIS...]" in invoke("log-softmax", "--help").stdout
