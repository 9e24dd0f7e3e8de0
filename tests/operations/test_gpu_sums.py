"""Masks, moments and sums of values on a real device, as test_gpu.py: ``pytest -m gpu``."""

import math

import numpy as np
import pytest

from dsoftmax._algebra.states import mapped
from dsoftmax._kernels.cuda import block as gpu

from ..blocks import DEVICE, ON_DEVICE, cupy, every_axes
from ..kernels.sums_like_portable import (
    assert_masked,
    assert_moments,
    assert_sums,
    block,
    mask,
    some_values,
    spoilt,
)

pytestmark = list(ON_DEVICE)


class OnDevice:
    """The kernels with NumPy's arrays: there, and back again."""

    def __getattr__(self, name):
        def there(a):
            if isinstance(a, tuple) and a and isinstance(a[0], np.ndarray):
                return tuple(map(cupy.asarray, a))
            return cupy.asarray(a) if isinstance(a, np.ndarray) else a

        def call(*args, **kwargs):
            kwargs = {key: there(a) for key, a in kwargs.items()}
            return mapped(cupy.asnumpy, getattr(gpu, name)(*map(there, args), **kwargs))

        return call


@pytest.mark.parametrize("dtype", DEVICE.dtypes)
@pytest.mark.parametrize("shape", [(7,), (300, 10), (4, 20, 60), (300_001,), (9000, 33)], ids=str)
def test_shapes_axes_and_dtypes(shape, dtype):
    where, values = mask(shape), (some_values(shape, "float32"),)
    x = spoilt(block(shape, dtype), where)
    for axes in every_axes(len(shape)):
        assert_masked(OnDevice(), x, axes, where)
        assert_moments(OnDevice(), x, axes, where)
        assert_sums(OnDevice(), x, axes, values, where)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(50_000,), (3, 5000), (5000, 3)], ids=str)
def test_special_values_at_any_place(shape, value, dtype):
    n = math.prod(shape)
    for position in (0, 1, 4095, n // 2, n - 1):
        x, where = np.zeros(shape, dtype), np.ones(shape, bool)
        x.flat[position] = value
        where.flat[position] = position % 2
        for axes in every_axes(x.ndim):
            assert_masked(OnDevice(), x, axes, where)
            assert_moments(OnDevice(), x, axes, where)
            assert_sums(OnDevice(), x, axes, (some_values(shape),), where)


def test_masks_that_are_broadcast_and_reversed():
    x = block((40, 60), "float32")
    for where in (mask((40, 1)), mask((1, 60)), mask((40, 60))[::-1, ::-1]):
        where = np.broadcast_to(where, x.shape)
        found = gpu.softmax(cupy.asarray(x), (1,), cupy.broadcast_to(cupy.asarray(where), x.shape))
        assert (cupy.asnumpy(found)[~where] == 0).all()
        assert_masked(OnDevice(), x, (1,), where)
