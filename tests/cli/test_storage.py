"""Arrays on disk: what is read, what is refused, and when a destination appears."""

import contextlib
import errno
import math
import os
import pickle
import sys
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
from dsoftmax.cli.storage import StorageError, StoredArray, default_limit, plan_chunks, remove
from dsoftmax.cli.zarr import ZarrArray

resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")

MIB = 2**20


@pytest.fixture
def source(tmp_path):
    """A small .npy file, for tests of where it is not about what is read."""
    np.save(tmp_path / "source.npy", np.arange(12.0).reshape(3, 4))
    return NpyFile.at(tmp_path / "source.npy")


@contextlib.contextmanager
def file_size_limit(nbytes):
    """No file can grow further, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(path, array, **options):
    """An array as .npy or Zarr, as the suffix says."""
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        zarr.create_array(path, data=array, **options)


def stored(path, array, source):
    """Write an array to a destination."""
    with Destination(str(path), False, source) as destination:
        count = destination.write(array)
        assert count.compute(scheduler="threads") == array.size
        destination.commit()


def raising(method, text, error):
    """A method of paths that fails for those with ``text`` in their name."""

    def fail(path):
        raise error

    return lambda path, *arguments: fail(path) if text in path.name else method(path, *arguments)


# Reading.


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (5, 6), (0, 3), (4, 3, 2)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "?"])
def test_reads_what_was_saved(tmp_path, suffix, shape, dtype):
    expected = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype)
    save(tmp_path / f"x{suffix}", expected)
    source = open_source(str(tmp_path / f"x{suffix}"))
    x = source.read(tuple(max(1, n // 2) for n in shape))
    assert (x.shape, x.dtype, source.nbytes) == (shape, expected.dtype, expected.nbytes)
    np.testing.assert_array_equal(x.compute(), expected)


def test_reads_fortran_order_and_swapped_bytes(tmp_path):
    expected = np.asfortranarray(np.arange(24.0).reshape(4, 6).astype(">f8"))
    np.save(tmp_path / "x.npy", expected)
    source = open_source(str(tmp_path / "x.npy"))
    assert source.nearest == (0, 1)
    np.testing.assert_array_equal(source.read((3, 5)).compute(), expected)


def test_a_c_ordered_vector_of_one_element_is_not_fortran(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 1)))
    assert open_source(str(tmp_path / "x.npy")).nearest == (1, 0)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_the_graph_holds_no_data(tmp_path, suffix, lazily):
    save(tmp_path / f"x{suffix}", np.zeros(MIB))
    x = lazily(open_source(str(tmp_path / f"x{suffix}")).read, (MIB // 64,))
    assert len(pickle.dumps(dict(x.dask))) < 64 * 1000


def test_two_readings_of_a_file_share_no_task(source):
    assert source.read((3, 4)).dask.keys().isdisjoint(source.read((3, 4)).dask.keys())


def test_reads_a_zarr_array_in_a_group(tmp_path):
    zarr.open_group(tmp_path / "data.zarr", mode="w")
    zarr.create_array(tmp_path / "data.zarr", name="scores", data=np.arange(6.0), chunks=(4,))
    source = open_source(str(tmp_path / "data.zarr" / "scores"))
    assert source.grain == (4,)
    np.testing.assert_array_equal(source.read((4,)).compute(), np.arange(6.0))


def test_reads_zarr_format_2(tmp_path):
    save(tmp_path / "x.zarr", np.arange(6.0), zarr_format=2)
    source = open_source(str(tmp_path / "x.zarr"))
    np.testing.assert_array_equal(source.read((4,)).compute(), np.arange(6.0))


def test_the_grain_of_a_sharded_array_is_a_shard(tmp_path):
    save(tmp_path / "x.zarr", np.zeros((8, 8)), chunks=(2, 2), shards=(4, 8))
    assert open_source(str(tmp_path / "x.zarr")).grain == (4, 8)


def unreadable(tmp_path):
    """Paths that are refused, by what is wrong with them."""
    np.save(tmp_path / "objects.npy", np.array([1, "x"], dtype=object), allow_pickle=True)
    np.save(tmp_path / "good.npy", np.zeros(1000))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:500])
    (tmp_path / "header.npy").write_bytes(whole[:40])
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("0.1, 0.2")
    np.savez(tmp_path / "archive.npz", np.zeros(3))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "table.csv").write_text("0.1, 0.2")
    (tmp_path / "plain").mkdir()
    (tmp_path / "corrupt.zarr").mkdir()
    (tmp_path / "corrupt.zarr" / "zarr.json").write_text("{")
    zarr.open_group(tmp_path / "none.zarr", mode="w")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    zarr.create_array(tmp_path / "group.zarr", name="a", data=np.zeros(3))
    zarr.create_array(tmp_path / "group.zarr", name="b", data=np.zeros(3))
    zarr.create_array(tmp_path / "deep.zarr", name="run/1/a", data=np.zeros(3))
    zarr.create_array(tmp_path / "deep.zarr", name="b", data=np.zeros(3))
    for i in range(13):
        zarr.create_array(tmp_path / "many.zarr", name=f"run/{i:02}", data=np.zeros(3))
    zarr.create_array(tmp_path / "broken.zarr", name="a", data=np.zeros(3))
    (tmp_path / "broken.zarr" / "a" / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.npy", r"cannot read \S*missing\.npy: No such file"),
        ("missing.zarr", r"cannot read \S*missing\.zarr: No such file"),
        ("objects.npy", "it holds pickled Python objects, which are never loaded"),
        ("pickle.npy", "it is a pickle, and those are never loaded"),
        ("archive.npy", r"it is a \.npz archive; save its arrays one by one"),
        ("cut.npy", "shorter than its header says"),
        ("header.npy", "shorter than its header says"),
        ("empty.npy", r"it is not in the \.npy format"),
        ("text.npy", r"it is not in the \.npy format"),
        ("table.csv", r"neither a \.npy file nor the directory of a Zarr array"),
        ("plain", "the directory is no Zarr array"),
        ("corrupt.zarr", r"cannot read \S*corrupt\.zarr as Zarr: "),
        ("none.zarr", "is a Zarr group, not an array; it has no arrays"),
        ("group.zarr", r"name one of its arrays: \S*group\.zarr/a, \S*group\.zarr/b$"),
        ("deep.zarr", r"name one of its arrays: \S*deep\.zarr/b, \S*deep\.zarr/run/1/a$"),
        ("many.zarr", r"arrays: \S*/00, (\S*/0\d, ){8}\S*/09, and 3 more$"),
        ("broken.zarr", r"cannot read \S*broken\.zarr as Zarr: "),
    ],
)
def test_unreadable_sources(tmp_path, name, message):
    unreadable(tmp_path)
    with pytest.raises(StorageError, match=message):
        open_source(str(tmp_path / name))


def test_a_pickle_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    np.save(tmp_path / "x.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(StorageError, match="never loaded"):
        open_source(str(tmp_path / "x.npy"))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("path", ["s3://bucket/x.zarr", "https://host/x.npy", "file:///x.npy"])
def test_urls_are_refused(source, path):
    with pytest.raises(StorageError, match="is a URL; only local paths"):
        open_source(path)
    with pytest.raises(StorageError, match="is a URL; only local paths"):
        Destination(path, False, source)


@pytest.mark.parametrize("installed", [None, type(sys)("zarr")], ids=["no zarr", "zarr 2"])
def test_zarr_is_asked_for_where_it_is_missing(tmp_path, source, monkeypatch, installed):
    (tmp_path / "x.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", installed)
    with pytest.raises(StorageError, match=r'pip install "dsoftmax\[zarr\]"'):
        open_source(str(tmp_path / "x.zarr"))
    with pytest.raises(StorageError, match=r'pip install "dsoftmax\[zarr\]"'):
        Destination(str(tmp_path / "y.zarr"), False, source)


# Writing.


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
    (grain,) = ZarrArray.create(path, array, StoredArray("", (), array.dtype, (), ())).grain
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
        ("full.zarr", "--overwrite replaces arrays only: .*/full.zarr: the directory is no Zarr"),
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
        assert destination._partial.stat().st_blocks * 512 >= 8 * MIB


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


# Chunks.


@pytest.mark.parametrize(
    ("shape", "grain", "order", "limit", "expected"),
    [
        ((), (), (), 100, ()),
        ((1000,), (), (), 800, (100,)),
        ((1000,), (), (), 808, (100,)),  # ten equal ones, not nine of 101 and a rest
        ((1000,), (300,), (0,), 800, (300,)),  # no less than a grain
        ((1000,), (300,), (0,), 4800, (600,)),
        ((10, 10), (), (), 80 * 4, (4, 10)),
        ((10, 10), (), (0, 1), 80 * 4, (10, 4)),
        ((10, 10), (4, 4), (0, 1), 8 * 40, (8, 4)),
        ((10, 10), (4, 4), (0, 1), 8 * 90, (10, 8)),
        ((0, 3), (), (), 100, (1, 3)),
    ],
)
def test_planned_chunks(shape, grain, order, limit, expected):
    assert plan_chunks(shape, 8, limit, grain, order) == expected


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=3),
    st.integers(1, 100_000),
    st.randoms(use_true_random=False),
)
def test_planned_chunks_are_whole_grains_within_the_limit(axes, limit, random):
    shape, grain = (tuple(n) for n in zip(*axes, strict=True))
    order = random.sample(range(len(shape)), len(shape))
    chunks = plan_chunks(shape, 8, limit, grain, order)
    smallest = 8 * math.prod(map(min, shape, grain))
    assert 8 * math.prod(chunks) <= max(limit, smallest)
    assert all(c == n or c % g == 0 for c, n, g in zip(chunks, shape, grain, strict=True))


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((100 * MIB,), (0,), 50 * MIB),  # the sixteenth part
        ((1000 * MIB,), (0,), 128 * MIB),  # no more than asked for
        ((1000,), (0,), MIB),  # no less than 1 MiB
        ((8, 4 * MIB), (1,), 32 * MIB),  # whole slices
        ((8, 4 * MIB), (0, 1), 16 * MIB),
        ((2, 16 * MIB), (1,), 16 * MIB),  # too few whole slices
        ((64, 64 * MIB), (1,), 128 * MIB),  # too large ones
    ],
)
def test_default_limit(shape, axes, expected):
    nearest = tuple(range(len(shape)))[::-1]
    source = NpyFile("", shape, np.dtype("f8"), (1,) * len(shape), nearest)
    assert default_limit(source, axes, 128 * MIB) == expected
