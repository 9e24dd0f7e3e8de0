"""Masks, moments and sums of values in the CUDA kernels: accuracy, ends of memory, launches."""

import ctypes
import math
import mmap

import numpy as np
import pytest

from dsoftmax._algebra.moments import effective_sample_size, entropy
from dsoftmax._algebra.sums import mean
from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda import call as cuda_call
from dsoftmax._kernels.cuda import plan as cuda_plan

from ..blocks import ADVERSARIAL, ON_HOST, every_axes
from ..oracle import EPS
from .sums_like_portable import (
    assert_masked,
    assert_moments,
    assert_sums,
    block,
    mask,
    some_values,
)

pytestmark = [*ON_HOST]


LONG = [((200_003,), 0), ((50_001, 4), 0), ((4, 50_001), 1), ((9000, 30), 0)]


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize(("shape", "axis"), LONG)
def test_long_sums(kind, shape, axis, device):
    x = ADVERSARIAL[kind](np.random.default_rng(0), math.prod(shape)).reshape(shape)
    v = some_values(shape)
    moments, sums = gpu.moments(x, (axis,)), gpu.sums(x, (axis,), (v,))
    assert {"merge_moments_float64", "merge_values_float64"} < set(device.launched)
    entropies, sizes, means = entropy(moments), effective_sample_size(moments), mean(sums)

    def rows(a):
        return np.moveaxis(a, axis, -1).reshape(-1, shape[axis]).astype("g")

    for i, (row, values) in enumerate(zip(rows(x), rows(v), strict=True)):
        below = row - row.max()
        e = np.exp(below)
        d, rest = math.fsum(e), below != 0
        t, squares = math.fsum((below * e)[rest]), math.fsum(e * e)
        exact = np.log(np.longdouble(d)) - t / np.longdouble(d)
        assert abs(entropies.flat[i] - exact) <= 16 * EPS * max(exact, 1)
        assert abs(sizes.flat[i] - d * d / squares) <= 32 * EPS * d * d / squares
        size = math.fsum(np.abs(e * values)) / d
        assert abs(means.flat[i] - math.fsum(e * values) / d) <= 16 * EPS * size


@pytest.mark.parametrize("x", [[0, -40], [-40, 0], [0, -80, -40], [-745.0, 0], [-800.0, 0, -1e308]])
def test_the_entropy_of_one_that_has_nearly_all(x, device):
    x = np.array(x, float)
    exact = math.fsum(-(x - x.max()) * np.exp(x - x.max())) + math.fsum(np.exp(x[x < x.max()]))
    found = entropy(gpu.moments(x, (0,))).item()
    assert found == pytest.approx(exact, rel=8 * EPS, abs=8 * 2.0**-1074)


def test_a_slowly_rising_row_loses_nothing(device):
    for height in (0.9, 30):
        row = np.linspace(0, height, 200_000)  # a new maximum in every tile
        moments, sums = gpu.moments(row, (0,)), gpu.sums(row, (0,), (row,))
        below = row.astype("g") - row.max()
        e = np.exp(below)
        assert moments.t.item() == pytest.approx(math.fsum(below * e), rel=16 * EPS)
        assert moments.q.item() == pytest.approx(math.fsum(e * e) - 1, rel=16 * EPS)
        assert sums.o[0].item() == pytest.approx(math.fsum(row * e), rel=16 * EPS)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (3,), (4, 1), (17, 3), (4001,), (70, 300)], ids=str)
def test_blocks_at_the_end_of_memory(dtype, shape, device):
    """Every access beyond a block is a segmentation fault: the next page does not exist."""
    x, v = _at_the_end_of_memory(shape, dtype), _at_the_end_of_memory(shape, "float32")
    where = _at_the_end_of_memory(shape, "bool")
    x[...] = v[...] = np.arange(x.size).reshape(shape) % 11
    where[...] = mask(shape)
    for axes in every_axes(len(shape)):
        assert_masked(gpu, x, axes, where)
        assert_moments(gpu, x, axes, where)
        assert_sums(gpu, x, axes, (v,), where)


def _at_the_end_of_memory(shape, dtype):
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    pages = math.ceil(nbytes / mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    beyond = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
    assert libc.mprotect(beyond, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    offset = pages * mmap.PAGESIZE - nbytes
    return np.frombuffer(memory, dtype, math.prod(shape), offset).reshape(shape)


def test_many_slices_for_few_thread_blocks(device, monkeypatch):
    monkeypatch.setattr(cuda_plan, "MAX_GRID", (3, 2))
    monkeypatch.setattr(cuda_call, "plan", cuda_plan.plan.__wrapped__)  # not from its cache
    for shape in ((50, 30, 40), (3, 20_000)):
        x, where, v = block(shape, "float64"), mask(shape), some_values(shape)
        for axes in every_axes(len(shape)):
            assert_masked(gpu, x, axes, where)
            assert_moments(gpu, x, axes, where)
            assert_sums(gpu, x, axes, (v,), where)


def test_outer_loops_are_parts(device):
    shape = (7, 3, cuda_plan.LONG_RUN + 5)
    x, where, v = block(shape, "float32"), mask(shape), some_values(shape, "float32")
    assert_masked(gpu, x, (0, 2), where)
    assert_moments(gpu, x, (0, 2), where)
    assert_sums(gpu, x, (0, 2), (v,), where)
    assert set(device.launched) > {
        "merge_float32",
        "merge_moments_float32",
        "merge_values_float32",
    }


def test_more_loops_than_the_kernels_take(device):
    shape = (2,) * 20
    x = np.random.default_rng(0).normal(size=shape)[(slice(1),) * 2]
    axes = tuple(range(0, 20, 2))
    where, v = mask(x.shape), some_values(x.shape)
    where[0, 0, 0] = True
    assert_masked(gpu, x, axes, where)
    assert_moments(gpu, x, axes, where)
    assert_sums(gpu, x, axes, (v,), where)
    assert set(device.launched) <= {"finish_float64"}  # log d of states of any block


def test_one_kernel_where_the_cache_holds_what_is_read_twice(device):
    for shape, expected in (((2000, 50), ["2_3"]), ((3, 90_000), ["2_1", "merge", "2_2"])):
        device.launched.clear()
        gpu.softmax(np.zeros(shape, "f4"), (1,), mask(shape))
        names = {"2_3": "slices_float32_2_3", "merge": "merge_float32"}
        names |= {mode: f"slices_float32_{mode}" for mode in ("2_1", "2_2")}
        assert device.launched == [names[name] for name in expected]


def test_a_mask_is_of_what_is_read_twice():
    device = cuda_plan.Properties(1, 2 * cuda_plan.RESIDENT * 10_000)  # 10 000 bytes for a block
    for where, cached in (((0, 0), True), ((8000, 1), False)):
        strides = ((8000, 1), (0, 0), (0, 0), where)
        found = cuda_plan.plan((1, 8000), (False, True), strides, (1, 0), device)
        assert found.cached == cached
