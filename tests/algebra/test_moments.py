"""Moments and sums of a softmax: the laws of their merge, and what they finish to, in 60 digits."""

from functools import reduce
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax._algebra import moments, normalizer, sums
from dsoftmax._algebra.moments import Moments, effective_sample_size, entropy, identity
from dsoftmax._algebra.states import mapped
from dsoftmax._algebra.sums import mean
from dsoftmax._kernels import Terms, of_block
from dsoftmax._kernels import moments as moments_of_block
from dsoftmax._kernels import sums as sums_of_block

from ..oracle import EPS
from ..strategies import floats

STATISTICS = {"entropy": entropy, "effective_sample_size": effective_sample_size}


def moments_of(x, where=None):
    x = np.asarray(x, dtype=float)
    return moments_of_block(Terms(x, where=None if where is None else np.asarray(where)), (0,))


def sums_of(x, v):
    return sums_of_block(Terms(np.asarray(x, float), values=(np.asarray(v, float),)), (0,))


def probabilities(x):
    weights = [mpmath.exp(mpmath.mpf(float(value))) for value in x]
    total = mpmath.fsum(weights)
    return [weight / total for weight in weights]


def exact(x):
    p = probabilities(x)
    return {
        "entropy": -mpmath.fsum(one * mpmath.log(one) for one in p if one),
        "effective_sample_size": 1 / mpmath.fsum(one**2 for one in p),
    }


def some_cuts(rng, n):
    edges = [0, *sorted(rng.integers(0, n + 1, rng.integers(0, 12))), n]
    return [slice(a, b) for a, b in pairwise(edges)]


def merged_anyhow(rng, parts, merge):
    """All parts, a few neighbours or strangers at a time."""
    parts = list(parts)
    while len(parts) > 1:
        count = int(rng.integers(2, 1 + max(2, len(parts))))
        chosen = [parts.pop(int(rng.integers(len(parts)))) for _ in range(min(count, len(parts)))]
        parts.append(merge(*chosen))
    return parts[0]


@pytest.mark.parametrize(
    ("scale", "offset"), [(0, 3), (1, 0), (1, 1000), (5, 0), (20, -700), (100, 0)]
)
def test_statistics_are_within_8_units_whatever_the_chunks(scale, offset):
    rng = np.random.default_rng(scale)
    x = rng.normal(size=120) * scale + offset
    expected = exact(x)
    for _ in range(90):
        parts = [moments_of(x[cut]) for cut in some_cuts(rng, x.size)]
        merged = merged_anyhow(rng, parts, moments.merge)
        for name, statistic in STATISTICS.items():
            error = abs(mpmath.mpf(float(statistic(merged)[0])) - expected[name])
            assert error <= 8 * EPS * expected[name], name


@pytest.mark.parametrize("scale", [0, 1, 5, 100])
def test_means_are_within_8_units_of_the_mean_of_their_sizes(scale):
    rng = np.random.default_rng(scale)
    x, v = rng.normal(size=(2, 120))
    x *= scale
    p, values = probabilities(x), [mpmath.mpf(float(value)) for value in v]
    expected = mpmath.fsum(a * b for a, b in zip(p, values, strict=True))
    size = mpmath.fsum(a * abs(b) for a, b in zip(p, values, strict=True))
    for _ in range(90):
        parts = [sums_of(x[cut], v[cut]) for cut in some_cuts(rng, x.size)]
        merged = merged_anyhow(rng, parts, sums.merge)
        assert abs(mpmath.mpf(float(mean(merged)[0])) - expected) <= 8 * EPS * size


def test_the_entropy_of_one_that_has_nearly_all():
    # mpmath: with p = 1 / (1 + e^-40), -p log p - (1 - p) log(1 - p) = 1.7418252446695515e-16
    expected = 1.7418252446695515e-16
    assert entropy(moments_of([0, -40]))[0] == pytest.approx(expected, rel=4 * EPS)
    halves = moments.merge(moments_of([0]), moments_of([-40]))
    assert entropy(halves)[0] == pytest.approx(expected, rel=4 * EPS)
    assert entropy(moments_of([5.0]))[0] == 0
    assert effective_sample_size(moments_of([0, -1000]))[0] == 1


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([np.nan, 0], np.nan),
        ([np.inf, 0], np.nan),
        ([np.inf, np.nan, -np.inf], np.nan),
        ([-np.inf, -np.inf], np.nan),
        ([], 0),
    ],
)
def test_slices_without_a_softmax(x, expected):
    for statistic in STATISTICS.values():
        np.testing.assert_array_equal(statistic(moments_of(x)), [expected])
        cut = moments.merge(moments_of(x[:1]), moments_of(x[1:]))
        np.testing.assert_array_equal(statistic(cut), [expected])
    np.testing.assert_array_equal(mean(sums_of(x, np.ones(len(x)))), [expected])


