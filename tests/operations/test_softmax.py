"""What softmax, log_softmax and logsumexp give: SciPy 1.17 is the oracle, mpmath where it is not.

Runs in both modes of dask.array, see test_array_expr.py.
"""

import dask
import dask.array as da
import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import dsoftmax
from dsoftmax import log_softmax, logsumexp, softmax

from .. import oracle
from ..compare import assert_allclose, assert_array_equal
from ..oracle import EPS
from ..strategies import chunked_arrays

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
INF, NAN = np.inf, np.nan
SHAPE = (6, 9, 5)
CHUNKS = [
    SHAPE,  # one block
    (2, 3, 2),
    (1, 9, 1),
    (1, 1, 1),
    ((1, 0, 5), (4, 5), (0, 2, 3)),  # uneven, and blocks of no element
]
AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (), (0, 1, 2)]


@pytest.fixture
def x():
    return np.random.default_rng(7).normal(size=SHAPE) * 10


def both(name):
    """Our function and SciPy's, of which the second warns about inf - inf."""
    return getattr(dsoftmax, name), np.errstate(all="ignore")(getattr(special, name))


def assert_same(actual, expected, rtol=1e-13, atol=1e-15):
    """Values, dtype, shape and type (a scalar or an array)."""
    assert_allclose(actual, expected, rtol=rtol, atol=atol)
    assert np.asarray(actual).dtype == np.asarray(expected).dtype
    assert np.shape(actual) == np.shape(expected)


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


@pytest.mark.parametrize("axis", [None, 1, (-1, 0), ()], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(), (9, 1), SHAPE, (2, *SHAPE)], ids=str)
@pytest.mark.parametrize("chunks", [SHAPE, (2, 3, 2)], ids=str)
def test_weights_as_scipy(axis, keepdims, shape, chunks, x):
    b = np.random.default_rng(3).normal(size=shape)
    expected = special.logsumexp(x, axis=axis, b=b, keepdims=keepdims, return_sign=True)
    lazy = da.from_array(x, chunks=chunks)
    for a, weights in ((x, b), (lazy, b), (x, da.from_array(b, chunks=2)), (lazy, da.asarray(b))):
        actual = logsumexp(a, axis=axis, b=weights, keepdims=keepdims, return_sign=True)
        # the terms have both signs and cancel
        assert_same(dask.compute(*actual), expected, rtol=1e-11)


@pytest.mark.parametrize("keepdims", [False, True])
def test_negative_sums_give_nan_without_their_sign(keepdims):
    a, b = np.array([[1.0, 2.0], [2.0, 1.0]]), [1, -1]
    expected = special.logsumexp(a, axis=1, b=b, keepdims=keepdims)
    assert_same(logsumexp(a, axis=1, b=b, keepdims=keepdims), expected)
    lazy = logsumexp(da.from_array(a, chunks=1), axis=1, b=b, keepdims=keepdims)
    assert_same(lazy.compute(), expected)


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


@pytest.mark.parametrize("chunks", [None, 1, 2])
@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 0.0], [1e-309, 1]), ([0, -1], [1e-160, 1e150]), ([-1, 0], [1e150, 1e-160])]
)
def test_weights_that_are_far_apart(a, b, chunks):
    x = np.array(a, dtype=float)
    x = x if chunks is None else da.from_array(x, chunks=chunks)
    expected = float(oracle.logsumexp(a, b))
    assert_allclose(logsumexp(x, b=b), expected, rtol=1e-15, atol=1e-300)
    many = np.tile(a, 5000)  # in compiled blocks
    many = many if chunks is None else da.from_array(many, chunks=8000)
    assert_allclose(logsumexp(many, b=np.tile(b, 5000)), expected + np.log(5000), rtol=1e-15)


def test_complex_weights_that_are_far_apart():
    expected = 200 * np.log(10) - 1 + 1j
    assert_allclose(logsumexp([0, -1 + 1j], b=[1e-200, 1e200]), expected, rtol=1e-15)


