"""What softmax_topk and topk give: a stable sort of every slice is the oracle.

Runs in both modes of dask.array, all but `TestPlan` and unknown chunks; see the last test.
"""

import math
import os
import subprocess
import sys
from collections import Counter
from functools import reduce

import array_api_strict
import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

import dsoftmax
from dsoftmax import log_softmax, softmax, softmax_topk, topk
from dsoftmax._algebra.normalizer import log_sum
from dsoftmax._kernels import topk as kernel
from dsoftmax._kernels.cpu import topk as topk_cpu

from .compare import assert_allclose, assert_array_equal
from .strategies import chunkings, floats
from .test_graph import lazy_source, merges, tasks

INF, NAN = np.inf, np.nan
FUNCTIONS = (softmax_topk, topk)
DTYPES = ("float16", "bfloat16", "float32", "float64", "longdouble")
DTYPES += ("bool", "int8", "uint8", "int64", "uint64")


def best_first(row, k):
    """The order as it is documented: NaN, then descending, ties by ascending index."""

    def rank(i):
        return (0, 0, i) if row[i] != row[i] else (1, -row[i], i)

    return sorted(range(len(row)), key=rank)[:k]


def expected_indices(x, k, axis):
    if axis is None:
        x, axis = x.ravel(), 0
    found = np.apply_along_axis(lambda row: best_first(row.tolist(), k), axis, x)
    return found.astype(np.int64)


def taken(y, indices, axis):
    """Of an array of the shape of x, what is at the indices."""
    if axis is None:
        return y.ravel()[indices]
    return np.take_along_axis(y, indices, axis)


def assert_topk(result, x, k, axis, rtol=1e-14):
    """The probabilities and indices of the k best of a float64 array."""
    values, indices = dask.compute(*result)
    expected = expected_indices(x, k, axis)
    with np.errstate(all="ignore"):
        probabilities = special.softmax(x, axis=axis)
    assert_array_equal(indices, expected)
    assert_allclose(values, taken(probabilities, expected, axis), rtol=rtol, atol=5e-324)
    assert (values.shape, indices.shape) == (expected.shape, expected.shape)
    assert (values.dtype, indices.dtype) == (np.float64, np.int64)


def dask_array(x, chunks):
    return da.from_array(x, chunks=chunks)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape) * 5


