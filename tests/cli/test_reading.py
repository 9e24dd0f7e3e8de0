"""Sources: arrays on disk that are read, and paths that are refused."""

import os
import pickle
import sys

import numpy as np
import pytest
import zarr

from dsoftmax.cli.destination import Destination
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.storage import StorageError

from .files import MIB, save


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
        ("archive.npy", r"it is a \.npz archive; name one of its arrays, as in zip://"),
        ("cut.npy", "shorter than its header says"),
        ("header.npy", "shorter than its header says"),
        ("empty.npy", r"it is not in the \.npy format"),
        ("text.npy", r"it is not in the \.npy format"),
        ("table.csv", r"neither a \.npy file nor the directory of a Zarr array"),
        ("plain", "the directory is not a Zarr array"),
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


@pytest.mark.parametrize("installed", [None, type(sys)("zarr")], ids=["no zarr", "zarr 2"])
def test_zarr_is_asked_for_where_it_is_missing(tmp_path, source, monkeypatch, installed):
    (tmp_path / "x.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", installed)
    with pytest.raises(StorageError, match=r"pip install '\.\[zarr\]'"):
        open_source(str(tmp_path / "x.zarr"))
    with pytest.raises(StorageError, match=r"pip install '\.\[zarr\]'"):
        Destination(str(tmp_path / "y.zarr"), False, source)
