"""Exact sums of blocks: by their definition in rational arithmetic, and near the true sums."""

from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dsoftmax._kernels import Terms
from dsoftmax._kernels import exact as kernels
from dsoftmax._kernels.cpu import exact_steps
from dsoftmax._kernels.cpu.block import NAMES

from ..exact_sums import DATA, expected, exponential, fields_of, value_of
from ..layouts import LAYOUTS, Laid

FLOATS = ("float32", "float64")
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


def data(name, n, dtype, seed=0):
    with np.errstate(over="ignore"):
        return DATA[name](np.random.default_rng(seed), n).astype(dtype)


def bits(state):
    return state.records.tobytes()


def of_rows(x):
    return kernels.of_block(x, (x.ndim - 1,))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", DATA)
def test_states_by_definition(name, dtype):
    x = data(name, 67, dtype)
    (record,) = of_rows(x[None]).records.reshape(-1)
    found = fields_of(record)
    assert_array_equal(found[:2], expected(x)[:2])
    assert found[2:] == expected(x)[2:]


@pytest.mark.parametrize("dtype", FLOATS)
def test_each_exponential_by_definition(dtype):
    t = np.random.default_rng(1).uniform(-32, 32, 3000).astype(dtype)
    records = of_rows(t[:, None]).records[:, 0]
    off = 0.0
    for one, record in zip(t, records, strict=True):
        e = value_of(record["top"])
        assert e == exponential(Fraction(float(one)), dtype)
        with mpmath.workdps(40):
            true = mpmath.exp(mpmath.mpf(float(one)))
            off = max(off, abs(mpmath.mpf(e.numerator) / e.denominator / true - 1))
    assert off < 1.5 * UNIT[dtype]


# Longer than tiles, and than what is added up before limbs are normalised.
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", DATA)
def test_one_state_however_a_row_is_cut(name, dtype):
    rng = np.random.default_rng(2)
    x = data(name, 9001, dtype)
    whole = bits(of_rows(x[None]))
    for _ in range(4):
        shuffled = rng.permutation(x)
        cuts = np.sort(rng.integers(0, x.size + 1, 7))
        parts = [of_rows(part[None]) for part in np.split(shuffled, cuts)]
        assert bits(kernels.merge(*parts)) == whole


@pytest.mark.parametrize("dtype", FLOATS)
def test_very_long_rows(dtype):
    x = np.broadcast_to(np.array(0.3, dtype), (1, 3_000_001))
    (record,) = of_rows(np.ascontiguousarray(x)).records.reshape(-1)
    (one,) = of_rows(x[:, :1]).records.reshape(-1)
    assert record["w"] == x.size
    assert value_of(record["top"]) == x.size * value_of(one["top"])
    y = data("normal", 700_000, dtype)[None]
    assert bits(of_rows(y)) == bits(kernels.merge(of_rows(y[:, :99]), of_rows(y[:, 99:])))


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_the_least_that_accumulators_are_trusted_with(dtype, level, highest):
    """Full tiles of extremes, as far apart as each number of accumulators takes."""
    kind = np.dtype(dtype).type
    if level not in exact_steps.SPANS[kind]:
        return
    span, size = exact_steps.SPANS[kind][level], 8192 // np.dtype(dtype).itemsize
    top = np.nextafter(kind(32 if highest else span - 32), kind(0))
    low = max(top - kind(span), kind(-32))
    for share in (1, size // 2, size - 1):
        x = np.full(size, top)
        x[np.linspace(0, size - 1, share).astype(int)] = low
        x = np.tile(x, 3)
        x[::7] = np.nextafter(x[::7], (top + low) / 2)
        singles = [of_rows(np.full((1, 1), v, dtype)).records[0, 0] for v in np.unique(x)]
        sums = sum(int((x == r["m"]).sum()) * value_of(r["top"]) for r in singles)
        _, _, at_top, rest = fields_of(of_rows(x[None]).records[0, 0])
        assert at_top + sum(rest.values()) == sums


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", DATA)
def test_columns_have_the_states_of_rows(name, dtype):
    """Of several tiles, whose lanes have classes of their own, and whose end is no whole vector."""
    rng = np.random.default_rng(8)
    for rows, columns in ((300, 40), (9, 200), (70, 17)):
        x = data(name, rows * columns, dtype)
        for elements in (x, rng.permutation(x)):
            x = np.ascontiguousarray(elements.reshape(columns, rows).T)
            where = rng.random(x.shape) < 0.6
            for block in (Terms(x), Terms(x, where=where)):
                turned = block.of(np.ascontiguousarray(a.T) for a in block.arrays)
                assert bits(kernels.of_block(block, (0,))) == bits(kernels.of_block(turned, (1,)))


@pytest.mark.parametrize("name", ["equal", "wide"])
def test_very_long_columns(name):
    x = data(name, 16 * 600_000, "float32").reshape(-1, 16)
    found = kernels.of_block(x, (0,)).records[0]
    for record, column in zip(found, x.T, strict=True):
        assert record.tobytes() == bits(of_rows(column[None]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", sorted(NAMES))
def test_dtypes_and_layouts(dtype, layout):
    kind = np.dtype(getattr(ml_dtypes, dtype)) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    if layout == "byte-swapped" and kind.name == "bfloat16":
        return
    x = Laid((rng.normal(size=(7, 20, 9)) * 40).astype(kind), layout).numpy()
    plain = np.ascontiguousarray(x).astype(kind)
    working = "float32" if kind.name in ("float16", "bfloat16", "float32") else "float64"
    for axes in ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2), ()):
        found = kernels.of_block(x, axes).records
        rest = [i for i in range(3) if i not in axes]
        shape = [x.shape[i] for i in rest]
        rows = plain.astype(working).transpose(*rest, *axes).reshape(*shape, -1)
        assert found.tobytes() == of_rows(np.ascontiguousarray(rows)).records.tobytes()
        assert found.shape == tuple(1 if i in axes else n for i, n in enumerate(x.shape))


@pytest.mark.parametrize("dtype", ["float16", *FLOATS])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_masks(axes, dtype):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(40, 300)) * 9).astype(dtype)
    where = rng.random(x.shape) < 0.6
    where[:, 0] = where[1] = False
    x[0, 0] = np.nan
    found = kernels.of_block(Terms(x, where=where), axes)
    expected = kernels.of_block(np.where(where, x, np.array(-np.inf, dtype)), axes)
    none = ~where.any(axis=axes, keepdims=True)
    assert (found.records["w"][none] == 0).all()
    expected.records["w"][none] = 0
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["normal", "uniform", "wide", "rising", "one giant", "equal"])
def test_sums_are_as_near_as_promised(name, dtype):
    x = data(name, 3000, dtype)
    numbers = kernels.finish(of_rows(x[None]))
    with mpmath.workdps(60):
        m = mpmath.mpf(float(x.max()))
        terms = [mpmath.exp(mpmath.mpf(float(v)) - m) for v in x]
        d, rest = mpmath.fsum(terms), mpmath.fsum(t for t in terms if t != 1)
        allowed = 2.5 if dtype == "float64" else 1.5
        assert abs(mpmath.mpf(float(numbers.d[0, 0])) - d) <= allowed * UNIT[dtype] * d
        assert abs(mpmath.mpf(float(numbers.s[0, 0])) - rest) <= allowed * UNIT[dtype] * rest


