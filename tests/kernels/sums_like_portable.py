"""What kernels give with masks, as moments and as sums of values is what the portable ones give."""

import math

import ml_dtypes
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax._algebra.normalizer import log_d
from dsoftmax._kernels import portable

from ..blocks import RTOL

INF = math.inf


def block(shape, dtype, seed=0):
    x = (np.random.default_rng(seed).normal(size=shape) * 5).astype(
        getattr(ml_dtypes, dtype, dtype)
    )
    x.flags.writeable = False
    return x


def mask(shape, seed=1):
    """Some are in; with several axes, slices along the first one begin with one that is all out."""
    where = np.random.default_rng(seed).random(shape) < 0.6
    where[:1] = where[:1] & (len(shape) == 1)
    return where


def some_values(shape, dtype="float64", seed=2):
    v = np.random.default_rng(seed).normal(size=shape) * 3
    return (np.abs(v) if dtype.startswith("u") else v).astype(getattr(ml_dtypes, dtype, dtype))


def spoilt(x, where):
    """x with numbers that would spoil everything where elements are out, if x can have such."""
    if x.dtype.kind in "biu":
        return x
    worst = np.array([np.nan, INF, -INF, 6e4])[np.arange(x.size).reshape(x.shape) % 4]
    return np.where(where, x, worst.astype(x.dtype))


def assert_same_sums(found, expected, sizes):
    """m and w are equal; other fields are within rounding of the sums of the sizes of their terms.

    Exponentials of float32, and the shifts between the maxima that they are taken at, have rounding
    of their own; subnormal ones have it in units of the smallest number.
    """
    assert_array_equal(found[0], expected[0])
    assert_array_equal(found[1], expected[1])
    assert [a.dtype for a in found] == [a.dtype for a in expected]
    assert [a.shape for a in found] == [a.shape for a in expected]
    rtol = 4e-6 if found[0].dtype == "f4" else 2e-14
    atol = 4 * np.finfo(found[0].dtype).smallest_subnormal
    for a, b, size in zip(found[2:], expected[2:], sizes, strict=True):
        finite = np.isfinite(b)
        assert_array_equal(a[~finite], b[~finite])
        assert (np.abs(a[finite] - b[finite]) <= rtol * size[finite] + atol).all()


def assert_moments(kernels, x, axes, where=None):
    with np.errstate(all="ignore"):
        expected = portable.moments(x, axes, where)
    found = kernels.moments(x, axes, where)
    s, t, q = expected[2:]
    assert_same_sums(found, expected, (s, np.abs(t) + s, q))
    return found


def assert_sums(kernels, x, axes, values, where=None):
    with np.errstate(all="ignore"):
        expected = portable.sums(x, axes, values, where)
        sizes = portable.sums(x, axes, tuple(np.abs(v.astype("f8")) for v in values), where).o
    found = kernels.sums(x, axes, values, where)
    assert_same_sums(found[:3], expected[:3], (expected.s,))
    no_softmax = np.isinf(found.m)  # where o does not matter
    for a, b, size in zip(found.o, expected.o, sizes, strict=True):
        a, b = np.where(no_softmax, 0, a), np.where(no_softmax, 0, b)
        assert_same_sums((found.m, found.w, a), (found.m, found.w, b), (size,))
    assert len(found.o) == len(values)
    return found


def assert_masked(kernels, x, axes, where):
    with np.errstate(all="ignore"):
        expected = portable.of_block(x, axes, where=where)
        y, log_y = portable.softmax(x, axes, where), portable.log_softmax(x, axes, where)
    state = kernels.of_block(x, axes, where=where)
    assert_same_sums(state, expected, (expected.s,))
    rtol, tiny = RTOL[y.dtype.name], float(ml_dtypes.finfo(y.dtype).smallest_normal)
    results = [kernels.softmax(x, axes, where), kernels.rescale(x, expected.m, expected.d, where)]
    logs = [kernels.log_softmax(x, axes, where)]
    logs.append(kernels.log_rescale(x, expected.m, log_d(expected), where))
    for found in results:
        assert (found.dtype, found.shape) == (y.dtype, y.shape)
        assert_allclose(found.astype("f8"), y.astype("f8"), rtol=rtol, atol=tiny)
        assert (found[~where] == 0).all()
    for found in logs:
        assert (found.dtype, found.shape) == (y.dtype, y.shape)
        assert_allclose(found.astype("f8"), log_y.astype("f8"), rtol=rtol, atol=rtol)
        assert (found[~where] == -INF).all()
