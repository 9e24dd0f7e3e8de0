"""The CUDA kernels on a host, beyond what every kind of block has to give: see `test_blocks`.

What runs are the sources, plans and launches that a device would get, see `tests/emulator.py`; the
C++ compiler and the exponentials of the C library are the host's.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda import call as cuda_call
from dsoftmax._kernels.cuda import plan as cuda_plan
from dsoftmax._kernels.cuda.source import ELEMENTS

from ..blocks import ADVERSARIAL, EMULATED, ON_HOST, Block, applied, assert_right, every_axes
from ..cuda_kernels import general_kernels

pytestmark = [*ON_HOST]


@pytest.fixture
def block(device):
    return Block(EMULATED, applied)


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_blocks_of_every_dtype_are_supported(dtype, device):
    assert gpu.supports(np.zeros((2, 3), dtype))


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), EMULATED.sums)
def test_long_slices_are_taken_in_parts(shape, axis, dtype, kind, device):
    x = ADVERSARIAL[kind](np.random.default_rng(0), math.prod(shape)).reshape(shape).astype(dtype)
    gpu.of_block(x, (axis,))
    assert {f"merge_{dtype}", f"long_{dtype}"} & {*device.launched}


@pytest.mark.parametrize("shape", [(1_000_003,), (5, 200_001), (200_001, 5)], ids=str)
def test_float32_is_summed_in_float64(shape, device):
    axis = int(np.argmax(shape))
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    m = x.max(axis=axis, keepdims=True)
    exact = np.exp(x.astype("f8") - m).sum(axis=axis, keepdims=True)
    # the rounding of the exponentials averages out, that of sums in float32 would not
    assert_allclose(gpu.of_block(x, (axis,)).d, exact, rtol=2e-9)


def test_more_loops_than_the_kernels_take(block, device):
    shape = (2,) * 20
    x = np.random.default_rng(0).normal(size=shape)[(slice(1),) * 2]
    assert_right(block, x, tuple(range(0, 20, 2)))
    assert not any(name.startswith("slices") for name in device.launched)


def test_many_slices_for_few_thread_blocks(block, monkeypatch):
    monkeypatch.setattr(cuda_plan, "MAX_GRID", (3, 2))
    monkeypatch.setattr(cuda_call, "plan", cuda_plan.plan.__wrapped__)  # not from its cache
    x = np.random.default_rng(0).normal(size=(50, 30, 40))
    for axes in every_axes(3):
        assert_right(block, x, axes)
    long = np.random.default_rng(0).normal(size=(3, 90_000))
    assert_right(block, long, (1,))


def test_outer_loops_are_parts(block, device):
    x = np.random.default_rng(0).normal(size=(7, 3, cuda_plan.LONG_RUN + 5)).astype("f4")
    assert_right(block, x, (0, 2))
    assert "merge_float32" in device.launched


def test_softmax_reads_twice_only_what_the_cache_holds(device):
    short, long = np.zeros((2000, 60), "f4")[:, :50], np.zeros((3, 90_010), "f4")[:, :90_000]
    gpu.softmax(short, (1,))
    assert device.launched == ["slices_float32_0_3"]
    gpu.softmax(long, (1,))
    assert device.launched[1:] == ["slices_float32_0_1", "merge_float32", "slices_float32_0_2"]


def test_every_kernel_was_run(device):
    """The kernels that the package can ask for are those that this module asks for."""
    x = np.random.default_rng(0).normal(size=(100, 40)) * 5
    for dtype in ELEMENTS:
        # with gaps: blocks without have kernels of their own
        apart, strided = np.zeros((100, 50), dtype)[:, :40], np.zeros((100, 80), dtype)[:, ::2]
        for block in (apart, strided):
            block[...] = x
            gpu.softmax(block, (1,))
            gpu.rescale(block, *gpu.of_block(block, (1,))[::2])
    for dtype in ("float32", "float64", "float16", "int8"):
        gpu.of_block(x.astype(dtype), (1,), np.ones(x.shape, dtype))
        gpu.of_block(np.zeros((2, 20_001), dtype)[:, :-1], (1,))
        long, where = np.zeros(20_000, dtype), np.ones(20_000, bool)
        for array in (long, long[:100]):
            gpu.softmax(array, (0,), where[: array.size])
            for mask in (None, where[: array.size]):
                gpu.moments(array, (0,), mask)
                gpu.sums(array, (0,), (array,), mask)
    assert set(device.launched) == {kernel.name for kernel in general_kernels()}
