"""Weights as integers: near the exact ones, and the same bits wherever they are computed."""

import array_api_strict
import mpmath
import numpy as np
import pytest

from dsoftmax._kernels.cpu import weight_calls
from dsoftmax._kernels.weights import integer_weights

ENDS = [0.0, -0.0, -5e-324, -49.9, -50.0, -700.0, -1e30, -np.inf]
T = np.concatenate([ENDS, -45 * np.random.default_rng(0).random(5000)])
K = np.resize([62, 61, 30, -2, -25], T.size)


def test_they_are_near_the_exact_ones():
    with mpmath.workdps(40):
        for t, k, found in zip(T, K, integer_weights(T, K), strict=True):
            exact = mpmath.exp(mpmath.mpf(float(t))) * mpmath.mpf(2) ** int(k)
            assert abs(int(found) - exact) <= 0.5 + 4 * exact * mpmath.mpf(2) ** -53


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_libraries_have_the_same(library):
    xp = array_api_strict if library == "array_api_strict" else pytest.importorskip(library)
    found = integer_weights(xp.asarray(T), xp.asarray(K))
    assert np.array_equal(np.asarray(found), integer_weights(T, K))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 7, 128])
def test_compiled_kernels_have_the_same(dtype, width):
    x = (T + 3).astype(dtype)
    begins = np.arange(0, x.size, width)
    lengths = np.minimum(width, x.size - begins)
    m, k = np.linspace(3, 4, begins.size), np.resize([62, 40, 1], begins.size)
    found, sums = weight_calls.weights(x, (begins, lengths, m, k), width)
    _, alone = weight_calls.weights(x, (begins, lengths, m, k), 0)
    for i, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
        expected = integer_weights(x[begin : begin + length].astype("f8") - m[i], k[i])
        assert found[i].tolist() == [*expected.tolist(), *[0] * (width - length)]
        assert sums[i] == alone[i] == expected.sum()
