"""The compiled kernels of the CPU, beyond what every kind of block has to give: `test_blocks`."""

import math
import tracemalloc

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax import _kernels as kernels
from dsoftmax import logsumexp, softmax
from dsoftmax._algebra.normalizer import State, log_sum
from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cpu import call as cpu_call
from dsoftmax._kernels.cpu.call import Call
from dsoftmax._kernels.layout import reduced_axes

from ..blocks import CPU, assert_right, over
from ..layouts import APART
from ..oracle import EPS


@pytest.mark.parametrize(("shape", "axes"), APART, ids=str)
def test_few_calls_of_a_kernel_reduce_axes_that_do_not_join(shape, axes):
    x = np.zeros(shape)
    for call in (
        Call(reduced_axes(x, axes), x),
        Call(reduced_axes(x, axes), x, y=np.empty_like(x)),
    ):
        assert len(list(call.offsets())) <= 12


SUMMED = {
    "one 0 among -0.1": lambda n: np.append(np.full(n - 1, -0.1), 0.0),
    "0 first": lambda n: np.append(0.0, np.full(n - 1, -0.1)),
    "rising": lambda n: np.linspace(-1, 0, n),
    "falling": lambda n: np.linspace(0, -1, n),
    "normal": lambda n: np.random.default_rng(0).normal(size=n),
}


@pytest.mark.parametrize("kind", SUMMED)
@pytest.mark.parametrize(
    ("shape", "axes"), [*APART, ((20_000, 3, 50), (0, 2)), ((70, 2) * 3, (0, 2, 4))], ids=str
)
def test_sums_over_axes_that_do_not_join(shape, axes, kind):
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    row = SUMMED[kind](math.prod(shape) // math.prod(kept))
    order = [*axes, *(i for i in range(len(shape)) if i not in axes)]
    x = np.broadcast_to(row[:, None], (row.size, math.prod(kept)))
    x = x.reshape([shape[i] for i in order]).transpose(np.argsort(order)).copy()
    exact = math.fsum(np.exp(row.astype("g") - row.max()).astype("f8"))
    assert np.abs(cpu.of_block(x, axes).d - exact).max() <= 8 * EPS * exact


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((5003, 2), (0,)), ((1101, 2, 3), (0,)), ((70, 31, 7), (0, 1)), ((1, 1027, 50), (0, 1))],
    ids=str,
)
@pytest.mark.parametrize("together", [True, False])
@over(dtype=("float16", "float32", "float64", "int16"), kinds=[CPU])
def test_long_tables_of_few_columns(block, dtype, together, shape, axes, monkeypatch):
    monkeypatch.setattr(cpu, "LONG", 1 if together else 10**9)
    assert (cpu.few_columns(np.empty(shape), axes) > 0) == (together and shape[-1] < 8)
    rng = np.random.default_rng(3)
    x = (rng.normal(size=shape) * 3).astype(dtype)
    assert_right(block, x, axes)
    b = rng.normal(size=shape)
    for weights in (b, np.asfortranarray(b)):
        expected, state = portable.of_block(x, axes, weights), cpu.of_block(x, axes, weights)
        assert_array_equal(state.m, expected.m)
        assert_allclose(state.w, expected.w, rtol=1e-13)
        assert_allclose(state.s, expected.s, rtol=1e-12, atol=1e-12)
    if dtype != "int16":
        for place, value in [(0, np.nan), (-1, np.inf), (77, -np.inf), (-1, np.nan)]:
            x.flat[place] = value
            assert_right(block, x, axes)


@pytest.mark.huge
@pytest.mark.parametrize("shape", [(2**31 + 16,), (2**31 + 16, 1), (1, 2**31 + 16)], ids=str)
def test_more_than_two_to_the_31_elements(shape):
    x = np.zeros(shape, np.int8)  # in memory only where it is written to
    x.flat[-1] = 21
    result = logsumexp(x, axis=int(np.argmax(shape)))
    assert_allclose(result, np.log(2**31 + 15 + np.exp(21.0)), rtol=1e-15)


@pytest.mark.huge
def test_more_than_two_to_the_31_results():
    x = np.zeros(2**31 + 16, np.float16)
    x[-1] = 20
    y = softmax(x)
    assert_allclose(y[-1], np.exp(20.0) / (2**31 + 15 + np.exp(20.0)), rtol=1e-3)
    assert y[-2] == 0


