"""The compiled kernels of masks, moments and sums of values give what the portable ones give."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax._algebra import moments, sums
from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu

from ..blocks import RTOL, every_axes
from ..oracle import EPS

SHAPES = ((7,), (3, 5), (40, 700), (700, 40), (5000, 20), (20, 30, 40), (200_003,), (50_001, 3))
DTYPES = ("float16", "float32", "float64", "int16")
MASKS = {
    "no mask": lambda where: None,
    "mask": lambda where: where,
    "mask of rows": lambda where: np.broadcast_to(where[..., :1], where.shape),
    "mask of columns": lambda where: np.broadcast_to(where[:1], where.shape),
    "reversed mask": lambda where: where[..., ::-1],
}


def masked(shape, dtype, kind, seed=0):
    """A block, a mask of it that leaves whole slices out, and values."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 3).astype(dtype)
    where = rng.random(shape) < 0.6
    if len(shape) > 1:
        where[0], where[:, 1] = False, False
    return x, MASKS[kind](where), rng.normal(size=shape)


def known(state, fields):
    """Fields beyond m, w and s, which say nothing where the maximum is not finite."""
    return [np.where(np.isfinite(state.m), field, 0) for field in fields]


def assert_right(x, axes, where, *values):
    """Each kernel gives what the portable one gives."""
    tolerance = 2e-5 if x.dtype != "f8" else 1e-12
    state, expected = (k.of_block(x, axes, None, where) for k in (cpu, portable))
    assert_array_equal(state.m, expected.m)
    assert_array_equal(state.w, expected.w)
    assert_allclose(state.s, expected.s, rtol=tolerance, atol=tolerance)
    for name, further in (("moments", ()), ("sums", (values,))):
        found, exact = (getattr(k, name)(x, axes, *further, where) for k in (cpu, portable))
        assert_array_equal(found.m, exact.m)
        assert_array_equal(found.w, exact.w)
        more, expected_more = (
            known(state, state[3:] if name == "moments" else state.o) for state in (found, exact)
        )
        for one, other in zip([found.s, *more], [exact.s, *expected_more], strict=True):
            assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    for name in ("softmax", "log_softmax"):
        y, exact = (getattr(k, name)(x, axes, where) for k in (cpu, portable))
        rtol = RTOL[y.dtype.name]
        assert_allclose(y.astype("f8"), exact.astype("f8"), rtol=rtol, atol=max(rtol, 1e-7) / 10)
    y = cpu.rescale(x, expected.m, expected.d, where)
    exact = portable.rescale(x, expected.m, expected.d, where)
    assert_allclose(y.astype("f8"), exact.astype("f8"), rtol=RTOL[y.dtype.name], atol=1e-7)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_axes_and_dtypes(shape, dtype, kind):
    x, where, v = masked(shape, dtype, kind)
    for axes in every_axes(x.ndim):
        assert_right(x, axes, where, v, v.astype("f4"))


@pytest.mark.parametrize("kind", ["no mask", "mask"])
@pytest.mark.parametrize("shape", [(40, 700), (700, 40), (200_003,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(shape, dtype, kind):
    rng = np.random.default_rng(1)
    for values in ([-np.inf], [np.inf, -np.inf], [np.nan, -np.inf, np.inf], [1e30, -1e30]):
        x, where, v = masked(shape, dtype, kind)
        x.flat[rng.integers(0, x.size, 40)] = np.resize(values, 40)
        for axis in range(x.ndim):
            assert_right(x, (axis,), where, v)
    for value in (-np.inf, 0.0, np.inf, np.nan):
        x = np.full(shape, value, dtype)
        x[..., shape[-1] // 2 :] = 1
        for axis in range(x.ndim):
            assert_right(x, (axis,), where, v)


def test_what_is_out_is_not_looked_at():
    x, where, v = masked((50, 60), "float64", "mask")
    x[~where], v[~where] = np.nan, np.inf
    clean = np.where(where, x, 0), np.where(where, v, 0)
    for axes in ((0,), (1,), (0, 1)):
        for one, other in zip(
            cpu.sums(x, axes, (v,), where), cpu.sums(clean[0], axes, clean[1:], where), strict=True
        ):
            assert_array_equal(one, other)
        assert_array_equal(cpu.softmax(x, axes, where)[~where], 0)
        assert_array_equal(cpu.log_softmax(x, axes, where)[~where], -np.inf)


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


@pytest.mark.parametrize("spread", [0.01, 1, 5, 50, "ascending"])
def test_errors_over_random_chunks(spread):
    """Of 100 chunkings of each kind; 8 of these units is what docs/numerics.md promises."""
    rng = np.random.default_rng(3)
    for trial in range(100):
        n = int(rng.integers(5000, 40_000))
        x = rng.normal(size=n) * 3 if spread == "ascending" else rng.normal(size=n) * spread
        x = np.sort(x) if spread == "ascending" else x
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
