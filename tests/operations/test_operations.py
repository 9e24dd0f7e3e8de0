"""Operations as data: products, ordered monoids, several results, second maps; and wrong ones."""

from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest

import dsoftmax
from dsoftmax import logsumexp, operations, softmax
from dsoftmax.operations import (
    CROSS_ENTROPY,
    LOG_SOFTMAX,
    LOGSUMEXP,
    NORMALIZER,
    OPERATIONS,
    SIGNED_LOGSUMEXP,
    SOFTMAX,
    Monoid,
    Operation,
    Result,
    reduce,
    rescale,
)

from ..compare import assert_allclose, assert_array_equal

X = np.random.default_rng(0).normal(size=(6, 8)) * 5


def ends_of_block(block, axes):
    """The first and the last element of each slice along one axis."""
    (axis,) = axes
    return block.take([0], axis=axis), block.take([-1], axis=axis)


def joined_ends(*parts, axis):
    assert isinstance(axis, int)
    return parts[0][0], parts[-1][1]


def sum_of_block(block, axes):
    return np.sum(block, axis=axes, keepdims=True)


def added(*sums):
    return sum(sums[1:], sums[0])


def first(state):
    return state[0]


def difference(state):
    return state[1] - state[0]


def both_ends(state, axis):
    return np.concatenate(state, axis=axis)


ENDS = Monoid("ends", ends_of_block, joined_ends, slice_bytes=16, ordered=True)
SUM = Monoid("sum", sum_of_block, added, slice_bytes=8)


@pytest.fixture(params=[None, (6, 8), (2, 3), 1])
def x(request):
    return X if request.param is None else da.from_array(X, chunks=request.param)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_ordered_monoid_merges_in_order(x, axis, lazily):
    growth = Operation("growth", ENDS, (Result(difference),))
    result = lazily(reduce, growth, x, axis, split_every=2)
    assert_array_equal(result, X.take(-1, axis) - X.take(0, axis))


def test_a_product_with_an_ordered_monoid(x):
    operation = Operation(
        "both", SUM * ENDS, (Result(first, "both-sum"), Result(partial(_of_second, of=first)))
    )
    total, start = reduce(operation, x, 1, split_every=2)
    assert_allclose(total, X.sum(axis=1), rtol=1e-14)
    assert_array_equal(start, X[:, 0])


def _of_second(state, of):
    return of(state[1])


def test_a_product_of_three_reads_once(x):
    operation = Operation("three", NORMALIZER * SUM * SUM, (Result(_log_minus_sums),))
    assert_allclose(reduce(operation, x), logsumexp(X) - 2 * X.sum(), rtol=1e-13)
    if isinstance(x, da.Array):
        read = []

        def note(block):
            read.append(block)
            return block

        noted = x.map_blocks(note, dtype=x.dtype, meta=np.empty((0, 0)))
        reduce(operation, noted).compute()
        assert len(read) == x.npartitions


def _log_minus_sums(state):
    (normalizer, one), two = state
    return LOGSUMEXP.results[0].of_state(normalizer) - one - two


@pytest.mark.parametrize("axis", [0, 1])
def test_a_result_of_several_numbers(x, axis):
    ends = Result(partial(both_ends, axis=axis), length=2)
    result = reduce(Operation("ends", ENDS, (ends,)), x, axis)
    expected = X.take([0, -1], axis=axis)
    assert result.shape == expected.shape
    assert_array_equal(result, expected)


def centred(block, state):
    return block - state


def test_a_second_map_without_a_kernel_for_whole_slices(x):
    operation = Operation("minus_sum", SUM, rescale=centred)
    assert_allclose(rescale(operation, x, 1), X - X.sum(axis=1, keepdims=True), rtol=1e-13)


def test_those_of_the_package(x):
    assert_allclose(rescale(SOFTMAX, x, 0), softmax(X, axis=0), rtol=1e-14)
    assert_allclose(rescale(LOG_SOFTMAX, x), np.log(softmax(X)), rtol=1e-13)
    assert_allclose(reduce(LOGSUMEXP, x, 1, True), logsumexp(X, axis=1, keepdims=True))
    for actual, expected in zip(
        dask.compute(*reduce(SIGNED_LOGSUMEXP, x)), logsumexp(X, return_sign=True), strict=True
    ):
        assert_allclose(actual, expected, rtol=1e-14)


def test_all_of_the_package_are_listed_once():
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert set(names) <= set(dsoftmax.__all__)
    defined = {one.name for one in vars(operations).values() if isinstance(one, Operation)}
    assert defined <= set(names), "OPERATIONS lacks one"


def test_operations_that_do_not_do_what_is_asked():
    with pytest.raises(ValueError, match="reduce: the operation softmax has no results; use resc"):
        reduce(SOFTMAX, X)
    with pytest.raises(ValueError, match="rescale: the operation logsumexp has no second map; use"):
        rescale(LOGSUMEXP, X)
    with pytest.raises(ValueError, match="cross_entropy takes 2 arrays; call dsoftmax.cross_e"):
        reduce(CROSS_ENTROPY, X)
    with pytest.raises(TypeError, match="softmax: x has dtype complex128"):
        rescale(SOFTMAX, X * 1j)
    with pytest.raises(np.exceptions.AxisError, match="logsumexp: axis 2 is out of bounds"):
        reduce(LOGSUMEXP, X, 2)
