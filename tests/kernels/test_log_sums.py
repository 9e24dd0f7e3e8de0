"""Log-sum-exps of many short slices, which have no states in memory."""

import numpy as np
import pytest

from dsoftmax import _kernels


def with_special(shape, axis, dtype, order):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    slices = np.moveaxis(x, axis, -1).reshape(-1, shape[axis])
    slices[0], slices[1] = -np.inf, np.nan
    slices[2, 0], slices[3, 0], slices[4, 1] = np.inf, -np.inf, np.nan
    slices[5] = 1000
    x = np.moveaxis(slices.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)
    return np.array(x, order=order)


def by_states(x, axes):
    return _kernels.log_sum(_kernels.of_block(x, axes)).astype(x.dtype)


LAYOUTS = [((50, 10), 1), ((3, 100), 0), ((70, 7, 13), 1), ((5, 3, 90), 1), ((9, 8, 7, 6), 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_they_have_the_bits_of_those_of_states(shape, axis, dtype, order):
    x = with_special(shape, axis, dtype, order)
    found = _kernels.logsumexp(x, (axis,))
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, by_states(x, (axis,)))
    assert np.isnan(found).sum() == 2


@pytest.mark.parametrize(
    "x", [np.ones((50, 10), "f2"), np.ones((50, 10), ">f4"), np.ones((2, 900))]
)
def test_others_are_of_states(x):
    found = _kernels.logsumexp(x, (1,))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, _kernels.log_sum(_kernels.of_block(x, (1,))))


def test_masked_entries_take_no_part():
    x = np.ma.masked_less(np.random.default_rng(0).normal(size=(50, 10)), 0)
    x[3] = np.ma.masked
    expected = by_states(x.filled(-np.inf), (1,))
    np.testing.assert_array_equal(_kernels.logsumexp(x, (1,)), expected)
    assert expected[3] == -np.inf
