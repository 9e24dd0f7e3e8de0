"""The arithmetic of the CUDA kernels as C++: special values, the laws of a merge, random trees."""

import ctypes
import functools
import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax._algebra.normalizer import State, log_sum, signed_log_sum
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import source as cuda_source

from .. import oracle
from ..blocks import SPECIAL
from ..emulator import COMPILER, compile_library
from ..oracle import EPS
from ..strategies import INFINITE, STATES, floats

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler for the CUDA arithmetic"),
]

SHIM = """
template <typename Real> static void store(const State<Real> &state, double *to)
{
    to[0] = state.m, to[1] = state.w, to[2] = state.s;
}

template <typename Real> static State<Real> finished(Running<Real> r)
{
    r.move(r.m);
    return r.state();
}

template <typename Real, int N> static void state_of(const double *x, int n, double *to)
{
    Running<Real> running;
    int i = 0;
    for (; i + N <= n; i += N) {
        Real tile[N];
        for (int k = 0; k < N; ++k) tile[k] = Real(x[i + k]);
        running.add(tile);
    }
    for (; i < n; ++i) {
        Real one[1] = {Real(x[i])};
        running.add(one);
    }
    store(finished(running), to);
}

extern "C" void state_float(const double *x, int n, double *to) { state_of<float, 16>(x, n, to); }
extern "C" void state_double(const double *x, int n, double *to) { state_of<double, 8>(x, n, to); }

extern "C" void weighted_double(const double *x, const double *b, int n, double *to)
{
    Running<double> running;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        double tile[4] = {x[i], x[i + 1], x[i + 2], x[i + 3]};
        double weights[4] = {b[i], b[i + 1], b[i + 2], b[i + 3]};
        running.add(tile, weights);
    }
    for (; i < n; ++i) {
        double one[1] = {x[i]}, weight[1] = {b[i]};
        running.add(one, weight);
    }
    store(finished(running), to);
}

extern "C" void merged_double(const double *states, int n, double *to)
{
    double top = -infinity();
    for (int i = 0; i < n; ++i) top = larger(top, states[3 * i]);
    Running<double> whole(top);
    for (int i = 0; i < n; ++i) {
        State<double> state = {states[3 * i], states[3 * i + 1], states[3 * i + 2]};
        whole.add(Running<double>(state));
    }
    store(whole.state(), to);
}

extern "C" double log_d(double w, double s)
{
    State<double> state = {0, w, s};
    return state.log_d();
}

extern "C" double exponential_double(double t) { return straight_exponential(t); }
"""


@pytest.fixture(scope="module")
def library():
    library = compile_library(cuda_source.text("state.cuh") + SHIM)
    for function in (library.log_d, library.exponential_double):
        function.restype = ctypes.c_double
        function.argtypes = [ctypes.c_double] * 2
    library.exponential_double.argtypes = [ctypes.c_double]
    return library


def _array(x):
    return np.ascontiguousarray(x, np.float64).ctypes.data_as(ctypes.c_void_p)


class Arithmetic:
    """States as tuples (m, w, s) of floats."""

    def __init__(self, library):
        self.library = library

    def _call(self, name, *arguments):
        to = np.empty(3)
        getattr(self.library, name)(*arguments, _array(to))
        return tuple(to.tolist())

    def state(self, x, real="double"):
        x = np.array(x, np.float64)
        return self._call(f"state_{real}", _array(x), x.size)

    def weighted(self, x, b):
        x, b = np.array(x, np.float64), np.array(b, np.float64)
        return self._call("weighted_double", _array(x), _array(b), x.size)

    def merge(self, *states):
        states = np.array(states, np.float64)
        return self._call("merged_double", _array(states), len(states))


@pytest.fixture(scope="module")
def cuda(library):
    return Arithmetic(library)


def as_arrays(state):
    return State(*(np.array([value]) for value in state))


def assert_same(a, b, rtol=4 * EPS):
    np.testing.assert_array_equal(a[:2], b[:2])
    few = 60 * 2.0**-1074  # a factor that is subnormal is off by half of that; of 60 terms
    np.testing.assert_allclose(a[2], b[2], rtol=rtol, atol=few)


IDENTITY = (-math.inf, 0.0, 0.0)


def test_the_state_of_nothing_is_the_identity(cuda):
    assert cuda.state([]) == cuda.merge() == IDENTITY


def test_the_pair_of_the_paper(cuda):
    m, w, s = cuda.state([0.1, 0.3, 0.08, -0.09])
    assert (m, w) == (0.3, 1)
    assert w + s == pytest.approx(3.298306425538625, rel=2 * EPS)


@pytest.mark.parametrize("x", STATES, ids=str)
def test_states_are_those_of_portable(x, cuda):
    expected = portable.of_block(np.array(x, float), (0,))
    assert_same(cuda.state(x), [field.item() for field in expected])


@pytest.mark.parametrize("x", STATES, ids=str)
def test_identity(x, cuda):
    state = cuda.state(x)
    assert_same(cuda.merge(state, IDENTITY), state, rtol=0)
    assert_same(cuda.merge(IDENTITY, state), state, rtol=0)


@pytest.mark.parametrize(("x", "y"), list(itertools.product(STATES, STATES)))
def test_merge_is_total_and_commutative(x, y, cuda):
    merged = cuda.merge(cuda.state(x), cuda.state(y))
    assert_same(merged, cuda.merge(cuda.state(y), cuda.state(x)), rtol=0)
    np.testing.assert_array_equal(
        log_sum(as_arrays(merged)), log_sum(as_arrays(cuda.state([*x, *y])))
    )


