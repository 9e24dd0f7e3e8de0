"""The arithmetic of moments and sums of values in the CUDA kernels as C++, beside the algebra's."""

import ctypes
import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax._algebra import moments as algebra
from dsoftmax._algebra import sums as algebra_of_sums
from dsoftmax._algebra.moments import Moments, effective_sample_size, entropy
from dsoftmax._algebra.sums import Sums, mean
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import source as cuda_source

from ..emulator import COMPILER, compile_library
from ..oracle import EPS
from ..strategies import INFINITE, floats

CASES = ([0.0], [-np.inf], [np.inf], [np.nan], [], [1.0, 1.0], [2.0, -np.inf], [-745.0, 3.0])

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler for the CUDA arithmetic"),
]

SHIM = """
static void store(const State<double> &state, double *to)
{
    to[0] = state.m, to[1] = state.w, to[2] = state.s, to[3] = state.t, to[4] = state.q;
}

template <int kind> static void state_of(const double *x, const double *v, int n, double *to)
{
    Running<double, kind> running;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        double tile[4] = {x[i], x[i + 1], x[i + 2], x[i + 3]};
        running.add(tile, 0, v + i);
    }
    for (; i < n; ++i) {
        double one[1] = {x[i]};
        running.add(one, 0, v + i);
    }
    running.move(running.m);
    store(running.state(), to);
}

template <int kind> static void merged(const double *states, int n, double *to)
{
    double top = -infinity();
    for (int i = 0; i < n; ++i) top = larger(top, states[5 * i]);
    Running<double, kind> whole(top);
    for (; n > 0; --n, states += 5) {
        State<double> part = {states[0], states[1], states[2], states[3], states[4]};
        whole.add(Running<double, kind>(part));
    }
    store(whole.state(), to);
}

extern "C" void moments(const double *x, const double *v, int n, double *to)
{
    state_of<MOMENTS>(x, v, n, to);
}
extern "C" void values(const double *x, const double *v, int n, double *to)
{
    state_of<VALUES>(x, v, n, to);
}
extern "C" void merged_moments(const double *states, int n, double *to)
{
    merged<MOMENTS>(states, n, to);
}
extern "C" void merged_values(const double *states, int n, double *to)
{
    merged<VALUES>(states, n, to);
}
"""


class Arithmetic:
    """States as named tuples of arrays of one number."""

    def __init__(self, library):
        self.library = library

    def _call(self, name, *arguments):
        arrays = [np.array(a, np.float64).ravel() for a in arguments]
        to = np.full(5, 77.0)
        addresses = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, to)]
        n = len(arrays[0]) // (5 if name.startswith("merged") else 1)
        getattr(self.library, name)(*addresses[:-1], n, addresses[-1])
        return to.reshape(5, 1)

    def moments(self, x):
        return Moments(*self._call("moments", x, np.zeros(len(x))))

    def sums(self, x, v):
        m, w, s, o, _ = self._call("values", x, v)
        return Sums(m, w, s, (o,))

    def merge(self, *states):
        return Moments(*self._call("merged_moments", [np.ravel(state) for state in states]))

    def merge_sums(self, *states):
        flat = [[*state[:3], state.o[0], [0.0]] for state in states]
        m, w, s, o, _ = self._call("merged_values", flat)
        return Sums(m, w, s, (o,))


@pytest.fixture(scope="module")
def cuda():
    return Arithmetic(compile_library(cuda_source.text("state.cuh") + SHIM))


# A factor below exp(-708) is subnormal, and off by up to half of 2**-1074; it multiplies sums of up
# to 60 terms, and in t distances of up to 745.
SUBNORMAL = 60 * 745 * 2.0**-1074


def assert_same(a, b, rtol=8 * EPS):
    np.testing.assert_array_equal(a[:2], b[:2])
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=SUBNORMAL if rtol else 0)


def of(values):
    return np.array(values, float)


def test_the_state_of_nothing_is_the_identity(cuda):
    assert np.ravel(cuda.moments([])).tolist() == [-math.inf, 0, 0, 0, 0]
    assert np.ravel(cuda.merge()).tolist() == [-math.inf, 0, 0, 0, 0]
    for x in CASES:
        state = cuda.moments(x)
        assert_same(cuda.merge(state, cuda.moments([])), state, rtol=0)
        assert_same(cuda.merge(cuda.moments([]), state), state, rtol=0)


