"""Normalizer: made, merged, finished, applied and pickled, in memory and lazily."""

import functools
import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax import Normalizer, log_softmax, logsumexp, softmax

from .compare import assert_allclose, assert_array_equal
from .strategies import chunked_arrays

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
    assert n.shape == keepdims.shape == n.m.shape == n.d.shape
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
    n = pickle.loads(pickle.dumps(Normalizer.of(X)))
    with pytest.raises(ValueError, match="read-only"):
        n.m[...] = 0


def test_repr():
    assert repr(Normalizer.of([0.1, 0.3, 0.08, -0.09])) == "Normalizer(m=0.3, d=3.298306425538625)"
    assert repr(Normalizer.of(X, axis=0)) == "Normalizer(shape=(1, 4), axis=(0,), dtype=float64)"
    assert repr(Normalizer.of(da.ones(4, chunks=2))).endswith(", axis=(0,))")


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
