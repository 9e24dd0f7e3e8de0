"""where=: what is out takes no part, in memory, in one block and over the tree."""

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax import (
    Normalizer,
    effective_sample_size,
    entropy,
    expectation,
    log_softmax,
    logsumexp,
    softmax,
    softmax_topk,
)

from ..compare import assert_allclose, assert_array_equal
from ..strategies import arrays, chunkings

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8)) * 5
WHERE = RNG.random((6, 8)) < 0.6
WHERE[2] = False  # a slice that is all out
X[~WHERE] = np.array([np.nan, np.inf, -np.inf, 1e300])[np.arange((~WHERE).sum()) % 4]
IN = {"softmax": softmax, "log_softmax": log_softmax}
REDUCTIONS = (logsumexp, entropy, effective_sample_size)
CHUNKS = [None, (6, 8), (2, 3)]


def as_lazy(x, chunks):
    return x if chunks is None else da.from_array(x, chunks=chunks)


def expected(function, x, where, axis, nothing):
    """What a function of one vector gives, of the elements of each slice that are in."""
    x, where = np.broadcast_arrays(x, where)

    def one(both):
        x, where = both
        kept = x[where.astype(bool)]
        return function(kept) if kept.size else nothing

    pairs = np.stack([np.moveaxis(a, axis, -1) for a in (x, where.astype(float))], axis=-2)
    return np.array([one(pair) for pair in pairs.reshape(-1, *pairs.shape[-2:])]).reshape(
        pairs.shape[:-2]
    )


@pytest.mark.parametrize("where_chunks", [None, (6, 1)])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("axis", [0, 1])
def test_equals_the_function_of_what_is_in(chunks, where_chunks, axis, lazily):
    x, where = as_lazy(X, chunks), as_lazy(WHERE, where_chunks)
    for function, nothing in zip(REDUCTIONS, (-np.inf, 0, 0), strict=True):
        found = lazily(function, x, axis, where=where)
        assert isinstance(found, da.Array) == (chunks is not None or where_chunks is not None)
        assert_allclose(found, expected(function, X, WHERE, axis, nothing), rtol=1e-14)
    mean = lazily(expectation, x, X, axis, where=where)
    means = expected(lambda kept: expectation(kept, kept), X, WHERE, axis, 0)
    assert_allclose(mean, means, rtol=1e-14, atol=1e-14)
    p, log_p = (dask.compute(f(x, axis, where=where))[0] for f in (softmax, log_softmax))
    assert (p[~WHERE] == 0).all()
    assert (log_p[~WHERE] == -np.inf).all()
    assert_allclose(log_p[WHERE], np.log(p[WHERE]), rtol=1e-13, atol=1e-15)
    sums = expected(lambda kept: 1, X, WHERE, axis, 0)
    assert_allclose(p.sum(axis), sums, rtol=1e-14)
    with np.errstate(all="ignore"):
        direct = np.where(WHERE, np.exp(X), 0)
        direct = direct / direct.sum(axis, keepdims=True)
    assert_allclose(p[WHERE], direct[WHERE], rtol=1e-13)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_it_broadcasts_both_ways(chunks):
    row = X[0]
    column = np.array([[True], [False], [True]])
    for x, where in ((X, WHERE[0]), (X, WHERE[:, :1]), (row, column), (row[None, :1], WHERE)):
        together = [np.array(a) for a in np.broadcast_arrays(x, where)]
        for function in (softmax, log_softmax, logsumexp):
            whole = function(together[0], 1, where=together[1])
            assert_array_equal(function(x, -1, where=where), whole)
            given = [da.from_array(a, chunks=tuple(min(3, n) for n in a.shape)) for a in (x, where)]
            lazy = function(given[0], -1, where=given[1])
            assert lazy.shape == whole.shape
            assert_allclose(lazy, whole, rtol=1e-14)
    assert softmax(3.0, where=[True, False]).tolist() == [1, 0]
    assert_array_equal(softmax(as_lazy(X[:2, :2], None), where=False), np.zeros((2, 2)))


