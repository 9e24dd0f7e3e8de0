"""topk and softmax_topk do not depend on the chunks, known or not: a stable sort is the oracle."""

import dask
import numpy as np
import pytest
from hypothesis import given, settings

from dsoftmax import softmax_topk, topk

from ..compare import assert_array_equal
from .sorting import assert_topk, cases, dask_array, expected_indices, normal, taken


@settings(deadline=None, max_examples=150, derandomize=True)
@given(cases())
def test_equals_a_stable_sort_whatever_the_chunks(case):
    x, chunks, axis, k = case
    assert_topk(softmax_topk(dask_array(x, chunks), k, axis), x, k, axis)
    assert_topk(softmax_topk(x, k, axis), x, k, axis)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cases())
def test_topk_equals_a_stable_sort_whatever_the_chunks(case):
    x, chunks, axis, k = case
    values, indices = dask.compute(*topk(dask_array(x, chunks), k, axis))
    expected = expected_indices(x, k, axis)
    assert_array_equal(indices, expected)
    assert_array_equal(values, taken(x, expected, axis))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(cases())
def test_the_smallest_equal_a_stable_sort_whatever_the_chunks(case):
    x, chunks, axis, k = case
    along, place = (x.ravel(), 0) if axis is None else (x, axis)
    order = np.argsort(along, axis=place, stable=True).take(range(k), axis=place)  # NaN is last
    for found in (topk(dask_array(x, chunks), -k, axis), topk(x, -k, axis)) if k else ():
        values, indices = dask.compute(*found)
        assert_array_equal(indices, order)
        assert_array_equal(values, taken(x, order, axis))


class TestUnknownChunks:
    @pytest.fixture
    def unknown(self):
        x = dask_array(normal(30, 3), (4, 2))
        return x[x[:, 0] > 0]

    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_indices_count_what_is_there(self, unknown, axis):
        x = unknown.compute()
        result = softmax_topk(unknown, 3, axis)
        assert_topk(result, x, 3, axis)

    @pytest.mark.parametrize("result", [0, 1])
    def test_k_is_too_large_when_the_length_is_known(self, unknown, result):
        lazy = softmax_topk(unknown, 30, 0)[result]
        with pytest.raises(ValueError, match=r"softmax_topk: k is 30, but a slice has length \d+"):
            lazy.compute()
