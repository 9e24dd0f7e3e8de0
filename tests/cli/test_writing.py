"""Destinations: what is written, what is refused, and when a destination appears."""

import errno
import os
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dsoftmax.cli.destination import Destination, write_block
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.storage import MisuseError, StorageError, remove
from dsoftmax.cli.zarr import ZarrArray

from .files import MIB, file_size_limit, raising, save, stored


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((), ()),
        ((0,), 1),
        ((0, 3), 1),
        ((10,), 3),
        ((10,), ((1, 4, 2, 3),)),
        ((6, 7), (2, 7)),
        ((6, 7), (6, 2)),
        ((6, 7), ((1, 5), (3, 3, 1))),
        ((4, 5, 6), (3, 2, 6)),
        ((4, 5, 6), (2, 5, 4)),
        ((4, 5, 6), ((4,), (1, 4), (5, 1))),
    ],
)
def test_writes_any_chunks(tmp_path, source, suffix, shape, chunks):
    expected = np.random.default_rng(0).normal(size=shape).astype("f4")
    path = tmp_path / f"y{suffix}"
    stored(path, da.from_array(expected, chunks=chunks), source)
    actual = open_source(str(path))
    assert (actual.shape, actual.dtype) == (shape, expected.dtype)
    np.testing.assert_array_equal(actual.read(shape or ()).compute(), expected)


def test_numpy_reads_what_is_written(tmp_path, source):
    expected = np.arange(12, dtype="f2").reshape(3, 4)
    stored(tmp_path / "y.npy", da.from_array(expected, chunks=2), source)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected, strict=True)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_no_two_blocks_share_a_store_chunk(tmp_path_factory, lengths):
    array = da.zeros(sum(lengths), chunks=(tuple(lengths),))
    path = tmp_path_factory.mktemp("zarr") / "y.zarr"
    (grain,) = ZarrArray.create(path, array, NpyFile("", (), array.dtype, (), ())).grain
    assert all(start % grain == 0 for start in np.cumsum([0, *lengths[:-1]]))


@pytest.mark.parametrize(
    ("shape", "chunks", "expected"),
    [
        ((8, 8), (4, 8), ((2, 4), (4, 8))),  # made of whole shards: kept
        ((8, 8), (8, 8), ((2, 4), (4, 8))),
        ((8, 8), (3, 8), ((3, 8), None)),
        ((8, 1), (4, 1), ((4, 1), None)),  # another shape
    ],
)
def test_a_zarr_copy_keeps_the_layout_where_it_can(tmp_path, shape, chunks, expected):
    save(tmp_path / "x.zarr", np.zeros((8, 8)), chunks=(2, 4), shards=(4, 8))
    source = open_source(str(tmp_path / "x.zarr"))
    stored(tmp_path / "y.zarr", da.ones(shape, chunks=chunks), source)
    written = zarr.open_array(tmp_path / "y.zarr", mode="r")
    assert (written.chunks, written.shards) == expected
    np.testing.assert_array_equal(written[:], np.ones(shape))


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_nothing_appears_before_the_commit(tmp_path, source, name):
    with Destination(str(tmp_path / name), False, source) as destination:
        destination.write(da.ones((3, 4), chunks=2)).compute()
        partial = {path.name for path in tmp_path.iterdir()} - {"source.npy"}
        destination.commit()
    assert len(partial) == 1
    assert partial.pop().startswith(f".{name}.partial-")
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy", name}


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_what_is_not_committed_is_removed(tmp_path, source, name):
    def fail(block):
        raise ArithmeticError

    array = da.ones(4, chunks=2).map_blocks(fail, meta=np.empty(0))
    with pytest.raises(ArithmeticError):
        stored(tmp_path / name, array, source)
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy"}


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_an_old_array_is_kept_until_the_commit(tmp_path, source, name):
    path = tmp_path / name
    save(path, np.zeros(3))
    with pytest.raises(StorageError, match=r"exists; choose another name, or give --overwrite"):
        Destination(str(path), False, source)
    with Destination(str(path), True, source) as destination:
        destination.write(da.ones(5, chunks=2)).compute()
        np.testing.assert_array_equal(open_source(str(path)).read((3,)), np.zeros(3))
        destination.commit()
    np.testing.assert_array_equal(open_source(str(path)).read((5,)), np.ones(5))
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy", name}


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_an_old_array_survives_a_failure(tmp_path, source, name):
    save(tmp_path / name, np.zeros(3))
    with Destination(str(tmp_path / name), True, source) as destination:
        destination.write(da.ones(5, chunks=2)).compute()
    np.testing.assert_array_equal(open_source(str(tmp_path / name)).read((3,)), np.zeros(3))
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy", name}


def test_an_old_array_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path, source, monkeypatch
):
    save(tmp_path / "y.zarr", np.zeros(3))
    with Destination(str(tmp_path / "y.zarr"), True, source) as destination:
        destination.write(da.ones(5, chunks=2))
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(Path, "rename", raising(Path.rename, ".partial-", full))
        with pytest.raises(StorageError, match=r"cannot write \S*y\.zarr: No space left"):
            destination.commit()
    np.testing.assert_array_equal(open_source(str(tmp_path / "y.zarr")).read((3,)), np.zeros(3))
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy", "y.zarr"}


@pytest.mark.parametrize("name", ["y.npy", "y.zarr"])
def test_what_appeared_meanwhile_is_left_alone(tmp_path, source, name):
    with Destination(str(tmp_path / name), False, source) as destination:
        destination.write(da.ones(5, chunks=2))
        save(tmp_path / name, np.zeros(3))
        with pytest.raises(StorageError, match="has appeared meanwhile"):
            destination.commit()
    np.testing.assert_array_equal(open_source(str(tmp_path / name)).read((3,)), np.zeros(3))


