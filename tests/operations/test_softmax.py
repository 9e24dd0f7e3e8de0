"""What softmax, log_softmax and logsumexp give: SciPy 1.17 is the oracle."""

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import special

import dsoftmax
from dsoftmax import log_softmax, logsumexp, softmax

from ..compare import assert_allclose, assert_array_equal
from ..strategies import chunked_arrays
from .scipys import FUNCTIONS, INF, NAN, SHAPE, assert_same, both

pytestmark = pytest.mark.expressions

CHUNKS = [
    SHAPE,  # one block
    (2, 3, 2),
    (1, 9, 1),
    (1, 1, 1),
    ((1, 0, 5), (4, 5), (0, 2, 3)),  # uneven, and blocks of no element
]
AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (), (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_dask_arrays_as_scipy(name, chunks, axis, x, lazily):
    ours, scipys = both(name)
    y = lazily(ours, da.from_array(x, chunks=chunks), axis=axis)
    expected = scipys(x, axis=axis)
    assert isinstance(y, da.Array)
    assert (y.shape, y.dtype) == (np.shape(expected), expected.dtype)
    assert_same(y.compute(), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_result_has_the_chunks_of_the_input(name, x):
    chunks = ((1, 5), (9,), (2, 3))
    y = both(name)[0](da.from_array(x, chunks=chunks), axis=0)
    assert y.chunks == (chunks[1:] if name == "logsumexp" else chunks)
    assert type(y._meta) is np.ndarray


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_arrays_as_scipy(name, axis, x):
    ours, scipys = both(name)
    before = x.copy()
    x.flags.writeable = False
    y = ours(x, axis=axis)
    assert_same(y, scipys(x, axis=axis))
    assert type(y) is type(scipys(x, axis=axis))
    assert_array_equal(x, before)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "value", [3, 3.0, np.float32(3), INF, -INF, NAN, [1, 2.5], [[1], [2]], (1, 0), np.array(2.0)]
)
def test_lists_and_scalars_as_scipy(name, value):
    ours, scipys = both(name)
    assert_same(ours(value), scipys(value))
    assert type(ours(value)) is type(scipys(value))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_dask_scalars_as_scipy(name, axis):
    ours, scipys = both(name)
    assert_same(ours(da.from_array(np.array(2.0)), axis=axis).compute(), scipys(2.0, axis=axis))


def test_scalars_with_axis_and_keepdims_as_scipy():
    assert_same(logsumexp(3.0, keepdims=True), special.logsumexp(3.0, keepdims=True))
    assert_same(logsumexp(3.0, axis=()), special.logsumexp(3.0, axis=()))
    assert_same(softmax(3.0, axis=()), special.softmax(3.0, axis=()))


SPECIAL = [
    [INF, 0.0],
    [-INF, 0.0],
    [-INF, -INF],
    [INF, -INF],
    [INF, INF],
    [NAN, 0.0],
    [NAN, INF],
    [NAN, -INF],
    [0.0, -40.0],
    [1e300, -1e300],
    [1000.0, 1.0],
    [710.0, 710.0],
    [-1000.0, -1000.0],
]


@pytest.mark.parametrize("values", SPECIAL, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_as_scipy(name, values):
    ours, scipys = both(name)
    expected = scipys(values)
    assert_same(ours(values), expected)
    assert_same(ours(values[::-1]), scipys(values[::-1]))
    for chunks in (1, 2):
        assert_same(ours(da.from_array(np.array(values), chunks=chunks)).compute(), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_stay_in_their_slice(name):
    x = np.random.default_rng(0).normal(size=(len(SPECIAL), 5))
    x[:, 1:3] = SPECIAL
    x = np.vstack([x, np.ones(5)])
    ours, scipys = both(name)
    expected = scipys(x, axis=1)
    assert_same(ours(x, axis=1), expected)
    assert_same(ours(da.from_array(x, chunks=2), axis=1).compute(), expected)
    assert_same(ours(da.from_array(x.T, chunks=2), axis=0).compute(), expected.T)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "g", "i4", "i8"])
def test_dtypes_as_scipy(name, dtype):
    ours, scipys = both(name)
    x = np.array([[1, 2, 3], [5, 5, 0]]).astype(dtype)
    eps = np.finfo(scipys(x, axis=1).dtype).eps
    assert_same(ours(x, axis=1), scipys(x, axis=1), rtol=4 * eps, atol=eps)
    lazy = ours(da.from_array(x, chunks=2), axis=1)
    assert lazy.dtype == scipys(x, axis=1).dtype
    assert_same(lazy.compute(), scipys(x, axis=1), rtol=4 * eps, atol=eps)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "u4", "u8"])
