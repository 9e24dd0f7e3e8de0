"""The portable kernels, beyond what every kind of block has to give: see `test_blocks`."""

import tracemalloc

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax._algebra.normalizer import log_sum
from dsoftmax._kernels import portable


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_counts_are_exact_beyond_the_precision_of_the_dtype(dtype):
    state = portable.of_block(np.zeros((2**18 + 1, 1), dtype=dtype), (0,))
    assert (state.w.item(), state.s.item()) == (2**18 + 1, 0)


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
