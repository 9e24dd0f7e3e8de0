"""Destinations at URLs: when they appear, what is left of failures, and what is refused."""

import dask.array as da
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dsoftmax.cli import staging
from dsoftmax.cli.destination import Destination
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.storage import MisuseError, StorageError
from dsoftmax.cli.urls import Url

from .command import invoke
from .files import put, save

X = np.random.default_rng(0).normal(size=(50, 40))


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
@pytest.mark.parametrize("shape", [(), (0, 3), (10,), (6, 7)])
def test_writes(memory, source, name, shape):
    expected = np.random.default_rng(0).normal(size=shape).astype("f4")
    write(f"memory://b/{name}", da.from_array(expected, chunks=4), source)
    np.testing.assert_array_equal(
        open_source(f"memory://b/{name}").read(shape).compute(scheduler="sync"), expected
    )
    assert not [path for path in memory.find("") if "partial" in path]


def write(url, array, source, overwrite=False):
    with Destination(url, overwrite, source) as destination:
        destination.write(array).compute(scheduler="threads")
        before = open_or_none(url)
        destination.commit()
    return before


def open_or_none(url):
    try:
        return open_source(url)
    except StorageError:
        return None


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_nothing_is_there_before_the_commit_and_an_old_array_stays(memory, source, name):
    url = f"memory://b/{name}"
    assert write(url, da.ones(5, chunks=2), source) is None
    with pytest.raises(StorageError, match="exists; choose another name, or give --overwrite"):
        Destination(url, False, source)
    old = write(url, da.zeros(7, chunks=3), source, overwrite=True)
    assert old.shape == (5,)
    np.testing.assert_array_equal(open_source(url)[:], np.zeros(7))
    names = {path for path in memory.find("") if not path.startswith(f"/b/{name}")}
    assert names == set()


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_what_fails_leaves_nothing(memory, source, name, tmp_path, monkeypatch):
    monkeypatch.setattr(staging.tempfile, "tempdir", str(tmp_path))
    array = da.ones(4, chunks=2).map_blocks(lambda block: 1 / 0, meta=np.empty(0))
    with pytest.raises(ZeroDivisionError):
        write(f"memory://b/{name}", array, source)
    assert (memory.find(""), [path.name for path in tmp_path.iterdir()]) == ([], ["source.npy"])


def test_the_metadata_of_a_zarr_array_is_moved_last(memory, source, monkeypatch):
    moved, original = [], MemoryFileSystem.cp_file

    def noted(fs, old, new, **options):
        moved.append(new)
        return original(fs, old, new, **options)

    monkeypatch.setattr(MemoryFileSystem, "cp_file", noted)
    write("memory://b/y.zarr", da.ones(6, chunks=2), source)
    assert moved[-1] == "/b/y.zarr/zarr.json"
    assert sorted(moved[:-1]) == [f"/b/y.zarr/c/{i}" for i in range(3)]


def test_an_error_of_the_clean_up_does_not_hide_another(memory, source, monkeypatch):
    def fail(fs, path, **options):
        raise PermissionError("no permission")

    array = da.ones(4, chunks=2).map_blocks(lambda block: 1 / 0, meta=np.empty(0))
    monkeypatch.setattr(MemoryFileSystem, "rm", fail)
    with pytest.raises(ZeroDivisionError):
        write("memory://b/y.zarr", array, source)


def test_a_move_that_fails_leaves_no_array(memory, source, monkeypatch):
    def fail(fs, old, new, **options):
        raise PermissionError("no permission")

    monkeypatch.setattr(MemoryFileSystem, "cp_file", fail)
    with pytest.raises(StorageError, match=r"cannot write memory://b/y\.zarr: no permission"):
        write("memory://b/y.zarr", da.ones(6, chunks=2), source)
    assert memory.find("") == []


def test_what_appeared_meanwhile_is_left_alone(memory, source):
    with Destination("memory://b/y.npy", False, source) as destination:
        destination.write(da.ones(5, chunks=2)).compute()
        put(memory, "b/y.npy", X)
        with pytest.raises(StorageError, match="has appeared meanwhile"):
            destination.commit()
    np.testing.assert_array_equal(open_source("memory://b/y.npy")[:, :], X)


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_file_systems_that_rename_do_so(tmp_path, source, name):
    url = Url(f"file://{tmp_path}/{name}")
    stage = (staging.Uploaded if name == "y.npy" else staging.AtUrl)(url)
    save(stage.partial if name == "y.npy" else tmp_path / stage.partial.name, np.ones(3))
    stage.commit(replaces=False)
    stage.clear(committed=True)
    np.testing.assert_array_equal(open_source(f"{tmp_path}/{name}").read((3,)), np.ones(3))
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy", name}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://b/x.csv", "ends in neither"),
        ("memory://b/x.npy", r"memory://b/x\.npy is the source itself"),
        ("memory:///b/x.npy", r"memory:///b/x\.npy is the source itself"),
        ("memory://b", "ends in neither"),
        ("memory://b/x.npy/y.npy", "lie within each other"),
        ("http://127.0.0.1:9/y.npy", "can only be read; write to a path or a bucket"),
        ("simplecache::memory://b/y.npy", "can only be read"),
    ],
)
def test_refused_destinations(memory, url, message):
    put(memory, "b/x.npy", X)
    with pytest.raises(MisuseError, match=message):
        Destination(url, True, open_source("memory://b/x.npy"))


def test_a_cached_source_is_not_overwritten(memory):
    put(memory, "b/x.npy", X)
    with pytest.raises(MisuseError, match="is the source itself"):
        Destination("memory://b/x.npy", True, open_source("simplecache::memory://b/x.npy"))


def test_a_npy_at_a_url_is_not_for_a_cluster(npy):
    result = invoke("softmax", npy, "memory://b/y.npy", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert "which is put together on this machine" in result.output


@pytest.mark.system
def test_the_command_on_urls(memory):
    put(memory, "b/x.zarr", X, chunks=(20, 20))
    put(memory, "b/m.npy", X[0] < 0)
    arguments = ("memory://b/x.zarr", "memory://b/y.npy", "--axis", "1", "--quiet")
    result = invoke("softmax", *arguments, "--where", "memory://b/m.npy")
    assert (result.exit_code, result.output) == (0, "")
    e = np.exp(X) * (X[0] < 0)
    y = open_source("memory://b/y.npy")[:, :]
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-12)