def test_bool_and_integers_give_float64(name, dtype):
    ours, scipys = both(name)
    x = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    expected = scipys(x.astype("f8"), axis=0)
    assert_same(ours(x, axis=0), expected)
    assert_same(ours(da.from_array(x, chunks=1), axis=0).compute(), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bfloat16_keeps_its_dtype(name):
    x = np.array([[1, 2, 3], [5, 5, 0]], dtype=ml_dtypes.bfloat16)
    ours, scipys = both(name)
    expected = scipys(x.astype("f4"), axis=1).astype(ml_dtypes.bfloat16)
    for actual in (ours(x, axis=1), ours(da.from_array(x, chunks=1), axis=1).compute()):
        assert actual.dtype == x.dtype
        assert_array_equal(actual, expected)


def test_a_logarithm_beyond_float16_does_not_warn():
    # 65504 + log(1e9)
    assert logsumexp(np.array([65504.0], "f2"), b=1e9) == INF
    assert logsumexp(da.from_array(np.array([65504.0], "f2")), b=1e9).compute() == INF


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((0,), None, ()),
        ((0,), 0, ()),
        ((0, 3), None, ()),  # SciPy: IndexError
        ((3, 0), None, ()),  # SciPy: IndexError
        ((0, 3), 0, (3,)),
        ((0, 3), 1, (0,)),
        ((3, 0), 1, (3,)),
        ((0, 3), (), (0, 3)),  # SciPy: shape (1, 1)
        ((0,), (), (0,)),  # SciPy: shape (1,)
    ],
    ids=str,
)
def test_an_empty_sum_is_zero(shape, axis, expected):
    x = np.zeros(shape)
    for a in (x, da.from_array(x)):
        value, sign = dask.compute(*logsumexp(a, axis=axis, return_sign=True))
        assert_array_equal(value, np.full(expected, -INF))
        assert_array_equal(sign, np.zeros(expected))  # SciPy: -1
        assert_array_equal(logsumexp(a, axis=axis), np.full(expected, -INF))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "axis"), [((0, 3), 1), ((3, 0), 0), ((0,), ()), ((0, 3), ())])
def test_no_slices_give_no_results(name, shape, axis):
    x = np.zeros(shape)
    assert_same(both(name)[0](x, axis=axis), x)
    assert_same(both(name)[0](da.from_array(x), axis=axis).compute(), x)


@settings(max_examples=60, deadline=None)
@given(chunked_arrays())
def test_results_do_not_depend_on_chunks(case):
    x, chunks, axis = case
    lazy = da.from_array(x, chunks=chunks)
    for split_every in (2, 16):
        for name in FUNCTIONS:
            function = getattr(dsoftmax, name)
            actual = function(lazy, axis=axis, split_every=split_every).compute()
            assert_allclose(actual, function(x, axis=axis), rtol=1e-12, atol=4e-16)


class TestMaskedArrays:
    X = np.ma.array([[1.0, 2, 99], [3, 99, 99]], mask=[[0, 0, 1], [0, 1, 1]])

    @pytest.mark.parametrize("chunks", [None, 1, 2])
    @pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
    def test_masked_entries_take_no_part_and_stay_masked(self, chunks, dtype):
        x = self.X.astype(dtype)
        a = x if chunks is None else da.from_array(x, chunks=chunks)
        (y,), (log_y,) = dask.compute(softmax(a, axis=1)), dask.compute(log_softmax(a, axis=1))
        assert_array_equal(np.ma.getmaskarray(y), self.X.mask)
        assert_array_equal(np.ma.getmaskarray(log_y), self.X.mask)
        assert_allclose(y.compressed(), [*special.softmax([1, 2.0]), 1], rtol=1e-6)
        assert_allclose(log_y.compressed(), [*special.log_softmax([1, 2.0]), 0], rtol=1e-6)
        expected = [special.logsumexp([1, 2]), 3]
        assert_allclose(dask.compute(logsumexp(a, axis=1))[0], expected, rtol=1e-6)

    def test_a_slice_without_entries_is_an_empty_sum(self):
        x = np.ma.array([[1.0, 2], [3, 4]], mask=[[1, 1], [0, 0]])
        assert_allclose(logsumexp(x, axis=1), [-INF, special.logsumexp([3, 4])])
        assert softmax(x, axis=1).mask.tolist() == [[True, True], [False, False]]

    @pytest.mark.parametrize("chunks", [2, -1])
    def test_the_kind_of_a_result_is_known_before(self, chunks):
        x = da.from_array(self.X, chunks=chunks)
        for masked in (softmax(x, axis=1), log_softmax(x)):
            assert type(masked._meta) is type(masked.compute()) is np.ma.MaskedArray
        weighted = logsumexp(np.ones((2, 3)), axis=1, b=x)
        for plain in (logsumexp(x, axis=1), logsumexp(x, axis=0, keepdims=True), weighted):
            assert type(plain._meta) is type(plain.compute()) is np.ndarray

    def test_masked_weights_are_zero(self):
        b = np.ma.array([1, 1000, 2], mask=[0, 1, 0])
        assert_allclose(logsumexp([1, 2, 3], b=b), special.logsumexp([1, 2, 3], b=[1, 0, 2]))
