"""Exact sums by CUDA's kernels: the bytes of the CPU's, on a host and, with a device, there."""

import math
import pickle
from fractions import Fraction

import ml_dtypes
import numpy as np
from numpy.testing import assert_array_equal

from dsoftmax._algebra.exact import LIMBS, OnDevice, as_dtype, merge, words_of
from dsoftmax._kernels.cpu import block as cpu_block
from dsoftmax._kernels.cpu import exact as cpu
from dsoftmax._kernels.cpu.exact import Finished
from dsoftmax._kernels.cuda import call as calls
from dsoftmax._kernels.cuda import exact as gpu
from dsoftmax._kernels.cuda import plan as plans

from ..blocks import DEVICE, EMULATED, over
from ..exact_sums import DATA, expected, exponential, fields_of, value_of
from ..layouts import Laid

FLOATS = ("float32", "float64")
KINDS = (EMULATED, DEVICE)
MORE = {
    "subnormal": lambda rng, n: rng.integers(1, 99, n) * 5e-324,
    "anchors that are floats of their own": lambda rng, n: rng.choice([1e25, 1e25 + 2e18, 5e18], n),
    "two classes": lambda rng, n: rng.choice([-40.0, 20.0], n),
    "four classes": lambda rng, n: rng.choice([-300.0, -100.0, 0.0, 100.0], n),
    "a maximum far above": lambda rng, n: np.where(np.arange(n) == n // 2, 300.0, rng.random(n)),
    "0 and -0": lambda rng, n: rng.choice([0.0, -0.0, -1e-9], n),
    "only -0": lambda rng, n: np.full(n, -0.0),
    "-0 in a class of its own": lambda rng, n: rng.choice([-0.0, 100.0], n),
    "anchors next to where floats are rarer": lambda rng, n: 2.0**30 - 64 * rng.integers(1, 9, n),
    "one of each": lambda rng, n: rng.permutation(n) * 64.0 - 32,
}
DATA = DATA | MORE


def data(name, n, dtype, seed=0):
    with np.errstate(over="ignore"):
        return DATA[name](np.random.default_rng(seed), n).astype(dtype)


def on_cpu(x, axes, where=None):
    """The states of NumPy's blocks."""
    x = x if cpu_block.supports(x) else np.ascontiguousarray(x)
    state = cpu.of_block(x, axes, where)
    state.records["m"] += 0.0
    return state


def on_gpu(block, x, axes, where=None):
    return OnDevice(*block.run(gpu.of_block, x, axes, where))


def assert_same(found, state):
    assert found.records.tobytes() == state.records.tobytes()
    assert found.records.shape == state.records.shape


@over(KINDS, dtype=FLOATS, name=DATA)
def test_states_of_all_kinds_of_data(block, dtype, name):
    for n in (1, 37, 2100):
        x = data(name, n, dtype)
        assert_same(on_gpu(block, x[None], (1,)), on_cpu(x[None], (1,)))
        assert_same(on_gpu(block, x[:, None], (0,)), on_cpu(x[None], (1,)))


@over(KINDS, dtype=FLOATS, name=("wide", "across a border", "one giant", "inf among"))
def test_states_by_definition(block, dtype, name):
    x = data(name, 67, dtype)
    (record,) = on_gpu(block, x, (0,)).records
    found = fields_of(record)
    assert_array_equal(found[:2], expected(x)[:2])
    assert found[2:] == expected(x)[2:]


@over(KINDS, dtype=FLOATS)
def test_each_exponential_by_definition(block, dtype):
    t = np.random.default_rng(1).uniform(-32, 32, 300).astype(dtype)
    for one, record in zip(t, on_gpu(block, t[:, None], (1,)).records[:, 0], strict=True):
        assert value_of(record["top"]) == exponential(Fraction(float(one)), dtype)


@over(KINDS, dtype=FLOATS)
def test_the_most_that_is_added_in_floats(block, dtype):
    """Extremes of a class alone, as many as a thread has; and its sums are emptied in between."""
    top = np.nextafter(np.array(32, dtype), np.array(0, dtype))
    for low in (np.array(-32, dtype), np.array(-20.7, dtype)):
        for share in (0.0, 0.01, 0.5, 0.99):
            x = np.where(np.random.default_rng(2).random((3, 5000)) < share, low, top)
            assert_same(on_gpu(block, x, (1,)), on_cpu(x, (1,)))


@over((EMULATED,), dtype=FLOATS, name=("equal", "wide", "jumping", "close to a border"))
def test_all_of_a_slice_by_one_thread(block, dtype, name, monkeypatch):
    """Whose sums in floats go to limbs many times, and between new classes."""

    def plan(*arguments):
        whole = plans.plan.__wrapped__(*arguments)
        shape = {"portion": whole.length, "portions": 1, "parts": 1, "grid": (1, 1)}
        return whole._replace(lanes=1, team=1, **shape)

    monkeypatch.setattr(calls, "plan", plan)
    x = np.full(9000, 31.99, dtype) if name == "close to a border" else data(name, 9000, dtype)
    assert_same(on_gpu(block, x, (0,)), on_cpu(x, (0,)))


@over(KINDS, dtype="dtypes")
def test_dtypes_layouts_and_masks(block, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(7, 20, 9)) * 40).astype(kind)
    where = rng.random(x.shape) < 0.6
    where[3], where[:, 2] = False, False
    layouts = ("C", "transposed", "sliced", "unaligned", "negative strides")
    for layout, axes in zip(layouts, ((0,), (2,), (0, 2), (1, 2), (0, 1, 2)), strict=True):
        laid = Laid(x, layout)
        assert_same(on_gpu(block, laid, axes), on_cpu(x, axes))
        assert_same(on_gpu(block, laid, axes, where), on_cpu(x, axes, where))


