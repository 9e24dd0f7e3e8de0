"""Masks, moments and sums of values in the CUDA kernels, on a host: equal to the portable ones.

As in test_cuda.py, what runs are the sources, plans and launches of a device.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._algebra.sums import mean
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda.source import ELEMENTS

from ..blocks import every_axes
from ..emulator import COMPILER, Emulator
from ..layouts import LAYOUTS, Laid
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

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with"),
]

SHAPES = [(1,), (7,), (5000,), (3, 5), (300, 10), (10, 300), (4, 20, 60), (2, 3, 4, 5)]
# Of x and of values; bfloat16 promotes with few.
PAIRS = [
    *((name, name) for name in ELEMENTS if name != "bool"),
    *(("float32", name) for name in ELEMENTS if name != "float32"),
    *((name, "float32") for name in ("float16", "bfloat16", "float64", "int16", "bool")),
]
LAID_OUT = [name for name in LAYOUTS if name != "byte-swapped"]


@pytest.fixture
def device(monkeypatch):
    """The device that `gpu` uses; it has a list of the kernels that ran."""
    emulator = Emulator()
    monkeypatch.setattr(gpu, "device", emulator)
    return emulator


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_masks(shape, dtype, device):
    where = mask(shape)
    x = spoilt(block(shape, dtype), where)
    for axes in every_axes(x.ndim):
        assert_masked(x, axes, where)
    assert {name.split("_")[2] for name in device.launched if name.startswith("slices")} == {"3"}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_moments(shape, dtype, masked, device):
    x, where = block(shape, dtype), mask(shape) if masked else None
    for axes in every_axes(x.ndim):
        assert_moments(spoilt(x, where) if masked else x, axes, where)
    assert not any(name.startswith("slices") for name in device.launched)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(5000,), (300, 10), (4, 20, 60)], ids=str)
@pytest.mark.parametrize(("dtype", "values"), PAIRS, ids=str)
def test_sums(shape, dtype, values, masked, device):
    where = mask(shape) if masked else None
    x, v = block(shape, dtype), some_values(shape, values)
    if masked:
        x, v = spoilt(x, where), spoilt(v, where)
    for axes in every_axes(x.ndim):
        assert_sums(x, axes, (v,), where)
    two = assert_sums(x, (0,), (v, np.ones(shape, v.dtype)), where)
    assert_allclose(two.o[1], two.d, rtol=1e-6)


@pytest.mark.parametrize("layout", LAID_OUT)
@pytest.mark.parametrize("other", LAID_OUT)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_layouts(layout, other, dtype, device):
    shape = (5, 7, 6)
    x = Laid(block(shape, dtype), layout).numpy()
    where, v = (Laid(a, other).numpy() for a in (mask(shape), some_values(shape)))
    for axes in every_axes(3):
        assert_masked(x, axes, where)
        assert_moments(x, axes, where)
        assert_sums(x, axes, (v,), where)


@pytest.mark.parametrize("along", every_axes(3), ids=str)
def test_masks_and_values_that_are_broadcast(along, device):
    shape = (30, 6, 40)
    own = tuple(n if i in along else 1 for i, n in enumerate(shape))
    where, v = np.broadcast_to(mask(own), shape), np.broadcast_to(some_values(own), shape)
    x = block(shape, "float32")
    for axes in every_axes(3):
        assert_masked(x, axes, where)
        assert_sums(x, axes, (v,), where)
        assert_moments(np.broadcast_to(x[:, :1], shape), axes, where)


@pytest.mark.parametrize("inner", [-INF, 0.0, INF, np.nan])
@pytest.mark.parametrize("outer", [-INF, 0.0, INF, np.nan])
@pytest.mark.parametrize("shape", [(6000, 3), (3, 6000), (40, 12), (12, 40)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_slices_without_a_softmax(inner, outer, shape, dtype, device):
    where = mask(shape)
    x = np.where(where, inner, outer).astype(dtype)
    v = some_values(shape)
    for axes in every_axes(2):
        for flags in (where, np.zeros(shape, bool), np.ones(shape, bool)):
            assert_masked(x, axes, flags)
            assert_moments(x, axes, flags)
            assert_sums(x, axes, (v,), flags)
    counted = gpu.of_block(np.full(shape, -INF, dtype), (0, 1), where=where)
    assert [field.item() for field in counted] == [-INF, np.count_nonzero(where), 0]


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000), (700, 20), (20, 12), (9000,)], ids=str)
@pytest.mark.parametrize("value", [np.nan, INF, -INF, 3.0])
def test_special_values_at_any_place(shape, value, device):
    n = math.prod(shape)
    where, v = np.ones(shape, bool), some_values(shape)
    for position in {0, 3, 4, n // 2, n - 2, n - 1}:
        x = np.zeros(shape)
        x.flat[position] = value
        where.flat[position] = position % 2
        for axes in every_axes(x.ndim):
            assert_moments(x, axes)
            assert_moments(x, axes, where)
            assert_sums(x, axes, (v,), where)
            assert_masked(x, axes, where)


@pytest.mark.parametrize("first", [-INF, 0.0, INF])
@pytest.mark.parametrize("then", [-INF, -3.0, 5.0, 800.0, INF, np.nan])
@pytest.mark.parametrize("shape", [(20_000,), (3, 9000), (9000, 20)], ids=str)
def test_one_value_followed_by_another(first, then, shape, device):
    x = np.full(shape, first)
    axis = int(np.argmax(shape))
    x[(slice(None),) * axis + (slice(3000, None, 7),)] = then
    where = np.ones(shape, bool)
    assert_masked(x, (axis,), where)
    assert_moments(x, (axis,))
    assert_sums(x, (axis,), (some_values(shape),))


@pytest.mark.parametrize("value", [np.nan, INF, -INF, 1e300])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_that_are_not_finite_count_as_in_a_sum(value, axis, device):
    shape = (40, 30)
    x, v, where = block(shape, "float64").copy(), some_values(shape), mask(shape)
    x[3, :7] = -INF
    v[3, :4] = v[:3, 8] = value
    for flags in (None, where):
        found = assert_sums(x, (axis,), (v,), flags)
        p = portable.softmax(x, (axis,), flags)
        with np.errstate(all="ignore"):
            products = p * (v if flags is None else np.where(flags, v, 0))
            assert_allclose(mean(found), products.sum(axis, keepdims=True), rtol=1e-12, atol=1e-12)


def test_large_values_beside_what_is_minus_infinity(device):
    x, v = np.full(5000, -INF), np.full(5000, 1e308)
    x[4000], v[4000] = 0, 2
    assert mean(gpu.sums(x, (0,), (v,))) == 2
