"""Moments and sums of values in the compiled kernels of the CPU: their errors, and overflow."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._algebra import moments, sums
from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu

from ..oracle import EPS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_would_overflow(dtype):
    x = np.linspace(0, 3, 5000).astype(dtype)
    v = np.full(5000, np.finfo(dtype).max / 9)
    exact = portable.sums(x, (0,), (v,))
    assert_allclose(cpu.sums(x, (0,), (v,)).o, exact.o, rtol=1e-6)
    v[7] = np.inf
    assert cpu.sums(x, (0,), (v,)).o[0][0] == np.inf


def statistics_of(x, v):
    """Entropy, effective sample size, expectation, and the scale of its error, in longdouble."""
    wide, v = x.astype("g"), v.astype("g")
    e = np.exp(wide - wide.max())
    top = wide == wide.max()
    w, s = e[top].sum(), e[~top].sum()
    t = (e * (wide - wide.max()))[~top].sum()
    d = w + s
    return (
        np.log(w) + np.log1p(s / w) - t / d,
        d * d / (e * e).sum(),
        (e * v).sum() / d,
        (e * abs(v)).sum() / d,
    )


@pytest.mark.parametrize("spread", [0.01, 1, 5, 50, "ascending", "equal"])
def test_errors_over_random_chunks(spread):
    """Of 100 chunkings of each kind; 8 of these units is what docs/numerics.md promises."""
    rng = np.random.default_rng(3)
    for trial in range(100):
        n = int(rng.integers(5000, 40_000))
        x = rng.normal(size=n) * (3 if isinstance(spread, str) else spread)
        x = np.sort(x) if spread == "ascending" else x
        if spread == "equal":  # all terms are rounded to the same side
            x = np.full(n, -30 - 10 * rng.random())
            x[rng.integers(n)] = 0
        v = rng.normal(size=n) + trial % 2
        chunks = np.split(np.arange(n), np.sort(rng.integers(1, n, rng.integers(0, 5))))
        chunks = [chunk for chunk in chunks if len(chunk)]
        state = moments.merge(*(cpu.moments(x[i], (0,)) for i in chunks))
        summed = sums.merge(*(cpu.sums(x[i], (0,), (v[i],)) for i in chunks))
        entropy, size, mean, scale = statistics_of(x, v)
        assert abs(moments.entropy(state)[0] - entropy) <= 8 * EPS * entropy
        assert abs(moments.effective_sample_size(state)[0] - size) <= 8 * EPS * size
        assert abs(sums.mean(summed)[0] - mean) <= 8 * EPS * scale


def test_two_elements_far_apart():
    x = np.full(5000, -np.inf)
    x[[3, 4000]] = 0, -40
    state = cpu.moments(x, (0,))
    assert moments.entropy(state)[0] == pytest.approx(1.7418252446695515e-16, rel=1e-15)
    assert math.isclose(moments.effective_sample_size(state)[0], 1)