def test_a_slice_that_is_in_and_all_minus_infinity():
    x, where = np.array([[-np.inf, -np.inf, 0.0]]), np.array([[True, True, False]])
    for array in (x, da.from_array(x, chunks=(1, 1))):
        assert_array_equal(softmax(array, 1, where=where), [[np.nan, np.nan, 0]])
        assert_array_equal(log_softmax(array, 1, where=where), [[np.nan, np.nan, -np.inf]])
        assert_array_equal(logsumexp(array, 1, where=where), [-np.inf])
        assert_array_equal(entropy(array, 1, where=where), [np.nan])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_chunks_do_not_matter(data):
    x = data.draw(arrays(max_dims=2, special=True))
    where = np.array(data.draw(st.lists(st.booleans(), min_size=x.size, max_size=x.size)))
    where = where.reshape(x.shape)
    axis = data.draw(st.integers(0, x.ndim - 1))
    lazy = da.from_array(x, chunks=data.draw(chunkings(x.shape)))
    mask = da.from_array(where, chunks=data.draw(chunkings(x.shape)))
    pairs = [(f(lazy, axis, where=mask), f(x, axis, where=where)) for f in REDUCTIONS]
    pairs += [(f(lazy, axis, where=mask), f(x, axis, where=where)) for f in IN.values()]
    for actual, whole in pairs:
        assert_allclose(actual, whole, rtol=1e-11, atol=1e-300)
    k = data.draw(st.integers(0, x.shape[axis]))
    chunked, whole = softmax_topk(lazy, k, axis, where=mask), softmax_topk(x, k, axis, where=where)
    assert_array_equal(chunked.indices, whole.indices)
    assert_allclose(chunked.values, whole.values, rtol=1e-11, atol=1e-300)


class TestTopK:
    @pytest.mark.parametrize("chunks", CHUNKS)
    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_what_is_out_comes_last(self, chunks, axis, lazily):
        x = np.round(RNG.normal(size=X.shape))
        x[RNG.random(X.shape) < 0.2] = -np.inf
        n = x.size if axis is None else x.shape[axis]
        lazy = lazily(softmax_topk, as_lazy(x, chunks), n, axis, where=WHERE, return_log=True)
        values, indices, logs = dask.compute(*lazy)
        p, out = softmax(x, axis, where=WHERE), ~WHERE
        if axis is None:
            x, p, out, axis = x.ravel(), p.ravel(), out.ravel(), 0
        order = np.lexsort((np.where(out, 0, -x), out), axis=axis)
        assert_array_equal(indices, order)
        assert_allclose(values, np.take_along_axis(p, order, axis), rtol=1e-14)
        with np.errstate(divide="ignore"):
            assert_allclose(logs, np.log(values), rtol=1e-13, atol=1e-15)

    def test_infinity_that_is_in_comes_before_what_is_out(self):
        x = [np.nan, -np.inf, 5.0, -np.inf, 1.0]
        where = [False, False, True, True, True]
        values, indices = softmax_topk(x, 5, where=where)
        assert indices.tolist() == [2, 4, 3, 0, 1]
        assert values[2:].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float32"])
    def test_the_smallest_numbers_of_a_dtype(self, dtype):
        least = False if dtype == "bool" else np.finfo(dtype).min if "f" in dtype else None
        least = np.iinfo(dtype).min if least is None else least
        x = np.array([least, 1, least, 1, least], dtype)
        where = np.array([False, True, True, False, True])
        for array in (x, da.from_array(x, chunks=2)):
            assert_array_equal(softmax_topk(array, 5, where=where).indices, [1, 2, 4, 0, 3])

    def test_many(self):
        x = np.round(np.random.default_rng(1).normal(size=20_000), 1)
        where = np.random.default_rng(2).random(x.size) < 0.01
        expected = np.lexsort((np.where(where, -x, 0), ~where))[:300]
        assert_array_equal(softmax_topk(x, 300, where=where).indices, expected)
        lazy = softmax_topk(da.from_array(x, chunks=1500), 300, where=where)
        assert_array_equal(lazy.indices, expected)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "f2", "f4", "f8", "g"])
def test_dtypes(dtype):
    x = np.array([[3, 1, 0, 1]], dtype)
    where = [True, False, True, True]
    result = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(float)
    for function in (*REDUCTIONS, *IN.values()):
        found = function(x, 1, where=where)
        assert found.dtype == result
        kept = np.delete(x, 1, axis=1)
        assert_allclose(
            found if found.ndim == 1 else np.delete(found, 1, axis=1), function(kept, 1), rtol=1e-3
        )