@pytest.mark.parametrize("x", CASES, ids=str)
def test_states_are_those_of_portable(x, cuda):
    with np.errstate(all="ignore"):
        assert_same(cuda.moments(x), portable.moments(of(x), (0,)))
        sums = portable.sums(of(x), (0,), (np.arange(len(x)) - 1.5,))
    found = cuda.sums(x, np.arange(len(x)) - 1.5)
    assert_same(found[:3], sums[:3])
    if np.isfinite(found.m):
        np.testing.assert_allclose(
            found.o[0], sums.o[0], rtol=8 * EPS, atol=8 * EPS * sums.d.item()
        )


@pytest.mark.parametrize(("x", "y"), list(itertools.product(CASES, CASES)))
def test_merges_are_those_of_the_algebra(x, y, cuda):
    a, b = cuda.moments(x), cuda.moments(y)
    assert_same(cuda.merge(a, b), algebra.merge(a, b))
    assert_same(cuda.merge(a, b), cuda.merge(b, a), rtol=0)
    np.testing.assert_allclose(
        entropy(cuda.merge(a, b)), entropy(cuda.moments([*x, *y])), rtol=8 * EPS, atol=8 * EPS
    )
    c, d = cuda.sums(x, np.ones(len(x))), cuda.sums(y, np.full(len(y), 3.0))
    found, expected = cuda.merge_sums(c, d), algebra_of_sums.merge(c, d)
    assert_same(found[:3], expected[:3])
    np.testing.assert_allclose(mean(found), mean(expected), rtol=8 * EPS)


# Of these, differences are exact: rounding them by u |x - m| is not what is measured here.
SIXTY_FOURTHS = st.integers(-300 * 64, 300 * 64).map(lambda i: i / 64)


@given(st.lists(SIXTY_FOURTHS | st.sampled_from(INFINITE), max_size=70))
def test_tiles_and_single_elements_agree_with_portable(cuda, x):
    found, expected = cuda.moments(x), portable.moments(of(x), (0,))
    assert_same(found[:3], expected[:3], rtol=1e-14)
    size = np.abs(expected.t) + expected.s
    np.testing.assert_allclose(found.t, expected.t, rtol=1e-14, atol=1e-14 * size.item())
    np.testing.assert_allclose(found.q, expected.q, rtol=1e-14)


@given(*3 * [st.lists(floats(), max_size=20)])
def test_merge_is_associative(cuda, x, y, z):
    a, b, c = map(cuda.moments, (x, y, z))
    left, right = cuda.merge(cuda.merge(a, b), c), cuda.merge(a, cuda.merge(b, c))
    # exp(x - m) keeps what rounding x - m has lost, |x - m| EPS, and one side rounds another x - m.
    assert_same(left[:3], right[:3], rtol=(745 + 8) * EPS)
    for one, other in ((left, right), (left, cuda.merge(a, b, c))):
        np.testing.assert_allclose(entropy(one), entropy(other), rtol=1e-14, atol=1e-14)
        sizes = effective_sample_size(one), effective_sample_size(other)
        np.testing.assert_allclose(*sizes, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIXTY_FOURTHS, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_tree_of_merges_gives_the_oracle(cuda, x, random):
    v = [math.sin(7 * i) for i in range(len(x))]
    pieces = [slice(i, i + 3) for i in range(0, len(x), 3)]
    states = [(cuda.moments(x[piece]), cuda.sums(x[piece], v[piece])) for piece in pieces]
    while len(states) > 1:
        random.shuffle(states)
        k = random.randint(2, 4)
        moments, sums = zip(*states[:k], strict=True)
        states = [*states[k:], (cuda.merge(*moments), cuda.merge_sums(*sums))]
    moments, sums = states[0]
    below = [mpmath.mpf(value) - max(x) for value in x]
    e = list(map(mpmath.exp, below))
    d, rest = mpmath.fsum(e), mpmath.fsum(term for term, y in zip(e, below, strict=True) if y)
    exact = mpmath.log(x.count(max(x))) + mpmath.log1p(rest / x.count(max(x)))
    exact -= mpmath.fsum(y * term for y, term in zip(below, e, strict=True)) / d
    assert abs(entropy(moments).item() - exact) <= 32 * EPS * exact + 2.0**-1070
    exact = d * d / mpmath.fsum(term * term for term in e)
    assert abs(effective_sample_size(moments).item() - exact) <= 32 * EPS * exact
    products = [term * u for term, u in zip(e, v, strict=True)]
    exact, size = mpmath.fsum(products) / d, mpmath.fsum(map(abs, products)) / d
    assert abs(mean(sums).item() - exact) <= 32 * EPS * size