def test_what_far_apart_weights_lose():
    # exp(-800) underflows before its weight of 1e300 counts, as in SciPy: it is -109.2
    b = [1e-300, 1e300]
    assert logsumexp([0, -800], b=b) == special.logsumexp([0, -800], b=b)
    assert float(oracle.logsumexp([0, -800], b)) == pytest.approx(-109.2, abs=0.1)
    with np.errstate(over="ignore"):  # a sum of weights that overflows does so in SciPy too
        assert special.logsumexp([0, 0], b=[1e308, 1e308]) == INF
    assert logsumexp([0, 0], b=[1e308, 1e308]) == INF


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([710.0, 0.0], [0, 0], (-INF, 0)),
        ([INF, 0.0], [0, 0], (-INF, 0)),
        ([NAN, 0.0], [0, 0], (-INF, 0)),
        ([0.0, -800.0], [1, INF], (INF, 1)),
        ([0.0, -800.0], [1, -INF], (INF, -1)),
        ([INF, 0.0], [0, INF], (INF, 1)),
    ],
)
def test_special_weights_where_scipy_gives_nan(a, b, expected):
    with np.errstate(all="ignore"):
        assert np.isnan(special.logsumexp(a, b=b, return_sign=True)).all()
    for x in (np.array(a), da.from_array(np.array(a), chunks=1)):
        assert_array_equal(dask.compute(*logsumexp(x, b=b, return_sign=True)), expected)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("f4", 2, "f4"),
        ("f4", 2.5, "f4"),
        ("f2", True, "f2"),
        ("i8", 2, "f8"),
        ("i8", 0.5, "f8"),
        ("f4", np.float64(2), "f8"),
        ("f4", np.ones(3, "f8"), "f8"),
        ("f4", np.ones(3, "i8"), "f8"),
        ("i2", np.ones(3, "f4"), "f4"),
        ("?", np.ones(3, "?"), "f8"),
    ],
    ids=str,
)
def test_weights_promote_as_scipy(a, b, expected):
    a = np.ones(3, a)
    assert special.logsumexp(a, b=b).dtype == expected
    assert logsumexp(a, b=b).dtype == expected
    assert logsumexp(da.from_array(a, chunks=2), b=b).dtype == expected
    assert logsumexp(da.from_array(a, chunks=2), b=b).compute().dtype == expected


COMPLEX = [
    [1j, 2 + 1j],
    [1j * np.pi, 0],
    [1 + 1j, 1 - 1j],
    [0, -40 + 1j],
    [3 + 3j, 3 + 3j],
    [INF + 0j, 1],
    [-INF + 0j, 2j],
    [NAN + 0j, 1],
]


@pytest.mark.parametrize("values", COMPLEX, ids=str)
def test_complex_logsumexp_as_scipy(values):
    x = np.array(values, dtype=complex)
    log_abs, phase = special.logsumexp(x, return_sign=True)
    for a in (x, da.from_array(x, chunks=1), da.from_array(x, chunks=2)):
        value, *signed = dask.compute(logsumexp(a), *logsumexp(a, return_sign=True))
        assert_allclose(value, special.logsumexp(x), rtol=1e-14, atol=1e-15)
        assert_allclose(signed[0], log_abs, rtol=1e-14, atol=1e-15)
        # where SciPy divides inf by inf the phase is that of the value
        assert_allclose(signed[1], np.where(log_abs == INF, np.exp(1j * value.imag), phase))
    assert logsumexp(x.astype("c8")).dtype == "c8"
    assert [r.dtype for r in logsumexp(x.astype("c8"), return_sign=True)] == ["f4", "c8"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, complex(-INF, INF)], 0),
        ([0, complex(-INF, NAN)], 0),
        ([complex(INF, 0.7)], complex(INF, np.pi / 4)),
        ([complex(INF, 0.7), 3 - 1j], complex(INF, np.pi / 4)),
        ([complex(INF, 0.7), complex(INF, 0.7 + np.pi)], complex(NAN, NAN)),
    ],
)
def test_infinite_complex_terms(values, expected):
    x = np.array(values, dtype=complex)
    for a in (x, da.from_array(x, chunks=1)):
        assert_array_equal(logsumexp(a), expected)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, -0.0, 1.0, 2.5, INF, -INF, NAN])] * 2), min_size=1)
)
def test_complex_infinities_and_nan_as_numpy(parts):
    x = np.array([complex(re, im) for re, im in parts])
    with np.errstate(all="ignore"):
        total = np.sum(np.exp(x))
        expected = np.log(total)
    for a in (x, da.from_array(x, chunks=1), da.from_array(x, chunks=2)):
        value = logsumexp(a)
        if not np.isfinite(expected):
            assert_array_equal(value, expected)
        else:
            assert_allclose(value, expected, rtol=1e-13, atol=1e-15)