def test_what_states_finish_to():
    rng = np.random.default_rng(5)
    for scale in (1e-3, 1, 30, 200):
        x = rng.normal(size=(60, 7)) * scale + rng.normal(size=(60, 1)) * scale
        state = of_rows(x)
        numbers = kernels.finish(state)
        for i, record in enumerate(state.records[:, 0]):
            with mpmath.workdps(400):
                m, w, _, classes = fields_of(record)
                s = mpmath.fsum(
                    mpmath.mpf(v.numerator) / v.denominator * mpmath.exp(mpmath.mpf(float(a)) - m)
                    for a, v in classes.items()
                )
                log_d = mpmath.log(w + s)
                for found, true in zip(numbers[2:], (s, log_d, m + log_d), strict=True):
                    number = float(found[i, 0])
                    assert abs(number - true) <= 0.7 * mpmath.mpf(float(np.spacing(abs(number))))


def test_a_dominant_maximum_keeps_the_digits_of_the_rest():
    x = np.array([[0.0, -95.9, -96.1], [0.0, -400.0, -401.0]])
    y = kernels.log_softmax(x, (1,))
    expected = -np.exp(x[:, 1:]).sum(axis=1)
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-15)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_blocks(shape):
    for axes in ((0,), (1,), (0, 1)):
        state = kernels.of_block(np.zeros(shape), axes)
        assert (kernels.finish(state).d == 0).all()
        assert state.records.shape == tuple(1 if i in axes else n for i, n in enumerate(shape))


@pytest.mark.parametrize("dtype", ["float16", *FLOATS])
@pytest.mark.parametrize("logarithm", [False, True])
def test_outputs_of_small_and_large_blocks(dtype, logarithm):
    """The second map is the same of one element as of thousands, in rows as in columns."""
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(90, 110)) * 3).astype(dtype)
    apply = kernels.log_rescale if logarithm else kernels.rescale
    for axis in (0, 1):
        state = kernels.finish(kernels.of_block(x, (axis,)))
        whole = apply(x, state)
        assert whole.dtype == x.dtype
        for rows, columns in ((1, 1), (3, 110), (90, 2), (20, 20)):
            part = type(state)(*(field[:rows, :columns] for field in state))
            block = np.asfortranarray(x[:rows, :columns])
            assert apply(block, part).tobytes() == whole[:rows, :columns].tobytes()


@pytest.mark.parametrize("axes", [(0,), (1,), (2,)])
def test_many_slices_are_taken_a_part_at_a_time(axes, monkeypatch):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(6, 50, 7)) * 20
    block = Terms(x, where=rng.random(x.shape) < 0.8)
    whole = [f(block, axes) for f in (kernels.softmax, kernels.log_softmax, kernels.logsumexp)]
    monkeypatch.setattr(kernels, "_TOGETHER", 5)
    parts = [f(block, axes) for f in (kernels.softmax, kernels.log_softmax, kernels.logsumexp)]
    assert [y.tobytes() for y in parts] == [y.tobytes() for y in whole]


def test_blocks_without_exact_sums():
    with pytest.raises(TypeError, match="a block has dtype complex128, and exact sums are for"):
        kernels.of_block(np.zeros(3, complex), (0,))
