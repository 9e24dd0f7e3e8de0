"""Sources at URLs: a file system in memory, archives, a server of HTTP, and what is missing."""

import functools
import http.server
import io
import re
import socket
import sys
import threading

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsoftmax.cli.destination import Destination
from dsoftmax.cli.formats import open_source, place
from dsoftmax.cli.npy_url import NpyUrl
from dsoftmax.cli.storage import MisuseError, StorageError
from dsoftmax.cli.urls import Url

from .files import put, save

X = np.random.default_rng(0).normal(size=(50, 40))


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


def test_hosts_that_are_away():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    pytest.importorskip("aiohttp", reason="reads from servers")
    for name in ("x.zarr", "x.npy"):
        with pytest.raises(StorageError, match=rf"cannot read http://127.0.0.1:{port}/x.*onnect"):
            open_source(f"http://127.0.0.1:{port}/{name}")


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
