"""The commands topk and softmax-topk: two arrays from one reading."""

import json

import dask
import numpy as np
import pytest
import zarr

import dsoftmax
from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.output import range_of
from dsoftmax.cli.plan import Sources, plan
from dsoftmax.cli.run import names_of

from .command import invoke, run, summary

X = np.round(np.random.default_rng(0).normal(size=(60, 500)), 1)


@pytest.mark.system
@pytest.mark.parametrize(
    ("command", "k", "axis"),
    [("topk", 3, 1), ("topk", -3, 0), ("topk", 4, None), ("softmax-topk", 3, -1)],
)
def test_npy(tmp_path, command, k, axis):
    np.save(tmp_path / "x.npy", X)
    options = ["--k", str(k), "--chunk-size", "16 KiB"]
    options += [] if axis is None else ["--axis", str(axis)]
    done = run(tmp_path, command, "x.npy", "y.npy", *options)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    function = {"topk": dsoftmax.topk, "softmax-topk": dsoftmax.softmax_topk}[command]
    values, indices = function(X, k, axis)
    np.testing.assert_allclose(np.load(tmp_path / "y-values.npy"), values, rtol=1e-13)
    np.testing.assert_array_equal(np.load(tmp_path / "y-indices.npy"), indices)
    lines = summary(done.stdout)
    assert (lines["written to"], lines["dtype"]) == ("y-values.npy, y-indices.npy", "float64")
    label = "largest probability" if command == "softmax-topk" else "largest element"
    first = np.take(values, 0, axis=axis or 0)
    if axis is None:
        assert lines[label] == str(first)
    else:
        shown = lines[label if k > 0 else "smallest element"].replace(",", "").split()
        assert shown[3:] == ["of", str(first.size), "slices"]
        np.testing.assert_allclose([float(shown[0]), float(shown[2])], [first.min(), first.max()])
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"x.npy", "y-values.npy", "y-indices.npy"}


@pytest.mark.system
def test_zarr_on_a_cluster(tmp_path, cluster):
    data = np.random.default_rng(1).integers(-99, 99, (40, 6, 10))
    names = {"dimension_names": ["a", "b", "c"], "attributes": {"title": "scores"}}
    zarr.create_array(tmp_path / "x.zarr", data=data, chunks=(10, 6, 5), **names)
    for old in ("y-values.zarr", "y-indices.zarr"):
        zarr.create_array(tmp_path / old, data=np.zeros(3))
    arguments = ("topk", "x.zarr", "y.zarr", "-k", "2", "--scheduler", cluster.scheduler_address)
    done = run(tmp_path, *arguments, "--axis", "0")
    assert done.stderr.endswith("y-values.zarr exists; choose another name, or give --overwrite\n")
    for axis, dimensions in ((0, ("a", "b", "c")), (None, None)):
        options = [] if axis is None else ["--axis", str(axis)]
        done = run(tmp_path, *arguments, "--overwrite", *options)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        expected = dsoftmax.topk(data, 2, axis)
        for name, right in expected._asdict().items():
            y = zarr.open_array(tmp_path / f"y-{name}.zarr", mode="r")
            np.testing.assert_array_equal(y[:], right)
            assert y.dtype == right.dtype
            assert (y.metadata.dimension_names, y.attrs["title"]) == (dimensions, "scores")


