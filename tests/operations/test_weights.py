"""Weights of logsumexp: SciPy 1.17 is the oracle, mpmath where it is not."""

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import special

from dsoftmax import logsumexp

from .. import oracle
from ..compare import assert_allclose, assert_array_equal
from .scipys import INF, NAN, SHAPE, assert_same

pytestmark = pytest.mark.expressions


@pytest.mark.parametrize("axis", [None, 1, (-1, 0), ()], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(), (9, 1), SHAPE, (2, *SHAPE)], ids=str)
@pytest.mark.parametrize("chunks", [SHAPE, (2, 3, 2)], ids=str)
def test_weights_as_scipy(axis, keepdims, shape, chunks, x):
    b = np.random.default_rng(3).normal(size=shape)
    expected = special.logsumexp(x, axis=axis, b=b, keepdims=keepdims, return_sign=True)
    lazy = da.from_array(x, chunks=chunks)
    for a, weights in ((x, b), (lazy, b), (x, da.from_array(b, chunks=2)), (lazy, da.asarray(b))):
        actual = logsumexp(a, axis=axis, b=weights, keepdims=keepdims, return_sign=True)
        # the terms have both signs and cancel
        assert_same(dask.compute(*actual), expected, rtol=1e-11)


@pytest.mark.parametrize("keepdims", [False, True])
def test_negative_sums_give_nan_without_their_sign(keepdims):
    a, b = np.array([[1.0, 2.0], [2.0, 1.0]]), [1, -1]
    expected = special.logsumexp(a, axis=1, b=b, keepdims=keepdims)
    assert_same(logsumexp(a, axis=1, b=b, keepdims=keepdims), expected)
    lazy = logsumexp(da.from_array(a, chunks=1), axis=1, b=b, keepdims=keepdims)
    assert_same(lazy.compute(), expected)


@pytest.mark.parametrize("chunks", [None, 1, 2])
@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 0.0], [1e-309, 1]), ([0, -1], [1e-160, 1e150]), ([-1, 0], [1e150, 1e-160])]
)
def test_weights_that_are_far_apart(a, b, chunks):
    x = np.array(a, dtype=float)
    x = x if chunks is None else da.from_array(x, chunks=chunks)
    expected = float(oracle.logsumexp(a, b))
    assert_allclose(logsumexp(x, b=b), expected, rtol=1e-15, atol=1e-300)
    many = np.tile(a, 5000)  # in compiled blocks
    many = many if chunks is None else da.from_array(many, chunks=8000)
    assert_allclose(logsumexp(many, b=np.tile(b, 5000)), expected + np.log(5000), rtol=1e-15)


def test_complex_weights_that_are_far_apart():
    expected = 200 * np.log(10) - 1 + 1j
    assert_allclose(logsumexp([0, -1 + 1j], b=[1e-200, 1e200]), expected, rtol=1e-15)


def test_what_far_apart_weights_lose():
    # exp(-800) underflows before its weight of 1e300 counts, as in SciPy: it is -109.2
    b = [1e-300, 1e300]
    assert logsumexp([0, -800], b=b) == special.logsumexp([0, -800], b=b)
    assert float(oracle.logsumexp([0, -800], b)) == pytest.approx(-109.2, abs=0.1)
    with np.errstate(over="ignore"):  # a sum of weights that overflows does so in SciPy too
        assert special.logsumexp([0, 0], b=[1e308, 1e308]) == INF
    assert logsumexp([0, 0], b=[1e308, 1e308]) == INF


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([710.0, 0.0], [0, 0], (-INF, 0)),
        ([INF, 0.0], [0, 0], (-INF, 0)),
        ([NAN, 0.0], [0, 0], (-INF, 0)),
        ([0.0, -800.0], [1, INF], (INF, 1)),
        ([0.0, -800.0], [1, -INF], (INF, -1)),
        ([INF, 0.0], [0, INF], (INF, 1)),
    ],
)
def test_special_weights_where_scipy_gives_nan(a, b, expected):
    with np.errstate(all="ignore"):
        assert np.isnan(special.logsumexp(a, b=b, return_sign=True)).all()
    for x in (np.array(a), da.from_array(np.array(a), chunks=1)):
        assert_array_equal(dask.compute(*logsumexp(x, b=b, return_sign=True)), expected)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("f4", 2, "f4"),
        ("f4", 2.5, "f4"),
        ("f2", True, "f2"),
        ("i8", 2, "f8"),
        ("i8", 0.5, "f8"),
        ("f4", np.float64(2), "f8"),
        ("f4", np.ones(3, "f8"), "f8"),
        ("f4", np.ones(3, "i8"), "f8"),
        ("i2", np.ones(3, "f4"), "f4"),
        ("?", np.ones(3, "?"), "f8"),
    ],
    ids=str,
)
def test_weights_promote_as_scipy(a, b, expected):
    a = np.ones(3, a)
    assert special.logsumexp(a, b=b).dtype == expected
    assert logsumexp(a, b=b).dtype == expected
    assert logsumexp(da.from_array(a, chunks=2), b=b).dtype == expected
    assert logsumexp(da.from_array(a, chunks=2), b=b).compute().dtype == expected
