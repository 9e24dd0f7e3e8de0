"""The CUDA kernels on a host: equal to the portable ones in every layout, and exact by themselves.

What runs are the sources, plans and launches that a device would get, see `emulator`; the C++
compiler and the exponentials of the C library are the host's.
"""

import ctypes
import itertools
import math
import mmap

import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax._algebra.normalizer import log_sum, merge
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import block as gpu
from dsoftmax._kernels.cuda import plan as cuda_plan
from dsoftmax._kernels.cuda.source import ELEMENTS, every_kernel

from .emulator import COMPILER, Emulator
from .oracle import EPS
from .test_kernels_cpu import SHAPES, SPECIAL, assert_like_portable, every_axes
from .test_kernels_portable import ADVERSARIAL, LAYOUTS

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with")

DTYPES = [getattr(ml_dtypes, name, name) for name in ELEMENTS]


@pytest.fixture
def device(monkeypatch):
    """The device that `gpu` uses; it has a list of the kernels that ran."""
    emulator = Emulator()
    monkeypatch.setattr(gpu, "device", emulator)
    return emulator


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=list(ELEMENTS))
def test_shapes_axes_and_dtypes(shape, dtype, device):
    x = (np.random.default_rng(0).normal(size=shape) * 5).astype(dtype)
    x.flags.writeable = False
    for axes in every_axes(x.ndim):
        assert gpu.supports(x)
        assert_like_portable(x, axes, gpu)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte-swapped"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
