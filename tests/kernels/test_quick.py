"""Small NumPy arrays, whose calls are looked up, have the bits that blocks have."""

import dask.array as da
import numpy as np
import pytest

import dsoftmax
from dsoftmax._algebra.states import dropped
from dsoftmax._kernels import Terms, logsumexp, of_block, quick_result, quick_state
from dsoftmax._kernels.cpu import compiler, kernels, quick
from dsoftmax._kernels.topk import quick_result as quick_topk

SHAPES = [((20,), None), ((20,), 0), ((3, 40), 1), ((3, 40), -1), ((40, 3), 0), ((2, 3, 30), None)]
DTYPES = ["float32", "float64"]
SPECIAL = {
    "normal": 0.0,
    "infinite": np.inf,
    "minus infinite": -np.inf,
    "missing": np.nan,
    "large": 1e30,
}


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    """What small arrays do not wait for, here or in an earlier test of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_not_kept", set())
        quick.forget()
        for dtype in DTYPES:
            compiler.compiled(kernels.log_sums, np.dtype(dtype).type)
            for shape, axis in SHAPES:
                x = numbers(shape, dtype)
                logsumexp(Terms(x, x), tuple(range(x.ndim)) if axis is None else (axis,))
        yield
    quick.forget()


def numbers(shape, dtype, special=0.0):
    x = np.random.default_rng(0).normal(0, 5, shape).astype(dtype)
    x.reshape(-1)[[0, 7]] = special
    return x


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_states(shape, axis, dtype, special):
    x = numbers(shape, dtype, special)
    axes = tuple(range(x.ndim)) if axis is None else (axis % x.ndim,)
    state = of_block(x, axes)  # waits for the compiler
    if axis is None:
        state = dropped(state, axes)
    for own, field in zip(quick_state(x, axis), state, strict=True):
        same(own, field)


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_weights(shape, axis, dtype, special):
    x, b = numbers(shape, dtype, special), 1 + np.square(numbers(shape, dtype))
    axes = tuple(range(x.ndim)) if axis is None else (axis % x.ndim,)
    block = logsumexp(Terms(x, b), axes).astype(dtype)
    result = quick_result("logsumexp", x, axis, True, b)
    if np.isfinite(special):
        same(result, block)
    else:  # a sum may not be finite since a weight is large
        assert result is None or np.array_equal(result, block, equal_nan=True)
    same(dsoftmax.logsumexp(x, axis, b=b, keepdims=True), block)


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_top_k(shape, axis, dtype, special):
    x = numbers(shape, dtype, special)
    lazy = da.from_array(x, chunks=-1)
    for normalized in (True, False):
        function = dsoftmax.softmax_topk if normalized else dsoftmax.topk
        found = function(lazy, 3, axis).compute()
        result = quick_topk(x, 3, axis, normalized)
        for own, whole in zip(result, found, strict=True):
            same(own, whole)


def test_what_takes_more_is_left():
    x = numbers(20, "float64")
    masked = np.ma.masked_array(x, x > 0)
    others = [x.astype(">f8"), x.astype("i8"), x[::2], masked, x.tolist(), x[:0], x[0]]
    for other in others:
        assert quick_result("softmax", other, None) is None, other
        assert quick_state(other, None) is None, other
    for axis in (1, -2, (0,), True, "0"):
        assert quick_state(x, axis) is None
        assert quick_topk(x, 3, axis, True) is None
    for b in (2.0, x[:1], x.astype("f4"), np.repeat(x, 2)[::2], masked):
        assert quick_result("logsumexp", x, None, False, b) is None
    for k in (0, -1, 21, 2.0, True):
        assert quick_topk(x, k, 0, True) is None
        assert quick_topk(x, k, 0, False) is None
    for other in (x.astype(">f8"), x.astype("i8"), masked):
        assert quick_topk(other, 3, 0, True) is None


def test_weights_that_overflow_are_left():
    x, b = np.arange(20) * -1e-9, np.full(20, 1e306)
    assert quick_result("logsumexp", x, None, False, b) is None
    assert dsoftmax.logsumexp(x, b=b) == pytest.approx(np.log(1e306) + np.log(20))


def test_normalizers_are_merged_as_numbers():
    x = numbers(20, "float64")
    whole = dsoftmax.Normalizer.of(da.from_array(x, chunks=(7, 13))).compute()  # waits
    parts = [dsoftmax.Normalizer.of(part) for part in (x[:7], x[7:])]
    assert parts[0].merge(parts[1]) == whole
    lazy = da.from_array(x.reshape(4, 5), chunks=(4, (2, 3)))
    whole = dsoftmax.Normalizer.of(lazy, 1).compute()
    rows = [dsoftmax.Normalizer.of(part, 1) for part in np.hsplit(x.reshape(4, 5), [2])]
    assert rows[0].merge(rows[1]) == whole