@over(KINDS, dtype=FLOATS)
def test_masked_specials(block, dtype):
    x = data("wide", 3000, dtype).reshape(30, 100)
    x[0, 5], x[1, 5], x[2] = np.nan, np.inf, -np.inf
    where = np.random.default_rng(4).random(x.shape) < 0.5
    where[:2, 5], where[4] = False, False
    for axes in ((0,), (1,)):
        assert_same(on_gpu(block, x, axes, where), on_cpu(x, axes, where))


@over(KINDS, shape=((2, 3, 4200), (7, 2, 300), (2,) * 20))
def test_parts_and_loops(block, shape):
    x = np.random.default_rng(5).normal(size=shape) * 20
    axes = (0, 2) if len(shape) == 3 else tuple(range(0, 20, 2))
    x = x if len(shape) == 3 else x[(slice(1),) * 2]
    assert_same(on_gpu(block, x, axes), on_cpu(np.ascontiguousarray(x), axes))
    state = on_cpu(np.ascontiguousarray(x), axes)
    finished = cpu.finish(state)
    found = block.run(gpu.rescale, x, finished.m, finished.d)
    assert_array_equal(found, cpu_block.rescale(np.ascontiguousarray(x), finished.m, finished.d))


@over((EMULATED,))
def test_many_slices_for_few_thread_blocks(block, monkeypatch):
    monkeypatch.setattr(plans, "MAX_GRID", (3, 2))
    monkeypatch.setattr(calls, "plan", plans.plan.__wrapped__)  # not from its cache
    x = np.random.default_rng(6).normal(size=(40, 30, 25)) * 30
    for axes in ((0,), (2,), (0, 1)):
        assert_same(on_gpu(block, x, axes), on_cpu(x, axes))


@over(KINDS, dtype=FLOATS, name=("normal", "wide", "rising", "one giant", "NaN among", "equal"))
def test_merges(block, dtype, name):
    """However slices are cut, in whatever order; of more states than one launch takes, too."""
    rng = np.random.default_rng(7)
    x = np.stack([data(name, 700, dtype, seed) for seed in range(5)])
    whole = on_cpu(x, (1,))
    for count in (2, 17, 40):
        shuffled = rng.permuted(x, axis=1)
        cuts = np.sort(rng.integers(1, 700, count - 1))
        parts = [on_cpu(part, (1,)) for part in np.split(shuffled, cuts, axis=1) if part.size]
        fields = [field for state in parts for field in _fields(state)]
        assert_same(OnDevice(*block.run(_merged, *fields)), whole)


