"""The kernels that select the k best of a block, by the side of a full sort, and their merges."""

from functools import reduce

import array_api_strict
import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax import softmax_topk
from dsoftmax._algebra.normalizer import log_sum
from dsoftmax._kernels import topk as kernel
from dsoftmax._kernels.cpu import topk as topk_cpu

from ..compare import assert_allclose, assert_array_equal
from ..operations.sorting import INF, NAN, cases, expected_indices, normal, taken

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
        native = x.dtype.newbyteorder("=")
        for dtype, (values, indices) in (
            (native, kernel.of_block(x, axes, k, normalized=True)[:2]),
            (native, kernel.of_block(x, axes, k, normalized=False)[:2]),
            (native, topk_cpu.of_block(flat, place, k, normalized=True)[:2]),
            (x.dtype, kernel.select(flat, place, k)),
        ):
            assert_array_equal(indices, expected)
            assert_array_equal(values, np.take_along_axis(flat, expected, place))
            assert (indices.dtype, values.dtype) == (np.int64, dtype)

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
        assert values.dtype == x.dtype.newbyteorder("=")
        assert_array_equal(values.astype(float), taken(x, expected, axis).astype(float))
        assert_array_equal(normalizer.m, x.astype(float).max(axis=axis, keepdims=True))

    @pytest.mark.huge
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
