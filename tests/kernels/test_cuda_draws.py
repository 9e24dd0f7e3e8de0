"""Draws of CuPy blocks by their own kernels: the keys of the portable functions, to the last bit.

Emulated they run as in test_cuda.py, and on a device.
"""

import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
import pytest

from dsoftmax import gumbel_topk
from dsoftmax._kernels import philox
from dsoftmax._kernels.cuda import draws as kernels
from dsoftmax._kernels.cuda.draws import Numbered
from dsoftmax._kernels.cuda.source import ELEMENTS, ITEM, MOST_K
from dsoftmax._kernels.noise import noise

from .. import fake_cupy
from ..blocks import DEVICE, ON_DEVICE, ON_HOST, cupy
from ..compare import assert_array_equal
from ..cuda_kernels import draws_kernels
from ..emulator import Emulator, use
from .topk_like_sort import DATA, expected, rows

KEY = (0xA4093822, 0x299F31D0)


@pytest.fixture
def emulator():
    return Emulator()


@pytest.fixture(
    params=[pytest.param("emulated", marks=ON_HOST), pytest.param("device", marks=ON_DEVICE)]
)
def there(request, monkeypatch, emulator):
    """From NumPy's arrays to those of the device."""
    if request.param == "device":
        return cupy.asarray
    use(monkeypatch, emulator)
    return np.asarray


def back(x):
    return x if isinstance(x, np.ndarray) else cupy.asnumpy(x)


def keys(x, starts, shape, where=None):
    """x plus noise, by the portable functions."""
    index = np.zeros((1,) * x.ndim, np.int64)
    for i, start in enumerate(starts):
        along = (start + np.arange(x.shape[i])) * int(np.prod(shape[i + 1 :], dtype=np.int64))
        index = index + along.reshape((-1,) + (1,) * (x.ndim - 1 - i))
    x = x.astype("f8") if where is None else np.where(where, x.astype("f8"), -np.inf)
    return x + noise(philox.bits(index, KEY))


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_keys_of_every_dtype(dtype, there):
    if there is not np.asarray and dtype not in DEVICE.dtypes:
        pytest.skip("this CuPy has no bfloat16")
    x = (40 * np.random.default_rng(0).random(3000)).astype(dtype)
    found = kernels.keys(there(x), None, Numbered((2**33,), (2**34,), KEY))
    assert_array_equal(back(found), keys(x, (2**33,), (2**34,)))


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.T,
        lambda x: x[::2, 5:1:-1],
        lambda x: x[:, :1],
        lambda x: x.reshape(6, 10, 3, 10).transpose(2, 1, 0, 3)[:, 1:],
        lambda x: np.broadcast_to(x[:1], (4, 30)) if isinstance(x, np.ndarray) else x[:1],
    ],
)
def test_keys_of_every_layout(layout, there):
    x, where = (
        np.random.default_rng(1).normal(size=(60, 30)),
        np.arange(1800).reshape(60, 30) % 3 > 0,
    )
    x[0, :3] = np.nan, np.inf, -np.inf
    y, mask = layout(x), layout(where)
    starts = tuple(range(1, y.ndim + 1))
    for shape in (tuple(n + 7 for n in y.shape), (9, *(n for n in y.shape[1:]))):
        first = starts if shape[0] > 9 else (0,) * y.ndim
        for one in (None, mask):
            given = None if one is None else layout(there(where))
            found = kernels.keys(layout(there(x)), given, Numbered(first, shape, KEY))
            assert found.flags.c_contiguous
            assert_array_equal(back(found), keys(y, first, shape, one))


def check(x, k, axes, starts, shape, there):
    found = kernels.of_block(there(x), axes, k, Numbered(starts, shape, KEY))
    wanted, axis = keys(x, starts, shape), axes[0]
    if len(axes) > 1:
        wanted, axis = wanted.ravel(), 0
    order = np.moveaxis(expected(np.moveaxis(wanted, axis, -1), k), -1, axis)
    assert_array_equal(back(found[1]), order)
    assert_array_equal(back(found[0]), np.take_along_axis(wanted, order, axis))


