"""The kernels of a block, of every kind: portable, compiled, of CUDA, and with other libraries.

The kinds and what they have to give are in `tests/blocks.py`. What runs as kind "cuda" are the
sources, plans and launches that a device would get, see `tests/emulator.py`, with the exponentials
of the host's C library; kind "cupy" is a real device.
"""

import ctypes
import itertools
import math
import mmap
from functools import partial

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from dsoftmax._algebra.normalizer import log_sum, merge, signed_log_sum
from dsoftmax._kernels import portable

from ..blocks import (
    ADVERSARIAL,
    CPU,
    DEVICE,
    EMULATED,
    KINDS,
    LIBRARIES,
    PORTABLE,
    SPECIAL,
    assert_right,
    every_axes,
    over,
)
from ..layouts import APART, Laid
from ..oracle import EPS

PANEL = portable.PANEL
OURS = (PORTABLE, CPU, EMULATED, DEVICE)  # whose exponentials are known
OTHERS = tuple(kind for kind in KINDS if kind is not PORTABLE)  # whose oracle is portable
FLOATS = ("float32", "float64")
# Each layout with a dtype that is computed with as it is, and one that is converted.
LAID_OUT = [
    (layout, dtype)
    for layout, pair in zip(
        CPU.layouts, itertools.cycle([("float32", "int16"), ("float64", "float16")]), strict=False
    )
    for dtype in pair
]


@over(shape="shapes", dtype="dtypes")
def test_shapes_axes_and_dtypes(block, shape, dtype):
    x = (np.random.default_rng(0).normal(size=shape) * 5).astype(dtype)
    x.flags.writeable = False
    for axes in every_axes(x.ndim):
        assert_right(block, x, axes)


@over(layout="layouts", dtype="layout_dtypes", shape="layout_shapes")
def test_layouts(block, layout, dtype, shape):
    x = Laid((np.random.default_rng(0).normal(size=shape) * 4).astype(dtype), layout)
    for axes in every_axes(3):
        assert_right(block, x, axes)


