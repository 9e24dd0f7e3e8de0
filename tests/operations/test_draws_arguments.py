"""What choice and gumbel_topk take, and the errors of what they do not."""

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest

from dsoftmax import choice, gumbel_topk

from ..blocks import JAX, LIBRARIES, over
from ..compare import assert_array_equal
from .test_draws import METHODS, X, drawn

INF, NAN = np.inf, np.nan
DTYPES = ("float16", "bfloat16", "float32", "longdouble", "bool", "int8", "uint64", ">f4")


@pytest.mark.parametrize("method", METHODS)
class TestKinds:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_dtypes(self, dtype, method):
        dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
        x = np.random.default_rng(1).integers(0, 5, (8, 90)).astype(dtype)
        for axis in (None, 1):
            expected = drawn(x.astype(float), 9, axis, method, rng=1)
            assert_array_equal(drawn(x, 9, axis, method, rng=1), expected)
            lazy = drawn(da.from_array(x, chunks=(5, 40)), 9, axis, method, rng=1)
            assert_array_equal(lazy, expected)

    def test_layouts(self, method):
        expected = drawn(X, 9, 1, method, rng=1)
        for x in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[:, ::-1].copy()[:, ::-1]):
            assert_array_equal(drawn(x, 9, 1, method, rng=1), expected)

    def test_vectors_that_are_not_contiguous(self, method):
        x = np.tile(X.ravel(), 2)
        reverse = x[::-1].copy()[::-1]
        expected = drawn(x, 99, method=method, rng=1)
        for same in (np.repeat(x, 3)[::3], reverse):
            assert_array_equal(drawn(same, 99, method=method, rng=1), expected)
        alike = np.broadcast_to(np.float32(1), 9000)
        expected = drawn(alike.copy(), 99, method=method, rng=1)
        assert_array_equal(drawn(alike, 99, method=method, rng=1), expected)

    def test_masked_entries_are_not_drawn(self, method):
        mask = np.random.default_rng(2).random(X.shape) < 0.5
        masked = np.ma.array(np.where(mask, NAN, X), mask=mask)
        expected = drawn(X, 9, 1, method, where=~mask, rng=1)
        assert_array_equal(drawn(masked, 9, 1, method, rng=1), expected)
        lazy = drawn(da.from_array(masked, chunks=(20, 30)), 9, 1, method, rng=1)
        assert_array_equal(lazy, expected)

    def test_masks_broadcast(self, method):
        row = np.arange(70) % 3 > 0
        where = np.broadcast_to(row, X.shape)
        expected = drawn(X, 9, 1, method, where=where, rng=1)
        assert row[expected].all()
        x = da.from_array(X, chunks=(20, 30))
        for mask in (row, da.from_array(row, chunks=11), da.from_array(row[None], chunks=(1, 40))):
            assert_array_equal(drawn(x, 9, 1, method, where=mask, rng=1), expected)
            if isinstance(mask, np.ndarray):
                assert_array_equal(drawn(X, 9, 1, method, where=mask, rng=1), expected)
        wide = drawn(np.zeros(3), 2, 1, method, where=np.ones((5, 1), bool), rng=1)
        assert_array_equal(wide, drawn(np.zeros((5, 3)), 2, 1, method, rng=1))

    def test_lists_and_scalars(self, method):
        assert drawn([0, -INF, -INF], 1, method=method).tolist() == [0]
        for x in (3.0, da.from_array(np.array(3.0))):
            for axis in (None, 0, -1):
                assert np.asarray(drawn(x, 1, axis, method)).tolist() == [0]

    def test_no_draws_and_no_slices(self, method):
        for x in (X, da.from_array(X, chunks=40)):
            assert drawn(x, 0, method=method).shape == (0,)
            assert np.asarray(drawn(x, 0, 1, method)).shape == (60, 0)
        assert drawn([], 0, method=method).shape == (0,)
        for x in (np.zeros((0, 5)), da.zeros((0, 5), chunks=(1, 2)), da.zeros((0, 5), chunks=5)):
            assert np.asarray(drawn(x, 3, 1, method)).shape == (0, 3)

    def test_far_from_0(self, method):
        for shift in (1e9, -1e9):
            x = np.array([0.0, 0.0, 800.0, -800.0, 800.0]) + shift
            found = drawn(x, 2, method=method, rng=3)
            assert set(found.tolist()) <= {2, 4}


