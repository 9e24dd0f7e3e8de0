"""Values that are not finite, in every kind of kernel: they count as in a plain sum of products."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._algebra import sums

INF = np.inf
# Values and where they are, as parts of the length.
VALUES = {
    "inf": {0.3: INF},
    "first": {0.0: -INF},
    "last": {1.0: INF},
    "some": {0.2: INF, 0.3: INF, 0.9: INF},
    "both signs": {0.1: INF, 0.8: -INF},
    "NaN": {0.5: np.nan},
    "large and inf": {0.2: 1e300, 0.3: INF},
}
# One slice, slices along memory and across it, a table of few columns; in one tile and in several.
SHAPES = [((50,), 0), ((9000,), 0), ((3, 3000), 1), ((300, 40), 0), ((5000, 3), 0), ((5, 4, 70), 1)]


def plain(x, v, where, axis):
    """The sum of products, with exponentials relative to the maximum."""
    x = np.where(where, x.astype("f8"), -INF)
    with np.errstate(all="ignore"):
        products = np.where(where, np.exp(x - x.max(axis, keepdims=True)) * v, 0)
        return products.sum(axis, keepdims=True)


def assert_plain(kernels, x, v, where, axis):
    """Of the whole, and of three parts that are merged."""
    expected = plain(x, v, np.ones(x.shape, bool) if where is None else where, axis)
    whole = kernels.sums(x, (axis,), (v,), where)
    parts = zip(
        *(np.array_split(a, 3, axis) for a in (x, v)),
        [None] * 3 if where is None else np.array_split(where, 3, axis),
        strict=True,
    )
    merged = sums.merge(*(kernels.sums(a, (axis,), (b,), c) for a, b, c in parts))
    for found in (whole, merged):
        assert_allclose(found.o[0], expected, rtol=1e-4, atol=1e-3)


def block(shape, axis, dtype, spoilt):
    """Elements and values, with those of a dict in the first slice."""
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=shape).astype(dtype), rng.normal(size=shape)
    first = (0,) * (len(shape) - 1)
    for part, value in spoilt.items():
        np.moveaxis(v, axis, -1)[(*first, round(part * (shape[axis] - 1)))] = value
    return x, v


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(kernels, dtype, case):
    for shape, axis in SHAPES:
        x, v = block(shape, axis, dtype, VALUES[case])
        for elements in (x, np.sort(x, axis), np.sort(x, axis).astype("f2")):
            assert_plain(kernels, elements, v, None, axis)
        assert_plain(kernels, x, v, np.isfinite(v), axis)  # what is out does not count
        assert_plain(kernels, x, v, np.ones(shape, bool), axis)


@pytest.mark.parametrize("low", [-INF, -800.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_multiplied_by_0_is_nan(kernels, dtype, low):
    for shape, axis in SHAPES:
        for end in (0.0, 1.0):  # before the maximum and behind it
            x, v = block(shape, axis, dtype, {end: INF})
            near = np.linspace(0, 1, shape[axis]) if end == 0 else np.linspace(1, 0, shape[axis])
            np.moveaxis(x, axis, -1)[..., near < 0.6] = low
            assert_plain(kernels, x, v, None, axis)
            assert_plain(kernels, x, v, np.isfinite(v), axis)


def test_large_values_of_minus_infinity_are_0(kernels):
    for shape, axis in SHAPES:
        x, v = np.full(shape, -INF), np.full(shape, 1e308)
        last = np.moveaxis(x, axis, -1), np.moveaxis(v, axis, -1)
        last[0][..., -1], last[1][..., -1] = 0, 2
        assert_plain(kernels, x, v, None, axis)