def test_small_complex_terms_are_not_lost():
    # log(1 + exp(-40 + i)) is exp(-40 + i); SciPy's real part is 0
    assert_allclose(logsumexp([0, -40 + 1j]), np.exp(-40 + 1j), rtol=1e-14)


def test_complex_weights_as_scipy():
    for a, b in (([1, 2], [1j, 2]), ([1j, 2], [1, -2]), ([1j, 2], [0, 1 + 1j])):
        assert_allclose(logsumexp(a, b=b), special.logsumexp(a, b=b), rtol=1e-14)
        lazy = logsumexp(da.from_array(np.array(a), chunks=1), b=b)
        assert_allclose(lazy.compute(), special.logsumexp(a, b=b), rtol=1e-14)


def test_random_complex_sums_as_scipy():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 6)) + 1j * rng.uniform(-9, 9, size=(40, 6))
    expected = special.logsumexp(x, axis=1)
    assert_allclose(logsumexp(x, axis=1), expected, rtol=1e-13)
    assert_allclose(logsumexp(da.from_array(x, chunks=3), axis=1), expected, rtol=1e-13)


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


@settings(max_examples=50, deadline=None)
@given(chunked_arrays(special=False))
def test_softmax_sums_to_one(case):
    x, chunks, axis = case
    y = softmax(da.from_array(x, chunks=chunks), axis=axis)
    assert_allclose(y.sum(axis=axis).compute(), 1, rtol=1e-14)


@pytest.mark.parametrize("shift", [-1e4, 64.0, 1e6])
def test_translation_invariance(shift, x):
    x = np.round(x * 64) / 64  # so that x + shift is exact
    lazy = da.from_array(x + shift, chunks=2)
    assert_array_equal(softmax(lazy, axis=1), softmax(da.from_array(x, chunks=2), axis=1))
    assert_array_equal(log_softmax(lazy, axis=1), log_softmax(da.from_array(x, chunks=2), axis=1))
    assert_allclose(
        logsumexp(lazy, axis=1) - shift, logsumexp(x, axis=1), atol=2 * EPS * abs(shift)
    )


@pytest.mark.parametrize(
    ("dtype", "scale"), [("f4", 1e-3), ("f4", 1), ("f4", 10), ("f8", 1e-3), ("f8", 1), ("f8", 100)]
)
def test_error_bounds(dtype, scale):
    x = (np.random.default_rng(11).normal(size=200) * scale).astype(dtype)
    u = np.finfo(dtype).eps / 2
    for a in (x, da.from_array(x, chunks=7)):
        assert_within_bounds(x, *dask.compute(softmax(a), log_softmax(a), logsumexp(a)), u)


@pytest.mark.parametrize(
    ("x", "dtype", "digits"),
    [
        ([-15.2, 49.3], "f4", 16),
        ([0.98333, -602.22822], "f8", 200),
        ([0.1, -22.9, -23.3, -50.7], "f8", 12),
        ([0.263, *[-14.375] * 1_600_000], "f4", 7),  # which weigh as much as the maximum
    ],
)
def test_error_bounds_beside_a_dominant_maximum(x, dtype, digits):
    # the rounding of x - m is that of nearly all that log d consists of
    x, u = np.array(x, dtype), np.finfo(dtype).eps / 2
    log_y = log_softmax(x)
    with mpmath.workdps(320):
        assert_within_bounds(x, softmax(x), log_y, logsumexp(x), u)
        exact = max(x).astype("f8") - oracle.logsumexp(*np.unique(x, return_counts=True))
        assert abs(float(max(log_y)) - exact) > digits * u * abs(exact)


