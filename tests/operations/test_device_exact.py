"""exact=True for CuPy arrays, on a stand-in: the bits of NumPy arrays, and no chunk leaves.

What is real and what is not is as in `test_device_arrays`.
"""

import dask
import dask.array as da
import numpy as np
import pytest

import dsoftmax
from dsoftmax import Normalizer

from .. import fake_cupy
from ..emulator import COMPILER, Emulator
from ..exact_sums import DATA
from ..fake_cupy import forget, ndarray, transfers

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with"),
]
FUNCTIONS = (dsoftmax.softmax, dsoftmax.log_softmax, dsoftmax.logsumexp)


@pytest.fixture(scope="module")
def cupy():
    with fake_cupy.installed(Emulator()) as module:
        yield module


@pytest.fixture
def host():
    return np.random.default_rng(0).normal(size=(40, 30)) * 20


def on_device(cupy, host, chunks=(25, 20)):
    transfers.clear()
    return da.from_array(host, chunks=chunks).map_blocks(cupy.asarray)


def got(y):
    """What a CuPy array holds, or a Dask array of such computes; nothing was copied before."""
    (y,) = dask.compute(y, scheduler="synchronous")
    assert isinstance(y, ndarray)
    assert transfers == []
    on_host = y.get()
    transfers.clear()
    return on_host


def assert_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, np.shape(expected))
    number = ~np.isnan(expected)
    assert found[number].tobytes() == expected[number].tobytes()
    assert np.isnan(found[~number]).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16"])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_results_have_the_bits_of_numpy_arrays(axis, dtype, cupy, host):
    host = host.astype(dtype)
    where = np.random.default_rng(1).random(host.shape) < 0.8
    for function in FUNCTIONS:
        for mask in (None, where):
            expected = function(host, axis=axis, where=mask, exact=True)
            for x in (cupy.asarray(host), on_device(cupy, host), on_device(cupy, host, (40, 30))):
                assert_bits(got(function(x, axis=axis, where=mask, exact=True)), expected)


@pytest.mark.parametrize("name", DATA)
def test_kinds_of_data(name, cupy):
    with np.errstate(over="ignore"):
        host = DATA[name](np.random.default_rng(2), 400).astype("f4")
    for function in FUNCTIONS:
        y = function(on_device(cupy, host, ((0, 1, 99, 300),)), exact=True)
        assert_bits(got(y), np.asarray(function(host, exact=True)))


def test_many_slices_are_taken_a_part_at_a_time(cupy, host, monkeypatch):
    monkeypatch.setattr(dsoftmax._kernels.exact, "_TOGETHER_ON_DEVICE", 7)
    for function in FUNCTIONS:
        y = function(cupy.asarray(host), axis=1, exact=True)
        assert_bits(got(y), function(host, axis=1, exact=True))


def test_the_sign_of_a_sum(cupy):
    host = np.array([[1.0, 2.0], [-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0]])
    expected = dsoftmax.logsumexp(host, axis=1, return_sign=True, exact=True)
    for x in (cupy.asarray(host), on_device(cupy, host, (3, 1))):
        found = dsoftmax.logsumexp(x, axis=1, return_sign=True, exact=True)
        for one, other in zip(found, expected, strict=True):
            assert_bits(got(one), other)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_topk(axis, cupy, host):
    expected = dsoftmax.softmax_topk(host, 4, axis=axis, exact=True)
    for x in (cupy.asarray(host), on_device(cupy, host)):
        found = dsoftmax.softmax_topk(x, 4, axis=axis, exact=True)
        assert_bits(got(found.values), expected.values)
        np.testing.assert_array_equal(got(found.indices), expected.indices)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_arrays(shape, cupy):
    transfers.clear()
    for axis in (0, 1):
        expected = dsoftmax.logsumexp(np.zeros(shape), axis=axis, exact=True)
        found = dsoftmax.logsumexp(cupy.asarray(np.zeros(shape)), axis=axis, exact=True)
        assert_bits(got(found), expected)


