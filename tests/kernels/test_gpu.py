"""On a real device: the kernels, the graphs, and blocks of more than 2^31 elements.

``python -m pytest -m gpu`` runs these alone, where CuPy and a device are; elsewhere the same
kernels run in test_cuda.py and the same graphs in test_device_arrays.py, without them.
"""

import math

import dask
import dask.array as da
import ml_dtypes
import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax import Normalizer
from dsoftmax._algebra.normalizer import State, log_sum
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda import source as cuda_source

from ..oracle import EPS
from .test_cpu import SHAPES, assert_like_portable, every_axes
from .test_portable import ADVERSARIAL


def _cupy_with_a_device():
    try:
        import cupy

        return cupy if cupy.cuda.runtime.getDeviceCount() else None
    except Exception:  # not installed, no driver, a driver that is too old, ...
        return None


cupy = _cupy_with_a_device()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cupy is None, reason="no CUDA device")]

DTYPES = list(cuda_source.ELEMENTS)
if cupy is not None and int(cupy.__version__.partition(".")[0]) < 14:
    DTYPES.remove("bfloat16")


class OnDevice:
    """The kernels with NumPy's arrays: there, and back again."""

    def _host(self, x):
        assert isinstance(x, cupy.ndarray)
        return cupy.asnumpy(x)

    def of_block(self, x, axes, b=None):
        b = None if b is None else cupy.asarray(b)
        return State(*map(self._host, gpu.of_block(cupy.asarray(x), axes, b)))

    def softmax(self, x, axes):
        return self._host(gpu.softmax(cupy.asarray(x), axes))

    def log_softmax(self, x, axes):
        return self._host(gpu.log_softmax(cupy.asarray(x), axes))

    def rescale(self, x, m, d):
        return self._host(gpu.rescale(*map(cupy.asarray, (x, m, d))))

    def log_rescale(self, x, m, d):
        return self._host(gpu.log_rescale(*map(cupy.asarray, (x, m, d))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (3_000_001,), (4, 700_001), (9000, 33)], ids=str)
def test_shapes_axes_and_dtypes(shape, dtype):
    dtype = getattr(ml_dtypes, dtype, dtype)
    x = (np.random.default_rng(0).normal(size=shape) * 5).astype(dtype)
    for axes in every_axes(x.ndim):
        assert_like_portable(x, axes, OnDevice())


VIEWS = {
    "transposed": lambda x: x.T,
    "sliced": lambda x: x[::2, 1:, ::3],
    "reversed": lambda x: x[::-1, :, ::-1],
    "unaligned": lambda x: x.reshape(-1)[3:-4].reshape(-1, 1, 7),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
def test_layouts(view, dtype):
    host = (np.random.default_rng(0).normal(size=(14, 40, 75)) * 4).astype(dtype)
    x, host = VIEWS[view](cupy.asarray(host)), VIEWS[view](host)
    for axes in every_axes(3):
        state, expected = gpu.of_block(x, axes), portable.of_block(host, axes)
        assert_allclose(cupy.asnumpy(log_sum(state)), log_sum(expected), rtol=1e-6, atol=1e-6)
        y, exact = gpu.softmax(x, axes), portable.softmax(host, axes)
        assert_allclose(cupy.asnumpy(y).astype("f8"), exact.astype("f8"), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(50_000,), (3, 5000), (5000, 3)], ids=str)
def test_special_values_at_any_place(shape, value, dtype):
    n = math.prod(shape)
    for position in (0, 1, 4095, n // 2, n - 1):
        x = np.zeros(shape, dtype)
        x.flat[position] = value
        for axes in every_axes(x.ndim):
            assert_like_portable(x, axes, OnDevice())


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize(("shape", "axis"), [((5_000_003,), 0), ((500_001, 4), 0)])
def test_long_sums(kind, shape, axis):
    x = ADVERSARIAL[kind](np.random.default_rng(0), math.prod(shape)).reshape(shape)
    state = OnDevice().of_block(x, (axis,))
    m = x.max(axis=axis, keepdims=True)
    assert_array_equal(state.m, m)
    columns = np.moveaxis(x, axis, -1).reshape(-1, shape[axis])
    for d, row, top in zip(state.d.ravel(), columns, m.ravel(), strict=True):
        exact = math.fsum(np.exp(row.astype("g") - top).astype("f8"))
        assert abs(d - exact) <= 8 * EPS * exact


def test_exp_is_within_2_ulp():
    for dtype, lowest in (("f4", -87.0), ("f8", -708.0)):
        x = -np.random.default_rng(0).uniform(0, -lowest, 10**6).astype(dtype)
        y = OnDevice().rescale(x, np.zeros(1, dtype), np.ones(1))
        exact = np.exp(x.astype("g"))
        assert (np.abs(y - exact) / np.spacing(exact.astype(dtype))).max() <= 2
    y = OnDevice().rescale(np.array([-36.7]), np.zeros(1), np.ones(1))[0]
    assert abs(y - mpmath.exp(-36.7)) <= 2 * np.spacing(y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_weights(dtype):
    rng = np.random.default_rng(4)
    x, b = (rng.normal(size=(60, 1700)) * 3).astype(dtype), rng.normal(size=(60, 1700)) * 2
    for axes in every_axes(2):
        state, expected = OnDevice().of_block(x, axes, b), portable.of_block(x, axes, b)
        assert_array_equal(state.m, expected.m)
        assert_allclose(state.w, expected.w, rtol=1e-13)
        assert_allclose(state.s, expected.s, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2**31 + 16,), (2**31 + 16, 1), (1, 2**31 + 16)], ids=str)
def test_more_than_two_to_the_31_elements(shape):
    x = cupy.zeros(shape, "int8")
    x.reshape(-1)[-1] = 21
    result = dsoftmax.logsumexp(x, axis=int(np.argmax(shape)))
    assert_allclose(cupy.asnumpy(result), np.log(2**31 + 15 + np.exp(21.0)), rtol=1e-15)


def test_more_than_two_to_the_31_results():
    x = cupy.zeros(2**31 + 16, "float16")
    x[-1] = 20
    y = dsoftmax.softmax(x)
    assert_allclose(float(y[-1]), np.exp(20.0) / (2**31 + 15 + np.exp(20.0)), rtol=1e-3)
    assert float(y[-2]) == 0


@pytest.mark.parametrize("chunks", [(2500, 300), (10_000, 50)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_graphs(axis, chunks, scheduler):
    host = np.random.default_rng(0).normal(size=(10_000, 300)).astype("f4") * 5
    x = da.from_array(host, chunks=chunks).map_blocks(cupy.asarray)
    for name in ("softmax", "log_softmax", "logsumexp"):
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
