"""Dask arrays of CuPy chunks, from end to end on a stand-in: no chunk leaves its device.

Real are Dask's graphs, array-api-compat's namespace for CuPy, `dsoftmax` and its kernels; CuPy is
`fake_cupy`, and the device `emulator`.  Runs in both modes of dask.array.
"""

import math

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import special

import dsoftmax
from dsoftmax import Normalizer

from .. import fake_cupy
from ..emulator import COMPILER, Emulator
from ..fake_cupy import forget, ndarray, transfers
from .scipys import FUNCTIONS

pytestmark = [
    pytest.mark.expressions,
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with"),
]


@pytest.fixture(scope="module")
def cupy():
    emulator = Emulator()
    with fake_cupy.installed(emulator) as module:
        module.launched = emulator.launched
        yield module


@pytest.fixture
def host():
    return np.random.default_rng(0).normal(size=(300, 70)).astype("f4") * 5


def on_device(cupy, host, chunks=(90, 20)):
    transfers.clear()
    return da.from_array(host, chunks=chunks).map_blocks(cupy.asarray)


def values(y):
    """What a Dask array of device chunks computes, on the host.

    Nothing else has come there, neither while the graph was built nor in the computation.
    """
    assert isinstance(y._meta, ndarray)
    assert y._meta.dtype == y.dtype
    kinds = set()

    def note(chunk):
        kinds.add(type(chunk))
        return chunk

    noted = y.map_blocks(note, dtype=y.dtype, meta=y._meta)
    (result,) = dask.compute(noted, scheduler="synchronous")
    assert transfers == []
    assert kinds == {ndarray}
    assert isinstance(result, ndarray)
    assert (result.shape, result.dtype) == (y.shape, y.dtype)
    on_host = result.get()
    transfers.clear()
    return on_host


@pytest.mark.parametrize("axis", [0, 1, None, (), (0, 1)], ids=str)
@pytest.mark.parametrize("chunks", [(90, 20), (300, 70), (300, 20), (1, 70)], ids=str)
def test_softmax_log_softmax_and_logsumexp(axis, chunks, cupy, host):
    x = on_device(cupy, host, chunks)
    cupy.launched.clear()
    for name in FUNCTIONS:
        y = getattr(dsoftmax, name)(x, axis=axis)
        expected = getattr(special, name)(host.astype("f8"), axis=axis)
        np.testing.assert_allclose(values(y), expected, rtol=2e-5, atol=2e-5)
    assert {name for name in cupy.launched if "float32" not in name} == set()
    assert len(cupy.launched) >= 3 * math.prod(x.numblocks)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "bool"])
def test_dtypes(dtype, cupy, host):
    host = host.astype(dtype)
    y = dsoftmax.softmax(on_device(cupy, host), axis=0)
    wide = host.astype("f8")
    np.testing.assert_allclose(values(y), special.softmax(wide, axis=0), rtol=2e-3, atol=1e-6)