@over(KINDS)
def test_merges_of_float32_and_float64(block):
    """At a common maximum there are exponentials of both kinds."""
    x = np.append(np.random.default_rng(8).normal(size=99).astype("f4"), np.float32(5.3))[None]
    states = [as_dtype(on_cpu(x.astype(dtype), (1,)), "float64") for dtype in FLOATS]
    fields = [field for state in states for field in _fields(state)]
    assert_same(OnDevice(*block.run(_merged, *fields)), merge(*states))


def _fields(state):
    m, words = words_of(state)
    return m, *words


def _merged(*fields):
    size = len(OnDevice._fields)
    return gpu.merge(*(OnDevice(*fields[i : i + size]) for i in range(0, len(fields), size)))


@over(KINDS, dtype=FLOATS)
def test_more_equal_elements_than_any_array_has(block, dtype):
    state = on_cpu(np.array([[0.3, -31.9, 31.9]], dtype).T, (1,))
    fields, one = _fields(state), [value_of(top) for top in state.records["top"][:, 0]]
    for _ in range(45):
        fields = block.run(_merged, *fields, *fields)
    records = OnDevice(*fields).records[:, 0]
    assert (records["w"] == 2**45).all()
    assert [value_of(top) for top in records["top"]] == [2**45 * v for v in one]
    assert not records["rest"].any()


@over(KINDS, dtype=FLOATS, name=DATA)
def test_what_comes_of_states(block, dtype, name):
    """Normalizers, logarithms, and the softmax, to the bit; NaN may be any."""
    x = data(name, 300, dtype).reshape(20, 15)
    x[3], x[4] = -np.inf, data("wide", 15, dtype)
    for axis in (0, 1):
        state = on_cpu(x, (axis,))
        expected = cpu.finish(state)
        found = Finished(*block.run(_finished, *_fields(state)))
        for one, other in zip(found, expected, strict=True):
            assert_bits(one, other)
        m, d = found.m, found.d
        nothing = d == 0
        usual = np.where(nothing, np.nan, m).astype(m.dtype), np.where(nothing, 1.0, d)
        assert_bits(block.run(gpu.rescale, x, m, d), cpu_block.rescale(x, *usual))
        assert_bits(
            block.run(gpu.log_rescale, x, m, found.log_d),
            cpu_block.log_rescale(x, m, expected.log_d),
        )


def _finished(*fields):
    return gpu.finish(OnDevice(*fields))


def assert_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    number = ~np.isnan(expected)
    assert found[number].tobytes() == expected[number].tobytes()
    assert np.isnan(found[~number]).all()


@over(KINDS, dtype=("float16", "float32", "float64", "int16"))
def test_results_of_masked_blocks(block, dtype):
    rng = np.random.default_rng(8)
    x = (rng.normal(size=(40, 30)) * 4).astype(dtype)
    where = rng.random(x.shape) < 0.7
    where[5], where[:, 7] = False, False
    for axis in (0, 1):
        found = cpu.finish(on_cpu(x, (axis,), where))
        assert_bits(
            block.run(gpu.rescale, x, found.m, found.d, where),
            cpu_block.rescale(x, found.m, found.d, where),
        )
        assert_bits(
            block.run(gpu.log_rescale, x, found.m, found.log_d, where),
            cpu_block.log_rescale(x, found.m, found.log_d, where),
        )


@over(KINDS)
def test_words_are_those_of_records(block):
    state = on_cpu(np.random.default_rng(9).normal(size=(4, 5)) * 50, (1,))
    m, *words = _fields(state)
    assert len(words) == math.prod(state.records.dtype["rest"].shape) + LIMBS + 3
    assert_same(pickle.loads(pickle.dumps(OnDevice(m, *words))), state)
