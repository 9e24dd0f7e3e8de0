"""Normalizer: made, merged, finished, applied and pickled, in memory and lazily."""

import functools
import json
import pickle
import weakref

import array_api_strict
import dask
import dask.array as da
import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax import Normalizer, log_softmax, logsumexp, softmax

from ..compare import assert_allclose, assert_array_equal
from ..oracle import EPS
from ..strategies import chunked_arrays

X = np.random.default_rng(0).normal(size=(6, 4)) * 5
KINDS = {
    "numpy": np.asarray,
    "dask": lambda x: da.from_array(x, chunks=(2, 3)),
    "one block": lambda x: da.from_array(x, chunks=-1),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.mark.parametrize("axis", [None, 0, 1, (), (0, 1)], ids=str)
def test_gives_what_the_functions_give(axis, kind):
    x = kind(X)
    n = Normalizer.of(x, axis=axis)
    assert_allclose(n.softmax(x), softmax(X, axis=axis), rtol=1e-14)
    assert_allclose(n.log_softmax(x), log_softmax(X, axis=axis), rtol=1e-14)
    assert_allclose(n.logsumexp(), logsumexp(X, axis=axis), rtol=1e-14)
    keepdims = logsumexp(X, axis=axis, keepdims=True)
    assert_allclose(n.logsumexp(keepdims=True), keepdims, rtol=1e-14)
    assert n.shape == n.m.shape == n.d.shape == (() if axis is None else keepdims.shape)
    assert (n.dtype, n.m.dtype, n.d.dtype) == ("f8", "f8", "f8")


def test_the_pair_of_the_paper(kind):
    n = Normalizer.of(kind(X), axis=1)
    m = X.max(axis=1, keepdims=True)
    assert_array_equal(n.m, m)
    assert_allclose(n.d, np.exp(X - m).sum(axis=1, keepdims=True), rtol=1e-14)
    assert_allclose(n.w + n.s, n.d, rtol=0)


def test_of_a_dask_array_is_lazy_until_computed(lazily):
    n = lazily(Normalizer.of, da.from_array(X, chunks=2), axis=0)
    assert isinstance(n.m, da.Array)
    computed = n.compute(scheduler="threads")
    assert isinstance(computed.m, np.ndarray)
    assert_allclose(computed.logsumexp(), special.logsumexp(X, axis=0))


@pytest.mark.parametrize("other", KINDS)
def test_merge(kind, other):
    a, b = Normalizer.of(kind(X[:4]), axis=0), Normalizer.of(KINDS[other](X[4:]), axis=0)
    assert_allclose(a.merge(b).logsumexp(), special.logsumexp(X, axis=0), rtol=1e-14)
    assert_allclose(b.merge(a).softmax(X[:4]), special.softmax(X, axis=0)[:4], rtol=1e-13)
    assert_allclose(a.merge().logsumexp(), a.logsumexp(), rtol=0)
    neutral = Normalizer.identity((0, 4), axis=0)
    assert_allclose(neutral.merge(a, b).logsumexp(), special.logsumexp(X, axis=0), rtol=1e-14)


@pytest.mark.parametrize("other", KINDS)
def test_apply_to_another_kind_of_array(kind, other):
    n = Normalizer.of(kind(X), axis=0)
    part = KINDS[other](X[1:4])
    assert_allclose(n.softmax(part), special.softmax(X, axis=0)[1:4], rtol=1e-13)
    assert_allclose(n.log_softmax(part), special.log_softmax(X, axis=0)[1:4], rtol=1e-13)


def test_apply_to_other_chunks():
    n = Normalizer.of(da.from_array(X, chunks=(2, 2)), axis=0)
    y = n.softmax(da.from_array(X, chunks=(3, (1, 3))))
    assert y.chunks == ((3, 3), (1, 3))
    assert_allclose(y, special.softmax(X, axis=0), rtol=1e-13)


def test_unknown_chunks():
    x = da.from_array(X, chunks=(2, 3))
    x = x[x[:, 0] > -1e9]
    n = Normalizer.of(x, axis=1)
    assert_allclose(n.softmax(x).compute(), special.softmax(X, axis=1), rtol=1e-13)
    assert_allclose(n.merge(n).logsumexp().compute(), special.logsumexp(X, axis=1) + np.log(2))


@pytest.mark.parametrize("dtype", ["f2", "f4", "i4"])
def test_dtypes(dtype, kind):
    x = kind(X.astype(dtype))
    n = Normalizer.of(x, axis=0)
    assert n.dtype == softmax(x).dtype == n.softmax(x).dtype == n.logsumexp().dtype
    assert np.dtype(n.d.dtype) == "f8"
    assert_allclose(n.softmax(x), softmax(X.astype(dtype), axis=0), rtol=2e-7)


def test_merge_promotes():
    a, b = Normalizer.of(np.zeros(3, "f4")), Normalizer.of(np.zeros(2))
    assert a.merge(b).dtype == "f8"
    assert a.merge(a).dtype == "f4"


def test_weights_and_signs(kind):
    b = np.array([1.0, -1, 2, -2])
    n = Normalizer.of(kind(X), axis=1, b=b)
    expected = special.logsumexp(X, axis=1, b=b, return_sign=True)
    for actual, wanted in zip(n.logsumexp(return_sign=True), expected, strict=True):
        assert_allclose(actual, wanted, rtol=1e-12)


def test_complex():
    x = np.array([1j, 2 + 1j])
    assert_allclose(Normalizer.of(x).logsumexp(), special.logsumexp(x))


@pytest.mark.parametrize("merged", [False, True])
def test_pickle(merged, kind):
    n = Normalizer.of(kind(X), axis=0)
    n = n.merge(n) if merged else n
    copy = pickle.loads(pickle.dumps(n))
    assert (copy.axis, copy.dtype, copy.shape) == (n.axis, n.dtype, n.shape)
    assert_allclose(copy.logsumexp(), n.logsumexp(), rtol=0)


def test_a_pickled_normalizer_is_immutable_too():
    n = pickle.loads(pickle.dumps(Normalizer.of(X, axis=0)))
    with pytest.raises(ValueError, match="read-only"):
        n.m[...] = 0


def test_repr():
    assert repr(Normalizer.of([0.1, 0.3, 0.08, -0.09])) == "Normalizer(m=0.3, d=3.298306425538625)"
    assert repr(Normalizer.of(X, axis=0)) == "Normalizer(shape=(1, 4), axis=(0,), dtype=float64)"
    assert repr(Normalizer.of(da.ones(4, chunks=2))).endswith(", axis=None)")


@settings(max_examples=60, deadline=None)
@given(chunked_arrays(min_dims=2, max_dims=2), st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_stream_in_any_order_gives_the_whole(case, step, random):
    x, _, _ = case
    parts = [Normalizer.of(x[i : i + step], axis=0) for i in range(0, len(x), step)]
    random.shuffle(parts)
    neutral = Normalizer.identity(x.shape, axis=0)
    total = functools.reduce(Normalizer.merge, parts, neutral)
    assert_allclose(total.logsumexp(), logsumexp(x, axis=0), rtol=1e-13, atol=1e-300)
    assert_allclose(total.softmax(x), softmax(x, axis=0), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("x", [np.array([1.0, 2.0]), np.array(1.0)], ids=["1-D", "0-D"])
def test_shares_no_memory_with_the_data(x):
    n = Normalizer.of(x, axis=())
    before = n.m.copy()
    x[...] = 9
    assert_array_equal(n.m, before)


def test_shares_no_memory_with_data_of_another_library():
    x = array_api_strict.asarray([1.0, 2.0])
    n = Normalizer.of(x, axis=())
    x[0] = 9.0
    assert float(n.m[0]) == 1


@pytest.mark.parametrize(
    "make", [lambda x: Normalizer.of(x, axis=0), lambda x: Normalizer.identity(x.shape, axis=0)]
)
def test_nobody_can_write_to_it(make):
    n = make(X)
    for field in (n.m, n.w, n.s):
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            field.flags.writeable = True


def test_equality_is_of_the_values(kind):
    n = Normalizer.of(kind(X), axis=0)
    assert n == Normalizer.of(kind(X), axis=0)
    assert n == pickle.loads(pickle.dumps(n))
    assert n != Normalizer.of(kind(X + 1), axis=0)
    assert n != Normalizer.of(kind(X[:, :1]), axis=0)
    assert n != Normalizer.of(kind(X), axis=1)
    assert n != Normalizer.of(kind(X.astype("f4")), axis=0)
    assert n != Normalizer.of(array_api_strict.asarray(X), axis=0)
    assert n != "n"
    with pytest.raises(TypeError, match="unhashable"):
        hash(n)


def test_nan_equals_nan():
    assert Normalizer.of([np.nan, 1]) == Normalizer.of([1, np.nan])


def test_a_lazy_one_differs_from_its_value():
    n = Normalizer.of(da.from_array(X, chunks=2))
    assert n != n.compute()


@pytest.mark.parametrize("chunks", [(2, 3), 4, (6, 1)])
@pytest.mark.parametrize("axis", [None, 0, 1, ()], ids=str)
def test_dask_computes_and_persists_lazy_ones(axis, chunks):
    x = da.from_array(X, chunks=chunks)
    n = Normalizer.of(x, axis=axis)
    assert dask.is_dask_collection(n)
    computed, y, (nested,) = dask.compute(n, n.softmax(x), [n])
    assert computed == nested == n.compute() == client_like(n)
    assert isinstance(computed.m, np.ndarray if n.shape else np.float64)
    assert computed.shape == n.shape
    assert_allclose(computed.logsumexp(), special.logsumexp(X, axis=axis), rtol=1e-14)
    assert_allclose(y, special.softmax(X, axis=axis), rtol=1e-14)
    for held in (*dask.persist(n), n.persist()):
        assert len(dict(held.__dask_graph__())) == np.prod(n._states.numblocks)
        assert held.compute() == computed
        assert_allclose(held.merge(held).softmax(x), y / 2, rtol=1e-14)


def client_like(n):
    """What a scheduler and nothing but the protocol of collections gives."""
    graph = n.__dask_optimize__(n.__dask_graph__(), n.__dask_keys__())
    finish, arguments = n.__dask_postcompute__()
    return finish(n.__dask_scheduler__(graph, n.__dask_keys__()), *arguments)


def test_one_in_memory_is_no_collection():
    n = Normalizer.of(X)
    assert not dask.is_dask_collection(n)
    assert dask.compute(n)[0] is n.compute() is n.persist() is n


def test_tokens_are_those_of_values(kind):
    n = Normalizer.of(kind(X), axis=0)
    assert dask.base.tokenize(n) == dask.base.tokenize(Normalizer.of(kind(X), axis=0))
    assert dask.base.tokenize(n) != dask.base.tokenize(Normalizer.of(kind(X + 1), axis=0))
    assert dask.base.tokenize(n) != dask.base.tokenize(Normalizer.of(kind(X), axis=1))


@pytest.mark.parametrize("dtype", ["f2", "f4", "i4", "c8"])
def test_an_identity_takes_the_dtype_of_the_data(dtype, kind):
    n = Normalizer.of(kind(X.astype(dtype)))
    neutral = Normalizer.identity(X.shape)
    assert neutral.merge(neutral).dtype == "f8"
    for merged in (neutral.merge(n), n.merge(neutral), neutral.merge(neutral).merge(n)):
        assert merged.dtype == n.dtype
        assert [f.dtype for f in (merged.m, merged.w, merged.s)] == [
            f.dtype for f in (n.m, n.w, n.s)
        ]
        assert_array_equal(merged.logsumexp(), n.logsumexp())


def test_an_identity_with_a_dtype_promotes(kind):
    n = Normalizer.of(kind(X.astype("f4")))
    merged = Normalizer.identity(X.shape, dtype="f8").merge(n)
    assert (merged.dtype, merged.m.dtype) == ("f8", "f8")
    assert Normalizer.identity(X.shape, dtype="f2").merge(n).dtype == "f4"
    assert pickle.loads(pickle.dumps(Normalizer.identity(X.shape))).merge(n).dtype == "f4"


@pytest.mark.parametrize("dtype", ["bfloat16", ml_dtypes.bfloat16])
def test_halves_of_two_kinds_merge(dtype, kind):
    assert Normalizer.identity((3,), dtype=dtype).dtype == ml_dtypes.bfloat16
    a, b = (Normalizer.of(kind(X.astype(t)), axis=0) for t in (ml_dtypes.bfloat16, "f2"))
    assert (a.merge(b).dtype, a.merge(a).dtype) == ("f4", ml_dtypes.bfloat16)
    assert_allclose(a.merge(b, a).logsumexp(), logsumexp(X, axis=0) + np.log(3), rtol=1e-2)


def test_an_identity_fits_every_library():
    n = Normalizer.of(array_api_strict.asarray(X), axis=0)
    for neutral in (Normalizer.identity(X.shape, 0), Normalizer.identity(X.shape, 0, dtype="f8")):
        assert neutral.merge(n) == n.merge(neutral) == n


def test_arrays_of_two_libraries():
    ours, other = Normalizer.of(X[0]), Normalizer.of(array_api_strict.asarray(X[0]))
    with pytest.raises(
        TypeError, match=r"merge: .* libraries \(numpy ndarray, array_api_strict Array\)"
    ):
        ours.merge(other)
    with pytest.raises(TypeError, match=r"softmax: .*\(array_api_strict Array, numpy ndarray\)"):
        ours.softmax(array_api_strict.asarray(X[0]))
    with pytest.raises(
        TypeError, match="log_softmax: arrays of different libraries .*convert them"
    ):
        other.log_softmax(X[0])


def test_the_logarithm_of_a_negative_softmax(kind):
    b = np.array([1.0, -1, 1, -1])
    n = Normalizer.of(kind(X), axis=1, b=b)
    negative = special.logsumexp(X, axis=1, b=b, return_sign=True)[1] < 0
    assert 0 < negative.sum() < 6
    assert_array_equal(np.isnan(dask.compute(n.log_softmax(kind(X)))[0]).all(axis=1), negative)
    assert_array_equal(np.isnan(dask.compute(n.logsumexp())[0]), negative)


def test_the_logarithm_of_a_negative_softmax_in_a_compiled_block():
    x = np.zeros((2, 5000))
    n = Normalizer.of(x, axis=1, b=[[1.0], [-1.0]])
    assert_allclose(n.log_softmax(x)[0], -np.log(5000), rtol=1e-15)
    assert np.isnan(n.log_softmax(x)[1]).all()
    assert_allclose(n.softmax(x)[1], -1 / 5000, rtol=1e-15)


def test_weights_that_are_far_apart(kind):
    x, b = kind(np.array([[0.0, -1]])), np.array([1e-160, 1e150])
    n = Normalizer.of(x, axis=1, b=b)
    expected = -1 + 150 * np.log(10)
    assert_allclose(n.logsumexp(), [expected], rtol=1e-15)
    assert_allclose(n.log_softmax(x), [[-expected, -1 - expected]], rtol=1e-15)


def test_a_chain_of_merges_costs_what_the_documentation_says():
    part = Normalizer.of([0.0, -0.3])
    chain = functools.reduce(Normalizer.merge, [part] * 4000)
    exact = 4000 * (1 + mpmath.exp(mpmath.mpf(-0.3)))
    assert 8 * EPS * exact < abs(chain.d.item() - exact) <= 4 * 4000 * EPS * exact
    together = part.merge(*[part] * 3999)
    assert abs(together.d.item() - exact) <= 4 * EPS * exact


class TestOfOneSlice:
    """All of the data are one slice: numbers for m, w, s and d, whatever the dimensions."""

    def test_numbers(self, kind):
        n = Normalizer.of(kind(X))
        total = special.logsumexp(X)
        assert float(n) == pytest.approx(total, rel=1e-14)
        assert float(n.m.compute() if n._lazy else n.m) == X.max()
        assert_allclose(n.d, np.exp(X - X.max()).sum(), rtol=1e-14)
        assert (n.shape, n.axis) == ((), None)
        assert n.logsumexp(keepdims=True).shape == (1, 1)
        assert [part.shape for part in n.logsumexp(True, return_sign=True)] == [(1, 1)] * 2

    def test_only_one_number_is_a_float(self):
        assert float(Normalizer.of(X[:1], axis=1)) == pytest.approx(special.logsumexp(X[0]))
        with pytest.raises(TypeError, match=r"shape \(1, 4\), is of several slices.*logsumexp\(\)"):
            float(Normalizer.of(X, axis=0))
        with pytest.raises(TypeError, match="complex"):
            float(Normalizer.of([1j]))

    def test_the_identity_needs_no_shape(self, kind):
        neutral, n = Normalizer.identity(), Normalizer.of(kind(X))
        assert neutral == Normalizer.identity(())
        assert float(neutral) == -np.inf
        assert neutral.merge(n) == n + neutral == n if not n._lazy else True
        assert_allclose(neutral.merge(n).logsumexp(), special.logsumexp(X), rtol=1e-14)
        with pytest.raises(TypeError, match="identity: axis is 0 without a shape"):
            Normalizer.identity(axis=0)
        with pytest.raises(ValueError, match=r"cannot merge.*shape \(\) over axis None"):
            neutral.merge(Normalizer.of(X, axis=0))

    def test_an_axis_that_is_named_is_kept(self):
        n = Normalizer.of(X[0], axis=0)
        assert (n.shape, n.axis) == ((1,), (0,))
        for use in (n.softmax, n.update, lambda x: n.merge(Normalizer.of(x))):
            with pytest.raises(ValueError, match="shape"):
                use(X)

    def test_equal_whatever_the_dimensions(self):
        assert Normalizer.of(X) == Normalizer.of(X.reshape(2, 12)) == Normalizer.of(X.ravel())
        assert Normalizer.identity((2, 3)) + Normalizer.of(X[0]) == Normalizer.of(X[0])

    @pytest.mark.parametrize("other", KINDS)
    def test_the_number_of_dimensions_does_not_matter(self, kind, other):
        a, b = Normalizer.of(kind(X)), Normalizer.of(KINDS[other](X.reshape(2, 12))[0])
        total = np.logaddexp(special.logsumexp(X), special.logsumexp(X[:3]))
        for n in (a + b, b + a):
            assert_allclose(n.logsumexp(), total, rtol=1e-14)
            assert n.axis is None
            assert n.logsumexp(keepdims=True).shape == (1, 1)
        cube = X.reshape(2, 3, 4)
        lazy_cube = da.from_array(cube, chunks=(1, 2, 3))
        for x, y in ((cube, b.softmax(cube)), (cube, b.softmax(lazy_cube)), (1.0, b.softmax(1.0))):
            assert_allclose(y, np.exp(x - special.logsumexp(X[:3])), rtol=1e-13)


class Weak(np.ndarray):
    """An array whose end can be seen."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


class TestStreams:
    def test_update_gives_the_next(self, kind):
        first = Normalizer.of(X[:2], axis=0)
        n = first.update(kind(X[2:5])).update(X[5:], b=[[2.0]])
        expected = logsumexp(X, axis=0, b=np.array([[1], [1], [1], [1], [1], [2.0]]))
        assert_allclose(n.logsumexp(), expected, rtol=1e-14)
        assert first == Normalizer.of(X[:2], axis=0)
        whole = Normalizer.identity().update(X[:2]).update(X[2, 0]).update(list(X[2, 1:]))
        assert_allclose(whole.update(X[3:]).logsumexp(), logsumexp(X), rtol=1e-14)

    def test_a_sum(self):
        parts = [Normalizer.of(row) for row in X]
        assert_allclose(sum(parts, Normalizer.identity()).logsumexp(), logsumexp(X), rtol=1e-14)
        assert_allclose(sum(parts).logsumexp(), logsumexp(X), rtol=1e-14)
        with pytest.raises(TypeError, match="unsupported operand"):
            parts[0] + 1
        with pytest.raises(TypeError, match="unsupported operand"):
            1 + parts[0]

    @pytest.mark.parametrize("axis", [None, 0, 1], ids=str)
    @pytest.mark.parametrize("n", [1, 15, 16, 17, 300])
    def test_from_blocks(self, n, axis):
        x = np.random.default_rng(n).normal(size=(n, 3)) * 9
        blocks = [x[i : i + 1] for i in range(n)]
        if axis == 1:
            blocks = [block.T for block in blocks]
        total = Normalizer.from_blocks(iter(blocks), axis=axis)
        expected = logsumexp(x, axis=None if axis is None else 0)
        assert_allclose(total.logsumexp(), expected, rtol=1e-14)
        assert total.dtype == "f8"

    def test_rounding_of_a_long_stream(self):
        exact = 4000 * (1 + mpmath.exp(mpmath.mpf(-0.3)))
        n = Normalizer.from_blocks([0.0, -0.3] for _ in range(4000))
        assert abs(n.d.item() - exact) <= 3 * 4 * EPS * exact  # three levels of sixteen

    def test_from_blocks_of_dask_arrays(self, lazily):
        n = lazily(Normalizer.from_blocks, [da.from_array(X, chunks=2), X], axis=0)
        assert_allclose(n.logsumexp(), logsumexp(X, axis=0) + np.log(2), rtol=1e-14)

    def test_one_block_of_a_stream_is_in_memory_at_a_time(self):
        alive = weakref.WeakSet()

        def blocks():
            for _ in range(5):
                assert len(alive) == 0
                block = np.zeros(9).view(Weak)
                alive.add(block)
                yield block
                del block

        Normalizer.from_blocks(blocks())

    def test_from_no_blocks(self):
        assert float(Normalizer.from_blocks([])) == -np.inf
        with pytest.raises(ValueError, match=r"no blocks.*axis 0; start from Normalizer.identity"):
            Normalizer.from_blocks([], axis=0)

    def test_from_what_is_no_stream(self):
        with pytest.raises(TypeError, match="blocks is a float; pass an iterable"):
            Normalizer.from_blocks(1.0)
        with pytest.raises(TypeError, match=r"blocks is a Array; .*Dask array to Normalizer.of"):
            Normalizer.from_blocks(da.ones(3))


class TestDicts:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i4", "c8", "c16", "G", "bfloat16"])
    @pytest.mark.parametrize("axis", [None, 0, 1], ids=str)
    def test_through_json(self, dtype, axis):
        x = X.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        x[0] = np.array([np.inf, -np.inf, 0, 1]) if dtype != "i4" else 0
        empty = Normalizer.of(x[:, :0] if axis == 1 else x[:0], axis=axis)
        for n in (
            Normalizer.of(x, axis=axis),
            empty,
            Normalizer.identity(x.shape, axis),
            Normalizer.identity(x.shape, axis, dtype=x.dtype),
        ):
            text = json.dumps(n.to_dict(), allow_nan=False)
            kept = Normalizer.from_dict(json.loads(text))
            assert kept == n
            assert (kept.axis, kept.dtype, kept.shape) == (n.axis, n.dtype, n.shape)
            assert kept.merge(empty) == n.merge(empty)

    def test_what_is_in_it(self):
        n = Normalizer.of(np.array([[1.0, 2.0], [2.0, np.nan]]), axis=1)
        kept = n.to_dict()
        assert (kept["m"], kept["dtype"]) == ([[2.0], ["nan"]], "float64")
        assert (kept["shape"], kept["axis"], kept["version"]) == ([2, 1], [1], 1)

    def test_of_another_library(self):
        n = Normalizer.of(array_api_strict.asarray(X), axis=0)
        assert Normalizer.from_dict(n.to_dict()) == Normalizer.of(X, axis=0)

    def test_of_a_lazy_one(self):
        with pytest.raises(TypeError, match=r"lazy; use n.compute\(\).to_dict\(\)"):
            Normalizer.of(da.ones(3)).to_dict()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, "version 2, and this dsoftmax knows 1; upgrade"),
            ({"dtype": "int32"}, r"kept\['dtype'\] is 'int32'; it has to be the name of a float"),
            ({"dtype": "nonsense"}, "'nonsense'; it has to be the name of a float"),
            ({"identity": 1}, "'identity'.* is 1; it has to be True or False"),
            ({"shape": [-1]}, "'shape'.*a list of ints from 0"),
            ({"axis": [2]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": [1]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": [0, 0]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": None}, r"'shape'.* is \[1, 4\]; it has to be \[\], as axis is None"),
            ({"ndim": 1.5}, "'ndim'.*ints from 0"),
            ({"m": [[10**400, 1, 2, 3]]}, r"'m'.*numbers of shape \[1, 4\]"),
            ({"w": [[[1.0, 2.0], 1, 2, 3]]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"w": [[True, 1, 2, 3]]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"axis": "0"}, "'axis'.*a list of ints"),
            ({"m": [[1.0, "x"]]}, r"'m'.*numbers of shape \[1, 4\]"),
            ({"w": [1.0]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"s": None}, r"'s'.* is None; .*numbers of shape"),
        ],
    )
    def test_what_is_none(self, change, message):
        with pytest.raises(ValueError, match=message):
            Normalizer.from_dict(Normalizer.of(X, axis=0).to_dict() | change)

    def test_missing_keys(self):
        kept = Normalizer.of(X).to_dict()
        del kept["w"]
        with pytest.raises(ValueError, match="kept has no 'w'; pass what to_dict returned"):
            Normalizer.from_dict(kept)
        with pytest.raises(TypeError, match="kept is a list"):
            Normalizer.from_dict([])
