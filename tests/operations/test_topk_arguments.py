"""Every bad argument of topk and softmax_topk gets an error, before anything computes."""

import dask.array as da
import numpy as np
import pytest

from dsoftmax import softmax_topk, topk

from .sorting import FUNCTIONS, dask_array


class TestArguments:
    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_k_out_of_range(self, function, kind, lazily):
        with pytest.raises(ValueError, match="k is 6, but a slice has length 5; use at most 5"):
            lazily(function, kind(np.ones((4, 5))), 6, 1)
        with pytest.raises(ValueError, match="k is 21, but a slice has length 20"):
            lazily(function, kind(np.ones((4, 5))), 21, None)

    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_negative_k(self, kind, lazily):
        with pytest.raises(
            ValueError, match="softmax_topk: k is -1; use an int from 0 .topk takes"
        ):
            lazily(softmax_topk, kind(np.ones(5)), -1)
        with pytest.raises(
            ValueError, match="topk: k is -6, but a slice has length 5; use -5 to 5"
        ):
            lazily(topk, kind(np.ones(5)), -6)

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_an_axis_that_is_left_out(self, function, kind, lazily):
        with pytest.raises(
            TypeError, match="axis is left out, and x has 2 dim.*axis=-1.*axis=None"
        ):
            lazily(function, kind(np.ones((4, 5))), 1)
        for x in (kind(np.ones(5)), 1.0):
            assert lazily(function, x, 1).values.shape == (1,)

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize(
        "k", [2.0, "3", None, True, (1,), np.array([1]), np.array(1.5), np.True_], ids=repr
    )
    def test_k_of_another_type(self, function, k):
        with pytest.raises(TypeError, match="topk: k is .*use an int"):
            function([1.0, 2.0], k)

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_axis(self, function):
        with pytest.raises(np.exceptions.AxisError, match="axis 2 is out of bounds"):
            function(np.ones((2, 3)), 1, 2)
        with pytest.raises(TypeError, match=r"axis is \(0, 1\); use one int, or None"):
            function(np.ones((2, 3)), 1, (0, 1))
        with pytest.raises(TypeError, match="axis is 1.0"):
            function(np.ones((2, 3)), 1, 1.0)

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("x", [["a"], np.ones(2, complex), np.array([None, 1])])
    def test_dtypes_without_an_order_or_an_exponential(self, function, x):
        with pytest.raises(TypeError, match="topk: x has dtype .*pass"):
            function(x, 1)

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_split_every(self, function):
        with pytest.raises(ValueError, match="topk: split_every is 1; .*at least 2"):
            function(da.ones(4, chunks=1), 1, split_every=1)
