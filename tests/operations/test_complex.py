"""logsumexp of complex numbers: SciPy 1.17 is the oracle, NumPy for infinite terms."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax import logsumexp

from ..compare import assert_allclose, assert_array_equal
from .scipys import INF, NAN

pytestmark = pytest.mark.expressions

COMPLEX = [
    [1j, 2 + 1j],
    [1j * np.pi, 0],
    [1 + 1j, 1 - 1j],
    [0, -40 + 1j],
    [3 + 3j, 3 + 3j],
    [INF + 0j, 1],
    [-INF + 0j, 2j],
    [NAN + 0j, 1],
]


@pytest.mark.parametrize("values", COMPLEX, ids=str)
def test_complex_logsumexp_as_scipy(values):
    x = np.array(values, dtype=complex)
    log_abs, phase = special.logsumexp(x, return_sign=True)
    for a in (x, da.from_array(x, chunks=1), da.from_array(x, chunks=2)):
        value, *signed = dask.compute(logsumexp(a), *logsumexp(a, return_sign=True))
        assert_allclose(value, special.logsumexp(x), rtol=1e-14, atol=1e-15)
        assert_allclose(signed[0], log_abs, rtol=1e-14, atol=1e-15)
        # where SciPy divides inf by inf the phase is that of the value
        assert_allclose(signed[1], np.where(log_abs == INF, np.exp(1j * value.imag), phase))
    assert logsumexp(x.astype("c8")).dtype == "c8"
    assert [r.dtype for r in logsumexp(x.astype("c8"), return_sign=True)] == ["f4", "c8"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, complex(-INF, INF)], 0),
        ([0, complex(-INF, NAN)], 0),
        ([complex(INF, 0.7)], complex(INF, np.pi / 4)),
        ([complex(INF, 0.7), 3 - 1j], complex(INF, np.pi / 4)),
        ([complex(INF, 0.7), complex(INF, 0.7 + np.pi)], complex(NAN, NAN)),
    ],
)
def test_infinite_complex_terms(values, expected):
    x = np.array(values, dtype=complex)
    for a in (x, da.from_array(x, chunks=1)):
        assert_array_equal(logsumexp(a), expected)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, -0.0, 1.0, 2.5, INF, -INF, NAN])] * 2), min_size=1)
)
def test_complex_infinities_and_nan_as_numpy(parts):
    x = np.array([complex(re, im) for re, im in parts])
    with np.errstate(all="ignore"):
        total = np.sum(np.exp(x))
        expected = np.log(total)
    for a in (x, da.from_array(x, chunks=1), da.from_array(x, chunks=2)):
        value = logsumexp(a)
        if not np.isfinite(expected):
            assert_array_equal(value, expected)
        else:
            assert_allclose(value, expected, rtol=1e-13, atol=1e-15)


def test_small_complex_terms_are_not_lost():
    # log(1 + exp(-40 + i)) is exp(-40 + i); SciPy's real part is 0
    assert_allclose(logsumexp([0, -40 + 1j]), np.exp(-40 + 1j), rtol=1e-14)


def test_complex_weights_as_scipy():
    for a, b in (([1, 2], [1j, 2]), ([1j, 2], [1, -2]), ([1j, 2], [0, 1 + 1j])):
        assert_allclose(logsumexp(a, b=b), special.logsumexp(a, b=b), rtol=1e-14)
        lazy = logsumexp(da.from_array(np.array(a), chunks=1), b=b)
        assert_allclose(lazy.compute(), special.logsumexp(a, b=b), rtol=1e-14)


def test_random_complex_sums_as_scipy():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 6)) + 1j * rng.uniform(-9, 9, size=(40, 6))
    expected = special.logsumexp(x, axis=1)
    assert_allclose(logsumexp(x, axis=1), expected, rtol=1e-13)
    assert_allclose(logsumexp(da.from_array(x, chunks=3), axis=1), expected, rtol=1e-13)
