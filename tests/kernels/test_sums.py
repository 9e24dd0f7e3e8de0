"""Masks, moments and sums of values in the compiled kernels: what the portable ones give.

One specification for the CPU and for CUDA, of which the sources, plans and launches of a device run
on a host, see `tests/emulator.py`.
"""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax._algebra.sums import mean
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda.source import ELEMENTS

from ..blocks import WITHOUT_BYTE_SWAPPED, every_axes
from ..layouts import Laid
from .sums_like_portable import (
    INF,
    assert_masked,
    assert_moments,
    assert_sums,
    block,
    mask,
    some_values,
    spoilt,
)

# Rows, columns and both, within a vector, a tile and a panel, and longer.
SHAPES = [(1,), (7,), (3, 5), (40, 700), (700, 40), (4, 20, 60), (2, 3, 4, 5)]
SHAPES += [(2000, 20), (8001, 3), (20_003,)]
# Of x and of values; bfloat16 promotes with few.
PAIRS = [
    *((name, name) for name in ELEMENTS if name != "bool"),
    *(("float32", name) for name in ELEMENTS if name != "float32"),
    *((name, "float32") for name in ("float16", "bfloat16", "float64", "int16", "bool")),
]
# Of x and of what is beside it: each with itself, with plain memory, and with some other.
LAID_OUT = WITHOUT_BYTE_SWAPPED
BESIDE = {
    *((layout, layout) for layout in LAID_OUT),
    *itertools.product(LAID_OUT, ["C"]),
    *itertools.product(["C"], LAID_OUT),
    *itertools.pairwise(LAID_OUT),
}
SPECIAL = [-INF, 0.0, INF, np.nan]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
def test_shapes(compiled, shape, dtype):
    where = mask(shape)
    x, v = block(shape, dtype), some_values(shape)
    for axes in every_axes(x.ndim):
        assert_masked(compiled, spoilt(x, where), axes, where)
        assert_moments(compiled, x, axes)
        assert_moments(compiled, spoilt(x, where), axes, where)
        assert_sums(compiled, x, axes, (v,))
        assert_sums(compiled, spoilt(x, where), axes, (spoilt(v, where),), where)


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_dtypes(compiled, dtype):
    for shape in ((5000,), (300, 10), (10, 300)):
        x, where = block(shape, dtype), mask(shape)
        for axes in every_axes(x.ndim):
            assert_masked(compiled, spoilt(x, where), axes, where)
            assert_moments(compiled, x, axes)
            assert_moments(compiled, spoilt(x, where), axes, where)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "values"), PAIRS, ids=str)
def test_dtypes_of_values(compiled, dtype, values, masked):
    for shape in ((5000,), (4, 20, 60)):
        where = mask(shape) if masked else None
        x, v = block(shape, dtype), some_values(shape, values)
        if masked:
            x, v = spoilt(x, where), spoilt(v, where)
        for axes in every_axes(x.ndim):
            assert_sums(compiled, x, axes, (v,), where)
        two = assert_sums(compiled, x, (0,), (v, np.ones(shape, v.dtype)), where)
        assert_allclose(two.o[1], two.d, rtol=1e-6)