@pytest.mark.parametrize("length", [4096, 9001, 15_003])
@pytest.mark.parametrize("data", DATA)
def test_the_best_of_rows(data, length, there):
    x = rows(data, np.random.default_rng(length), length, "f4")
    for k in (1, 5, MOST_K):
        check(x, k, (1,), (3, 2**35), (9, 2**36), there)


@pytest.mark.parametrize("dtype", ITEM)
def test_the_best_of_every_dtype(dtype, there):
    if there is not np.asarray and dtype not in DEVICE.dtypes:
        pytest.skip("this CuPy has no bfloat16")
    for data in ("normal", "tied", "anything"):
        x = rows(data, np.random.default_rng(2), 10_001, dtype, 1)
        check(x[0], 20, (0,), (5,), (10_100,), there)
        check(x[0, 1:], 20, (0,), (5,), (10_100,), there)


@pytest.mark.parametrize(
    ("shape", "axes", "whole"),
    [
        ((2, 3, 5000), (2,), (4, 3, 6000)),
        ((3, 5000, 1), (1,), (4, 6000, 1)),
        ((2, 5000), (0, 1), (2, 5000)),
        ((2, 3, 2500), (0, 1, 2), (8, 3, 2500)),
    ],
)
def test_slices_of_several_axes(shape, axes, whole, there):
    x = np.random.default_rng(3).normal(size=shape).astype("f4")
    starts = tuple(n - m for n, m in zip(whole, shape, strict=True))
    check(x, 7, axes, starts, whole, there)


@pytest.mark.emulated
@ON_HOST[1]
def test_what_has_keys_of_all_elements(emulator, monkeypatch):
    use(monkeypatch, emulator)
    x = np.zeros((2, 5000), "f4")
    for y, axes, k, shape in (
        (x, (1,), MOST_K + 1, x.shape),
        (x.astype("i4"), (1,), 3, x.shape),
        (x[:, :1000], (1,), 3, x.shape),
        (x.T, (1,), 3, (5000, 2)),
        (x, (0, 1), 3, (2, 6000)),
        (x[:, ::2], (1,), 3, x.shape),
    ):
        assert kernels.of_block(y, axes, k, Numbered((0,) * y.ndim, shape, KEY)) is None
    assert emulator.launched == []


@pytest.mark.emulated
@ON_HOST[1]
def test_every_kernel_was_run(emulator, monkeypatch):
    use(monkeypatch, emulator)
    for dtype in ITEM:
        x = np.zeros(20_000, dtype)
        kernels.of_block(x, (0,), 2, Numbered((0,), x.shape, KEY))
        kernels.keys(x, None, Numbered((0,), x.shape, KEY))
    assert set(emulator.launched) == {kernel.name for kernel in draws_kernels()}


@pytest.mark.emulated
@pytest.mark.parametrize("axis", [None, 0, 1])
@ON_HOST[1]
def test_whole_arrays(axis, emulator):
    """The draws of NumPy's arrays, for every axis, with a mask and without."""
    host = np.random.default_rng(0).normal(size=(6, 5000)).astype("f4")
    where = np.random.default_rng(1).random(host.shape) < 0.7
    where[:3] = True
    expected = [gumbel_topk(host, 3, axis, where=mask, rng=1) for mask in (None, where)]
    with fake_cupy.installed(emulator) as fake:
        x = fake.asarray(host)
        for mask, right in zip((None, fake.asarray(where)), expected, strict=True):
            found = gumbel_topk(x, 3, axis, where=mask, rng=1)
            assert_array_equal(found.keys.get(), right.keys)
            assert_array_equal(found.indices.get(), right.indices)
    fused = emulator.launched.count("draws_part_float32")
    assert fused == (axis != 0)
    assert emulator.launched.count("keys_any") == 2 - fused