def test_a_link_is_followed(tmp_path, source):
    save(tmp_path / "old.npy", np.zeros(3))
    (tmp_path / "link.npy").symlink_to("old.npy")
    with Destination(str(tmp_path / "link.npy"), True, source) as destination:
        destination.write(da.ones(5, chunks=2)).compute()
        destination.commit()
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "old.npy"), np.ones(5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("y.txt", r"y\.txt ends in neither \.npy nor \.zarr"),
        ("y", r"ends in neither \.npy nor \.zarr"),
        ("no/y.npy", r"cannot write \S*no/y\.npy: \S*no is not a directory"),
        ("source.npy/y.npy", r"cannot write \S*: \S*source\.npy is not a directory"),
        ("source.npy", "is the source itself"),
        ("soft.npy", "is the source itself"),
        ("hard.npy", "is the source itself"),
        ("full.zarr", "--overwrite replaces arrays only: .*/full.zarr: the directory is not a"),
        ("group.zarr", r"--overwrite replaces arrays only: \S*group\.zarr is a Zarr group"),
        ("file.zarr", r"--overwrite does not replace \S*file\.zarr: it is a file"),
        ("full.npy", r"--overwrite does not replace \S*full\.npy: it is a directory"),
    ],
)
def test_refused_destinations(tmp_path, source, name, message):
    (tmp_path / "soft.npy").symlink_to("source.npy")
    (tmp_path / "hard.npy").hardlink_to(tmp_path / "source.npy")
    for directory in ("full.zarr", "full.npy"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "precious.txt").write_text("keep")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    (tmp_path / "file.zarr").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match=message):
        Destination(str(tmp_path / name), True, source)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("local://{}/source.npy", "source.npy"),
        ("file://{}/source.npy", "source.npy"),
        ("simplecache::file://{}/source.npy", "source.npy"),
        ("simplecache::local://{}/source.npy", "source.npy"),
        ("simplecache::file://{}/source.npy", "hard.npy"),
        ("simplecache::file://{}/source.zarr", "source.zarr"),
    ],
)
def test_a_source_that_is_named_otherwise(tmp_path, source, url, name):
    save(tmp_path / "source.zarr", np.arange(3.0))
    (tmp_path / "hard.npy").hardlink_to(tmp_path / "source.npy")
    opened = open_source(url.format(tmp_path))
    with pytest.raises(MisuseError, match="is the source itself; write to another path"):
        Destination(str(tmp_path / name), True, opened)
    with pytest.raises(MisuseError, match="is the source itself; write to another path"):
        Destination(f"local://{tmp_path / name}", True, opened)
    Destination(str(tmp_path / "y.npy"), True, opened)


def test_a_destination_within_the_source_is_refused(tmp_path):
    save(tmp_path / "x.zarr", np.zeros(3))
    source = open_source(str(tmp_path / "x.zarr"))
    with pytest.raises(StorageError, match="lie within each other"):
        Destination(str(tmp_path / "x.zarr" / "y.zarr"), False, source)


def test_a_destination_around_the_source_is_refused(tmp_path):
    zarr.open_group(tmp_path / "data.zarr", mode="w")
    zarr.create_array(tmp_path / "data.zarr", name="x", data=np.zeros(3))
    source = open_source(str(tmp_path / "data.zarr" / "x"))
    with pytest.raises(StorageError, match="lie within each other"):
        Destination(str(tmp_path / "data.zarr"), True, source)


def test_a_full_disk_is_an_error_before_anything_is_computed(tmp_path, source, lazily):
    message = r"cannot write \S*y\.npy: File too large \(16\.00 MiB are needed\)"
    with (
        Destination(str(tmp_path / "y.npy"), False, source) as destination,
        file_size_limit(MIB),
        pytest.raises(StorageError, match=message),
    ):
        lazily(destination.write, da.ones(2 * MIB, chunks=MIB))
    assert {path.name for path in tmp_path.iterdir()} == {"source.npy"}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_space_is_reserved(tmp_path, source):
    with Destination(str(tmp_path / "y.npy"), False, source) as destination:
        destination.write(da.ones(MIB, chunks=MIB))
        assert destination._staging.partial.stat().st_blocks * 512 >= 8 * MIB


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_file_systems_that_reserve_nothing_will_do(tmp_path, source, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    stored(tmp_path / "y.npy", da.ones(5, chunks=2), source)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.ones(5))


def test_an_error_of_writing_names_the_file(tmp_path):
    array = da.from_array(np.random.default_rng(0).normal(size=MIB), chunks=MIB)
    target = ZarrArray.create(tmp_path / "y.zarr", array, NpyFile("", (), array.dtype, (), ()))
    info = {0: {"array-location": [(0, MIB)]}}
    with file_size_limit(MIB), pytest.raises(OSError, match="File too large") as caught:
        write_block(array.compute(), target, "DST", block_info=info)
    assert caught.value.filename == "DST"


def test_a_late_writer_does_not_bring_a_removed_array_back(tmp_path, monkeypatch):
    array = da.ones(4, chunks=2)
    target = ZarrArray.create(tmp_path / "y.zarr", array, NpyFile("", (), array.dtype, (), ()))
    late = zarr.open_array(target.path, mode="r+")
    monkeypatch.setattr(zarr, "open_array", lambda *args, **kwargs: late)  # before the removal
    remove(tmp_path / "y.zarr")
    with pytest.raises(FileNotFoundError, match="removed while being written"):
        target[(slice(0, 2),)] = np.ones(2)
    assert not list(tmp_path.iterdir())