@pytest.mark.parametrize("shape", [(5, 7, 6), (40, 6, 200)], ids=str)
def test_layouts(layout, dtype, shape, device):
    x = LAYOUTS[layout]((np.random.default_rng(0).normal(size=shape) * 4).astype(dtype))
    x.flags.writeable = False
    for axes in every_axes(3):
        assert_like_portable(x, axes, gpu)


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000), (700, 20), (20, 12), (9000,)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_at_any_place(shape, value, dtype, device):
    n = math.prod(shape)
    for position in {0, 1, 15, 16, 17, 4095, 4096, n // 2, n - 2, n - 1}:
        x = np.zeros(shape, dtype)
        x.flat[position % n] = value
        for axes in every_axes(x.ndim):
            assert_like_portable(x, axes, gpu)
    for axes in every_axes(len(shape)):
        assert_like_portable(np.full(shape, value, dtype), axes, gpu)


@pytest.mark.parametrize("first", [-np.inf, 0.0, np.inf])
@pytest.mark.parametrize("then", [-np.inf, -3.0, 5.0, np.inf, np.nan])
@pytest.mark.parametrize("shape", [(20_000,), (3, 9000), (9000, 20), (9000, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_one_value_followed_by_another(first, then, shape, dtype, device):
    x = np.full(shape, first, dtype)
    axis = int(np.argmax(shape))
    x[(slice(None),) * axis + (slice(3000, None, 7),)] = then
    assert_like_portable(x, (axis,), gpu)
    ones = np.ones(shape)
    state, expected = gpu.of_block(x, (axis,), ones), portable.of_block(x, (axis,), ones)
    assert_allclose(log_sum(state), log_sum(expected), rtol=1e-6)


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((200_003,), 0), ((50_001, 4), 0), ((4, 50_001), 1), ((9000, 30), 0)]
)
def test_long_sums(kind, dtype, shape, axis, device):
    x = ADVERSARIAL[kind](np.random.default_rng(0), math.prod(shape)).reshape(shape).astype(dtype)
    state = gpu.of_block(x, (axis,))
    assert any(name.startswith("merge") for name in device.launched)
    m = x.max(axis=axis, keepdims=True)
    assert_array_equal(state.m, m)
    columns = np.moveaxis(x, axis, -1).reshape(-1, shape[axis])
    for d, row, top in zip(state.d.ravel(), columns, m.ravel(), strict=True):
        exact = math.fsum(np.exp(row.astype("g") - top).astype("f8"))
        # beyond their sum, the exponentials of float32 are rounded to it, as are their arguments
        rounding = 0 if dtype == "float64" else 2.0**-22
        assert abs(d - exact) <= (8 * EPS + rounding) * exact


@pytest.mark.parametrize("shape", [(1_000_003,), (5, 200_001), (200_001, 5)], ids=str)
def test_float32_is_summed_in_float64(shape, device):
    axis = int(np.argmax(shape))
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    m = x.max(axis=axis, keepdims=True)
    exact = np.exp(x.astype("f8") - m).sum(axis=axis, keepdims=True)
    # the rounding of the exponentials averages out, that of sums in float32 would not
    assert_allclose(gpu.of_block(x, (axis,)).d, exact, rtol=2e-9)


def test_a_slowly_rising_row_loses_nothing(device):
    rows = [np.linspace(0, height, 400_000) for height in (0.9, 30)]  # a new maximum in every tile
    for row in rows:
        exact = math.fsum(np.exp(row.astype("g") - row.max()).astype("f8"))
        assert abs(gpu.of_block(row, (0,)).d.item() - exact) <= 8 * EPS * exact


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), ()], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16"])
@pytest.mark.parametrize("weights", [name for name in ELEMENTS if name != "bfloat16"])
def test_weights(axes, dtype, weights, device):
    rng = np.random.default_rng(4)
    x, b = (rng.normal(size=(60, 170)) * 3).astype(dtype), rng.normal(size=(60, 170)) * 2
    b = np.abs(b) if weights.startswith("u") else b
    b = b.astype(weights)
    expected, state = portable.of_block(x, axes, b), gpu.of_block(x, axes, b)
    assert state.m.dtype == expected.m.dtype
    assert_array_equal(state.m, expected.m)
    assert_allclose(state.w, expected.w, rtol=1e-13)
    assert_allclose(state.s, expected.s, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_special_weights(axis, device):
    pairs = list(itertools.product(SPECIAL, SPECIAL, SPECIAL, SPECIAL))
    a = np.array([[p[0], p[1]] for p in pairs])
    b = np.array([[p[2], p[3]] for p in pairs])
    a, b = (a, b) if axis == 1 else (a.T.copy(), b.T.copy())
    expected = log_sum(portable.of_block(a, (axis,), b))
    assert_allclose(log_sum(gpu.of_block(a, (axis,), b)), expected, rtol=1e-15)


def test_broadcast_weights(device):
    x = np.random.default_rng(5).normal(size=(30, 4000))
    b = np.broadcast_to(np.linspace(-1, 2, 30)[:, None], x.shape)
    for axes in every_axes(2):
        expected, state = portable.of_block(x, axes, b), gpu.of_block(x, axes, b)
        assert_allclose(state.d, expected.d, rtol=1e-12)


def test_x_above_the_maximum_of_another_state(device):
    x = np.array([0.0, 60, 80, 88, 200])
    for dtype in ("float32", "float64"):
        m, d = np.zeros(1, dtype), np.full(1, 2.0)
        with np.errstate(over="ignore"):
            expected = portable.rescale(x.astype(dtype), m, d)
        assert_allclose(gpu.rescale(x.astype(dtype), m, d), expected, rtol=1e-5)


@pytest.mark.parametrize("d", [0.0, -3.0, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("m", [0.0, -np.inf, np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_state_is_applied_as_portable(d, m, dtype, device):
    x = np.array([0.0, -1.0, -80.0, -np.inf, np.inf, np.nan], dtype)
    m, d = np.full(1, m, dtype), np.full(1, d)
    with np.errstate(over="ignore"):
        expected, log_expected = portable.rescale(x, m, d), portable.log_rescale(x, m, d)
    assert_allclose(gpu.rescale(x, m, d), expected, rtol=1e-6)
    assert_allclose(gpu.log_rescale(x, m, d), log_expected, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "d"), [("f4", 1e-42), ("f4", 1e-300), ("f8", 1e-310)])
def test_a_normalizer_without_a_reciprocal(dtype, d, device):
    x = np.array([0, -80, -np.inf], dtype)
    with np.errstate(over="ignore"):
        expected = (np.exp(x.astype("g")) / d).astype(dtype)
    assert_allclose(gpu.rescale(x, np.zeros(1, dtype), np.full(1, d)), expected, rtol=1e-6)


def test_gradual_underflow(device):
    for dtype, x in (("f4", -100.0), ("f8", -740.0), ("f2", -12.0)):
        m = np.zeros(1, "f8" if dtype == "f8" else "f4")
        y = gpu.rescale(np.array([x], dtype), m, np.ones(1))
        assert 0 < y[0] < np.finfo(dtype).tiny
        smallest = np.finfo(dtype).smallest_subnormal
        assert_allclose(y[0], np.exp(np.longdouble(x)), rtol=0, atol=smallest)


def test_every_half_is_decoded_and_encoded(device):
    with np.errstate(invalid="ignore", over="ignore"):
        for dtype in (np.float16, ml_dtypes.bfloat16):
            x = np.arange(2**16, dtype="u2").view(dtype)
            m, zero = np.zeros(x.shape, "f4"), np.zeros(x.shape)
            same = gpu.log_rescale(x, m, zero)  # (x - 0) - 0
            assert_array_equal(same.astype("f4"), x.astype("f4"))
            values = x.astype("f4")
            shifts = np.random.default_rng(0).normal(size=x.shape).astype("f4") * np.abs(values)
            shifts[~np.isfinite(shifts)] = 0
            rounded = gpu.log_rescale(x, shifts, zero)
            assert_array_equal(rounded.astype("f4"), (values - shifts).astype(dtype).astype("f4"))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 300, 5000, 20_011])
def test_runs_that_begin_and_end_anywhere(dtype, length, device):
    """Every access beyond a block is a segmentation fault: the next page does not exist."""
    for start in range(17):
        x = _at_the_end_of_memory(start + length, dtype)[start:]
        x[...] = np.arange(length) % 11
        assert_like_portable(x, (0,), gpu)


@pytest.mark.parametrize("dtype", ["int8", "float64"])
@pytest.mark.parametrize("shape", [(3, 5), (17, 3), (4001, 5), (70, 300)], ids=str)
def test_columns_at_the_end_of_memory(dtype, shape, device):
    x = _at_the_end_of_memory(math.prod(shape), dtype).reshape(shape)
    x[...] = np.arange(x.size).reshape(shape) % 11
    for axes in every_axes(2):
        assert_like_portable(x, axes, gpu)


def _at_the_end_of_memory(size, dtype):
    nbytes = size * np.dtype(dtype).itemsize
    pages = math.ceil(nbytes / mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    beyond = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
    assert libc.mprotect(beyond, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return np.frombuffer(memory, dtype, size, pages * mmap.PAGESIZE - nbytes)


def test_more_loops_than_the_kernels_take(device):
    shape = (2,) * 20
    x = np.random.default_rng(0).normal(size=shape)[(slice(1),) * 2]
    assert_like_portable(x, tuple(range(0, 20, 2)), gpu)
    assert device.launched == []


def test_many_slices_for_few_thread_blocks(device, monkeypatch):
    monkeypatch.setattr(cuda_plan, "MAX_GRID", (3, 2))
    monkeypatch.setattr(gpu, "plan", cuda_plan.plan.__wrapped__)  # not from its cache
    x = np.random.default_rng(0).normal(size=(50, 30, 40))
    for axes in every_axes(3):
        assert_like_portable(x, axes, gpu)
    long = np.random.default_rng(0).normal(size=(3, 90_000))
    assert_like_portable(long, (1,), gpu)


def test_outer_loops_are_parts(device):
    x = np.random.default_rng(0).normal(size=(7, 3, cuda_plan.LONG_RUN + 5)).astype("f4")
    assert_like_portable(x, (0, 2), gpu)
    assert "merge_float32" in device.launched


def test_states_of_blocks_merge_with_those_of_portable(device):
    x = np.random.default_rng(0).normal(size=(4000, 3))
    merged = merge(gpu.of_block(x[:1500], (0,)), portable.of_block(x[1500:], (0,)))
    assert_allclose(log_sum(merged), log_sum(portable.of_block(x, (0,))), rtol=1e-15)


def test_softmax_reads_twice_only_what_the_cache_holds(device):
    short, long = np.zeros((2000, 50), "f4"), np.zeros((3, 90_000), "f4")
    gpu.softmax(short, (1,))
    assert device.launched == ["slices_float32_0_3"]
    gpu.softmax(long, (1,))
    assert device.launched[1:] == ["slices_float32_0_1", "merge_float32", "slices_float32_0_2"]


def test_every_kernel_was_run(device):
    """The kernels that the package can ask for are those that this module asks for."""
    x = np.random.default_rng(0).normal(size=(100, 40)) * 5
    for dtype in DTYPES:
        for block in (x.astype(dtype), np.asfortranarray(x.astype(dtype))):
            gpu.softmax(block, (1,))
            gpu.rescale(block, *gpu.of_block(block, (1,))[::2])
    for dtype in ("float32", "float64"):
        gpu.of_block(x.astype(dtype), (1,), np.ones(x.shape, dtype))
        gpu.of_block(np.zeros(20_000, dtype), (0,))
        long, where = np.zeros(20_000, dtype), np.ones(20_000, bool)
        for array in (long, long[:100]):
            gpu.softmax(array, (0,), where[: array.size])
            gpu.moments(array, (0,))
            gpu.sums(array, (0,), (array,))
    assert set(device.launched) == {kernel.name for kernel in every_kernel()}
