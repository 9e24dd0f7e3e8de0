"""Arrays at URLs: fsspec's file system in memory, a local one, and a server of HTTP."""

import functools
import http.server
import io
import re
import sys
import threading

import dask.array as da
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsoftmax.cli import staging
from dsoftmax.cli.destination import Destination
from dsoftmax.cli.formats import open_source, place
from dsoftmax.cli.npy_url import NpyUrl
from dsoftmax.cli.storage import MisuseError, StorageError
from dsoftmax.cli.urls import Url

from .command import invoke
from .files import save

X = np.random.default_rng(0).normal(size=(50, 40))


@pytest.fixture
def memory():
    """An empty file system in memory."""
    fs = MemoryFileSystem()
    fs.rm("/", recursive=True) if fs.store else None
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def put(fs, name, array, **options):
    """A .npy file, or a Zarr array, in memory."""
    if name.endswith(".npy"):
        file = io.BytesIO()
        np.save(file, array, **options)
        fs.pipe_file(name, file.getvalue())
    else:
        zarr.create_array(f"memory://{name}", data=array, **options)


# Reading.


@pytest.mark.parametrize("name", ["b/x.npy", "b/x.zarr"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (5, 6), (0, 3), (4, 3, 2)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_what_was_saved(memory, name, shape, order):
    expected = np.arange(np.prod(shape), dtype="i4").reshape(shape, order=order)
    put(memory, name, expected)
    source = open_source(f"memory://{name}")
    x = source.read(tuple(max(1, n // 2) for n in shape))
    assert (x.shape, x.dtype, source.nbytes) == (shape, expected.dtype, expected.nbytes)
    np.testing.assert_array_equal(x.compute(scheduler="sync"), expected)


@given(st.data(), st.sampled_from("CF"))
def test_any_part_of_a_npy(data, order):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
    x = np.arange(np.prod(shape), dtype="i2").reshape(shape, order=order)
    put(MemoryFileSystem(), "part.npy", x)
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=False, allow_ellipsis=False))
    np.testing.assert_array_equal(open_source("memory://part.npy")[index], x[index], strict=True)


def test_a_block_takes_one_request_for_each_run_of_bytes(memory, monkeypatch):
    put(memory, "x.npy", X)
    source, requests = open_source("memory://x.npy"), []

    def noted(fs, path, start=None, end=None, **options):
        requests.append(end - start)
        return bytes(fs.store[path].getbuffer()[start:end])

    monkeypatch.setattr(MemoryFileSystem, "cat_file", noted)
    source[10:20, :]
    assert requests == [10 * 40 * 8]
    requests.clear()
    source[10:13, 5:9]
    assert requests == [4 * 8] * 3


def test_ranges_are_asked_for_by_name(memory, monkeypatch):
    put(memory, "x.npy", X)
    send = MemoryFileSystem.cat_file

    def named(fs, path, version_id=None, start=None, end=None):  # as of s3fs
        return send(fs, path, start, end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", named)
    assert open_source("memory://x.npy").shape == X.shape


def refuse_ranges(memory, monkeypatch):
    """A file system that sends whole files, whatever is asked for."""
    send = MemoryFileSystem.cat_file
    whole = lambda fs, path, start=None, end=None, **options: send(fs, path)  # noqa: E731
    monkeypatch.setattr(MemoryFileSystem, "cat_file", whole)


def test_a_server_that_sends_whole_files_only(memory, monkeypatch):
    put(memory, "large.npy", np.zeros(10**4))
    put(memory, "small.npy", np.zeros(10))
    large = open_source("memory://large.npy")
    refuse_ranges(memory, monkeypatch)
    with pytest.raises(StorageError, match="its server sends whole files only, and no parts"):
        open_source("memory://large.npy")
    with pytest.raises(OSError, match="gave 80,128 bytes instead of 16: its server sends whole"):
        large[3:5]
    with pytest.raises(OSError, match="whole files only, or the file is cut off"):
        open_source("memory://small.npy")[3:5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0.1, 0.2", r"it is not in the \.npy format"),
        (b"\x80\x04", "it is a pickle, and those are never loaded"),
        (b"PK\x03\x04", r"it is a \.npz archive"),
        (b"", r"it is not in the \.npy format"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr'", "it is shorter than its header says"),
    ],
)
def test_files_that_are_no_npy(memory, content, message):
    memory.pipe_file("x.npy", content)
    with pytest.raises(StorageError, match=rf"cannot read memory://x\.npy: {message}"):
        open_source("memory://x.npy")


def test_files_that_are_cut_off_or_hold_objects(memory):
    put(memory, "x.npy", X)
    memory.pipe_file("x.npy", memory.cat_file("x.npy")[:-1])
    with pytest.raises(StorageError, match="shorter than its header says"):
        open_source("memory://x.npy")
    put(memory, "o.npy", np.array([1, "x"], dtype=object), allow_pickle=True)
    with pytest.raises(StorageError, match="it holds pickled Python objects, which are never"):
        open_source("memory://o.npy")


def test_arrays_that_are_not_there(memory):
    zarr.create_group("memory://group.zarr").create_array("a", data=X)
    for url, message in [
        ("memory://no.npy", r"cannot read memory://no\.npy: there is no such file"),
        ("memory://no.zarr", r"cannot read memory://no\.zarr: there is no Zarr array"),
        ("memory://group.zarr", r"is a Zarr group, not an array; name .* memory://group\.zarr/a"),
    ]:
        with pytest.raises(StorageError, match=message):
            open_source(url)
    np.testing.assert_array_equal(open_source("memory://group.zarr/a")[:, :], X)


def test_packed_numbers_are_decoded(memory):
    attributes = {"scale_factor": 0.5}
    put(memory, "x.zarr", np.array([2, 4], "i2"), attributes=attributes)
    np.testing.assert_array_equal(open_source("memory://x.zarr").read((2,)).compute(), [1.0, 2])


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("s3://b/x.npy", StorageError, r"s3://b/x\.npy needs s3fs: python -m pip install s3fs"),
        ("gs://b/x.zarr", StorageError, "gs://b/x.zarr needs gcsfs: python -m pip install gcsfs"),
        ("nonsense://b/x.npy", MisuseError, "begins with nonsense://, which fsspec does not know"),
    ],
)
def test_urls_that_cannot_be_opened(source, monkeypatch, url, kind, message):
    for package, protocol in (("s3fs", "s3"), ("gcsfs", "gs")):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    for opened in (open_source, lambda url: Destination(url, False, source)):
        with pytest.raises(kind, match=message):
            opened(url)


def test_a_url_of_a_local_file_is_its_path(tmp_path, source):
    assert place(f"file://{tmp_path}/a%20b.npy") == (tmp_path / "a b.npy").resolve()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_in_a_npz_archive(tmp_path, save):
    save(tmp_path / "all.npz", x=X, y=X + 1)
    source = open_source(f"zip://y.npy::{tmp_path}/all.npz")
    x = source.read((20, 40)).compute(scheduler="sync")
    np.testing.assert_array_equal(x, X + 1)
    with pytest.raises(StorageError, match="there is no such file"):
        open_source(f"zip://z.npy::{tmp_path}/all.npz")


def test_names_in_urls():
    assert Url("https://host/a/x.npy?token=a.b/c").suffix == ".npy"
    assert Url("s3://bucket/a/x.zarr").with_name(".y") == Url("s3://bucket/a/.y")
    assert Url("simplecache::https://host/a/x.npy?a=b.c").name == "x.npy"
    assert Url("zip://a/x.npy::s3://bucket/b.zip").suffix == ".npy"
    assert Url.of("memory://b/x.zarr//") == Url("memory://b/x.zarr")


# Writing.


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


# HTTP.


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files, or the ranges of them that are asked for."""

    ranges = True

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not (self.ranges and wanted):
            return super().send_head()
        try:
            with open(self.translate_path(self.path), "rb") as file:
                content = file.read()
        except OSError:
            return self.send_error(404)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        return io.BytesIO(content[first : last + 1])

    def log_message(self, *arguments):
        pass


@pytest.fixture(params=[True, False], ids=["ranges", "whole files"])
def server(tmp_path, request):
    """The address of a server of a directory."""
    pytest.importorskip("aiohttp", reason="fsspec's file system of HTTP")
    kind = type("Of", (Handler,), {"ranges": request.param})
    handler = functools.partial(kind, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_arrays_behind_http(tmp_path, server, request):
    large = np.random.default_rng(0).normal(size=(200, 100))
    save(tmp_path / "x.zarr", large, chunks=(100, 50))
    save(tmp_path / "x.npy", large)
    source = open_source(f"{server}/x.zarr")
    np.testing.assert_array_equal(source.read((100, 100)).compute(scheduler="sync"), large)
    if "ranges" in request.node.name:
        source = open_source(f"{server}/x.npy?version=2")
        assert isinstance(source, NpyUrl)
        np.testing.assert_array_equal(source.read((90, 100)).compute(scheduler="sync"), large)
    else:
        with pytest.raises(StorageError, match="its server sends whole files only"):
            open_source(f"{server}/x.npy")
    with pytest.raises(StorageError, match="there is no such file"):
        open_source(f"{server}/no.npy")
    with pytest.raises(StorageError, match="there is no Zarr array"):
        open_source(f"{server}/no.zarr")