def test_complex_numbers_take_the_portable_kernels(cupy, host):
    host = host + 1j * host[::-1]
    y = dsoftmax.logsumexp(on_device(cupy, host), axis=1)
    np.testing.assert_allclose(values(y), special.logsumexp(host, axis=1), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_topk(axis, cupy, host):
    x = on_device(cupy, host)
    for function in (dsoftmax.topk, dsoftmax.softmax_topk):
        found = function(x, 3, axis=axis)
        expected = function(host, 3, axis=axis)
        np.testing.assert_allclose(values(found.values), expected.values, rtol=1e-5)
        np.testing.assert_array_equal(values(found.indices), expected.indices)


def test_devices_that_are_too_old_or_not_of_cuda_take_the_portable_kernels(cupy, host, monkeypatch):
    for change in (
        lambda patch: patch.setattr(fake_cupy.Device, "compute_capability", "61"),
        lambda patch: patch.setattr(cupy.cuda.runtime, "is_hip", True),
    ):
        forget()
        with monkeypatch.context() as patch:
            change(patch)
            cupy.launched.clear()
            y = dsoftmax.softmax(on_device(cupy, host), axis=0)
            np.testing.assert_allclose(values(y), special.softmax(host, axis=0), rtol=2e-5)
            assert cupy.launched == []
    forget()


def test_weights(cupy, host):
    x, b = on_device(cupy, host), np.linspace(-1, 2, 300)[:, None]
    weights = da.from_array(b, chunks=(90, 1)).map_blocks(cupy.asarray)
    y, sign = dsoftmax.logsumexp(x, axis=0, b=weights, return_sign=True)
    expected, expected_sign = special.logsumexp(host.astype("f8"), axis=0, b=b, return_sign=True)
    np.testing.assert_allclose(values(y), expected, rtol=1e-5)
    np.testing.assert_array_equal(values(sign), expected_sign)
    for scalar in (2.5, np.float64(2.5)):
        y = dsoftmax.logsumexp(x, axis=0, b=scalar)
        expected = special.logsumexp(host.astype("f8"), axis=0, b=2.5)
        np.testing.assert_allclose(values(y), expected, rtol=1e-5)


def test_arrays_in_memory(cupy, host):
    transfers.clear()
    x = cupy.asarray(host)
    y, total = dsoftmax.softmax(x, axis=1), dsoftmax.logsumexp(x, b=2.0)
    found = dsoftmax.softmax_topk(x, 2, axis=0)
    assert {type(a) for a in (y, total, *found)} == {ndarray}
    assert transfers == []
    np.testing.assert_allclose(y.get(), special.softmax(host, axis=1), rtol=1e-5)
    empty = dsoftmax.logsumexp(cupy.asarray(np.empty((0, 3), "f4")), axis=0)
    np.testing.assert_array_equal(empty.get(), [-np.inf] * 3)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("axis", [-1, 0, 1, None, (0, 1), ()])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_calls_that_were_seen_before(name, axis, dtype, cupy, host):
    """The second one of a shape may be a launch and little else; other data, and a new result."""
    first, second = (cupy.asarray(host[: 40 * k : k].astype(dtype)) for k in (1, 2))
    function, results = getattr(dsoftmax, name), []
    for x in (first, second, first):
        results.append(function(x, axis=axis))
        wanted = getattr(special, name)(x.get().astype("f8"), axis=axis)
        assert results[-1].shape == np.shape(wanted)
        np.testing.assert_allclose(results[-1].get(), wanted, rtol=2e-5, atol=1e-6)
    one, _, again = (result.get() for result in results)
    np.testing.assert_array_equal(one, again)
    kept = dsoftmax.logsumexp(first, axis=axis, keepdims=True)
    assert kept.shape == special.logsumexp(host[:40], axis=axis, keepdims=True).shape


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_that_were_seen_before_are_still_checked(name, cupy, host):
    function, x = getattr(dsoftmax, name), cupy.asarray(host)
    function(x, axis=1)
    with pytest.raises(TypeError, match="axis is True"):
        function(x, axis=True)
    with pytest.raises(np.exceptions.AxisError):
        function(x, axis=2)
    with pytest.raises(ValueError, match="split_every is 1"):
        function(x, axis=1, split_every=1)
    with pytest.raises(TypeError, match="axis is 1.0"):
        function(x, axis=1.0)
    assert function(x[:, ::2], axis=1).shape[0] == len(host)


def test_normalizers(cupy, host):
    x = on_device(cupy, host)
    lazy = Normalizer.of(x, axis=0)
    for field in ("m", "w", "s", "d"):
        values(getattr(lazy, field))
    np.testing.assert_allclose(values(lazy.softmax(x)), special.softmax(host, axis=0), rtol=2e-5)
    halves = [Normalizer.of(cupy.asarray(half), axis=0) for half in np.split(host, 2)]
    nothing = Normalizer.of(cupy.asarray(host[:0]), axis=0)
    transfers.clear()
    merged = nothing.merge(*halves)
    assert {type(a) for a in (merged.m, merged.w, merged.s)} == {ndarray}
    y = merged.log_softmax(cupy.asarray(host))
    assert transfers == []
    expected = special.log_softmax(host.astype("f8"), axis=0)
    np.testing.assert_allclose(y.get(), expected, rtol=2e-6)
    transfers.clear()
    np.testing.assert_allclose(values(merged.softmax(x)), special.softmax(host, axis=0), rtol=2e-5)


MIXED = "blocks of cupy and numpy do not mix.*map_blocks\\(cupy.asarray\\)"


def test_a_mixed_array_is_an_error_that_says_what_to_do(cupy, host):
    def convert(block, block_info):
        return block if block_info[0]["chunk-location"][0] else cupy.asarray(block)

    x = da.from_array(host, chunks=(90, 20))
    mixed = x.map_blocks(convert, meta=cupy.empty((0, 0), dtype="f4"))
    for y in (
        dsoftmax.softmax(mixed, axis=0),
        dsoftmax.logsumexp(mixed, axis=0),
        dsoftmax.softmax_topk(mixed, 2, axis=0).values,
    ):
        with pytest.raises(TypeError, match=MIXED):
            dask.compute(y, scheduler="synchronous")
    converted = mixed.map_blocks(cupy.asarray)
    found = values(dsoftmax.logsumexp(converted, axis=0))
    np.testing.assert_allclose(found, special.logsumexp(host.astype("f8"), axis=0), rtol=1e-5)


def test_weights_of_another_kind(cupy, host):
    x = cupy.asarray(host)
    b = np.abs(host)
    moved = dsoftmax.logsumexp(x, b=b, axis=0)  # once, as they are the user's own
    np.testing.assert_allclose(moved.get(), special.logsumexp(host, b=b, axis=0), rtol=2e-6)
    with pytest.raises(TypeError, match=MIXED):
        dsoftmax.logsumexp(on_device(cupy, host), b=host).compute()
    different = (
        "arrays of different libraries .(cupy|numpy) ndarray, (cupy|numpy) ndarray.; convert"
    )
    with pytest.raises(TypeError, match=different):
        Normalizer.of(host).softmax(x)
    with pytest.raises(TypeError, match=different):
        Normalizer.of(host).merge(Normalizer.of(x))


def test_a_stream_that_begins_with_nothing(cupy, host):
    merged = Normalizer.identity((1, host.shape[1]), axis=0).merge(
        Normalizer.of(cupy.asarray(host), axis=0)
    )
    assert {type(a) for a in (merged.m, merged.w, merged.s)} == {ndarray}


def test_the_wall_of_the_stand_in(cupy):
    x = cupy.asarray([1.0, 2.0])
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Unsupported type"):
        x + np.ones(2)
    with pytest.raises(TypeError, match="Unsupported type"):
        cupy.maximum(x, np.ones(2))


@pytest.mark.parametrize(("gigabytes", "again"), [(16, False), (1, True)])
def test_what_a_device_has_room_for_is_held(gigabytes, again, cupy, monkeypatch, caplog):
    properties = {"totalGlobalMem": gigabytes << 30}
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceProperties", lambda device: properties)
    x = da.zeros((64, 2**22), chunks=(8, 2**19)).map_blocks(cupy.asarray)
    caplog.set_level("INFO", "dsoftmax")
    y = dsoftmax.softmax(x, axis=1)
    if not hasattr(x, "expr"):  # that mode has no second read
        assert ("read twice" in caplog.text) == again
        assert ("it takes 2.00 GiB of the 16.00 GiB of a device" in caplog.text) != again
    assert isinstance(y._meta, ndarray)