@st.composite
def cases(draw, max_dims=3):
    """(array, chunks, axis or None, k): often with ties, sometimes with NaN and infinities."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=max_dims, max_side=5))
    few = st.sampled_from([0.0, -0.0, 1.0, -3.0, INF, -INF, NAN])
    elements = draw(st.sampled_from([floats(), floats(special=False), few, st.just(2.5)]))
    x = draw(hnp.arrays(np.float64, shape, elements=elements))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    length = x.size if axis is None else x.shape[axis]
    return x, draw(chunkings(shape)), axis, draw(st.integers(0, length))


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


@pytest.mark.parametrize("dtype", [*DTYPES, "int32", "uint16"])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_smallest_of_every_dtype(dtype, axis):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = (np.random.default_rng(2).normal(size=(90, 110)) * 50).astype("f4")
    x = np.abs(x).astype(dtype) if dtype.kind in "bu" else x.astype(dtype)
    if dtype.kind in "iu":
        x[3, 5], x[5, 3] = np.iinfo(dtype).min, np.iinfo(dtype).max
    order = np.argsort(x, axis=axis, stable=True).take(range(7), axis=axis)
    for found in (topk(x, -7, axis), topk(dask_array(x, 40), -7, axis)):
        values, indices = dask.compute(*found)
        assert values.dtype == dtype
        assert_array_equal(indices, order)
        assert_array_equal(values, np.take_along_axis(x, order, axis))


@pytest.mark.parametrize("special", [INF, -INF, NAN])
def test_the_smallest_beside_special_values(special):
    x = normal(70, 80)
    x[::3, ::7] = special
    x[5] = special
    order = np.argsort(x, axis=1, stable=True)
    for k in (1, 66, 80):
        for found in (topk(x, -k, 1), topk(dask_array(x, (20, 30)), -k, 1)):
            assert_array_equal(found.indices, order[:, :k])


@pytest.mark.parametrize(
    "x",
    [normal(40), np.arange(40.0) % 7, np.zeros(40), np.where(normal(40) > 0, -INF, normal(40))],
    ids=["random", "tied", "constant", "minus infinity"],
)
@pytest.mark.parametrize("chunks", [40, 7, 1])
def test_equals_a_stable_argsort_of_the_softmax(x, chunks):
    probabilities = special.softmax(x)
    order = np.argsort(-probabilities, kind="stable")
    for k in (1, 5, 39, 40):
        values, indices = dask.compute(*softmax_topk(dask_array(x, chunks), k))
        assert_array_equal(indices, order[:k])
        assert_allclose(values, probabilities[order[:k]], rtol=1e-14)


@pytest.mark.parametrize("split_every", [2, 3, 16])
def test_ties_that_straddle_chunks(split_every):
    x = np.tile([1.0, 2.0, 2.0, 0.0], 25)
    indices = softmax_topk(dask_array(x, 3), 60, split_every=split_every).indices
    twos = np.flatnonzero(x == 2)
    assert_array_equal(indices, [*twos, *np.flatnonzero(x == 1)[:10]])


@pytest.mark.parametrize("chunks", [(6, 8), (2, 3), (1, 8), (6, 1), ((1, 0, 5), (4, 0, 4))])
def test_ties_of_a_flattened_array_are_in_c_order(chunks):
    x = np.random.default_rng(0).integers(0, 3, (6, 8)).astype(float)
    assert_topk(softmax_topk(dask_array(x, chunks), 30, None), x, 30, None)


def test_flattened_blocks_in_three_dimensions():
    x = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(float)
    result = softmax_topk(dask_array(x, ((2, 3), (1, 4, 1), (3, 3, 1))), 100, None, split_every=2)
    assert_topk(result, x, 100, None)


def test_unequal_elements_of_equal_probability_are_in_the_order_of_the_elements():
    values, indices = dask.compute(*softmax_topk(dask_array([-INF, -900.0, 0.0, -800.0], 2), 4))
    assert_array_equal(indices, [2, 3, 1, 0])
    assert_array_equal(values, [1, 0, 0, 0])


@pytest.mark.parametrize("chunks", [1, 2, 5])
class TestSpecialValues:
    def test_nan_comes_first_and_makes_its_own_slice_nan(self, chunks):
        x = np.array([[1.0, NAN, INF, NAN, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
        values, indices = dask.compute(*softmax_topk(dask_array(x, (1, chunks)), 3, axis=-1))
        assert_array_equal(indices, [[1, 3, 2], [4, 3, 2]])
        assert_array_equal(np.isnan(values), [[True] * 3, [False] * 3])

    def test_minus_infinity_has_probability_0_and_comes_last(self, chunks):
        x = np.array([-INF, 1.0, -INF, 2.0, -1e300])
        values, indices = dask.compute(*softmax_topk(dask_array(x, chunks), 5))
        assert_array_equal(indices, [3, 1, 4, 0, 2])
        assert_array_equal(values[2:], [0, 0, 0])

    @pytest.mark.parametrize("x", [[-INF] * 5, [0, INF, -INF, INF, 1]])
    def test_slices_without_a_softmax_are_nan(self, x, chunks):
        values, indices = dask.compute(*softmax_topk(dask_array(x, chunks), 5))
        assert np.isnan(values).all()
        assert_array_equal(indices, best_first(x, 5))

    def test_zeros_of_both_signs_are_equal(self, chunks):
        x = np.array([-0.0, 0.0, -0.0, 0.0, -0.0])
        assert_array_equal(softmax_topk(dask_array(x, chunks), 5).indices, np.arange(5))


class TestLogProbabilities:
    def test_are_those_of_log_softmax(self):
        x = normal(30, 4)
        result = softmax_topk(dask_array(x, (7, 2)), 9, 0, return_log=True)
        values, indices, log_values = dask.compute(*result)
        assert_allclose(log_values, taken(log_softmax(x, 0), indices, 0), rtol=1e-14)
        assert_allclose(np.exp(log_values), values, rtol=1e-13)

    def test_do_not_underflow(self):
        values, _, log_values = softmax_topk([0.0, -2000.0], 2, return_log=True)
        assert_array_equal(values, [1, 0])
        assert_array_equal(log_values, [0, -2000])

    def test_are_fields_of_the_result(self):
        result = softmax_topk([1.0, 2.0], 1, return_log=True)
        assert result._fields == ("values", "indices", "log_values")
        assert softmax_topk([1.0, 2.0], 1)._fields == topk([1.0], 1)._fields == result._fields[:2]


class TestDtypes:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_probabilities_are_those_of_softmax(self, dtype):
        x = np.random.default_rng(1).integers(0, 50, (3, 40)).astype(dtype)
        values, indices = dask.compute(*softmax_topk(dask_array(x, (2, 7)), 5, axis=-1))
        assert_array_equal(indices, expected_indices(x, 5, 1))
        probabilities = softmax(x, axis=1)
        assert values.dtype == probabilities.dtype
        assert_allclose(
            values.astype(float), taken(probabilities, indices, 1).astype(float), rtol=1e-6
        )

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_topk_keeps_the_elements_as_they_are(self, dtype):
        x = np.random.default_rng(1).integers(0, 50, (3, 40)).astype(dtype)
        result = topk(dask_array(x, (2, 7)), 5, axis=-1)
        assert result.values.dtype == x.dtype
        values, indices = dask.compute(*result)
        assert values.dtype == x.dtype
        assert_array_equal(values, taken(x, expected_indices(x, 5, 1), 1))
        assert_array_equal(indices, expected_indices(x, 5, 1))

    def test_bfloat16_is_not_widened(self):
        assert softmax_topk(np.ones(3, ml_dtypes.bfloat16), 2).values.dtype == ml_dtypes.bfloat16

    def test_large_integers_are_compared_exactly(self):
        x = np.array([2**62, 2**62 + 1, 2**62 + 2, -(2**63)])
        assert_array_equal(
            topk(dask_array(x, 2), 4).values, [2**62 + 2, 2**62 + 1, 2**62, -(2**63)]
        )
        assert_array_equal(softmax_topk(dask_array(x, 2), 4).indices, [2, 1, 0, 3])


class TestLengths:
    @pytest.mark.parametrize("k", [0, 1, 3, 8, 29, 30])
    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_k_larger_than_a_chunk(self, k, axis):
        x = normal(30, 30)
        assert_topk(softmax_topk(dask_array(x, 4), k, axis), x, k, axis)

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_k_of_0_gives_empty_arrays(self, function, kind):
        for shape, axis, expected in (((4, 5), 1, (4, 0)), ((4, 5), None, (0,)), ((0,), 0, (0,))):
            values, indices = function(kind(np.ones(shape)), 0, axis)
            assert values.shape == indices.shape == expected
            values, indices = dask.compute(values, indices)
            assert values.shape == indices.shape == expected
            assert (values.dtype, indices.dtype) == (np.float64, np.int64)

    def test_no_slices(self):
        x = np.ones((0, 5))
        values, indices = dask.compute(*softmax_topk(dask_array(x, (1, 2)), 2, axis=-1))
        assert values.shape == indices.shape == (0, 2)

    @pytest.mark.parametrize("axis", [-1, 0, None])
    def test_scalars_are_arrays_of_one_element(self, axis):
        for x in (3.0, da.from_array(np.array(3.0))):
            values, indices = dask.compute(*softmax_topk(x, 1, axis))
            assert (values.tolist(), indices.tolist()) == ([1.0], [0])

    def test_the_types_of_results_are_public(self):
        assert type(topk([3, 4], 1)) is type(softmax_topk([3, 4], 1)) is dsoftmax.TopK
        assert type(softmax_topk([3, 4], 1, return_log=True)) is dsoftmax.TopKWithLog

    def test_numpy_integers_and_lists(self):
        assert softmax_topk([3, 4], np.int8(1)).indices.tolist() == [1]


class TestArguments:
    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_k_out_of_range(self, function, kind, lazily):
        with pytest.raises(ValueError, match="k is 6, but there are only 5 elements.*at most"):
            lazily(function, kind(np.ones((4, 5))), 6, 1)
        with pytest.raises(ValueError, match="k is 21, but there are only 20"):
            lazily(function, kind(np.ones((4, 5))), 21, None)

    @pytest.mark.parametrize("kind", [np.asarray, lambda x: dask_array(x, 2)])
    def test_negative_k(self, kind, lazily):
        with pytest.raises(
            ValueError, match="softmax_topk: k is -1; use an int from 0 .topk takes"
        ):
            lazily(softmax_topk, kind(np.ones(5)), -1)
        with pytest.raises(ValueError, match="topk: k is -6, but there are only 5 elements"):
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
        with pytest.raises(ValueError, match=r"softmax_topk: k is 30, but there are only \d+ elem"):
            lazy.compute()


class TestMaskedArrays:
    @pytest.mark.parametrize("axis", [None, 0, 1])
    def test_the_kind_of_a_result_is_known_before(self, axis):
        x = da.from_array(np.ma.array(np.ones((4, 6)), mask=np.eye(4, 6)), chunks=(2, 3))
        for result in softmax_topk(x, 2, axis, return_log=True):
            assert type(result._meta) is type(result.compute()) is np.ndarray

    def test_masked_entries_count_as_minus_infinity(self):
        x = np.ma.array([5, 9, 7, 8], mask=[0, 1, 0, 0])
        for one in (x, dask_array(x, 2)):
            values, indices = dask.compute(*softmax_topk(one, 4))
            assert_array_equal(indices, [3, 2, 0, 1])
            assert_allclose(values, special.softmax([8, 7, 5, -INF]), rtol=1e-14)
            assert not isinstance(values, np.ma.MaskedArray)

    def test_topk_asks_what_comes_last(self):
        x = np.ma.array([5, 9], mask=[0, 1])
        for one in (x, dask_array(x, 1)):
            with pytest.raises(TypeError, match="topk: x is masked; fill it"):
                topk(one, 1)


def test_the_input_is_not_modified():
    x = normal(20, 20)
    before = x.copy()
    x.flags.writeable = False
    for axis in (0, 1, None):
        softmax_topk(x, 5, axis)
        dask.compute(softmax_topk(dask_array(x, 6), 5, axis))
    assert_array_equal(x, before)


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
}
DATA = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "tied": lambda rng, shape: rng.integers(0, 40, shape),
    "constant": lambda rng, shape: np.ones(shape),
    "ascending": lambda rng, shape: np.broadcast_to(np.arange(shape[1]), shape),
    "descending": lambda rng, shape: np.broadcast_to(-np.arange(shape[1]), shape),
    "few NaN": lambda rng, shape: np.where(rng.random(shape) < 1e-3, NAN, 1.0),
    "minus infinity": lambda rng, shape: np.where(rng.random(shape) < 0.9, -INF, 1.0),
    "infinity": lambda rng, shape: np.where(rng.random(shape) < 1e-3, INF, -INF),
    "all NaN": lambda rng, shape: np.full(shape, NAN),
}


class TestBlocks:
    """The kernels of a block, by the side of a full sort."""

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("data", DATA)
    @pytest.mark.parametrize(("axis", "k"), [(1, 5), (1, 300), (0, 3), (None, 40)])
    def test_equal_a_stable_sort(self, data, layout, dtype, axis, k):
        x = DATA[data](np.random.default_rng(2), (3, 5003)).astype(dtype)
        x = LAYOUTS[layout](x)
        self.check(x, axis, k)

    @pytest.mark.parametrize("data", DATA)
    @pytest.mark.parametrize("k", [1, 2, 33, 700])
    def test_along_a_long_first_or_middle_axis(self, data, k):
        x = DATA[data](np.random.default_rng(3), (37, 2100)).astype("float32").T
        self.check(np.ascontiguousarray(x), 0, k)
        self.check(np.ascontiguousarray(x.reshape(3, 700, 37)), 1, k)

    def check(self, x, axis, k):
        flat, place = (x.reshape(-1), 0) if axis is None else (x, axis)
        axes = tuple(range(x.ndim)) if axis is None else (axis,)
        key = np.where(np.isnan(flat), -INF, -flat.astype(float))
        order = np.argsort(key, axis=place, kind="stable")
        nan = np.take_along_axis(np.isnan(flat), order, place)
        nan_first = np.argsort(~nan, axis=place, kind="stable")
        expected = np.take_along_axis(order, nan_first, place).take(range(k), place)
        for values, indices in (
            kernel.of_block(x, axes, k, normalized=True)[:2],
            kernel.of_block(x, axes, k, normalized=False)[:2],
            topk_cpu.of_block(flat, place, k, normalized=True)[:2],
            kernel.select(flat, place, k),
        ):
            assert_array_equal(indices, expected)
            assert_array_equal(values, np.take_along_axis(flat, expected, place))
            assert (indices.dtype, values.dtype) == (np.int64, x.dtype)

    @pytest.mark.parametrize(("dtype", "precision"), [("float32", 2e-8), ("float64", 1e-15)])
    @pytest.mark.parametrize("data", DATA)
    def test_rows_longer_than_the_cache(self, data, dtype, precision):
        x = DATA[data](np.random.default_rng(6), (2, 150_001)).astype(dtype)
        self.check(x, 1, 7)
        self.check(x, None, 3000)
        normalizer = kernel.of_block(x, (1,), 7, normalized=True).normalizer
        with np.errstate(all="ignore"):
            expected = special.logsumexp(x.astype(float), axis=1, keepdims=True)
        assert_allclose(log_sum(normalizer), expected, rtol=1e-15, atol=precision)
        assert_array_equal(normalizer.m, x.max(axis=1, keepdims=True))

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(cases(), st.sampled_from(["float64", "float32", "float16", ">f4", "bfloat16"]))
    def test_small_blocks(self, case, dtype):
        x, _, axis, k = case
        axis = (axis or 0) % x.ndim
        k = max(1, min(k, x.shape[axis]))
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        values, indices, normalizer = topk_cpu.of_block(x, axis, k, normalized=True)
        expected = expected_indices(x, k, axis)
        assert_array_equal(indices, expected)
        assert values.dtype == x.dtype
        assert_array_equal(values.astype(float), taken(x, expected, axis).astype(float))
        assert_array_equal(normalizer.m, x.astype(float).max(axis=axis, keepdims=True))

    def test_more_than_two_to_the_31_elements(self):
        x = np.zeros(2**31 + 16, np.int8)  # in memory only where it is written to
        x[-1] = 21
        result = softmax_topk(x, 2)
        assert_array_equal(result.indices, [2**31 + 15, 0])
        assert_allclose(result.values[0], 1 / (1 + (2**31 + 15) * np.exp(-21.0)), rtol=1e-15)

    @pytest.mark.parametrize("k", [0, 1, 4, 60, 1000])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_any_array_library(self, k, axis):
        x = np.random.default_rng(4).integers(0, 99, (1000, 1000)).astype("float32")
        x[x == 3] = NAN
        values, indices = kernel.select(array_api_strict.asarray(x), axis, k)
        expected = kernel.of_block(x, (axis,), k, normalized=False)
        assert type(values) is type(indices) is array_api_strict.asarray(x).__class__
        assert_array_equal(np.from_dlpack(indices), expected.indices)
        assert_array_equal(np.from_dlpack(values), expected.values)

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float64"])
    def test_any_dtype_of_any_array_library(self, dtype):
        x = array_api_strict.asarray(np.arange(60).reshape(3, 20) % 7).__array_namespace__()
        x = x.astype(x.reshape(x.arange(60) % 7, (3, 20)), getattr(x, dtype))
        values, indices = softmax_topk(x, 3, axis=-1)
        expected = softmax_topk(np.from_dlpack(x), 3, axis=-1)
        assert type(values) is type(indices) is type(x)
        assert_array_equal(np.from_dlpack(indices), expected.indices)
        assert_allclose(np.from_dlpack(values), expected.values, rtol=1e-14)


class TestMerge:
    FEW = st.sampled_from([0.0, 1.0, 2.0, INF, -INF, NAN])
    GROUPS = st.lists(st.lists(st.lists(FEW, max_size=3), min_size=1, max_size=3), min_size=1)

    @settings(deadline=None, max_examples=80, derandomize=True)
    @given(GROUPS, st.integers(0, 5))
    def test_any_grouping_of_the_parts_gives_the_whole(self, groups, k):
        def of(values):
            return kernel.of_block(np.array(values, dtype=float), (0,), k, normalized=True)

        def merged(parts):
            return kernel.merge(*parts, axis=0, axes=(0,), k=k)

        parts = [part for group in groups for part in group]
        whole = of([value for part in parts for value in part])
        by_group = merged([merged(map(of, group)) for group in groups])
        one_by_one = reduce(lambda a, b: merged([a, b]), map(of, parts))
        for top in (by_group, one_by_one, merged(map(of, parts))):
            assert_array_equal(top.indices, whole.indices)
            assert_array_equal(top.values, whole.values)
            assert top.lengths == whole.lengths
            assert_allclose(top.normalizer.d, whole.normalizer.d, rtol=1e-15)

    def test_no_part_holds_more_than_k(self):
        parts = [kernel.of_block(normal(50), (0,), 4, normalized=True) for _ in range(3)]
        merged = reduce(lambda a, b: kernel.merge(a, b, axis=0, axes=(0,), k=4), parts)
        assert [len(top.values) for top in (*parts, merged)] == [4, 4, 4, 4]


class TestPlan:
    @pytest.mark.parametrize("special", [INF, NAN])
    def test_negative_k_as_in_dask(self, special):
        x = dask_array(np.where(np.arange(50) % 3, normal(50), special), 9)
        for k in (-1, -40):
            assert_array_equal(topk(x, k).values, da.topk(x, k))

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_nothing_computes_while_building(self, function, axis, lazily):
        x = da.random.default_rng(0).normal(size=(6, 6), chunks=(2, 6))
        result = lazily(function, x, 2, axis)
        assert all(isinstance(y, da.Array) for y in result)
        assert all(type(y._meta) is np.ndarray for y in result)

    @staticmethod
    def tasks_run(results):
        """How many tasks of each name run when all results are computed together."""
        names = Counter()

        class Recorder(dask.callbacks.Callback):
            def _posttask(self, key, value, *rest):
                names[key_split(key)] += 1

        with Recorder():
            dask.compute(*results)
        del names["finalize-hlgfinalizecompute"]
        return names

    @pytest.mark.parametrize("split_every", [2, 5, 16])
    def test_one_task_per_chunk_and_a_tree_of_bounded_fan_in(self, split_every):
        result = softmax_topk(lazy_source(125), 4, split_every=split_every)
        assert max(merges(tasks(*result))) == split_every
        names = self.tasks_run(result)
        assert sum(n for name, n in names.items() if "block" in name) == 125
        merged = 125 / (split_every - 1) + math.log(125, split_every)
        assert names.total() <= 125 + merged + 2
        assert_array_equal(result.indices, range(4))

    def test_names_on_the_dashboard(self):
        names = self.tasks_run(softmax_topk(lazy_source(40), 2, return_log=True, split_every=4))
        assert {name.removeprefix("softmax-topk-"): n for name, n in names.items()} == {
            "block": 40,
            "merge-partial": 13,
            "merge-aggregate": 1,
            "probabilities": 1,
            "indices": 1,
            "log-probabilities": 1,
        }

    def test_chunks_of_the_result(self):
        x = da.ones((8, 9), chunks=((3, 5), (2, 7)))
        assert softmax_topk(x, 4, axis=-1).indices.chunks == ((3, 5), (4,))
        assert softmax_topk(x, 4, 0).values.chunks == ((4,), (2, 7))
        assert softmax_topk(x, 4, None).values.chunks == ((4,),)

    def test_all_results_together_read_once(self):
        reads = []

        def read(block_info):
            reads.append(block_info[None]["chunk-location"])
            return np.arange(5.0)

        x = da.map_blocks(read, chunks=((5,) * 20,), dtype=float, meta=np.empty(0))
        dask.compute(*softmax_topk(x, 3, return_log=True))
        assert len(reads) == len(set(reads)) == 20

    @pytest.mark.parametrize("axis", [0, None])
    def test_a_chunk_gives_its_k_best_and_no_more(self, axis):
        sizes = []

        class Recorder(dask.callbacks.Callback):
            def _posttask(self, key, value, *rest):
                sizes.extend(a.size for a in getattr(value, "normalizer", ()))
                sizes.extend(a.size for a in value[:2] if isinstance(value, kernel.Top))

        x = da.random.default_rng(0).normal(size=(4000, 3), chunks=(1000, 3))
        with Recorder():
            dask.compute(*softmax_topk(x, 5, axis))
        assert len(sizes) >= 5 * 4
        assert max(sizes) <= 5 * 3

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_keys_are_deterministic(self, function):
        x, other = da.ones((4, 4), chunks=2), da.zeros((4, 4), chunks=2)
        one, two = function(x, 2, axis=0), function(x, np.int64(2), axis=-2)
        assert [y.name for y in one] == [y.name for y in two]
        assert set(one.values.dask) == set(two.values.dask)
        results = [
            one,
            function(x, 1, axis=0),
            function(x, 2, axis=-1),
            function(x, 2, None),
        ]
        results += [function(other, 2, axis=0), softmax_topk(x, 3, axis=0), topk(x, 3, axis=0)]
        assert len({y.name for result in results for y in result}) == 2 * len(results)

    def test_large_states_are_merged_few_at_a_time(self):
        x = da.ones((200, 64 * 1000), chunks=(200, 1000))
        assert max(merges(tasks(*softmax_topk(x, 2, axis=-1)))) == 16
        assert max(merges(tasks(*softmax_topk(x, 900, axis=-1)))) == 4
        with dask.config.set(split_every=7):
            assert max(merges(tasks(*softmax_topk(x, 900, axis=-1)))) == 7

    def test_other_schedulers(self):
        x = normal(50, 40)
        result = softmax_topk(dask_array(x, 9), 7, None)
        with dask.config.set(scheduler="threads"):
            assert_topk(result, x, 7, None)
        with dask.config.set(scheduler="processes", num_workers=2):
            assert_topk(result, x, 7, None)


def test_results_in_the_array_expression_mode():
    elsewhere = ("stable_sort", "Unknown", "Plan", "Blocks", "Arguments", "Merge", "mode")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0"]
    command += [__file__, "-k", " and ".join(f"not {name}" for name in elsewhere)]
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
