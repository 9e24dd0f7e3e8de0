"""The laws of the state (m, w, s): merge is a commutative monoid, and finishing loses nothing."""

import functools
import itertools
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax._algebra import normalizer
from dsoftmax._algebra.normalizer import State, identity, log_sum, merge, signed_log_sum
from dsoftmax._kernels import Terms, of_block

from .. import oracle
from ..oracle import EPS
from ..strategies import STATES, floats

XP = normalizer.array_namespace(np.zeros(1))
SMALLEST = 2.0**-1074


def state_of(x, b=None):
    x = np.asarray(x, dtype=float)
    return of_block(x if b is None else Terms(x, np.asarray(b, dtype=float)), (0,))


def assert_same(a, b, atol=0.0):
    np.testing.assert_array_equal(a.m, b.m)
    np.testing.assert_array_equal(np.isnan(a.m) | (a.w == b.w), True)
    np.testing.assert_allclose(a.s, b.s, rtol=0, atol=atol)


def error_of_two_ways(x):
    """How far two sums of the exponentials below the maximum may be apart.

    Each way rounds the difference to the maximum, of t, before it is exponentiated, in one step or
    in several; and what is subnormal to the smallest of these, exponentials and products.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        t = np.max(x, initial=-np.inf) - np.asarray(x, dtype=float)
    t = t[np.isfinite(t) & (t > 0)]
    return EPS * np.sum(np.exp(-t) * (4 + 2 * t)) + 4 * t.size * SMALLEST


def test_state_of_a_block_is_the_pair_of_the_paper():
    state = state_of([0.1, 0.3, 0.08, -0.09])
    assert state.m.item() == 0.3
    assert state.w.item() == 1
    assert state.d.item() == pytest.approx(3.298306425538625, rel=2 * EPS)


@pytest.mark.parametrize("x", STATES)
def test_identity(x):
    neutral = identity(XP, (1,), "float64")
    assert_same(merge(state_of(x), neutral), state_of(x))
    assert_same(merge(neutral, state_of(x)), state_of(x))


@pytest.mark.parametrize(("x", "y"), list(itertools.product(STATES, STATES)))
def test_merge_is_total_and_commutative(x, y):
    merged = merge(state_of(x), state_of(y))
    assert_same(merged, merge(state_of(y), state_of(x)))
    np.testing.assert_array_equal(log_sum(merged), log_sum(state_of([*x, *y])))


@pytest.mark.parametrize("dtype", ["f4", "f8", "g", "c16"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 3)], ids=str)
def test_small_states_merge_together_to_the_same_bits(monkeypatch, shape, dtype):
    rng = np.random.default_rng(0)
    special_values = [-np.inf, 0.0, -0.0, 1.0, np.nan, np.inf]
    for count in (3, 16):
        m = np.where(
            rng.random((count, *shape)) < 0.1,
            rng.choice(special_values, (count, *shape)),
            rng.normal(size=(count, *shape)).round(1) * 4,
        )
        w, s = rng.integers(-1, 4, m.shape), rng.normal(size=m.shape)
        wide = np.result_type(dtype, "f8")
        narrow = np.zeros(0, dtype).real.dtype
        states = [
            State(np.asarray(a).astype(narrow), np.asarray(b, wide), np.asarray(c, wide))
            for a, b, c in zip(m, w, s, strict=True)
        ]
        if dtype == "f8" and count > 3:  # exponentials of each are in its own precision
            states[1] = State(*(field.astype("g") for field in states[1]))
        together = merge(*states)
        with monkeypatch.context() as patch:
            patch.setattr(normalizer, "SMALL", 0)
            one_by_one = merge(*states)
        for a, b in zip(together, one_by_one, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
            np.testing.assert_array_equal(np.signbit(np.real(a)), np.signbit(np.real(b)))


@example([0.0], [1.44269504], [34.0])
@example([745.0], [0.0, 0.0], [1.0])
@given(
    st.lists(floats(), max_size=12),
    st.lists(floats(), max_size=12),
    st.lists(floats(), max_size=12),
)
def test_merge_is_associative(x, y, z):
    a, b, c = map(state_of, (x, y, z))
    atol = error_of_two_ways([*x, *y, *z])
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)), atol)
    assert_same(merge(merge(a, b), c), merge(a, b, c), atol)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_tree_of_merges_gives_the_oracle(x, random):
    states = [state_of(x[i : i + 3]) for i in range(0, len(x), 3)]
    while len(states) > 1:
        random.shuffle(states)
        k = random.randint(2, 4)
        states = [*states[k:], merge(*states[:k])]
    expected = oracle.exp_sum(x) / mpmath.exp(max(x))
    # x - m is rounded before it is exponentiated, but t exp(-t) never exceeds 0.37
    assert abs(states[0].d.item() - expected) <= 8 * EPS * expected


def test_merging_many_states_costs_one_rounding():
    x = np.random.default_rng(1).normal(size=5_000)
    whole = merge(*(state_of([v]) for v in x))
    expected = oracle.exp_sum(x - x.max())
    assert abs(whole.d.item() - expected) <= 2 * EPS * expected


def test_maxima_of_float32_are_merged_in_float64():
    # exp(fl32(m1 - m2)) would be off by 1e-6
    low, high = np.float32([-30.3]), np.float32([0.7])
    merged = merge(of_block(low, (0,)), of_block(high, (0,)))
    exact = np.exp(float(low[0]) - float(high[0]))
    assert merged.s.item() == pytest.approx(exact, rel=2 * EPS)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.0, -40.0], 4.248354255291589e-18),  # log(d) alone is 0
        ([0.0, -80.0], 1.8048513878454153e-35),
        ([700.0, 700.0], 700.6931471805599),
        ([-1e5, -1e5 - 1], -99999.68673831248),
    ],
)
def test_nothing_below_the_maximum_is_lost(x, expected):
    assert float(oracle.logsumexp(x)) == expected
    assert log_sum(state_of(x)).item() == pytest.approx(expected, rel=4 * EPS, abs=0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-20, 20) | st.sampled_from([0.0, 1.0, -np.inf]),
            st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0, 1e300, -1e300, 1e-300]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 8),
)
def test_signed_weights(terms, cut):
    a, b = map(np.array, zip(*terms, strict=True))
    value, sign = signed_log_sum(merge(state_of(a[:cut], b[:cut]), state_of(a[cut:], b[cut:])))
    total, size = oracle.exp_sum(a, b), oracle.exp_sum(a, abs(b))
    # A difference of nearly equal sums is as uncertain as the sums are large; and so is exp(value)
    # by the rounding of a value that is.
    rounding = 64 + 4 * abs(max(value.item(), -1e3))
    assert abs(sign.item() * mpmath.exp(value.item()) - total) <= rounding * EPS * size


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 0.0], [1e-309, 1.0]),
        ([0.0, -1.0], [1e-160, 1e150]),
        ([0.0, -1.0], [1e150, 1e-160]),
        ([0.0, -1.0, -40.0], [1e-300, -1e300, 1e300]),
        ([0.0, -1.0], [-1e-300, 1e300]),
    ],
)
def test_weights_that_are_far_apart(a, b):
    value, sign = signed_log_sum(state_of(a, b))
    total = oracle.exp_sum(a, b)
    assert value.item() == pytest.approx(float(mpmath.log(abs(total))), rel=2 * EPS)
    assert sign.item() == mpmath.sign(total)


@pytest.mark.parametrize("d", [-1.0, 1.0])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's of log(-1)
def test_the_logarithm_of_a_negative_d(d):
    state = State(*map(np.array, (0.0, 2 * d, -d)))
    np.testing.assert_array_equal(normalizer.log_d(state), np.log(d))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [1, -1]),
        ([1.0, 1.0], [1, -1]),
        ([1.0, 1.0, 0.0], [1, -1, -1]),
        ([np.inf, 0.0], [0, 1]),
        ([np.inf, np.inf], [1, -1]),
        ([np.inf, np.inf], [1, 2]),
        ([np.inf, 0.0], [-1, 1]),
        ([np.nan, 0.0], [0, 1]),
        ([0.0, 0.0], [0, 0]),
        ([1.0, 2.0], [np.inf, 1]),
        ([1.0, 2.0], [-np.inf, 1]),
        ([0.0, 900.0], [np.inf, 1]),
        ([0.0, 1.0], [-np.inf, np.inf]),
        ([1.0, 2.0], [np.nan, 1]),
        ([-np.inf, 0.0], [np.inf, 1]),
        ([-np.inf, -np.inf], [1, -1]),
        ([-np.inf], [-1]),
        ([1.0, 2.0], [0, -1]),
    ],
)
def test_special_weights_as_scipy(a, b):
    expected = special.logsumexp(a, b=b, return_sign=True, keepdims=True)
    whole = state_of(a, b)
    parts = merge(*(state_of(a[i : i + 1], b[i : i + 1]) for i in range(len(a))))
    np.testing.assert_allclose(signed_log_sum(whole), expected, rtol=4 * EPS)
    np.testing.assert_allclose(signed_log_sum(parts), expected, rtol=4 * EPS)


def test_a_state_is_picklable_and_immutable():
    state = state_of([1.0, 2.0])
    assert_same(pickle.loads(pickle.dumps(state)), state)
    with pytest.raises(AttributeError):
        state.m = 0


def test_merge_of_kept_axes_is_elementwise():
    x = np.random.default_rng(2).normal(size=(7, 4))
    parts = [of_block(x[i : i + 2], (0,)) for i in range(0, 7, 2)]
    merged = functools.reduce(merge, parts)
    assert isinstance(merged, State)
    assert merged.m.shape == (1, 4)
    np.testing.assert_allclose(log_sum(merged)[0], special.logsumexp(x, axis=0), rtol=4 * EPS)
