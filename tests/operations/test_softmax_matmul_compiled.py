"""softmax_matmul of large blocks, which a compiled kernel multiplies."""

from unittest.mock import patch

import dask.array as da
import numpy as np
import pytest
from scipy import special

from dsoftmax import softmax_matmul
from dsoftmax._kernels.cpu import attention_calls

INF, NAN = np.inf, np.nan
SHAPES = [
    ((33, 701), (701, 64)),
    ((1, 5000), (5000, 48)),
    ((40, 128), (128, 256)),
    ((64, 129), (129, 100)),
    ((5, 32, 64), (64, 60)),
    ((3, 1, 32, 65), (2, 65, 60)),
]


def data(of_x, of_v, dtype):
    rng = np.random.default_rng(3)
    return (rng.normal(size=of_x) * 4).astype(dtype), rng.normal(size=of_v).astype(dtype)


def called(*arguments, **options):
    """The product, and how often the kernel was called for it."""
    with patch.object(attention_calls, "products", wraps=attention_calls.products) as kernel:
        y = softmax_matmul(*arguments, **options)
    return y, kernel.call_count


def by_blas(*arguments, **options):
    with patch.object(attention_calls, "supports", lambda x, v: False):
        return softmax_matmul(*arguments, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("of_x", "of_v"), SHAPES)
def test_values(of_x, of_v, dtype):
    x, v = data(of_x, of_v, dtype)
    y, calls = called(x, v)
    assert calls == 1
    assert y.dtype == dtype
    p = special.softmax(x.astype("g"), axis=-1)
    unit = np.finfo(dtype).eps / 2
    error = abs(y - p @ v.astype("g")) / (p @ abs(v.astype("g")))
    assert error.max() <= 40 * unit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layouts(dtype):
    x, v = data(*SHAPES[0], dtype)
    expected = softmax_matmul(x, v)
    every = np.repeat(x, 2, axis=0)[::2]
    for one in (np.asfortranarray(x), every, x[:, ::-1].copy()[:, ::-1]):
        for other in (v, np.asfortranarray(v), np.repeat(v, 2, axis=0)[::2]):
            y, calls = called(one, other)
            assert calls == 1
            np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)


def test_what_is_special():
    x, v = data(*SHAPES[0], "float64")
    x[0, 5], x[1], x[2, 7], x[3, :600], x[4, 8] = NAN, -INF, INF, -INF, -800
    for row in (0, 1, 2):
        y, calls = called(x, v)
        assert calls == 1
        assert np.isnan(y[row]).all()
    np.testing.assert_allclose(y, by_blas(x, v), rtol=0, atol=1e-13)
    v[8, :2], v[9, 2], v[600, 3] = INF, NAN, -INF
    y, calls = called(x, v)
    assert calls == 1
    assert np.isnan(y[4]).tolist() == [True] * 3 + [False] * (v.shape[1] - 3)
    np.testing.assert_allclose(y, by_blas(x, v), rtol=0, atol=1e-13)


def test_masks():
    x, v = data(*SHAPES[0], "float32")
    where = np.random.default_rng(4).random(x.shape) < 0.6
    where[3] = False
    y, calls = called(np.where(where, x, NAN), v, where=where)
    assert calls == 1
    assert (y[3] == 0).all()
    expected = special.softmax(np.where(where, x, -1e4), axis=-1) @ v
    np.testing.assert_allclose(np.delete(y, 3, 0), np.delete(expected, 3, 0), rtol=0, atol=1e-5)
    where[:, 8], v[8] = False, INF
    y, calls = called(x, v, where=where)
    assert calls == 0  # 0 times infinity is not a number
    assert np.isfinite(y).all()


def test_chunks():
    x, v = data((40, 4000), (4000, 64), "float32")
    lazy = da.from_array(x, chunks=(20, 1500)), da.from_array(v, chunks=(1000, 64))
    with patch.object(attention_calls, "products", wraps=attention_calls.products) as kernel:
        y = softmax_matmul(*lazy).compute(scheduler="sync")
    assert kernel.call_count == 2 * 3
    np.testing.assert_allclose(y, softmax_matmul(x, v), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("of_x", "of_v"), [((100, 1000), (1000, 3)), ((4, 40), (40, 64)), ((500, 1000), (1000,))]
)
def test_narrow_and_small_ones_are_for_blas(of_x, of_v):
    assert called(*data(of_x, of_v, "float32"))[1] == 0
