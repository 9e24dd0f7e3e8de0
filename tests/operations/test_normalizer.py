"""Normalizer: made, merged, finished, applied and pickled, in memory and lazily."""

import functools
import pickle

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
from .kinds import KINDS, X

pytestmark = pytest.mark.expressions


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


@pytest.mark.parametrize("options", [{}, {"statistics": True}, {"exact": True}], ids=str)
def test_a_slice_of_nothing_has_no_softmax(options):
    out = np.array([[False] * X.shape[1], *([True] * X.shape[1] for _ in X[1:])])
    n = Normalizer.of(X, 1, where=out, **options)
    for x in (X, da.from_array(X, chunks=2)):
        for found, right in ((n.softmax(x), softmax(X, 1)), (n.log_softmax(x), log_softmax(X, 1))):
            assert_allclose(found[1:], right[1:], rtol=1e-14)
            assert_array_equal(found[0], np.full(X.shape[1], np.nan))
    nothing = Normalizer.identity()
    assert np.isnan(nothing.softmax([1.0, 2.0])).all()
    assert np.isnan(nothing.log_softmax([1.0, 2.0])).all()


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