def test_complex_terms():
    x = np.array([1 + 2j, np.nan, 0.5 - 1j, np.inf])
    where = np.array([True, False, True, False])
    assert_allclose(logsumexp(x, where=where), logsumexp(x[where]), rtol=1e-15)
    assert_allclose(logsumexp(da.from_array(x, chunks=1), where=where), logsumexp(x[where]))


def test_beside_weights():
    b = RNG.normal(size=X.shape)
    for x, where in ((X, WHERE), (da.from_array(X, chunks=2), da.from_array(WHERE, chunks=(3, 8)))):
        for found, right in zip(
            logsumexp(x, 1, b, where=where, return_sign=True),
            logsumexp(X, 1, np.where(WHERE, b, 0), return_sign=True),
            strict=True,
        ):
            assert_allclose(found, right, rtol=1e-13)


@pytest.mark.parametrize("chunks", [None, (2, 3), (6, 8)])
def test_masked_arrays(chunks):
    masked = np.ma.masked_array(X, mask=RNG.random(X.shape) < 0.3)
    both = WHERE & ~masked.mask
    x = as_lazy(masked, chunks)
    p = dask.compute(softmax(x, 1, where=WHERE))[0]
    assert isinstance(p, np.ma.MaskedArray)
    assert_array_equal(p.mask, masked.mask)
    assert_allclose(p.filled(0), softmax(X, 1, where=both), rtol=1e-14)
    for function in REDUCTIONS:
        assert_allclose(function(x, 1, where=WHERE), function(X, 1, where=both), rtol=1e-14)
    hidden = np.ma.masked_array(WHERE, mask=masked.mask)  # a masked mask is False there
    assert_array_equal(logsumexp(X, 1, where=as_lazy(hidden, chunks)), logsumexp(X, 1, where=both))


class TestUnknownLengths:
    def cut(self, a, chunks=(2, 8)):
        every = da.from_array(np.ones(6, bool), chunks=2)
        return da.from_array(a, chunks=chunks)[every]

    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_of_both(self, axis):
        for function in (*REDUCTIONS, *IN.values()):
            found = function(self.cut(X), axis, where=self.cut(WHERE, (2, 3)))
            assert_allclose(found, function(X, axis, where=WHERE), rtol=1e-13)
        found = softmax(self.cut(X), axis, where=self.cut(WHERE), reread=True)
        assert_allclose(found, softmax(X, axis, where=WHERE), rtol=1e-13)

    def test_a_mask_of_one_row(self):
        found = softmax(self.cut(X), 1, where=WHERE[:1])
        assert_allclose(found, softmax(X, 1, where=WHERE[:1]), rtol=1e-14)

    def test_that_do_not_agree(self, lazily):
        one, other = (
            da.from_array(a, chunks=(3, 8))[da.from_array(np.arange(6) != out, chunks=3)]
            for a, out in ((X, 5), (WHERE, 0))
        )
        lazy = lazily(softmax, one, 1, where=other)
        shapes = r"a block of x of shape \(\d, 8\) beside a block of where of shape \(\d, 8\)"
        with pytest.raises(ValueError, match=rf"softmax: {shapes}: .* call .compute_chunk_sizes"):
            lazy.compute()
        with pytest.raises(
            ValueError, match="the chunk sizes of x, of shape .* or where, of shape"
        ):
            softmax(self.cut(X), 1, where=other)


def test_libraries_that_do_not_mix():
    with pytest.raises(TypeError, match="softmax: arrays of different libraries"):
        softmax(X, where=array_api_strict.asarray(WHERE))


def test_blocks_of_another_library_take_a_mask_of_numpy():
    x = da.from_array(X, chunks=(2, 3)).map_blocks(
        array_api_strict.asarray, dtype=X.dtype, meta=np.empty((0, 0))
    )
    found = logsumexp(x, where=WHERE).compute()
    assert isinstance(found, type(array_api_strict.asarray(X)))
    assert float(found) == pytest.approx(logsumexp(X, where=WHERE))


