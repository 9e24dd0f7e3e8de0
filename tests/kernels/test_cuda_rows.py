"""Rows one after the other: every kernel that takes them, on a host and, with a device, there.

Which one a row gets is `dsoftmax._kernels.cuda.switch`; the lengths are those around its switches.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dsoftmax._algebra.moments import Moments, effective_sample_size, entropy
from dsoftmax._algebra.normalizer import State, log_d, log_sum, merge
from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda import contiguous, finish, switch

from ..blocks import DEVICE, EMULATED, over
from ..oracle import EPS

U = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
SMALLEST = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}


@pytest.fixture
def all_are_many(monkeypatch):
    """Have few rows count as many, so that tiny ones get their kernels."""
    monkeypatch.setattr(switch, "MANY_ROWS", 40)
    _forget()
    yield
    _forget()


def _forget():
    switch.rows_launch.cache_clear()
    contiguous.forget()


def rows(length, dtype, times=1):
    """Rows with what has gone wrong once, each at another place in the block with ``times``."""
    rng = np.random.default_rng(length)
    x = rng.normal(size=(11, length)) * rng.choice([0.1, 1, 8], (11, 1))
    x[0] = -np.inf  # padding must not count
    x[1, length // 2] = np.nan  # and larger elements after it
    x[1, -1] = 9
    x[2, -1] = np.inf
    x[3], x[3, -1] = -np.inf, 3
    x[4] = 7
    x[5], x[5, 0] = -40, 0
    x[6], x[6, length // 3] = -np.inf, -5.5
    x[7], x[7, -1] = -90, 0
    x[8, 0] = -np.inf
    x[9] = 1e4
    return np.concatenate([x] * times).astype(dtype)


def expected(x):
    """(m, w, s) and the three results, from exact differences."""
    wide = x.astype("g")
    with np.errstate(all="ignore"):
        m = wide.max(axis=1, keepdims=True)
        e = np.where(wide == m, 0, np.exp(wide - m))
        w, s = (wide == m).sum(axis=1, keepdims=True), e.sum(axis=1, keepdims=True)
        log_d = np.log1p(s + (w - 1))
        p = np.where(np.isfinite(m), np.exp(wide - m) / (w + s), np.nan)
        return (m, w, s), p, (wide - m) - log_d, m + log_d


def assert_near(actual, wanted, scale, units, dtype):
    """Within so many units of rounding, relative to the scale; the same NaN and infinities."""
    actual = actual.astype("g")
    finite = np.isfinite(wanted)
    assert_array_equal(actual[~finite], wanted[~finite])
    scale = np.maximum(np.broadcast_to(scale, wanted.shape)[finite], SMALLEST[dtype])
    error = np.abs(actual[finite] - wanted[finite]) / scale / U[dtype]
    allowed = np.broadcast_to(units, wanted.shape)[finite]
    assert (error <= allowed).all(), (error - allowed).max()


def assert_rows_are_right(block, x, axes=(1,)):
    """All that a block can be asked for, within the bounds of docs/numerics.md."""
    dtype = x.dtype.name
    (m, w, s), p, log_p, total = expected(x)
    state = block.of_block(x, axes)
    assert_array_equal(state.m.astype("g"), m)
    number = ~np.isnan(m)
    assert_array_equal(state.w[number], w[number])
    assert np.isnan(state.s[~number]).all()
    working = "float64" if dtype == "float64" else "float32"
    with np.errstate(all="ignore"):
        distance = np.where(np.isfinite(x), m - x.astype("g"), 0)
        distance = np.where(np.isfinite(distance), distance, 0)
        rest = np.where(p < p.max(axis=1, keepdims=True), p, 0)
        far = np.nan_to_num((rest * distance).sum(axis=1, keepdims=True) / rest.sum(1)[:, None])
        mean = np.nan_to_num((p * distance).sum(axis=1, keepdims=True))
    half = 0 if dtype in ("float32", "float64") else 1  # the last rounding is coarser
    assert_near(state.s, s, s, far + 4, working)

    def units(count):
        return half + count * (U[working] / U[dtype])

    y, log_y = block.softmax(x, axes), block.log_softmax(x, axes)
    given = block.rescale(x, state.m, state.d)
    for one in (y, given):
        assert_near(one, p, p, units(distance + mean + 6), dtype)
    with np.errstate(all="ignore"):
        logarithm = np.log1p(state.s + (state.w - 1))
    for one in (log_y, block.log_rescale(x, state.m, logarithm)):
        assert_near(one, log_p, np.abs(log_p), units(far + 8), dtype)
    found = block.run(gpu.logsumexp, x, axes)
    assert_near(found, total, np.maximum(np.abs(total), np.abs(m)), units(far + 5), dtype)


# A kernel is compiled for each team and number of pieces: on a host, one of each kind has to do.
FEW = [(n, "float32") for n in (2, 127, 1001, 2048, 8200)]
FEW += [(3, "float16"), (1001, "float16"), (100, "float64"), (2048, "float64")]
MANY = [(n, "float32") for n in (2, 5, 33, 100, 127, 252, 504, 1001, 2048, 4096, 8064, 8193)]
MANY += [(n, "float16") for n in (3, 100, 1000, 4097)]
MANY += [(n, "float64") for n in (3, 100, 1001, 4096)]
DTYPES = ("float16", "float32", "float64")


@over(case=FEW, kinds=[EMULATED])
def test_rows(block, case):
    assert_rows_are_right(block, rows(*case))


@over(case=MANY, kinds=[DEVICE])
def test_rows_on_a_device(block, case):
    assert_rows_are_right(block, rows(*case))


TINY = [(2, "float32"), (8, "float32"), (33, "float32"), (3, "float16"), (9, "float64")]


@over(case=TINY, kinds=[EMULATED, DEVICE])
def test_tiny_rows(block, case, all_are_many):
    assert_rows_are_right(block, rows(*case, 13))  # some tiles, and a part of one


@pytest.mark.parametrize("start", [1, 2, 3])
@over(length=(8, 127, 20_001), dtype=("float16", "float32"), kinds=[EMULATED, DEVICE])
def test_rows_that_begin_anywhere(block, length, dtype, start, all_are_many):
    x = rows(length, dtype, 1 if length > 100 else 5)
    memory = np.zeros(x.size + start, dtype)
    memory[start:] = x.ravel()

    def run(memory, function, shape):
        result = function(memory[start:].reshape(shape), (1,))
        return result if isinstance(result, tuple) else (result,)

    def of(function):
        return block.run(lambda memory: run(memory, function, x.shape), memory)

    state, whole = of(gpu.of_block), block.of_block(x, (1,))
    for one, other in zip(state, whole, strict=True):
        # a reference that moves at other elements rounds other differences
        np.testing.assert_allclose(one, other, rtol=1e-14 if dtype == "float64" else 2.0**-22)
    for function in (gpu.softmax, gpu.log_softmax, gpu.logsumexp):
        (one,), other = of(function), block.run(function, x, (1,))
        np.testing.assert_allclose(
            one.astype("f8"), other.astype("f8"), rtol=8 * U[dtype], atol=SMALLEST[dtype]
        )


@over(dtype=("float32", "float64"), kinds=[EMULATED, DEVICE])
def test_sums_of_rows(block, dtype):
    """d is within 8 units of the sum of the exponentials; those of float32 are rounded first."""
    rng = np.random.default_rng(0)
    for length in (100, 1000, 8000, 100_000):
        x = rng.uniform(-1, 0, size=(3, length)).astype(dtype)
        x[:, length // 3] = 0  # so that x - m is exact
        state = block.of_block(x, (1,))
        for d, row, m in zip(state.d.ravel(), x, state.m.ravel(), strict=True):
            exact = math.fsum(np.exp(row.astype("g") - m).astype("f8"))
            # roundings of the exponentials average out: that of sums in float32 would not;
            # CUDA's expf is too large on average, by 2^-27 here
            average = 2.0**-26 if block.kind is DEVICE else 0
            rounding = 0 if dtype == "float64" else 2.0**-22 / math.sqrt(length) + average
            assert abs(d - exact) <= (8 * EPS + rounding) * exact


@over(kinds=[EMULATED, DEVICE])
def test_long_rows_find_what_comes_late(block):
    """NaN that is followed by larger numbers, and maxima in the last part."""
    x = np.zeros((4, 70_001), "f4")
    x[0, 5], x[0, 69_000] = np.nan, 3
    x[1, 70_000], x[2, 0], x[3, 35_000:] = 80, 80, -np.inf
    assert_rows_are_right(block, x)


@over(kinds=[DEVICE])
def test_more_than_2_31_elements(block):
    """Offsets of rows and of a vector have 64 bits."""
    import cupy

    if cupy.cuda.runtime.memGetInfo()[0] < 12 << 30:
        pytest.skip("a device with less memory")
    x = cupy.zeros(2**31 + 4096, "f2")
    x[-1] = 1
    assert float(gpu.logsumexp(x, (0,))[0]) == pytest.approx(math.log(x.size + 1.71828), abs=0.02)
    table = x.reshape(-1, 2048)
    y = gpu.softmax(table, (1,))
    assert float(y[0, 0]) == pytest.approx(1 / 2048, rel=1e-3)
    assert float(y[-1, -1]) == pytest.approx(math.e / (2047 + math.e), rel=2e-3)


TABLES = ((9000, 3), (20, 12), (300, 513), (50, 1001), (33, 1024), (2, 5))


@over(shape=TABLES, dtype=DTYPES, kinds=[EMULATED, DEVICE])
def test_columns(block, shape, dtype):
    """Special values in some columns, and the second pass with the state."""
    x = (np.random.default_rng(0).normal(size=shape) * 5).astype(dtype)
    x[:, 0] = -np.inf  # what is none of the table does not count
    x[shape[0] // 2, 1] = np.nan
    x[-1, 2] = np.inf
    (m, w, s), p, *_ = expected(np.ascontiguousarray(x.T))
    state = block.of_block(x, (0,))
    assert_array_equal(state.m.T, m)
    assert_array_equal(state.w.T, np.where(np.isnan(m), 0, w))
    np.testing.assert_allclose(state.s.T.astype("g"), s, rtol=2e-6 if dtype != "float64" else 1e-13)
    for y in (block.softmax(x, (0,)), block.rescale(x, state.m, state.d)):
        np.testing.assert_allclose(
            y.T.astype("g"), p, rtol=40 * U[dtype], atol=SMALLEST[dtype] * U[dtype] * 2
        )


@over(dtype=("float32", "float64"), kinds=[EMULATED, DEVICE])
def test_logarithms_of_states(block, dtype):
    """As array functions give them, in one launch; weights may make d anything."""
    sums = np.array([0, 1, -1, 2.5, -2.5, 1e-300, 1e300, np.inf, -np.inf, np.nan])
    w, s = (a.ravel() for a in np.meshgrid(sums, sums))
    for top in (0, 3, -np.inf, np.inf, np.nan):
        state = State(np.full(w.shape, top, dtype), w, s)
        with np.errstate(all="ignore"):
            wanted = log_sum(state), log_d(state)
        found = (block.run(f, *state) for f in (_log_sum, _log_d))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-15)


@over(dtype=("float32", "float64"), kinds=[EMULATED, DEVICE])
def test_entropies_and_sample_sizes_of_moments(block, dtype):
    """As array functions give them, in one launch."""
    rng = np.random.default_rng(0)
    for top in (0, 3, -np.inf, np.inf, np.nan):
        w, s, q = rng.integers(0, 4, 200).astype("f8"), rng.random(200), rng.random(200)
        s[::5] *= 1e-20
        state = Moments(np.full(w.shape, top, dtype), w, s, -s * rng.random(200), q)
        with np.errstate(all="ignore"):
            wanted = entropy(state), effective_sample_size(state)
        found = (block.run(f, *state) for f in (_entropy, _sample_size))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14)


def _entropy(*state):
    moments = Moments(*state)
    assert finish.supports(moments)
    return finish.entropy(moments)


def _sample_size(*state):
    return finish.effective_sample_size(Moments(*state))


def _log_sum(*state):
    assert finish.supports(state)
    return finish.log_sum(state)


def _log_d(*state):
    return finish.log_d(state)


@over(case=[(9001, "float32"), (33_333, "float16"), (9000, "float64")], kinds=[EMULATED])
def test_rows_in_shared_memory(block, case):
    """Several for each block, so that one arrives while the last one leaves."""
    assert_rows_are_right(block, rows(*case, 2))


@over(length=(16_385, 30_000, 50_000), dtype=DTYPES, kinds=[DEVICE])
def test_rows_in_shared_memory_of_a_device(block, length, dtype):
    x = np.concatenate([rows(length, dtype)] * 80)
    (*_, p, log_p, _) = expected(x[:11])
    for found, wanted in ((block.softmax(x, (1,)), p), (block.log_softmax(x, (1,)), log_p)):
        for part in found.reshape(80, 11, length)[[0, 1, -1]]:
            np.testing.assert_allclose(
                part.astype("g"), wanted, rtol=100 * U[dtype], atol=SMALLEST[dtype] * U[dtype] * 2
            )


@over(dtype=("float32", "float64"), kinds=[EMULATED, DEVICE])
@pytest.mark.parametrize("count", [2, 5, 16])
def test_states_that_are_merged_at_once(block, dtype, count):
    """As by array functions, for any maxima and weights, with the identity among them."""
    rng = np.random.default_rng(count)
    shape = (300, 1)
    tops = [-np.inf, 0, 1, 1, 30, np.inf, np.nan]
    states = [
        State(
            rng.choice(tops, shape).astype(dtype),
            rng.choice([0.0, 1, 2.5, -1], shape),
            rng.choice([0.0, 1e-30, 3, -2], shape),
        )
        for _ in range(count)
    ]
    states = [State(m, *(np.where(np.isinf(m), 0, a) for a in sums)) for m, *sums in states]
    states = [
        State(m, np.where(np.isnan(m), 0, w), np.where(np.isnan(m), m, s)) for m, w, s in states
    ]
    with np.errstate(all="ignore"):
        wanted = merge(*states)
    fields = [field for state in states for field in state]
    found = block.run(_merged, *fields)
    assert_array_equal(found[0], wanted.m)
    number = ~np.isnan(wanted.m)
    for one, other in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(one[number], other[number], rtol=1e-14, atol=1e-14)


def _merged(*fields):
    states = tuple(State(*fields[i : i + 3]) for i in range(0, len(fields), 3))
    assert finish.merges(states)
    return finish.merge(*states)