@pytest.mark.parametrize(("layout", "other"), sorted(BESIDE), ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_layouts(compiled, layout, other, dtype):
    shape = (5, 7, 6)
    x = Laid(block(shape, dtype), layout).numpy()
    where, v = (Laid(a, other).numpy() for a in (mask(shape), some_values(shape)))
    for axes in every_axes(3):
        assert_masked(compiled, x, axes, where)
        assert_moments(compiled, x, axes, where)
        assert_sums(compiled, x, axes, (v,), where)


@pytest.mark.parametrize("along", every_axes(3), ids=str)
def test_masks_and_values_that_are_broadcast(compiled, along):
    shape = (30, 6, 40)
    own = tuple(n if i in along else 1 for i, n in enumerate(shape))
    where, v = np.broadcast_to(mask(own), shape), np.broadcast_to(some_values(own), shape)
    x = block(shape, "float32")
    for axes in every_axes(3):
        assert_masked(compiled, x, axes, where)
        assert_sums(compiled, x, axes, (v,), where)
        assert_moments(compiled, np.broadcast_to(x[:, :1], shape), axes, where)


@pytest.mark.parametrize("length", [12, 40, 6000])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_slices_without_a_softmax(compiled, length, dtype):
    """What is in and what is out are of one kind each: all pairs, side by side and alone."""
    inner, outer = np.array(list(itertools.product(SPECIAL, SPECIAL))).T
    shape = (length, len(inner))
    where, v = mask(shape), some_values(shape)
    x = np.where(where, inner, outer).astype(dtype)
    blocks = [((x, where, v), 0), (tuple(np.ascontiguousarray(a.T) for a in (x, where, v)), 1)]
    blocks += [((x[:, i].copy(), where[:, i].copy(), v[:, i].copy()), 0) for i in range(len(inner))]
    for (x, where, v), axis in blocks:
        for flags in (where, np.zeros(x.shape, bool), np.ones(x.shape, bool)):
            assert_masked(compiled, x, (axis,), flags)
            assert_moments(compiled, x, (axis,), flags)
            assert_sums(compiled, x, (axis,), (v,), flags)
        axes = tuple(range(x.ndim))
        counted = compiled.of_block(np.full(x.shape, -INF, dtype), axes, where=where)
        assert [field.item() for field in counted] == [-INF, np.count_nonzero(where), 0]


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000), (700, 20), (20, 12), (9000,)], ids=str)
@pytest.mark.parametrize("value", [np.nan, INF, -INF, 3.0])
def test_special_values_at_any_place(compiled, shape, value):
    n = math.prod(shape)
    where, v = np.ones(shape, bool), some_values(shape)
    for position in {0, 3, 4, n // 2, n - 2, n - 1}:
        x = np.zeros(shape)
        x.flat[position] = value
        where.flat[position] = position % 2
        for axis in range(x.ndim):
            assert_moments(compiled, x, (axis,))
            assert_moments(compiled, x, (axis,), where)
            assert_sums(compiled, x, (axis,), (v,), where)
            assert_masked(compiled, x, (axis,), where)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(40, 700), (700, 40), (20_003,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_at_several_places(compiled, shape, dtype, masked):
    where = mask(shape) if masked else None
    for values in ([-INF], [INF, -INF], [np.nan, -INF, INF], [1e30, -1e30]):
        x, v = block(shape, dtype).copy(), some_values(shape)
        x.flat[np.random.default_rng(1).integers(0, x.size, 40)] = np.resize(values, 40)
        for axis in range(x.ndim):
            assert_moments(compiled, x, (axis,), where)
            assert_sums(compiled, x, (axis,), (v,), where)
            assert_masked(compiled, x, (axis,), np.ones(shape, bool) if where is None else where)


@pytest.mark.parametrize("first", [-INF, 0.0, INF])
@pytest.mark.parametrize("then", [-INF, -3.0, 5.0, 800.0, INF, np.nan])
@pytest.mark.parametrize("shape", [(20_000,), (3, 9000), (9000, 9)], ids=str)
def test_one_value_followed_by_another(compiled, first, then, shape):
    x = np.full(shape, first)
    axis = int(np.argmax(shape))
    x[(slice(None),) * axis + (slice(3000, None, 7),)] = then
    assert_masked(compiled, x, (axis,), np.ones(shape, bool))
    assert_moments(compiled, x, (axis,))
    assert_sums(compiled, x, (axis,), (some_values(shape),))


@pytest.mark.parametrize("value", [np.nan, INF, -INF, 1e300])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_that_are_not_finite_count_as_in_a_sum(compiled, value, axis):
    shape = (40, 30)
    x, v, where = block(shape, "float64").copy(), some_values(shape), mask(shape)
    x[3, :7] = -INF
    v[3, :4] = v[:3, 8] = value
    for flags in (None, where):
        found = assert_sums(compiled, x, (axis,), (v,), flags)
        p = portable.softmax(x, (axis,), flags)
        with np.errstate(all="ignore"):
            products = p * (v if flags is None else np.where(flags, v, 0))
            assert_allclose(mean(found), products.sum(axis, keepdims=True), rtol=1e-12, atol=1e-12)


def test_what_is_out_is_not_looked_at(compiled):
    shape = (50, 60)
    x, v, where = block(shape, "float64"), some_values(shape), mask(shape)
    clean = np.where(where, x, 0), np.where(where, v, 0)
    x, v = np.where(where, x, np.nan), np.where(where, v, INF)
    for axes in every_axes(2):
        found = compiled.sums(x, axes, (v,), where)
        expected = compiled.sums(clean[0], axes, clean[1:], where)
        for one, other in zip(found, expected, strict=True):
            assert_array_equal(one, other)
