"""Masked entries take no part: where a slice has nothing else, and in products and labels."""

import dask
import dask.array as da
import numpy as np
import pytest

from dsoftmax import Normalizer, cross_entropy, entropy, softmax, softmax_matmul, softmax_topk

X = np.ma.array([[0.0, 1.0], [2.0, 3.0]], mask=[[False, True], [True, True]])


def lazily(x):
    return da.from_array(x, chunks=1, asarray=False)


@pytest.mark.parametrize("x", [X, lazily(X)], ids=["NumPy", "Dask"])
@pytest.mark.parametrize("out", [5.0, np.nan, np.inf])
def test_products(x, out):
    v = np.array([[1.0], [out]])
    found = np.asarray(softmax_matmul(x, v))
    np.testing.assert_array_equal(found, [[1], [0]])
    np.testing.assert_array_equal(softmax_matmul(x, v, where=np.array(True)), found)


@pytest.mark.parametrize("x", [X, lazily(X)], ids=["NumPy", "Dask"])
def test_labels(x):
    labels = np.array([1, 0])
    found = np.asarray(cross_entropy(x, labels))
    np.testing.assert_array_equal(found, [np.inf, np.inf])
    np.testing.assert_array_equal(cross_entropy(x, labels, where=np.array(True)), found)
    assert np.asarray(cross_entropy(x, [0, 0]))[0] == 0


@pytest.mark.parametrize("kind", [{}, {"exact": True}, {"statistics": True}, {"b": np.ones(2)}])
def test_the_normalizer_of_nothing(kind):
    for x in (np.ma.masked_all(2), lazily(np.ma.masked_all(2))):
        n = Normalizer.of(x, **kind).compute()
        assert (n.m, n.w, n.s, n.d) == (-np.inf, 0, 0, 0)
        if not kind:
            assert n == Normalizer.identity()


@pytest.mark.parametrize("exact", [False, True])
def test_minus_infinity_beside_masked_entries(exact):
    x = np.ma.array([[-np.inf, 2.0, -np.inf], [1, 2, 3]], mask=[[0, 1, 0], [1, 1, 1]])
    for one in (x, lazily(x)):
        n = Normalizer.of(one, axis=1, exact=exact).compute()
        assert n.w.tolist() == n.d.tolist() == [[2], [0]]
    y = softmax(x, axis=1, exact=exact)
    assert y.mask.tolist() == x.mask.tolist()
    assert np.isnan(y[0, 0])


@pytest.mark.parametrize("kind", [{}, {"exact": True}, {"statistics": True}])
def test_numbers_of_one_slice_are_numbers(kind):
    n = Normalizer.of([1.0, 2.0], **kind)
    for number in (n.m, n.w, n.s, n.d):
        assert type(number) is np.float64


def test_a_mask_beside_does_not_change_what_is_masked():
    for data, mask in (([5.0, -np.inf], [1, 0]), ([5.0, 0.0], [1, 1])):
        x = np.ma.array(data, mask=mask)
        for one in (x, lazily(x)):
            for where in (True, [True, True]):
                beside = dask.compute(*softmax_topk(one, 2, where=where))
                for a, b in zip(beside, dask.compute(*softmax_topk(one, 2)), strict=True):
                    np.testing.assert_array_equal(a, b)


def test_masked_float16_does_not_warn():
    x = lazily(np.ma.array(np.zeros(4, "f2"), mask=[0, 1, 0, 0]))
    assert entropy(x).compute() == np.float16(np.log(3))