@pytest.mark.parametrize("name", ["topk", "softmax-topk"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_source_is_read_once(tmp_path, monkeypatch, name, axis):
    np.save(tmp_path / "x.npy", X)
    read, original = [], NpyFile.__getitem__

    def noted(file, index):
        read.append(index)
        return original(file, index)

    monkeypatch.setattr(NpyFile, "__getitem__", noted)
    sources = Sources(NpyFile.at(tmp_path / "x.npy"))
    planned = plan(name, sources, 2**14, {"axis": axis, "k": 3})
    assert read == []
    dask.compute(planned.found.results, planned.extremes, scheduler="sync")
    assert len(read) == planned.x.npartitions > 9


@pytest.mark.parametrize(
    ("dtype", "k", "axis", "expected"),
    [
        ("f8", 2, 1, "2.0 to 5.0, of 2 slices"),
        ("i2", 2, 1, "2 to 5, of 2 slices"),
        ("i2", -2, 1, "0 to 3, of 2 slices"),
        ("?", 1, 1, "True to True, of 2 slices"),
        ("i2", 2, None, "5"),
        ("i2", 0, 1, "none, of 0 slices"),
    ],
)
def test_the_range_of_the_first(tmp_path, dtype, k, axis, expected):
    np.save(tmp_path / "x.npy", np.array([[0, 1, 2], [3, 4, 5]], dtype))
    sources = Sources(NpyFile.at(tmp_path / "x.npy"))
    planned = plan("topk", sources, None, {"axis": axis, "k": k})
    assert range_of(dask.compute(*planned.extremes), planned.found.numbers.size) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "6", "--axis", "1"], "topk: --k is 6, but a slice has length 5; use at most 5"),
        (["--k", "2", "--axis", "0,1"], "'0,1' is not a valid integer"),
        (["--k", "2", "--axis", "2"], "topk: --axis 2 is out of bounds"),
    ],
)
def test_refused_options(npy, arguments, message):
    for command in ("topk", "softmax-topk"):
        result = invoke(command, npy, npy.with_name("y.npy"), *arguments)
        assert result.exit_code == 2
        assert message in result.output.splitlines()[-1].replace("_", "-")
        assert {path.name for path in npy.parent.iterdir()} == {"x.npy"}


def test_more_that_is_refused(npy):
    dst = npy.with_name("y.npy")
    for arguments, code, message in [
        (["softmax-topk", npy, dst, "--k=-1"], 2, "-1 is not in the range x>=0"),
        (["topk", npy, dst], 2, "Missing option '--k'"),
        (["topk", npy, "", "--k", "1"], 2, "Error: a path is empty; name a .npy file"),
        (["topk", npy, npy.with_name("y.csv"), "--k", "1"], 2, "y-values.csv ends in neither"),
    ]:
        result = invoke(*arguments)
        assert (result.exit_code, message in result.output) == (code, True), result.output
        assert {path.name for path in npy.parent.iterdir()} == {"x.npy"}


def test_a_name_that_is_taken_for_the_second_array(npy):
    np.save(npy.with_name("y-indices.npy"), np.zeros(2))
    result = invoke("topk", npy, npy.with_name("y.npy"), "--k", "1")
    assert (result.exit_code, "y-indices.npy exists; choose another" in result.output) == (1, True)
    assert {path.name for path in npy.parent.iterdir()} == {"x.npy", "y-indices.npy"}


def test_the_names_of_two_arrays():
    for dst, values in (("y.npy", "y-values.npy"), ("a.b/y.zarr/", "a.b/y-values.zarr")):
        assert names_of(dst, ["values", "labels"])["values"] == values
        assert names_of(dst, ["values"]) == {"values": dst}


def test_one_array_goes_to_its_name(npy):
    dst = npy.with_name("drawn.npy")
    arguments = ("choice", npy, dst, "--size", "5", "--seed", "1")
    assert invoke(*arguments).exit_code == 0
    right = dsoftmax.choice(np.load(npy), 5, rng=1)
    np.testing.assert_array_equal(np.load(dst), right)
    result = invoke(*arguments)
    assert (result.exit_code, "drawn.npy exists; choose another" in result.output) == (1, True)


@pytest.mark.parametrize("key", ["logsumexp", "entropy", "effective-sample-size"])
def test_an_array_of_one_number(npy, key):
    np.save(npy, np.array(2.5))
    printed = json.loads(invoke(key, npy, "--json", "--quiet").output)
    name = key.replace("-", "_")
    assert printed["results"] == {name: getattr(dsoftmax, name)(np.array(2.5))}
    dst = npy.with_name("number.npy")
    assert invoke(key, npy, dst, "--quiet").exit_code == 0
    assert np.load(dst).shape == ()


def test_help():
    shown = " ".join(invoke("topk", "--help").output.split())
    assert "Print the K largest elements of SRC, or write them to DST." in shown
    assert "y-values.npy and y-indices.npy" in shown
    assert "a negative number gives the smallest elements" in shown
    assert "smallest" not in invoke("softmax-topk", "--help").output