@pytest.mark.parametrize(("shape", "axes"), APART, ids=str)
@over(laid_out=LAID_OUT, kinds=[CPU])
def test_reduced_axes_that_do_not_join(block, laid_out, shape, axes):
    layout, dtype = laid_out
    x = (np.random.default_rng(0).normal(size=shape) * 3).astype(dtype)
    assert_right(block, Laid(x, layout), axes)
    x = np.where(np.arange(x.size).reshape(shape) == 5, x.max() + x.dtype.type(4), x)
    assert_right(block, Laid(x, layout), axes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@over(shape="edge_shapes", dtype="edge_dtypes")
def test_special_values_at_any_place(block, shape, dtype, value):
    n = math.prod(shape)
    for position in {0, 1, n // 2, n - 2, n - 1, *block.kind.edges}:
        x = np.zeros(shape, dtype)
        x.flat[position % n] = value
        for axes in every_axes(x.ndim)[1:]:  # of slices of one element there are enough below
            assert_right(block, x, axes)
    for axes in every_axes(len(shape)):
        assert_right(block, np.full(shape, value, dtype), axes)


@pytest.mark.parametrize("first", [-np.inf, 0.0, np.inf])
@pytest.mark.parametrize("then", [-np.inf, -3.0, 5.0, np.inf, np.nan])
@over(shape="lopsided", dtype=("float16", "float32", "float64"))
def test_tiles_of_one_value_followed_by_another(block, shape, dtype, first, then):
    x = np.full(shape, first, dtype)
    axis = int(np.argmax(shape))
    middle = shape[axis] * 3 // 5
    x[(slice(None),) * axis + (slice(middle, None, 7),)] = then
    assert_right(block, x, (axis,))
    ones = np.ones(shape)
    state, expected = block.of_block(x, (axis,), ones), portable.of_block(x, (axis,), ones)
    assert_allclose(log_sum(state), log_sum(expected), rtol=1e-6)


@pytest.mark.parametrize("kind", ADVERSARIAL)
@over(case="sums", dtype="sum_dtypes")
def test_long_sums(block, case, dtype, kind, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", PANEL)
    shape, axis = case
    x = ADVERSARIAL[kind](np.random.default_rng(0), math.prod(shape)).reshape(shape).astype(dtype)
    state = block.of_block(x, (axis,))
    m = x.max(axis=axis, keepdims=True)
    assert_array_equal(state.m, m)
    columns = np.moveaxis(x, axis, -1).reshape(-1, shape[axis])
    for d, row, top in zip(state.d.ravel(), columns, m.ravel(), strict=True):
        # exponentials in longdouble: their own rounding, up to 1 ulp here, averages out
        exact = math.fsum(np.exp(row.astype("g") - top).astype("f8"))
        # beyond their sum, the exponentials of float32 are rounded to it, as are their arguments
        rounding = 0 if dtype == "float64" else 2.0**-22
        assert abs(d - exact) <= (block.kind.sum_error * EPS + rounding) * exact


@pytest.mark.parametrize("height", [0.9, 30])
@over(kinds=OURS)
def test_a_slowly_rising_row_loses_nothing(block, height, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", PANEL)
    x = np.linspace(0, height, block.kind.rising)
    exact = math.fsum(np.exp(x.astype("g") - x.max()).astype("f8"))
    assert abs(block.of_block(x, (0,)).d.item() - exact) <= 8 * EPS * exact


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), ()], ids=str)
@over(weights="weights", dtype="weighted_dtypes", kinds=OTHERS)
def test_weights(block, weights, dtype, axes):
    rng, shape = np.random.default_rng(4), block.kind.weighted
    x, b = (rng.normal(size=shape) * 3).astype(dtype), rng.normal(size=shape) * 2
    b = np.abs(b) if weights.startswith("u") else b
    b = b.astype(weights)
    expected, state = portable.of_block(x, axes, b), block.of_block(x, axes, b)
    assert state.m.dtype == expected.m.dtype
    assert_array_equal(state.m, expected.m)
    assert_allclose(state.w, expected.w, rtol=1e-13)
    assert_allclose(state.s, expected.s, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
@over(kinds=OTHERS)
def test_special_weights(block, axis, monkeypatch):
    monkeypatch.setattr(portable, "PANEL", PANEL)
    pairs = np.array(list(itertools.product(SPECIAL, repeat=4)))
    a, b = pairs[:, :2], pairs[:, 2:]
    a, b = (a, b) if axis == 1 else (a.T.copy(), b.T.copy())
    expected, state = portable.of_block(a, (axis,), b), block.of_block(a, (axis,), b)
    rtol = 1e-14 if block.kind in LIBRARIES else 1e-15
    assert_allclose(log_sum(state), log_sum(expected), rtol=rtol)
    for one, other in zip(signed_log_sum(state), signed_log_sum(expected), strict=True):
        assert_allclose(one, other, rtol=rtol)


@over(kinds=[CPU, EMULATED, DEVICE])
def test_broadcast_weights(block):
    x = np.random.default_rng(5).normal(size=(30, 4000))
    b = np.broadcast_to(np.linspace(-1, 2, 30)[:, None], x.shape)
    for axes in every_axes(2):
        expected, state = portable.of_block(x, axes, b), block.of_block(x, axes, b)
        assert_allclose(state.d, expected.d, rtol=1e-12)


# Numbers.


@over(dtype=FLOATS, kinds=OTHERS)
def test_x_above_the_maximum_of_another_state(block, dtype):
    x = np.array([0.0, 60, 80, 88, 200], dtype)
    m, d = np.zeros(1, dtype), np.full(1, 2.0)
    with np.errstate(over="ignore"):
        expected = portable.rescale(x, m, d)
    assert_allclose(block.rescale(x, m, d), expected, rtol=1e-5)


@pytest.mark.parametrize("d", [0.0, -3.0, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("m", [0.0, -np.inf, np.inf, np.nan])
@over(dtype=FLOATS, kinds=OTHERS)
def test_any_state_is_applied_as_portable(block, dtype, m, d):
    x = np.array([0.0, -1.0, -80.0, -np.inf, np.inf, np.nan], dtype)
    m, d = np.full(1, m, dtype), np.full(1, d)
    with np.errstate(over="ignore"):
        expected, log_expected = portable.rescale(x, m, d), portable.log_rescale(x, m, d)
    assert_allclose(block.rescale(x, m, d), expected, rtol=1e-6)
    assert_allclose(block.log_rescale(x, m, d), log_expected, rtol=1e-6)


@over(case=[("f4", 1e-42), ("f4", 1e-300), ("f8", 1e-310)], kinds=[EMULATED, DEVICE])
def test_a_normalizer_without_a_reciprocal(block, case):
    dtype, d = case
    x = np.array([0, -80, -np.inf], dtype)
    with np.errstate(over="ignore"):
        expected = (np.exp(x.astype("g")) / d).astype(dtype)
    assert_allclose(block.rescale(x, np.zeros(1, dtype), np.full(1, d)), expected, rtol=1e-6)


@over(case=[("f4", -100.0), ("f8", -740.0), ("f2", -12.0)], kinds=OURS)
def test_gradual_underflow(block, case):
    dtype, x = case
    m = np.zeros(1, "f8" if dtype == "f8" else "f4")
    y = block.rescale(np.array([x], dtype), m, np.ones(1))
    assert 0 < y[0] < np.finfo(dtype).tiny
    smallest = np.finfo(dtype).smallest_subnormal
    assert_allclose(y[0], np.exp(np.longdouble(x)), rtol=0, atol=smallest)


@over(case=[("f4", -87.0), ("f8", -708.0)], kinds=[CPU, DEVICE])
def test_exp_is_within_2_ulp(block, case):
    dtype, lowest = case
    x = -np.random.default_rng(0).uniform(0, -lowest, 10**6).astype(dtype)
    y = block.rescale(x, np.zeros(1, dtype), np.ones(1))
    exact = np.exp(x.astype("g"))
    assert (np.abs(y - exact) / np.spacing(exact.astype(dtype))).max() <= 2
    y = block.rescale(np.array([-36.7]), np.zeros(1), np.ones(1))[0]
    assert abs(y - mpmath.exp(-36.7)) <= 2 * np.spacing(y)  # longdouble is no oracle for itself


@over(dtype=("float16", "bfloat16"), kinds=[CPU, EMULATED])
def test_every_half_is_decoded_and_encoded(block, dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = np.arange(2**16, dtype="u2").view(dtype)
    m, zero = np.zeros(x.shape, "f4"), np.zeros(x.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        same = block.log_rescale(x, m, zero)  # (x - 0) - 0
        assert_array_equal(same.astype("f4"), x.astype("f4"))
        values = x.astype("f4")
        shifts = np.random.default_rng(0).normal(size=x.shape).astype("f4") * np.abs(values)
        shifts[~np.isfinite(shifts)] = 0
        rounded = block.log_rescale(x, shifts, zero)
        assert_array_equal(rounded.astype("f4"), (values - shifts).astype(dtype).astype("f4"))


# States.


def log_sum_of_parts(x, of_block, step):
    """The parts' states are merged by the library that they are of."""
    rows = x.shape[0]
    parts = (x[i : min(i + step, rows), ...] for i in range(0, rows, step))
    return log_sum(merge(*(of_block(part, (0,)) for part in parts)))


@over()
def test_states_of_parts_merge(block):
    x = np.random.default_rng(0).normal(size=(40, 3)) * 9
    found = block.run(partial(log_sum_of_parts, of_block=block.kind.kernels.of_block, step=7), x)
    expected = special.logsumexp(x, axis=0, keepdims=True)
    assert_allclose(found, expected, rtol=1e-14)


@over(kinds=OTHERS)
def test_states_of_blocks_merge_with_those_of_portable(block):
    x = np.random.default_rng(0).normal(size=(4000, 3))
    merged = merge(block.of_block(x[:1500], (0,)), portable.of_block(x[1500:], (0,)))
    assert_allclose(log_sum(merged), log_sum(portable.of_block(x, (0,))), rtol=1e-15)


@over(kinds=[PORTABLE, *LIBRARIES])
def test_empty_blocks(block):
    state = block.of_block(np.empty((0, 3)), (0,))
    assert_array_equal(state.m, [[-np.inf] * 3])
    assert_array_equal(state.d, [[0.0] * 3])


# The end of memory: every access beyond a block is a segmentation fault, for there is no next page.


def at_the_end_of_memory(size, dtype):
    nbytes = size * np.dtype(dtype).itemsize
    pages = math.ceil(nbytes / mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    beyond = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
    assert libc.mprotect(beyond, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return np.frombuffer(memory, dtype, size, pages * mmap.PAGESIZE - nbytes)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 300, 5000, 20_011])
@over(dtype=("int8", "float16", "float32", "float64"), kinds=[CPU, EMULATED])
def test_runs_that_begin_and_end_anywhere(block, dtype, length):
    for start in range(17):
        x = at_the_end_of_memory(start + length, dtype)[start:]
        x[...] = np.arange(length) % 11
        assert_right(block, x, (0,))


@pytest.mark.parametrize("shape", [(3, 5), (17, 3), (4001, 5), (70, 300)], ids=str)
@over(dtype=("int8", "float64"), kinds=[CPU, EMULATED])
def test_columns_at_the_end_of_memory(block, dtype, shape):
    x = at_the_end_of_memory(math.prod(shape), dtype).reshape(shape)
    x[...] = np.arange(x.size).reshape(shape) % 11
    for axes in every_axes(2):
        assert_right(block, x, axes)