@pytest.mark.parametrize("rest", [[0.0, -1.0, -3.0], [2.0]])
def test_parts_that_are_all_minus_infinity_add_nothing(rest):
    nothing = [-np.inf] * 3
    for parts in ([nothing, rest], [rest, nothing], [nothing, nothing, rest, []]):
        merged = moments.merge(*map(moments_of, parts))
        for name, statistic in STATISTICS.items():
            error = abs(mpmath.mpf(float(statistic(merged)[0])) - exact(rest)[name])
            assert error <= 4 * EPS * exact(rest)[name]
        sum_of_all = sums.merge(*(sums_of(part, np.ones(len(part))) for part in parts))
        assert mean(sum_of_all)[0] == pytest.approx(1, rel=2 * EPS)


def test_what_is_out_takes_no_part():
    x = np.array([3.0, np.nan, 1.0, np.inf])
    where = np.array([True, False, True, False])
    for a, b in zip(moments_of(x, where), moments_of(x[where]), strict=True):
        np.testing.assert_array_equal(a, b)
    out = moments_of(x, np.zeros(4, bool))
    assert [field[0] for field in out] == [-np.inf, 0, 0, 0, 0]
    for statistic in STATISTICS.values():
        assert statistic(out)[0] == 0


STATE = st.lists(floats(special=True), max_size=6)


# A factor exp(-745) is subnormal, and so off by half of itself; t has 745 times that, of each part.
SUBNORMAL = 8 * 745 * 5e-324


def same(a, b, tolerance):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=SUBNORMAL if tolerance else 0)


@settings(max_examples=150, deadline=None)
@given(STATE, STATE, STATE)
def test_merging_is_associative_and_commutative(x, y, z):
    a, b, c = map(moments_of, (x, y, z))
    same(moments.merge(a, b), moments.merge(b, a), 0)
    same(moments.merge(moments.merge(a, b), c), moments.merge(a, moments.merge(b, c)), 1e-11)
    same(moments.merge(a, b, c), reduce(moments.merge, (a, b, c)), 1e-11)
    same(moments.merge(a, identity(np, (1,), "float64")), a, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(floats(special=True), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_the_state_of_parts_is_that_of_the_whole(x, i, j):
    i, j = sorted((i, j))
    parts = [moments_of(part) for part in (x[:i], x[i:j], x[j:])]
    same(moments.merge(*parts), moments_of(x), 1e-11)
    v = np.arange(len(x)) - 2.0
    cut = [sums_of(x[a:b], v[a:b]) for a, b in ((0, i), (i, j), (j, None))]
    merged, whole = sums.merge(*cut), sums_of(x, v)
    same(merged[:3], whole[:3], 1e-11)
    np.testing.assert_allclose(merged.o, whole.o, rtol=1e-11, atol=1e-11)


def test_m_w_and_s_are_those_of_the_normalizer():
    x = np.random.default_rng(0).normal(size=(70, 1001)) * 3  # more than a panel
    found, expected = moments_of_block(x, (0, 1)), of_block(x, (0, 1))
    assert isinstance(found, Moments)
    same(found.normalizer, expected, 8 * EPS)
    same(sums_of_block(Terms(x, values=(x,)), (0, 1)).normalizer, expected, 8 * EPS)
    assert found.d == found.w + found.s


@pytest.mark.parametrize("shape", [(), (1,), (3, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_small_ones_merge_as_large_ones_do(dtype, shape, monkeypatch):
    rng = np.random.default_rng(0)
    for count in (2, 17):
        drawn = rng.normal(size=(count, *shape)).round(1) * 4
        special = rng.choice([-np.inf, np.inf, np.nan, 0], drawn.shape)
        m = np.where(rng.random(drawn.shape) < 0.1, special, drawn).astype(dtype)
        rest = rng.exponential(size=(4, *m.shape)) * rng.integers(0, 2, (4, *m.shape))
        w, s, q, o = (np.asarray(field) for field in rest)
        fields = [list(map(np.asarray, field)) for field in (m, w, s, -s, q, o)]
        of_moments = [Moments(*part[:5]) for part in zip(*fields, strict=True)]
        of_sums = [sums.Sums(m, w, s, (o, q)) for m, w, s, _, q, o in zip(*fields, strict=True)]
        for merge, states in ((moments.merge, of_moments), (sums.merge, of_sums)):
            together = merge(*states)
            with monkeypatch.context() as patch:
                patch.setattr(normalizer, "SMALL", 0)
                one_by_one = merge(*states)
            assert type(together) is type(one_by_one)
            mapped(np.testing.assert_array_equal, together, one_by_one)
            assert all(a.shape == shape for a in (together.m, together.w, together.s))
