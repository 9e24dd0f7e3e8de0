"""cumulative_logsumexp: accuracy, special values, chunks, masks, tasks, readings and errors."""

import itertools
import threading
from collections import Counter
from functools import partial

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st

import dsoftmax
from dsoftmax import cumulative_logsumexp, logsumexp
from dsoftmax._algebra.prefix import Prefix, after
from dsoftmax._kernels import of_block as state_of
from dsoftmax._kernels import running as portable
from dsoftmax._kernels.cpu import running as compiled

from ..compare import assert_allclose, assert_array_equal
from ..processes import printed
from ..running_sums import DATA, EXPECTED, INF, LENGTH, RNG, SPECIAL, worst
from ..strategies import arrays, chunkings

KERNELS = pytest.mark.parametrize("kernel", [compiled, portable], ids=["compiled", "portable"])


def accumulated(x, axis):
    with np.errstate(invalid="ignore"):  # NumPy warns of NaN
        return np.logaddexp.accumulate(x, axis=axis)


def cut(rng, length):
    """Random chunks, some of them empty."""
    cuts = np.sort(rng.integers(0, length + 1, size=rng.integers(0, 40)))
    return tuple(map(int, np.diff([0, *cuts, length])))


@KERNELS
@pytest.mark.parametrize("name", DATA)
def test_error_of_a_block(kernel, name):
    x, expected = DATA[name], EXPECTED[name]
    assert worst(kernel.of_block(x, None, 0, False), expected) <= 2
    assert worst(kernel.of_block(x[::-1], None, 0, True)[::-1], expected) <= 2


@KERNELS
def test_error_after_many_prefixes(kernel):
    for name in ("normal", "sums near 1", "rising slowly"):
        x, before, parts = DATA[name], None, []
        for start in range(0, LENGTH, 9):
            part = x[start : start + 9]
            parts.append(kernel.of_block(part, before, 0, False))
            before = after(before, state_of(part, (0,)))
        assert worst(np.concatenate(parts), EXPECTED[name]) <= 4, name


@pytest.mark.parametrize("seed", range(200))
def test_error_over_random_chunks(seed):
    rng = np.random.default_rng(seed)
    names = list(DATA)
    name, reverse = names[seed % len(names)], bool(rng.integers(2))
    x = DATA[name]
    lazy = da.from_array(x[::-1].copy() if reverse else x, chunks=(cut(rng, LENGTH),))
    y = cumulative_logsumexp(lazy, reverse=reverse).compute()
    assert worst(y[::-1] if reverse else y, EXPECTED[name]) <= 4