class TestPlan:
    @pytest.fixture
    def source(self):
        read = []

        def load(block, which):
            read.append(which)
            return block.copy()

        def make(a, which, chunks=(2, 8)):
            lazy = da.from_array(a, chunks=chunks)
            return lazy.map_blocks(load, which, dtype=a.dtype, meta=np.empty((0, 0), a.dtype))

        return read, make

    @pytest.mark.parametrize("reread", [True, False])
    def test_readings(self, source, reread):
        read, make = source
        x, where = make(X, "x"), make(WHERE, "mask")
        y = softmax(x, where=where, reread=reread)
        assert_allclose(y, softmax(X, where=WHERE), rtol=1e-14)
        assert sorted(read) == ["mask"] * 3 * (1 + reread) + ["x"] * 3 * (1 + reread)

    def test_a_mask_made_of_x_is_read_with_it(self, source):
        read, make = source
        x = make(X, "x")
        for reread in (True, False):
            read.clear()
            y = softmax(x, where=x < 3, reread=reread)
            assert_allclose(y, softmax(X, where=X < 3), rtol=1e-14)
            assert read == ["x"] * 3 * (1 + reread)

    def test_reductions_read_once_and_join_in_the_task_that_reduces(self, source):
        read, make = source
        x, where = make(X, "x"), make(WHERE, "mask")
        for function in (*REDUCTIONS, lambda x, where: expectation(x, (X, 1.0), where=where)):
            read.clear()
            dask.compute(function(x, where=where))
            assert sorted(read) == ["mask"] * 3 + ["x"] * 3

    def test_a_mask_does_not_change_what_is_chosen_of_x(self, caplog):
        x = da.zeros((200_000_000,), chunks=10_000_000).map_blocks(np.copy, dtype=float)
        where = da.ones((200_000_000,), chunks=10_000_000, dtype=bool)
        in_memory = da.from_array(np.zeros(40), chunks=5)
        with caplog.at_level("INFO", logger="dsoftmax"):
            softmax(x)
            softmax(x, where=where)
            softmax(in_memory, where=in_memory > 0)
        said = [record.message.split(": ")[-1].split(",")[0] for record in caplog.records]
        assert said[:2] == ["read twice", "read twice"]
        assert said[3] == "held"

    def test_nothing_is_computed_and_keys_are_deterministic(self, lazily):
        x, where = da.from_array(X, chunks=(2, 3)), da.from_array(WHERE, chunks=(2, 3))
        for function in (*REDUCTIONS, *IN.values()):
            one, other = (lazily(function, x, 1, where=where) for _ in range(2))
            assert one.name == other.name != function(x, 1).name
            assert one.name != function(x, 1, where=~where).name


@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_of_a_normalizer(chunks):
    n = Normalizer.of(as_lazy(X, chunks), 1, where=WHERE)
    assert_allclose(n.logsumexp(), logsumexp(X, 1, where=WHERE), rtol=1e-14)
    assert_array_equal(n.w[2], [0])
    begun = Normalizer.of(as_lazy(X[:, :4], chunks), 1, where=WHERE[:, :4], statistics=True)
    n = begun.update(X[:, 4:], where=WHERE[:, 4:])
    assert_allclose(n.entropy(), entropy(X, 1, where=WHERE), rtol=1e-14)


@pytest.mark.parametrize("function", [*REDUCTIONS, *IN.values()])
@pytest.mark.parametrize("x", [X, da.from_array(X, chunks=3)], ids=["numpy", "dask"])
def test_errors(function, x):
    name = function.__name__
    called = "a" if function is logsumexp else "x"
    with pytest.raises(TypeError, match=rf"{name}: where has dtype int64; pass a mask of booleans"):
        function(x, where=WHERE.astype(int))
    with pytest.raises(TypeError, match=rf"{name}: where has dtype str32; pass a mask"):
        function(x, where=["y", "n"])
    match = rf"{name}: where of shape \(5,\) does not broadcast with {called} of shape \(6, 8\)"
    with pytest.raises(ValueError, match=match):
        function(x, where=[True] * 5)


def test_a_mask_whose_blocks_are_not_boolean():
    where = da.from_array(WHERE, chunks=3).map_blocks(lambda b: b.astype(int), dtype=bool)
    with pytest.raises(TypeError, match="a block of where is of dtype int64"):
        logsumexp(X, where=where).compute()
