"""The portable kernels: exactness at any length and layout, and any array-API library."""

import tracemalloc

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from dsoftmax._algebra.normalizer import log_sum
from dsoftmax._kernels import portable

from ..oracle import EPS

BIG = 3 * portable.PANEL + 17  # several panels and a rest


def exact_sum(terms):
    """The sum of many float64 terms, rounded once."""
    import math

    return math.fsum(terms)


ADVERSARIAL = {
    "normal": lambda rng, n: rng.normal(size=n),
    "equal": lambda rng, n: np.zeros(n),
    "ascending": lambda rng, n: np.linspace(-30, 30, n),
    "descending": lambda rng, n: np.linspace(30, -30, n),
    "huge spread": lambda rng, n: rng.normal(size=n) * 300,
    "one giant": lambda rng, n: np.where(np.arange(n) == n // 2, 12.0, rng.normal(size=n)),
    "uniform": lambda rng, n: rng.uniform(-1, 0, size=n),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize(
    ("shape", "axis"), [((BIG,), 0), ((BIG, 1), 0), ((BIG // 4, 4), 0), ((4, BIG // 4), 1)]
)
def test_long_sums(kind, shape, axis):
    x = ADVERSARIAL[kind](np.random.default_rng(0), np.prod(shape)).reshape(shape)
    state = portable.of_block(x, (axis,))
    m = x.max(axis=axis, keepdims=True)
    assert_array_equal(state.m, m)
    terms = np.moveaxis(np.exp(x - m), axis, -1).reshape(-1, shape[axis])
    for d, row in zip(state.d.ravel(), terms, strict=True):
        assert abs(d - exact_sum(row)) <= 8 * EPS * exact_sum(row)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_counts_are_exact_beyond_the_precision_of_the_dtype(dtype):
    state = portable.of_block(np.zeros((2**18 + 1, 1), dtype=dtype), (0,))
    assert (state.w.item(), state.s.item()) == (2**18 + 1, 0)


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "sliced": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=2)[::2, :, ::3],
    "negative strides": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2), ()], ids=str)
def test_layouts(layout, axes, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", 16)  # cuts across every axis
    x = LAYOUTS[layout](np.random.default_rng(0).normal(size=(5, 7, 6)) * 4)
    x.flags.writeable = False
    expected = special.logsumexp(x, axis=axes, keepdims=True)
    assert_allclose(log_sum(portable.of_block(x, axes)), expected, rtol=1e-14, atol=1e-15)
    assert_allclose(portable.softmax(x, axes), special.softmax(x, axis=axes), rtol=1e-13)
    expected = special.log_softmax(x, axis=axes)
    assert_allclose(portable.log_softmax(x, axes), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("position", [0, 7, 15, 16, 17, 40, 99])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_at_any_place(position, value, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", 16)
    x = np.zeros((100, 2))
    x[position, 0] = value
    expected = special.logsumexp(x, axis=0, keepdims=True)
    assert_allclose(log_sum(portable.of_block(x, (0,))), expected, rtol=1e-15)


def test_temporaries_are_of_a_panel():
    x = np.random.default_rng(0).normal(size=8 * portable.PANEL)
    portable.of_block(x[:10], (0,))
    tracemalloc.start()
    portable.of_block(x, (0,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * portable.PANEL * x.itemsize < 0.8 * x.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "bool"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=str)
def test_any_array_api_library(dtype, axes, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", 16)
    values = np.random.default_rng(0).integers(0, 9, size=(9, 8)).astype(dtype)
    x = array_api_strict.asarray(values)
    reference = values if values.dtype.kind == "f" else values.astype("f8")
    y, log_y = portable.softmax(x, axes), portable.log_softmax(x, axes)
    assert isinstance(y, type(x))
    assert y.dtype == getattr(array_api_strict, reference.dtype.name)
    rtol = 4 * np.finfo(reference.dtype).eps
    assert_allclose(np.asarray(y), special.softmax(reference, axis=axes), rtol=rtol)
    assert_allclose(np.asarray(log_y), special.log_softmax(reference, axis=axes), rtol=rtol)


def test_weights_of_any_array_api_library():
    a, b = np.array([1.0, 2, np.inf, 3]), np.array([1.0, -2, 0, 0.5])
    state = portable.of_block(
        *map(array_api_strict.asarray, (a,)), (0,), array_api_strict.asarray(b)
    )
    assert_allclose(np.asarray(log_sum(state)), special.logsumexp(a, b=b), rtol=1e-14)
