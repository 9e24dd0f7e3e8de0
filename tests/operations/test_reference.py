"""The algorithms of the paper, and where they fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax import reference

HUGE = [2, 4, 1, 300, 400, 500, 600, 700, 800, 900, 100000]
SMALL = [0.1, 0.3, 0.08, -0.09]
SAFE = [reference.safe_softmax, reference.online_softmax]


def test_naive_softmax_overflows():
    y = reference.naive_softmax(HUGE)
    assert_array_equal(np.isnan(y), np.array(HUGE) > 709.78)


@pytest.mark.parametrize("algorithm", SAFE)
def test_safe_and_online_softmax_do_not(algorithm):
    assert_array_equal(algorithm(HUGE), [0] * 10 + [1])


@pytest.mark.parametrize("algorithm", [reference.naive_softmax, *SAFE, dsoftmax.softmax])
def test_all_agree_on_small_numbers(algorithm):
    assert_allclose(algorithm(SMALL), special.softmax(SMALL), rtol=1e-15)


def test_the_pair():
    m, d = reference.online_normalizer(SMALL)
    assert (m, d) == (0.3, 3.298306425538625)
    n = dsoftmax.Normalizer.of(SMALL)
    assert (n.m.item(), n.d.item()) == (m, pytest.approx(d, rel=1e-15))


INF = np.inf


def parallel_softmax(*parts):
    return np.concatenate(reference.parallel_softmax(parts))


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        (reference.safe_softmax, ([INF, 0.0],)),
        (reference.safe_softmax, ([-INF, -INF],)),
        (reference.online_softmax, ([INF, 0.0],)),
        (reference.online_softmax, ([-INF, 0.0],)),
        (parallel_softmax, ([], [1.0])),
        (parallel_softmax, ([-INF], [1.0])),
        (parallel_softmax, ([1.0], [-INF, 1.0])),
    ],
)
def test_where_they_fail(algorithm, arguments):
    with pytest.warns(RuntimeWarning, match="invalid value"):
        y = algorithm(*arguments)
    assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        (reference.safe_softmax, ([-INF, 0.0],)),
        (reference.online_softmax, ([0.0, -INF],)),
        (parallel_softmax, ([0.0], [1.0, -INF], [])),
        (dsoftmax.softmax, ([-INF, 0.0],)),
    ],
)
def test_where_they_do_not_fail(algorithm, arguments):
    whole = np.concatenate(arguments)
    assert_allclose(algorithm(*arguments), special.softmax(whole), rtol=1e-15)


def test_identity():
    pair = reference.online_normalizer(SMALL)
    assert reference.merge(pair, reference.IDENTITY) == pair
    assert reference.merge(reference.IDENTITY, pair) == pair
    assert reference.online_normalizer([]) == reference.IDENTITY


numbers = st.lists(st.floats(-200, 200), min_size=1, max_size=8)


@given(numbers, numbers)
def test_two_parts(a, b):
    merged = reference.merge(reference.online_normalizer(a), reference.online_normalizer(b))
    assert_allclose(merged, reference.online_normalizer(a + b), rtol=1e-14)


@given(st.lists(numbers, min_size=1, max_size=5))
def test_parallel_softmax(parts):
    whole = [v for part in parts for v in part]
    y = np.concatenate(reference.parallel_softmax(parts))
    assert_allclose(y, special.softmax(whole), rtol=1e-13, atol=1e-300)


def test_the_merge_of_the_paper_is_not_total():
    with np.errstate(invalid="ignore"):
        assert np.isnan(reference.merge(reference.IDENTITY, reference.IDENTITY)[1])
    n = dsoftmax.Normalizer.identity((0,))
    assert n.merge(n).d == 0