def assert_within_bounds(x, y, log_y, total, u):
    """The bounds of docs/numerics.md, in which T and E are defined."""
    values, first, counts = np.unique(x, return_index=True, return_counts=True)
    distance = np.float64(x.max()) - values
    share = counts * np.exp(-distance)
    t = share @ distance / max(share[:-1].sum(), 1e-300)
    e = share @ distance / share.sum()
    exact = oracle.logsumexp(values, counts)
    log_probabilities = [mpmath.mpf(float(v)) - exact for v in values]
    errors = [
        oracle.relative_error([actual], [mpmath.exp(expected)]) / u
        for actual, expected in zip(y[first], log_probabilities, strict=True)
    ]
    assert np.all(errors <= distance + e + 6)
    assert oracle.relative_error(log_y[first], log_probabilities) <= (t + 8) * u
    assert abs(total - exact) <= (t + 4) * u * max(abs(exact), abs(float(x.max())))


class TestWhereOthersAreSilentlyWrong:
    """Each fails in SciPy 1.17, and the last in NumPy's sum itself."""

    def test_long_float32_sums_along_the_first_axis(self):
        # SciPy and torch add 2^25 times 2^-25 in float32 and get 2.0
        x = da.zeros((2**25, 2), dtype="f4", chunks=(2**23, 2))
        total = softmax(x, axis=0).sum(axis=0, dtype="f8")
        with dask.config.set(scheduler="threads"):
            assert_allclose(total.compute(), 1, rtol=1e-7)

    @pytest.mark.parametrize("chunks", [70_000, 9_999])
    def test_many_float16(self, chunks):
        x = da.zeros(70_000, dtype="f2", chunks=chunks)  # their sum exceeds 65504
        assert_allclose(softmax(x).compute(), np.float16(1 / 70_000), rtol=0)
        assert logsumexp(x).compute() == np.float16(np.log(70_000))

    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
    def test_unsigned(self, dtype):
        x = np.array([0, 1, 2], dtype=dtype)
        assert_allclose(softmax(x), special.softmax([0.0, 1.0, 2.0]))
        assert_allclose(softmax(da.from_array(x, chunks=1)), special.softmax([0.0, 1.0, 2.0]))

    def test_int8_does_not_wrap(self):
        x = np.array([-100, 100], dtype="i1")
        assert_allclose(softmax(x), [np.exp(-200), 1])
        assert_allclose(log_softmax(da.from_array(x, chunks=1)), [-200, 0], atol=1e-80)

    def test_many_bfloat16(self):
        x = np.zeros(100_000, dtype=ml_dtypes.bfloat16)  # NumPy adds the ones up to 390
        assert logsumexp(x) == ml_dtypes.bfloat16(np.log(100_000))
        assert float(softmax(x)[0]) == pytest.approx(1e-5, rel=2**-8)

    def test_log_softmax_keeps_the_digits_of_differences(self):
        x = (np.array([0.1, 0.5, 0.9]) - 1e7).astype("f4")
        expected = np.array([-1, -1, 0]) - np.log(1 + 2 / np.e)
        for a in (x, da.from_array(x, chunks=1)):
            assert_allclose(log_softmax(a), expected, rtol=1e-7)

    def test_log_softmax_of_a_certain_outcome(self):
        assert_allclose(log_softmax([0.0, -40.0]), [-4.248354255291589e-18, -40], rtol=1e-15)


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


class TestUnknownChunks:
    @pytest.fixture
    def unknown(self, x):
        rows = da.from_array(x[:, 0], chunks=(2, 5))
        return rows[da.from_array(x[:, 0, 0], chunks=2) > -1000]

    @pytest.mark.parametrize("axis", [None, 0, 1])
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_work_where_the_answer_is_defined(self, name, axis, unknown, x):
        ours, scipys = both(name)
        assert np.isnan(unknown.shape[0])
        assert_same(ours(unknown, axis=axis).compute(), scipys(x[:, 0], axis=axis))

    def test_weights_of_the_same_blocks(self, unknown, x):
        y = logsumexp(unknown, axis=0, b=unknown * unknown)
        expected = special.logsumexp(x[:, 0], axis=0, b=x[:, 0] ** 2)
        assert_same(y.compute(), expected)
        assert_same(
            logsumexp(unknown, b=[1, 2, 3, 4, 5]).compute(),
            special.logsumexp(x[:, 0], b=[1, 2, 3, 4, 5]),
        )
