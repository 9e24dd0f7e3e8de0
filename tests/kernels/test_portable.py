"""The portable kernels, beyond what every kind of block has to give: see `test_blocks`."""

import tracemalloc

import array_api_strict
import numpy as np
import pytest
from array_api_compat import numpy as compat
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax._algebra import numpy_arrays
from dsoftmax._algebra.normalizer import log_d, log_sum
from dsoftmax._kernels import portable
from dsoftmax._kernels.pairwise import summed


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


SPECIAL = [1.0, 0.0, -0.0, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i4"])
@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize(
    ("shape", "axes"), [((1,), (0,)), ((21,), (0,)), ((3, 17), (1,)), ((9, 2, 4), (0, 2))], ids=str
)
def test_one_panel_has_the_bits_of_its_state_applied(shape, axes, where, dtype):
    rng = np.random.default_rng(0)
    for value in (*SPECIAL, *([None] * 3)):
        x = rng.normal(size=shape) * 9
        if value is not None and dtype != "i4":
            x.flat[x.size // 2] = value
        x, mask = x.astype(dtype), rng.random(shape) > 0.5 if where else None
        state = portable.of_block(x, axes, where=mask)
        p = portable.rescale(x, state.m, state.d, mask)
        np.testing.assert_array_equal(portable.softmax(x, axes, mask), p, strict=True)
        log_p = portable.log_rescale(x, state.m, log_d(state), mask)
        np.testing.assert_array_equal(portable.log_softmax(x, axes, mask), log_p, strict=True)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [1, 8, 9, 16, 17, 100, 1023])
def test_sums_in_place_have_the_bits_of_others(n, order):
    x = np.random.default_rng(n).normal(size=(3, n, 4))
    x = np.asarray(x.transpose(2, 0, 1), order=order)
    for axes in ((2,), (0, 2), (1, 0)):
        expected = summed(compat, x, axes)
        np.testing.assert_array_equal(summed(numpy_arrays, x.copy("K"), axes), expected)


@pytest.mark.parametrize("w", [0.0, 1.0, 3.0, -2.0, np.inf, np.nan])
@pytest.mark.parametrize("s", [0.0, 0.5, 7.0, -2.0, np.inf, np.nan])
def test_logarithms_of_numpy_have_the_bits_of_others(w, s):
    for m in (-np.inf, 0.25, np.inf):
        state = portable.State(*(np.array([number]) for number in (m, w, s)))
        both = portable.State(*(np.append(field, -1.0) for field in state))  # that are not positive
        for function in (log_d, log_sum):
            np.testing.assert_array_equal(function(state), function(both)[:1])