class TestNormalizer:
    @pytest.mark.parametrize("axis", [0, (0, 1), None])
    def test_fields_and_results(self, axis, cupy, host):
        expected = Normalizer.of(host, axis, exact=True)
        x = on_device(cupy, host)
        for n in (
            Normalizer.of(cupy.asarray(host), axis, exact=True),
            Normalizer.of(x, axis, exact=True),
        ):
            assert n.exact
            for name in "mwsd":
                assert_bits(got(getattr(n, name)), getattr(expected, name))
            for y in (x, cupy.asarray(host)):
                assert_bits(got(n.softmax(y)), expected.softmax(host))
                assert_bits(got(n.log_softmax(y)), expected.log_softmax(host))
            assert_bits(got(n.logsumexp()), expected.logsumexp())

    def test_merges(self, cupy, host):
        expected = Normalizer.of(host, 0, exact=True)
        parts = [Normalizer.of(cupy.asarray(part), 0, exact=True) for part in np.split(host, 20)]
        nothing = Normalizer.identity(expected.shape, 0, exact=True)
        transfers.clear()
        merged = nothing.merge(*parts[::-1])
        for part in parts:
            nothing = nothing.merge(part)
        assert transfers == []
        for n in (merged, nothing):
            assert n.to_dict() == expected.to_dict()
        transfers.clear()
        assert merged == nothing

    def test_of_other_dtypes(self, cupy, host):
        narrow = host.astype("f4")
        expected = Normalizer.of(narrow, 0, exact=True) + Normalizer.of(host, 0, exact=True)
        there = [Normalizer.of(cupy.asarray(x), 0, exact=True) for x in (narrow, host)]
        transfers.clear()
        both = there[0] + there[1]
        assert_bits(got(both.softmax(cupy.asarray(host))), expected.softmax(host))
        assert_bits(got(both.softmax(cupy.asarray(narrow))), expected.softmax(narrow))
        assert (both.to_dict(), both.dtype) == (expected.to_dict(), expected.dtype)

    def test_chunks_that_do_not_agree(self, cupy, host):
        """States go by the host then, and results stay on the device."""
        expected = Normalizer.of(host, 0, exact=True)
        first = Normalizer.of(on_device(cupy, host[:20]), 0, exact=True)
        last = Normalizer.of(on_device(cupy, host[20:], (20, 16)), 0, exact=True)
        both = first.merge(last)
        assert both.compute().to_dict() == expected.to_dict()
        y = dask.compute(both.softmax(on_device(cupy, host, (40, 30))), scheduler="synchronous")[0]
        assert isinstance(y, ndarray)
        assert_bits(y.get(), expected.softmax(host))


class TestErrors:
    def test_weights(self, cupy, host):
        with pytest.raises(ValueError, match="logsumexp: weights b have no exact sum"):
            dsoftmax.logsumexp(on_device(cupy, host), b=2.0, exact=True)

    def test_dtypes(self, cupy):
        with pytest.raises(TypeError, match="x has dtype complex128, and exact sums are for real"):
            Normalizer.of(cupy.asarray([1j]), exact=True)

    def test_devices_that_are_too_old(self, cupy, host, monkeypatch):
        forget()
        monkeypatch.setattr(fake_cupy.Device, "compute_capability", "61")
        with pytest.raises(
            TypeError, match="x is of type cupy ndarray, and exact sums .* on devices"
        ):
            dsoftmax.softmax(on_device(cupy, host), exact=True)
        forget()

    def test_a_normalizer_of_the_device_and_an_array_of_the_host(self, cupy, host):
        n = Normalizer.of(on_device(cupy, host), 0, exact=True)
        with pytest.raises(TypeError, match="blocks of cupy and numpy do not mix"):
            n.softmax(host).compute()
