"""How exact results are: the bounds of docs/numerics.md, and where others are silently wrong."""

import dask
import dask.array as da
import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import special

from dsoftmax import log_softmax, logsumexp, softmax

from .. import oracle
from ..compare import assert_allclose, assert_array_equal
from ..oracle import EPS
from ..strategies import chunked_arrays

pytestmark = pytest.mark.expressions


@settings(max_examples=50, deadline=None)
@given(chunked_arrays(special=False))
def test_softmax_sums_to_one(case):
    x, chunks, axis = case
    y = softmax(da.from_array(x, chunks=chunks), axis=axis)
    assert_allclose(y.sum(axis=axis).compute(), 1, rtol=1e-14)


@pytest.mark.parametrize("shift", [-1e4, 64.0, 1e6])
def test_translation_invariance(shift, x):
    x = np.round(x * 64) / 64  # so that x + shift is exact
    lazy = da.from_array(x + shift, chunks=2)
    assert_array_equal(softmax(lazy, axis=1), softmax(da.from_array(x, chunks=2), axis=1))
    assert_array_equal(log_softmax(lazy, axis=1), log_softmax(da.from_array(x, chunks=2), axis=1))
    assert_allclose(
        logsumexp(lazy, axis=1) - shift, logsumexp(x, axis=1), atol=2 * EPS * abs(shift)
    )


@pytest.mark.parametrize(
    ("dtype", "scale"), [("f4", 1e-3), ("f4", 1), ("f4", 10), ("f8", 1e-3), ("f8", 1), ("f8", 100)]
)
def test_error_bounds(dtype, scale):
    x = (np.random.default_rng(11).normal(size=200) * scale).astype(dtype)
    u = np.finfo(dtype).eps / 2
    for a in (x, da.from_array(x, chunks=7)):
        assert_within_bounds(x, *dask.compute(softmax(a), log_softmax(a), logsumexp(a)), u)


@pytest.mark.parametrize(
    ("x", "dtype", "digits"),
    [
        ([-15.2, 49.3], "f4", 15),
        ([0.98333, -602.22822], "f8", 200),
        ([0.1, -22.9, -23.3, -50.7], "f8", 12),
        ([0.263, *[-12.375] * 200_000], "f4", 5),  # which weigh as much as the maximum
    ],
)
def test_error_bounds_beside_a_dominant_maximum(x, dtype, digits):
    # the rounding of x - m is that of nearly all that log d consists of
    x, u = np.array(x, dtype), np.finfo(dtype).eps / 2
    log_y = log_softmax(x)
    with mpmath.workdps(320):
        assert_within_bounds(x, softmax(x), log_y, logsumexp(x), u)
        exact = max(x).astype("f8") - oracle.logsumexp(*np.unique(x, return_counts=True))
        assert abs(float(max(log_y)) - exact) > digits * u * abs(exact)


def assert_within_bounds(x, y, log_y, total, u):
    """The bounds of docs/numerics.md, in which T and E are defined."""
    values, first, counts = np.unique(x, return_index=True, return_counts=True)
    distance = np.float64(x.max()) - values
    share = counts * np.exp(-distance)
    t = share @ distance / max(share[:-1].sum(), 1e-300)
    e = share @ distance / share.sum()
    exact = oracle.logsumexp(values, counts)
    log_probabilities = [mpmath.mpf(float(v)) - exact for v in values]
    errors = [
        oracle.relative_error([actual], [mpmath.exp(expected)]) / u
        for actual, expected in zip(y[first], log_probabilities, strict=True)
    ]
    assert np.all(errors <= distance + e + 6)
    assert oracle.relative_error(log_y[first], log_probabilities) <= (t + 8) * u
    assert abs(total - exact) <= (t + 4) * u * max(abs(exact), abs(float(x.max())))


class TestWhereOthersAreSilentlyWrong:
    """Each fails in SciPy 1.17, and the last in NumPy's sum itself."""

    def test_long_float32_sums_along_the_first_axis(self):
        # SciPy and torch add 2^25 times 2^-25 in float32 and get 2.0
        x = da.zeros((2**25, 2), dtype="f4", chunks=(2**23, 2))
        total = softmax(x, axis=0).sum(axis=0, dtype="f8")
        with dask.config.set(scheduler="threads"):
            assert_allclose(total.compute(), 1, rtol=1e-7)

    @pytest.mark.parametrize("chunks", [70_000, 9_999])
    def test_many_float16(self, chunks):
        x = da.zeros(70_000, dtype="f2", chunks=chunks)  # their sum exceeds 65504
        assert_allclose(softmax(x).compute(), np.float16(1 / 70_000), rtol=0)
        assert logsumexp(x).compute() == np.float16(np.log(70_000))

    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
    def test_unsigned(self, dtype):
        x = np.array([0, 1, 2], dtype=dtype)
        assert_allclose(softmax(x), special.softmax([0.0, 1.0, 2.0]))
        assert_allclose(softmax(da.from_array(x, chunks=1)), special.softmax([0.0, 1.0, 2.0]))

    def test_int8_does_not_wrap(self):
        x = np.array([-100, 100], dtype="i1")
        assert_allclose(softmax(x), [np.exp(-200), 1])
        assert_allclose(log_softmax(da.from_array(x, chunks=1)), [-200, 0], atol=1e-80)

    def test_many_bfloat16(self):
        x = np.zeros(100_000, dtype=ml_dtypes.bfloat16)  # NumPy adds the ones up to 390
        assert logsumexp(x) == ml_dtypes.bfloat16(np.log(100_000))
        assert float(softmax(x)[0]) == pytest.approx(1e-5, rel=2**-8)

    def test_log_softmax_keeps_the_digits_of_differences(self):
        x = (np.array([0.1, 0.5, 0.9]) - 1e7).astype("f4")
        expected = np.array([-1, -1, 0]) - np.log(1 + 2 / np.e)
        for a in (x, da.from_array(x, chunks=1)):
            assert_allclose(log_softmax(a), expected, rtol=1e-7)

    def test_log_softmax_of_a_certain_outcome(self):
        assert_allclose(log_softmax([0.0, -40.0]), [-4.248354255291589e-18, -40], rtol=1e-15)
