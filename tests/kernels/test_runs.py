"""Few columns of many planes: worked on side by side, in runs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dsoftmax._algebra.normalizer import log_d
from dsoftmax._kernels import in_memory, portable
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cpu import plan
from dsoftmax._kernels.cpu.tuning import MANY

TOLERANCES = {"float16": 2e-3, "float32": 4e-6, "float64": 3e-14}
SHAPES = [
    ((100, 7, 8), 1),
    ((41, 300, 13), 1),
    ((5, 30, 7, MANY - 1), 2),
    ((3, 50, 40, 9), (0, 2)),
]
LAYOUTS = {
    "C": np.asarray,
    "every second plane": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1],
    "apart": lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
def test_like_the_portable_ones(shape, axis, dtype, layout, cut, monkeypatch):
    monkeypatch.setattr("dsoftmax._kernels.cpu.pieces.PIECE", 1 << 10)
    monkeypatch.setattr(plan, "LARGE_ROWS", 0)
    plan.plan.cache_clear()
    x = LAYOUTS[layout](np.random.default_rng(0).normal(scale=4, size=shape).astype(dtype))
    axes = axis if isinstance(axis, tuple) else (axis,)
    near = TOLERANCES[dtype]
    with in_memory.InMemory((in_memory.LARGE if cut else 1,), lambda: 2, wait=True):
        state, moments = cpu.of_block(x, axes), cpu.moments(x, axes)
        y, log_y = cpu.softmax(x, axes), cpu.log_softmax(x, axes)
        given = cpu.rescale(x, state.m, state.d), cpu.log_rescale(x, state.m, log_d(state))
    plan.plan.cache_clear()
    native = x.astype(dtype)
    expected, found = portable.moments(native, axes), (moments, state)
    for fields in found:
        assert_array_equal(fields[0], expected.m)
        for one, other in zip(fields[1:], expected[1:], strict=False):
            assert_allclose(one, other, rtol=min(near, 3e-6), atol=1e-12)
    for one in (y, given[0]):
        assert_allclose(
            one, portable.softmax(native, axes), rtol=near, atol=1e-7 * (dtype == "float16")
        )
    for one in (log_y, given[1]):
        assert_allclose(one, portable.log_softmax(native, axes), rtol=near, atol=near)


def test_they_are_chosen():
    def chosen(shape, **further):
        x = np.empty(shape, "f4")
        layout = (x.dtype, x.strides)
        where = (np.dtype(bool), x.strides) if further else None
        reduced = (False, True, False)
        return plan.plan(shape, reduced, layout, None, where, None, None, "plain", 16, False, True)

    assert chosen((100, 7, 8)).work.run == 8
    assert chosen((100, 7, 8)).states == 800
    assert chosen((100, 7, 7)).work.run == 0
    assert chosen((100, 7, MANY)).work.run == 0
    assert chosen((5, 7, 8)).work.run == 0  # more columns than planes
    assert chosen((100, 7, 8), masked=True).work.run == 0