def test_small_terms_count():
    y = cumulative_logsumexp(da.from_array([0.0, -40.0, -41.0], chunks=1)).compute()
    assert_allclose(y, [0, np.exp(-40), np.exp(-40) + np.exp(-41)], rtol=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_values_axis_and_chunks(data):
    x = data.draw(arrays(max_side=4))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    reverse, initial = data.draw(st.booleans()), data.draw(st.booleans())
    lazy = da.from_array(x, chunks=data.draw(chunkings(x.shape)))
    options = {"reverse": reverse, "include_initial": initial}
    y = cumulative_logsumexp(lazy, axis, **options)
    result = y.compute()
    assert y.shape == result.shape
    assert y.dtype == result.dtype
    assert [n + (i == axis % x.ndim) * initial for i, n in enumerate(x.shape)] == [*y.shape]
    expected = accumulated(np.flip(x, axis) if reverse else x, axis)
    start = np.full_like(expected.take([0], axis), -np.inf)
    expected = np.concatenate([start, expected], axis) if initial else expected
    expected = np.flip(expected, axis) if reverse else expected
    assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
    assert_allclose(cumulative_logsumexp(x, axis, **options), result, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(("x", "expected"), SPECIAL)
def test_special_values(x, expected):
    x = np.array(x, float)
    for kernel in (compiled, portable):
        assert_array_equal(kernel.of_block(x, None, 0, False), expected)
        assert_array_equal(kernel.of_block(x[::-1], None, 0, True)[::-1], expected)
    for chunks in (1, 2, 3):
        assert_array_equal(cumulative_logsumexp(da.from_array(x, chunks=chunks)), expected)
    long = np.concatenate([np.full(5000, -INF), x, np.full(5000, -INF)])
    y = cumulative_logsumexp(da.from_array(long, chunks=4999)).compute()
    assert_array_equal(y[5000:], [*expected, *expected[-1:] * 5000])
    assert (y[:5000] == -INF).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16"])
@pytest.mark.parametrize("size", [50, 5000])
def test_dtypes(dtype, size):
    x = RNG.integers(0, 2 if dtype == "bool" else 50, size=size).astype(dtype)
    y = cumulative_logsumexp(da.from_array(x, chunks=size // 3))
    expected = accumulated(x.astype(float), 0)
    assert y.dtype == ("float16" if dtype == "float16" else "float64")
    assert y.compute().dtype == y.dtype
    rtol = 1e-3 if dtype == "float16" else 1e-13
    assert_allclose(y, expected, rtol=rtol)
    assert_allclose(cumulative_logsumexp(x), expected, rtol=rtol)


@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16, ">f8", ">f4", np.longdouble])
@pytest.mark.parametrize("size", [50, 5000])
def test_floats_are_rounded_once(dtype, size):
    x = (RNG.normal(size=size) * 4).astype(dtype)
    y = cumulative_logsumexp(da.from_array(x, chunks=size // 3))
    assert y.dtype.name == x.dtype.name
    expected = accumulated(x.astype(np.longdouble), 0)
    y = y.compute()
    eps = float(ml_dtypes.finfo(y.dtype).eps)
    error = np.abs(y.astype(np.longdouble) - expected) / np.maximum(1, np.abs(expected))
    assert error.max() <= (20 if dtype is np.longdouble else 1.001) * eps


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_layouts(axis, reverse):
    x = RNG.normal(size=(13, 21, 40)) * 5
    strided = np.zeros((13, 42, 80))[:, ::2, ::-2]
    strided[:] = x
    swapped = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)
    repeated = np.broadcast_to(x[:, :1], (13, 600, 40))
    kept = x.copy()
    expected = portable.of_block(x, None, axis, reverse)
    before = Prefix(*(np.asarray(f) for f in after(None, state_of(x, (axis,)))))
    later = portable.of_block(x, before, axis, reverse)
    close = partial(assert_allclose, rtol=1e-14, atol=1e-15)
    for block in (x, strided, swapped, np.asfortranarray(x)):
        close(compiled.of_block(block, None, axis, reverse), expected)
        close(compiled.of_block(block, before, axis, reverse), later)
    found = compiled.of_block(repeated, None, axis, reverse)
    close(found, portable.of_block(repeated, None, axis, reverse))
    assert_array_equal(x, kept)  # and so is what is before
    assert_array_equal(before, after(None, state_of(x, (axis,))))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("initial", [False, True])
def test_empty_arrays(shape, initial):
    expected = np.full((shape[0] + initial, *shape[1:]), -np.inf)
    for x in (np.zeros(shape), da.zeros(shape, chunks=2)):
        y = cumulative_logsumexp(x, 0, include_initial=initial)
        assert y.shape == expected.shape
        assert_array_equal(y, expected)
    y = cumulative_logsumexp(da.zeros(9, chunks=2)[:0], include_initial=initial)
    assert_array_equal(y, np.full(int(initial), -np.inf))


@pytest.mark.parametrize("reverse", [False, True])
def test_chunks_with_an_initial_value(reverse):
    x = da.zeros((7, 5), chunks=(3, 2))
    y = cumulative_logsumexp(x, 0, reverse=reverse, include_initial=True)
    assert y.chunks == ((3, 3, 2) if reverse else (4, 3, 1), (2, 2, 1))
    counts = np.arange(8)[::-1] if reverse else np.arange(8)
    with np.errstate(divide="ignore"):
        assert_allclose(y, np.log(counts)[:, None] * np.ones(5), rtol=1e-15)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("initial", [False, True])
def test_masked_entries_take_no_part_and_stay_masked(reverse, initial):
    data, mask = RNG.normal(size=(6, 40)), RNG.random((6, 40)) < 0.3
    x = np.ma.array(np.where(mask, np.nan, data), mask=mask)
    options = {"reverse": reverse, "include_initial": initial}
    filled = cumulative_logsumexp(np.where(mask, -np.inf, data), 1, **options)
    widths = (0, 0), (int(initial and not reverse), int(initial and reverse))
    for one in (x, da.from_array(x, chunks=(2, 9))):
        (y,) = dask.compute(cumulative_logsumexp(one, 1, **options))
        assert isinstance(y, np.ma.MaskedArray)
        assert_array_equal(np.ma.getmaskarray(y), np.pad(mask, widths))
        assert_allclose(y.filled(0), np.ma.array(filled, mask=y.mask).filled(0), rtol=1e-14)
        y[:] = np.ma.masked
    assert_array_equal(x.mask, mask)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("initial", [False, True])
def test_unknown_chunks_along_any_axis(axis, initial):
    data = RNG.normal(size=(30, 8))
    x = da.from_array(data, chunks=(7, 3))
    x = x[x[:, 0] > 0]
    y = cumulative_logsumexp(x, axis, include_initial=initial)
    expected = cumulative_logsumexp(data[data[:, 0] > 0], axis, include_initial=initial)
    assert np.isnan(y.shape[0])
    assert_allclose(y, expected, rtol=1e-14)


JAX = """
import dask, dask.array as da, jax, jax.numpy as jnp, numpy as np
from dsoftmax import cumulative_logsumexp
jax.config.update("jax_enable_x64", True)
x = np.random.default_rng(0).normal(size=40) * 9
for reverse in (False, True):
    y = jax.jit(lambda a: cumulative_logsumexp(a, reverse=reverse))(jnp.asarray(x))
    expected = cumulative_logsumexp(x, reverse=reverse)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
blocks = da.from_array(x, chunks=10).map_blocks(jnp.asarray, dtype="f8", meta=np.empty(0))
y = cumulative_logsumexp(blocks, include_initial=True).map_blocks(
    lambda block: np.asarray(block) + isinstance(block, np.ndarray), dtype="f8", meta=np.empty(0)
)
y, expected = y.compute(scheduler="sync"), cumulative_logsumexp(x, include_initial=True)
np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
print("done")
"""


def test_blocks_of_jax():
    pytest.importorskip("jaxlib", reason="blocks of JAX")
    # In another process: it warns of every fork.
    assert printed(JAX) == "done\n"


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_blocks_of_other_libraries(library):
    xp = pytest.importorskip(library, reason="blocks of another library")
    data = np.where(RNG.random((4, 80)) < 0.1, -np.inf, RNG.normal(size=(4, 80)) * 9)
    data[0, 60], data[1, 50] = np.inf, np.nan
    cases = itertools.product(("float64", "float32", "int64"), (1, 0), (False, True))
    for dtype, axis, reverse in cases:
        x = (data if dtype != "int64" else np.nan_to_num(data, posinf=9, neginf=-9)).astype(dtype)
        options = {"reverse": reverse, "include_initial": True}
        y = cumulative_logsumexp(xp.asarray(x), axis, **options)
        assert type(y) is type(xp.asarray(x))
        expected = cumulative_logsumexp(x, axis, **options)
        assert_allclose(np.asarray(y), expected, rtol=2e-7 if dtype == "float32" else 1e-14)
    lazy = da.from_array(data, chunks=(4, 33))
    lazy = da.concatenate([lazy, lazy], axis=1)
    lazy = lazy.map_blocks(xp.asarray, dtype="f8", meta=np.empty((0, 0)))
    y = cumulative_logsumexp(lazy, 1, include_initial=True).map_blocks(_to_numpy, dtype="f8")
    expected = cumulative_logsumexp(np.concatenate([data, data], axis=1), 1, include_initial=True)
    assert_allclose(y, expected, rtol=1e-14, atol=1e-14)


def _to_numpy(block):
    assert type(block) is not np.ndarray or not block.size
    return np.asarray(block)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("reread", [False, True])
def test_three_tasks_for_each_chunk(reverse, reread, lazily):
    x = da.zeros((40, 6), chunks=(4, 3)).map_blocks(np.negative)
    y = lazily(cumulative_logsumexp, x, 0, reverse=reverse, reread=reread)
    (optimized,) = dask.optimize(y)
    tasks = Counter(key_split(key) for key in dict(optimized.dask) if isinstance(key, tuple))
    own = Counter()
    for name, n in tasks.items():
        if "cumulative" in name:
            own[name.rsplit("-", 1)[-1]] += n
    # Of the last chunk no state is needed; before the first there is nothing to merge, which is a
    # task by itself, or has been put into the one that uses it and is there under two names.
    nothing = {"merge": 18, "scan": 22} if reread else {"merge": 20, "scan": 20}
    assert own == {"normalizer": 18, **nothing}
    assert sum(own.values()) <= 3 * x.npartitions
    assert sum(tasks.values()) - sum(own.values()) == (0 if reread else 20)  # what is held


def test_one_task_for_each_chunk_that_holds_its_slices():
    x = da.zeros((4, 6), chunks=(1, 6))
    y = cumulative_logsumexp(x, 1)
    assert key_split(y.name) == "cumulative-logsumexp"
    (optimized,) = dask.optimize(y)
    assert len(dict(optimized.dask)) == 4


class Source:
    """Something to read from that counts what is read."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.reads = Counter()
        self.lock = threading.Lock()

    def __getitem__(self, index):
        block = self.data[index].copy()
        if block.size:
            with self.lock:
                self.reads[index[0].start] += 1
        return block


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("reread", [False, True])
def test_readings(reverse, shifted, reread):
    source = Source(RNG.normal(size=600))
    x = da.from_array(source, chunks=50)
    x = x[1:] if shifted else x
    y = cumulative_logsumexp(x, reverse=reverse, reread=reread)
    expected = cumulative_logsumexp(source.data[shifted:], reverse=reverse)
    source.reads.clear()
    assert_allclose(y, expected, rtol=1e-14)
    # The state of the last chunk is of no use, and so not computed.
    assert Counter(source.reads.values()) == ({2: 11, 1: 1} if reread else {1: 12})


def test_keys_are_deterministic():
    x = da.ones((9, 4), chunks=2)
    names = {
        cumulative_logsumexp(x, axis, reverse=reverse, include_initial=initial).name
        for axis in (0, 1, -1)
        for reverse in (False, True)
        for initial in (False, True)
        for _ in range(2)
    }
    assert len(names) == 8


def test_the_last_is_the_logsumexp():
    x = RNG.normal(size=(4, 5000))
    assert_allclose(cumulative_logsumexp(x, 1)[:, -1], logsumexp(x, 1), rtol=1e-15)


def test_scalars_of_lists():
    assert_allclose(cumulative_logsumexp([1, 2, 3]), accumulated(np.array([1.0, 2, 3]), 0))


@pytest.mark.parametrize(
    ("x", "options", "error", "match"),
    [
        (1.0, {}, ValueError, "x has no dimension to sum along; pass an array"),
        ([[1.0]], {}, ValueError, r"x has 2 dimensions \(shape \(1, 1\)\) and axis is None; say"),
        ([1.0], {"axis": (0,)}, TypeError, r"axis is \(0,\); use an int"),
        ([1.0], {"axis": "rows"}, TypeError, "axis is 'rows'; use"),
        ([1.0], {"axis": 1}, np.exceptions.AxisError, "axis 1 is out of bounds"),
        ([1j], {}, TypeError, "x has dtype complex128"),
        (["a"], {}, TypeError, "x has dtype"),
        ([1.0], {"reread": "no"}, ValueError, "reread is 'no'; use True"),
        ([1.0], {"reverse": "yes"}, TypeError, "reverse is 'yes'; use True or False"),
        ([1.0], {"include_initial": 2}, TypeError, "include_initial is 2; use True or False"),
    ],
)
def test_errors(x, options, error, match):
    with pytest.raises(error, match=f"cumulative_logsumexp: {match}"):
        cumulative_logsumexp(x, **options)


def test_blocks_of_wrong_kinds():
    x = da.ones((4, 4), chunks=2).map_blocks(
        lambda block: block[0], dtype=float, meta=np.ones((0, 0))
    )
    with pytest.raises(ValueError, match="a block has shape"):
        cumulative_logsumexp(x, 0).compute()


def test_portable_where_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(dsoftmax._kernels.running, "kernels_for", lambda x: None)
    x = RNG.normal(size=20_000)
    assert_allclose(cumulative_logsumexp(x), compiled.of_block(x, None, 0, False), rtol=1e-14)


EXPRESSIONS = """
import dask.array as da, numpy as np
from dsoftmax import cumulative_logsumexp
x = np.random.default_rng(0).normal(size=(7, 20)) * 9
masked = np.ma.array(x, mask=x > 9)
for data, axis, reverse in ((x, 1, False), (x, 0, True), (masked, 1, True)):
    options = {"reverse": reverse, "include_initial": True}
    y = cumulative_logsumexp(da.from_array(data, chunks=(3, 6)), axis, **options)
    expected = cumulative_logsumexp(data, axis, **options)
    assert y.shape == expected.shape
    y = y.compute(scheduler="sync")
    np.testing.assert_array_equal(np.ma.getmaskarray(y), np.ma.getmaskarray(expected))
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
print(da.array_expr_enabled())
"""


def test_the_array_expression_mode():
    assert printed(EXPRESSIONS, expressions=True) == "True\n"