@over(kinds=LIBRARIES)
def test_keys_of_other_array_libraries(block):
    x = X[:5, :9]
    for found, expected in zip(block.run(_keys, x), _keys(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@over(kinds=[kind for kind in LIBRARIES if kind is not JAX])  # which would compile for ten seconds
def test_draws_of_other_array_libraries(block):
    x = X[:5, :9]
    assert_array_equal(block.run(_stratified, x), _stratified(x))


def _stratified(x):
    return choice(x, 4, 1, method="stratified", rng=1)


def _keys(x):
    return tuple(gumbel_topk(x, 9, rng=1))


class TestErrors:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        ("row", "error"),
        [
            (
                [0, NAN],
                "choice: x holds NaN, which has no probability; leave it out with where=~is",
            ),
            ([0, INF], "choice: x holds \\+inf, and a slice with it is no distribution; leave it"),
            ([-INF] * 2, "choice: no element of a slice has a positive probability: all are -inf"),
        ],
    )
    def test_slices_that_are_no_distributions(self, method, row, error):
        with pytest.raises(ValueError, match=error):
            drawn(row, 1, method=method)
        x = np.array([[0.0] * 2, row] * 3)
        for chunks in (6, 1, (6, 1), (2, 2)):
            lazy = drawn(da.from_array(x, chunks=chunks), 2, 1, method)
            with pytest.raises(ValueError, match=error):
                lazy.compute()

    def test_more_draws_than_elements(self):
        x = da.from_array([0.0, 1.0, -INF, 2.0], chunks=3)
        error = "choice: size is 5, but a slice has length 4; use at most 4, or draw with"
        with pytest.raises(ValueError, match=error):
            choice(x, 5, replace=False)
        lazy = choice(x, 4, replace=False)
        error = "choice: size is 4, but a slice has only 3 elements of positive probability; use"
        with pytest.raises(ValueError, match=error):
            lazy.compute()
        lazy = gumbel_topk(x, 3, where=da.from_array([True, True, True, False], chunks=3))
        for result in lazy:
            with pytest.raises(ValueError, match="gumbel_topk: k is 3, but a slice has only 2 el"):
                result.compute()
        assert sorted(choice(x, 3, replace=False).compute()) == [0, 1, 3]

    def test_unknown_lengths(self):
        x = da.from_array(X, chunks=40)
        unknown = x[x[:, 0] > 0]
        for function in (choice, gumbel_topk):
            error = f"{function.__name__}: the chunk sizes of x are unknown, and so are the indi"
            with pytest.raises(ValueError, match=f"{error}.*call x.compute_chunk_sizes"):
                function(unknown, 2)
        with pytest.raises(ValueError, match="choice: the chunk sizes of where are unknown"):
            choice(x[:1, :1], 2, where=unknown > 0)
        assert choice(unknown.compute_chunk_sizes(), 2).compute().shape == (2,)

    @pytest.mark.parametrize("method", METHODS)
    def test_blocks_of_other_lengths_than_announced(self, method):
        x = da.from_array(X, chunks=(20, 30)).map_blocks(lambda block: block[:-1])
        lazy = drawn(x, 2, method=method)
        error = r"choice: a block of x has shape \(19, \d0\), and its Dask array says \(20, \d0\)"
        with pytest.raises(ValueError, match=error):
            lazy.compute()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"size": -1}, ValueError, "choice: size is -1; use an int from 0"),
            ({"size": 2.0}, TypeError, "choice: size is 2.0; use an int"),
            ({"size": True}, TypeError, "choice: size is True; use an int"),
            ({"size": (2, 3)}, TypeError, r"choice: size is \(2, 3\); use an int"),
            ({"axis": (0, 1)}, TypeError, r"choice: axis is \(0, 1\); use one int, or None"),
            ({"axis": 2}, np.exceptions.AxisError, "choice: axis 2 is out of bounds"),
            ({"axis": "rows"}, TypeError, "choice: axis is 'rows'"),
            ({"replace": 1}, TypeError, "choice: replace is 1; use True or False"),
            ({"method": "residual"}, ValueError, "choice: method is 'residual'; use \"multinom"),
            (
                {"method": "systematic", "replace": False},
                ValueError,
                "choice: method is 'systematic', a way to draw with replacement, and replace is",
            ),
            (
                {"method": "stratified", "size": 2**31},
                ValueError,
                'choice: size is 2147483648; use less than 2147483648, or method="multinomial"',
            ),
            ({"where": [1, 0]}, TypeError, "choice: where has dtype int64; pass a mask of bool"),
            ({"rng": -1}, ValueError, "choice: rng is -1; use None, an int from 0, or a SeedSe"),
            ({"rng": "seed"}, TypeError, "choice: rng is 'seed'; use None, an int from 0"),
            ({"rng": 1.5}, TypeError, "choice: rng is 1.5; use None, an int from 0"),
        ],
    )
    def test_arguments(self, options, error, message, lazily):
        for x in (X, da.from_array(X, chunks=40)):
            with pytest.raises(error, match=message):
                lazily(choice, x, **({"size": 2} | options))

    def test_empty_slices(self):
        for x in (np.zeros((5, 0)), da.zeros((5, 0), chunks=2)):
            with pytest.raises(ValueError, match=r"choice: x has shape \(5, 0\), empty along axis"):
                choice(x, 2, 1)
            with pytest.raises(ValueError, match="choice: size is 2, but a slice has length 0"):
                choice(x, 2, 1, replace=False)

    def test_k_of_gumbel_topk(self):
        with pytest.raises(ValueError, match="gumbel_topk: k is -1; use an int from 0"):
            gumbel_topk(X, -1)
        with pytest.raises(TypeError, match="gumbel_topk: x has dtype complex128"):
            gumbel_topk(X * 1j, 1)
        with pytest.raises(ValueError, match="gumbel_topk: split_every is 1"):
            gumbel_topk(da.from_array(X, chunks=40), 1, split_every=1)


def test_the_input_is_not_modified():
    x = X.copy()
    x.flags.writeable = False
    for method in METHODS:
        dask.compute(drawn(da.from_array(x, chunks=(20, 30)), 3, method=method))
        drawn(x, 3, 1, method)
    assert_array_equal(x, X)