@given(*3 * [st.lists(floats(), max_size=40)])
def test_merge_is_associative(cuda, x, y, z):
    a, b, c = map(cuda.state, (x, y, z))
    # exp(x - m) keeps what rounding x - m has lost, |x - m| EPS, and one side rounds another x - m.
    rtol = (745 + 4) * EPS
    assert_same(cuda.merge(cuda.merge(a, b), c), cuda.merge(a, cuda.merge(b, c)), rtol)
    assert_same(cuda.merge(cuda.merge(a, b), c), cuda.merge(a, b, c), rtol)


# Of such numbers differences are exact in float32: they are rounded by another maximum than the
# portable ones, by up to u |x - m| (docs/numerics.md), which is not what is compared here.
SIXTY_FOURTHS = st.integers(-50 * 64, 50 * 64).map(lambda i: i / 64)


@given(st.lists(SIXTY_FOURTHS | st.sampled_from(INFINITE), max_size=70))
def test_tiles_and_single_elements_agree_with_portable(cuda, x):
    for real, dtype, rtol in (("double", "f8", 1e-14), ("float", "f4", 1e-6)):
        expected = portable.of_block(np.array(x, dtype), (0,))
        np.testing.assert_allclose(
            cuda.state(x, real), [field.item() for field in expected], rtol=rtol
        )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_tree_of_merges_gives_the_oracle(cuda, x, random):
    states = [cuda.state(x[i : i + 3]) for i in range(0, len(x), 3)]
    while len(states) > 1:
        random.shuffle(states)
        k = random.randint(2, 4)
        states = [*states[k:], cuda.merge(*states[:k])]
    expected = oracle.exp_sum(x) / mpmath.exp(max(x))
    assert abs(sum(states[0][1:]) - expected) <= 8 * EPS * expected


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_a_maximum_that_moves_costs_nothing(order, cuda):
    x = np.linspace(-0.3, 40, 5000)
    x = {"ascending": x, "descending": x[::-1]}.get(order, np.random.default_rng(0).permutation(x))
    expected = oracle.exp_sum(x - x.max())
    assert abs(sum(cuda.state(x)[1:]) - expected) <= 8 * EPS * expected


def test_merging_many_states_costs_one_rounding(cuda):
    x = np.random.default_rng(1).normal(size=5000)
    whole = cuda.merge(*(cuda.state([v]) for v in x))
    expected = oracle.exp_sum(x - x.max())
    assert abs(sum(whole[1:]) - expected) <= 2 * EPS * expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.0, -40.0], 4.248354255291589e-18),
        ([0.0, -80.0], 1.8048513878454153e-35),
        ([700.0, 700.0], 700.6931471805599),
        ([-1e5, -1e5 - 1], -99999.68673831248),
    ],
)
def test_nothing_below_the_maximum_is_lost(x, expected, cuda, library):
    m, w, s = cuda.state(x)
    log_d = library.log_d(w, s)
    assert m + log_d == pytest.approx(expected, rel=4 * EPS, abs=0)


@pytest.mark.parametrize("a", list(itertools.product(SPECIAL, SPECIAL)), ids=str)
def test_special_weights(a, cuda):
    for b in itertools.product(SPECIAL, SPECIAL):
        with np.errstate(all="ignore"):
            expected = signed_log_sum(portable.of_block(np.array(a), (0,), np.array(b)))
        whole = cuda.weighted(a, b)
        parts = cuda.merge(*(cuda.weighted(a[i : i + 1], b[i : i + 1]) for i in range(2)))
        for state in (whole, parts):
            found = signed_log_sum(as_arrays(state))
            np.testing.assert_allclose(found, expected, rtol=4 * EPS)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-20, 20) | st.sampled_from([0.0, 1.0, -np.inf]),
            st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 8),
)
def test_signed_weights(cuda, terms, cut):
    a, b = zip(*terms, strict=True)
    merged = cuda.merge(cuda.weighted(a[:cut], b[:cut]), cuda.weighted(a[cut:], b[cut:]))
    value, sign = signed_log_sum(as_arrays(merged))
    total = oracle.exp_sum(np.array(a), np.array(b))
    size = oracle.exp_sum(np.array(a), np.abs(b))
    assert abs(sign.item() * mpmath.exp(value.item()) - total) <= 64 * EPS * size


def test_merges_of_two_in_a_row_are_as_good(cuda):
    x = np.random.default_rng(3).normal(size=400) * 30
    states = [cuda.state(x[i : i + 7]) for i in range(0, 400, 7)]
    _, w, s = functools.reduce(cuda.merge, states)
    expected = oracle.exp_sum(x) / mpmath.exp(x.max())
    assert abs(w + s - expected) <= 8 * EPS * expected


def test_the_straight_exponential_of_doubles(library):
    rng = np.random.default_rng(0)
    near = [-np.log(2) * k / 2 + step for k in range(60) for step in (-1e-15, 0.0, 1e-15)]
    below = -746 * rng.random(2000)
    for t in (*near, *below, *(1.0 - rng.random(200)), 709.7, -708.39, -720.3, -744.9, -745.13):
        with mpmath.workprec(200):
            exact = mpmath.exp(mpmath.mpf(float(t)))
            error = abs(mpmath.mpf(library.exponential_double(t)) - exact)
            assert error <= 1.25 * mpmath.mpf(math.ulp(float(exact))), t
    for t in (0.0, -745.14, -1e9, -np.inf, 710.0, 1e9, np.inf, np.nan):
        with np.errstate(all="ignore"):
            np.testing.assert_equal(library.exponential_double(t), float(np.exp(t)))
