"""What softmax_topk and topk give: a stable sort of every slice is the oracle."""

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from scipy import special

import dsoftmax
from dsoftmax import log_softmax, softmax, softmax_topk, topk

from ..compare import assert_allclose, assert_array_equal
from .sorting import (
    DTYPES,
    FUNCTIONS,
    INF,
    NAN,
    assert_topk,
    best_first,
    dask_array,
    expected_indices,
    normal,
    taken,
)

pytestmark = pytest.mark.expressions


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


@pytest.mark.parametrize("k", [0, 2, -2])
@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">g", ">i4", ">u8"])
def test_results_have_the_byte_order_of_the_machine(k, dtype):
    x = np.array([3, 1, 2, 5] * 3).astype(dtype)
    native = x.dtype.newbyteorder("=")
    right = np.sort(x.astype(native))[:: -1 if k > 0 else 1][: abs(k)]
    for given in (x, *(da.from_array(x, chunks=n) for n in (12, 5))):
        values = dask.compute(topk(given, k, axis=0))[0].values
        np.testing.assert_array_equal(values, right, strict=True)
