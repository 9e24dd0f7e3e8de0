"""On a real device: graphs, normalizers, and arrays of more than 2^31 elements.

``python -m pytest -m gpu`` runs these and the kernels alone, where CuPy and a device are; elsewhere
the same graphs run in test_device_arrays.py, without them.
"""

from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax import Normalizer

from ..blocks import ON_DEVICE, cupy
from .scipys import FUNCTIONS

pytestmark = list(ON_DEVICE)


@pytest.mark.huge
@pytest.mark.parametrize("shape", [(2**31 + 16,), (2**31 + 16, 1), (1, 2**31 + 16)], ids=str)
def test_more_than_two_to_the_31_elements(shape):
    x = cupy.zeros(shape, "int8")
    x.reshape(-1)[-1] = 21
    result = dsoftmax.logsumexp(x, axis=int(np.argmax(shape)))
    assert_allclose(cupy.asnumpy(result), np.log(2**31 + 15 + np.exp(21.0)), rtol=1e-15)


@pytest.mark.huge
def test_more_than_two_to_the_31_results():
    x = cupy.zeros(2**31 + 16, "float16")
    x[-1] = 20
    y = dsoftmax.softmax(x)
    assert_allclose(float(y[-1]), np.exp(20.0) / (2**31 + 15 + np.exp(20.0)), rtol=1e-3)
    assert float(y[-2]) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_exact_results_have_the_bits_of_numpy_arrays(axis, dtype):
    host = (np.random.default_rng(0).normal(size=(3000, 400)) * 20).astype(dtype)
    for name in FUNCTIONS:
        function = getattr(dsoftmax, name)
        expected = np.asarray(function(host, axis=axis, exact=True))
        lazy = da.from_array(host, chunks=(1100, 150)).map_blocks(cupy.asarray)
        for x in (cupy.asarray(host), lazy):
            (found,) = dask.compute(function(x, axis=axis, exact=True))
            assert cupy.asnumpy(found).tobytes() == expected.tobytes()


@pytest.mark.parametrize("axis", [0, 1, None])
def test_calls_from_several_threads_and_streams(axis):
    """Of a shape that was seen before, with other data each; none takes another one's addresses."""
    hosts = [np.random.default_rng(i).normal(size=(30, 40)).astype("f4") for i in range(8)]

    def called(host):
        with cupy.cuda.Stream(non_blocking=True) as stream:
            x, found = cupy.asarray(host), []
            for _ in range(50):
                found = [getattr(dsoftmax, name)(x, axis=axis) for name in FUNCTIONS]
                found += dsoftmax.softmax_topk(x, 3, axis=axis)
            stream.synchronize()
            return [cupy.asnumpy(one) for one in found]

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(called, hosts))
    for host, (*found, p, indices) in zip(hosts, results, strict=True):
        best = dsoftmax.softmax_topk(host, 3, axis=axis)
        assert_array_equal(indices, best.indices)
        assert_allclose(p, best.values, rtol=2e-5)
        for name, one in zip(FUNCTIONS, found, strict=True):
            expected = getattr(special, name)(host.astype("f8"), axis=axis)
            assert_allclose(one, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.huge
@pytest.mark.parametrize("shape", [(2**31 + 16,), (2, 2**30 + 8)], ids=str)
def test_the_best_of_more_than_two_to_the_31_elements(shape):
    x = cupy.zeros(shape, "float16")
    x.reshape(-1)[-1] = 21
    p, indices = dsoftmax.softmax_topk(x, 2, axis=-1)
    n = shape[-1]
    assert cupy.asnumpy(indices).reshape(-1, 2)[-1].tolist() == [n - 1, 0]
    expected = np.exp(21.0) / (n - 1 + np.exp(21.0))
    assert_allclose(float(p.reshape(-1, 2)[-1, 0]), expected, rtol=1e-3)


@pytest.mark.parametrize("chunks", [(2500, 300), (10_000, 50)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_graphs(axis, chunks, scheduler):
    host = np.random.default_rng(0).normal(size=(10_000, 300)).astype("f4") * 5
    x = da.from_array(host, chunks=chunks).map_blocks(cupy.asarray)
    for name in FUNCTIONS:
        y = getattr(dsoftmax, name)(x, axis=axis)
        assert isinstance(y._meta, cupy.ndarray)
        (found,) = dask.compute(y, scheduler=scheduler)
        expected = getattr(special, name)(host.astype("f8"), axis=axis)
        assert_allclose(cupy.asnumpy(found), expected, rtol=2e-5, atol=2e-5)
    found = dask.compute(*dsoftmax.softmax_topk(x, 5, axis=axis), scheduler=scheduler)
    expected = dsoftmax.softmax_topk(host, 5, axis=axis)
    assert_allclose(cupy.asnumpy(found[0]), expected.values, rtol=1e-5)
    assert_array_equal(cupy.asnumpy(found[1]), expected.indices)


def test_normalizers():
    host = np.random.default_rng(0).normal(size=(1000, 30))
    halves = [Normalizer.of(cupy.asarray(half), axis=0) for half in np.split(host, 2)]
    y = halves[0].merge(halves[1]).log_softmax(cupy.asarray(host))
    assert_allclose(cupy.asnumpy(y), special.log_softmax(host, axis=0), rtol=1e-13)


def test_chunks_of_numpy_among_those_of_cupy():
    def convert(block, block_info):
        return block if block_info[0]["chunk-location"][0] else cupy.asarray(block)

    mixed = da.ones(10, chunks=5).map_blocks(convert, meta=cupy.empty(0))
    with pytest.raises(TypeError, match="do not mix.*map_blocks\\(cupy.asarray\\)"):
        dsoftmax.softmax(mixed).compute()