@pytest.mark.parametrize("weight", [1e287, -1e300, 1e304])
@pytest.mark.parametrize(("shape", "axis"), [((8000,), 0), ((8000, 20), 0), ((3, 8000), 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_weights(weight, shape, axis, dtype):
    x = np.linspace(-1, 0, 8000, dtype=dtype)
    x = np.broadcast_to(x if axis == len(shape) - 1 else x[:, None], shape)
    expected = np.log(np.exp(x.astype("f8")).sum(axis)) + np.log(abs(weight))
    for flipped in (x, np.flip(x, axis)):
        result, sign = logsumexp(flipped, axis, np.full(shape, weight), return_sign=True)
        assert_allclose(result, expected, rtol=1e-6 if dtype == "float32" else 1e-13)
        assert_array_equal(sign, np.sign(weight))


def test_sums_of_weights_that_overflow():
    x, b = np.zeros((5000, 2)), np.full((5000, 2), 1e306)
    b[:, 1] = -1e306
    result, sign = logsumexp(x, 0, b, return_sign=True)
    assert_array_equal(result, [np.inf, np.inf])
    assert_array_equal(sign, [1, -1])


def ulps_of_exp(x):
    """Errors of exp(x) for x <= 0, in units of the last place of the exact value."""
    y = cpu.rescale(x, np.zeros(1, x.dtype), np.ones(1))
    exact = np.exp(x.astype("g"))
    return np.abs(y - exact) / np.spacing(np.maximum(exact.astype(x.dtype), np.finfo(x.dtype).tiny))


def test_exp_of_float32_is_within_2_ulp_everywhere():
    bits = np.arange(int(np.float32(-104).view("u4")), int(np.float32(-0.0).view("u4")), -131)
    x = bits.astype("u4").view("f4")  # every 131st float32 from -104 to -0
    assert ulps_of_exp(x).max() <= 2


def test_exp_of_float32_is_numpy_s_in_small_blocks():
    x = -np.random.default_rng(0).uniform(0, 87, 10**6).astype("f4")
    y = portable.rescale(x, np.zeros(1, "f4"), np.ones(1))
    exact = np.exp(x.astype("g"))
    assert (np.abs(y - exact) / np.spacing(exact.astype("f4"))).max() <= 2.6


def test_exp_of_float64_is_within_2_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate([-rng.uniform(0, 708, 10**6), -(10 ** rng.uniform(-17, 2.8, 10**6))])
    assert ulps_of_exp(x).max() <= 2
    for value in (-0.34657359, -708.3, -1e-300, -36.7):  # longdouble is no oracle for itself
        y = cpu.rescale(np.array([value]), np.zeros(1), np.ones(1))[0]
        assert abs(y - mpmath.exp(value)) <= 2 * np.spacing(y)


@pytest.mark.parametrize("columns", [1, 3, 10, 16, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_of_many_short_rows(columns, dtype):
    # sums next to 1, of which log_softmax has to keep the rest, and up to 2**columns
    rng = np.random.default_rng(columns)
    x = -(10 ** rng.uniform(-3, 1.6, (5000, columns))).astype(dtype)
    x[:, -1] = 0
    x[::7] = 3.0
    x[11], x[12, 0], x[13, 0] = -np.inf, np.inf, np.nan
    exact = x.astype("g")
    with np.errstate(all="ignore"):
        t = exact - exact.max(1, keepdims=True)
        rest = np.where(t == 0, 0, np.exp(t))
        number = (t == 0).sum(1, keepdims=True).astype("g")
        expected = t - np.log(number) - np.log1p(rest.sum(1, keepdims=True) / number)
        spread = np.nansum(-t * rest, axis=1, keepdims=True) / rest.sum(1, keepdims=True)
        bound = (np.nan_to_num(spread) + 8) * np.finfo(dtype).eps / 2  # as in docs/numerics.md
        y = cpu.log_softmax(x, (1,))
        within = np.abs(y - expected) <= np.abs(expected) * bound
    assert within[np.isfinite(exact).all(1)].all()
    assert_array_equal(y[11:14], portable.log_softmax(x[11:14], (1,)))
    total = log_sum(cpu.of_block(x, (1,)))
    many = kernels.log_sum(cpu.of_block(x, (1,)))
    assert_allclose(many, total, rtol=4e-16, atol=4e-16)
    assert many.dtype == "float64"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_of_many_sums_of_any_sign_and_size(dtype):
    rng = np.random.default_rng(8)
    w, s = 10 ** rng.uniform(-307, 307, (2, 9001, 1))
    m = rng.normal(size=w.shape).astype(dtype)
    exact = m + np.log(w.astype("g") + s)  # every sum is one that the vectors can do
    assert_allclose(kernels.log_sum(State(m, w, s)), exact.astype("f8"), rtol=4e-16, atol=1e-15)
    for row, (first, then) in enumerate(
        [(0, 0), (0, 1e-310), (1e308, 1e308), (np.inf, 1), (-1, 0.5), (-1, 1), (np.nan, 1), (3, -1)]
    ):
        # one that they cannot do, anywhere; all are as in any library
        w[1000 * row], s[1000 * row] = first, then
        state = State(m, w, s)
        assert_allclose(kernels.log_sum(state), log_sum(state), rtol=4e-16, atol=1e-15)


def test_log_is_within_1_ulp():
    rng = np.random.default_rng(0)
    near_one = 1 + rng.normal(size=10**5) * 10 ** rng.uniform(-16, -0.5, 10**5)
    x = np.concatenate([10 ** rng.uniform(-307, 308, 10**5), np.abs(near_one), np.arange(1, 1e5)])
    zeros = np.zeros((len(x), 1))
    y = kernels.log_sum(State(zeros, x[:, None], zeros))[:, 0]
    exact = np.log(x.astype("g"))
    assert (np.abs(y - exact) <= np.spacing(np.abs(exact).astype("f8"))).all()
    assert y[x == 1].tolist() == [0] * np.count_nonzero(x == 1)


@pytest.mark.parametrize("special", [0, math.nan, math.inf, -math.inf, 6e4])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 23, 1023, 1024, 1025, 2047, 2048, 2049])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softmaxes_of_rows_have_the_bits_of_two_passes(dtype, length, special):
    """Also where they are made of exponentials that were kept."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, length)).astype(dtype)
    x[1, ::3] = x[2, -1] = x[3, 0] = special
    x[4] = -math.inf
    for where in (None, rng.random(x.shape) < 0.6):
        state = cpu.of_block(x, (1,), where=where)
        two_passes = cpu.rescale(x, state.m, state.d, where)
        assert_array_equal(cpu.softmax(x, (1,), where), two_passes, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("shape", "axis"), [((10**6,), 0), ((1000, 1000), 0), ((10**5, 10), 1)])
def test_no_memory_beyond_the_result(dtype, shape, axis):
    x = np.zeros(shape, dtype)
    cpu.softmax(x, (axis,))
    tracemalloc.start()
    y = cpu.softmax(x, (axis,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - y.nbytes < 200 * 1024


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(900, 5), (40, 13, 9), (300, 17)], ids=str)
def test_no_bit_depends_on_what_scratch_memory_holds(shape, dtype):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * 30 + 100).astype(dtype)
    where = rng.random(shape) < 0.8
    d = rng.uniform(1, 9, (1, *shape[1:]))
    m = x.max(axis=0, keepdims=True).astype("f4" if dtype == "float32" else "f8")

    def results():
        yield cpu.rescale(x, m, d)
        for mask in (None, where):
            yield cpu.softmax(x, (0,), mask)
            yield from cpu.of_block(x, (0,), where=mask)
            yield from cpu.moments(x, (0,), mask)

    found = []
    for _ in range(6):
        cpu_call._scratch.memory[:] = rng.integers(0, 256, cpu_call._scratch.memory.size, "u1")
        found.append([y.tobytes() for y in results()])
    assert found[1:] == found[:-1]


@pytest.mark.parametrize("most", [1, 4, 1 << 10])
def test_all_passes_of_the_loops_that_no_kernel_runs_are_made(most, monkeypatch):
    monkeypatch.setattr(cpu_call, "MOST_PASSES", most)
    x = np.random.default_rng(0).normal(size=(3, 7, 9, 40))[:, ::2, ::2]
    assert math.prod(loop.length for loop in Call((False,) * 3 + (True,), x).plan.outer) == 12
    state = cpu.of_block(x, (3,))
    assert_array_equal(state.m, x.max(3, keepdims=True))
    assert_allclose(state.d, np.exp(x - state.m).sum(3, keepdims=True))
    assert_allclose(cpu.rescale(x, state.m, state.d), np.exp(x - state.m) / state.d)
