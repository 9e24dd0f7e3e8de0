"""Masks and statistics of Dask arrays of CuPy chunks, on a stand-in; see test_device_arrays.py."""

import numpy as np
import pytest

import dsoftmax
from dsoftmax import Normalizer

from .. import fake_cupy
from ..emulator import COMPILER, Emulator
from ..fake_cupy import ndarray, transfers
from .test_device_arrays import on_device, values

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with"),
]

RNG = np.random.default_rng(3)
X, V = RNG.normal(size=(2, 300, 70)).astype("f4") * 5
WHERE = RNG.random(X.shape) < 0.7
WHERE[7], WHERE[:, 7] = False, False
CHUNKS = [(90, 20), (300, 70)]


@pytest.fixture(scope="module")
def cupy():
    emulator = Emulator()
    with fake_cupy.installed(emulator) as module:
        module.launched = emulator.launched
        yield module


def kinds(cupy):
    """What ran, without the dtypes and the merges."""
    names = (name for name in cupy.launched if not name.startswith("merge"))
    return {name if name.startswith("slices") else name.partition("_")[0] for name in names}


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_masks(name, chunks, axis, cupy):
    x, where = on_device(cupy, X, chunks), on_device(cupy, WHERE, (50, 70))
    cupy.launched.clear()
    found = values(getattr(dsoftmax, name)(x, axis=axis, where=where))
    assert kinds(cupy) <= {"finish", "unite", *(f"slices_float32_2_{mode}" for mode in (1, 2, 3))}
    assert len(cupy.launched) > 0
    expected = getattr(dsoftmax, name)(X, axis=axis, where=WHERE)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    if name != "logsumexp":
        np.testing.assert_array_equal(found[~WHERE], expected[~WHERE])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_statistics(chunks, axis, masked, cupy):
    x, v = on_device(cupy, X, chunks), on_device(cupy, V, (300, 35))
    where = on_device(cupy, WHERE, chunks) if masked else None
    on_host = WHERE if masked else None
    cupy.launched.clear()
    for function in (dsoftmax.entropy, dsoftmax.effective_sample_size):
        expected = function(X, axis, where=on_host)
        np.testing.assert_allclose(values(function(x, axis, where=where)), expected, rtol=2e-5)
    assert kinds(cupy) == {"moments", "finish"}
    cupy.launched.clear()
    found = values(dsoftmax.expectation(x, v, axis, where=where))
    expected = dsoftmax.expectation(X, V, axis, where=on_host)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    assert kinds(cupy) == {"values"}


def test_masks_and_values_of_other_kinds(cupy):
    """A mask in NumPy's memory goes to the device; complex numbers take the portable kernels."""
    x = on_device(cupy, X)
    found = values(dsoftmax.softmax(x, 1, where=WHERE[:, :1]))
    expected = dsoftmax.softmax(X, 1, where=WHERE[:, :1])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-9)
    cupy.launched.clear()
    complex_sum = dsoftmax.logsumexp(on_device(cupy, X + 1j * V), 1, where=WHERE)
    expected = dsoftmax.logsumexp(X + 1j * V, 1, where=WHERE)
    found, some = values(complex_sum), WHERE.any(1)
    np.testing.assert_array_equal(found[~some].real, -np.inf)
    np.testing.assert_allclose(np.exp(found[some] - expected[some]), 1, rtol=1e-4)
    assert cupy.launched == []


def test_the_k_most_probable_of_what_is_in(cupy):
    x, where = on_device(cupy, X), on_device(cupy, WHERE)
    found = dsoftmax.softmax_topk(x, 3, 1, where=where)
    expected = dsoftmax.softmax_topk(X, 3, 1, where=WHERE)
    np.testing.assert_allclose(values(found.values), expected.values, rtol=2e-5)
    np.testing.assert_array_equal(values(found.indices), expected.indices)


def test_arrays_and_normalizers(cupy):
    x, where = cupy.asarray(X), cupy.asarray(WHERE)
    transfers.clear()
    y = dsoftmax.softmax(x, 0, where=where)
    size = dsoftmax.effective_sample_size(x, 0, where=where)
    assert isinstance(y, ndarray)
    assert isinstance(size, ndarray)
    assert transfers == []
    expected = dsoftmax.effective_sample_size(X, 0, where=WHERE)
    np.testing.assert_allclose(size.get(), expected, rtol=2e-5)
    halves = [Normalizer.of(cupy.asarray(half), axis=0, statistics=True) for half in np.split(X, 2)]
    both = halves[0].merge(halves[1])
    np.testing.assert_allclose(both.entropy().get(), dsoftmax.entropy(X, 0), rtol=2e-5)
    lazy = on_device(cupy, X)
    both = Normalizer.of(lazy, axis=0, statistics=True)
    np.testing.assert_allclose(values(both.entropy()), dsoftmax.entropy(X, 0), rtol=2e-5)
