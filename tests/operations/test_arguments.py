"""Every bad argument gets an error that names it and says what to do, before anything computes."""

import array_api_strict
import dask
import dask.array as da
import dask.bag as db
import ml_dtypes
import numpy as np
import pytest

import dsoftmax
from dsoftmax import Normalizer, log_softmax, logsumexp, softmax

from . import scipys

FUNCTIONS = tuple(getattr(dsoftmax, name) for name in scipys.FUNCTIONS)
KINDS = {"numpy": np.asarray, "dask": lambda x: da.from_array(np.asarray(x), chunks=1)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("axis", [2, -3, (0, 2)])
def test_axis_out_of_range(function, axis, kind):
    with pytest.raises(np.exceptions.AxisError, match=r"axis -?\d is out of bounds for .*\(2, 3\)"):
        function(kind(np.zeros((2, 3))), axis=axis)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("axis", [(0, 0), (0, -2)])
def test_duplicate_axes(function, axis, kind):
    with pytest.raises(ValueError, match="duplicate value in 'axis'.*once"):
        function(kind(np.zeros((2, 3))), axis=axis)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("axis", [1.0, [0], "0", True, (0, None)])
def test_axis_of_another_type(function, axis, kind):
    with pytest.raises(TypeError, match="axis is .*None, an int or a tuple"):
        function(kind(np.zeros((2, 3))), axis=axis)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "x",
    [
        np.array([1, None], dtype=object),
        np.array(["a", "b"]),
        np.array(["2024-01-01"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[s]"),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(2, dtype=ml_dtypes.float8_e4m3fn),
    ],
    ids=lambda x: x.dtype.name,
)
def test_dtypes_without_exponential(function, x, kind):
    with pytest.raises(TypeError, match=r"(x|a) has dtype .*no exponential.*astype"):
        function(kind(x))


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_complex(function, kind):
    with pytest.raises(TypeError, match="x has dtype complex128.*real array"):
        function(kind(np.zeros(2, dtype=complex)))


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize(
    ("shape", "axis"), [((0,), None), ((0, 3), 0), ((3, 0), 1), ((0, 3), None)]
)
def test_empty_axis(function, shape, axis, kind, lazily):
    with pytest.raises(ValueError, match=r"x has shape \(.*\), empty along axis"):
        lazily(function, kind(np.zeros(shape)), axis=axis)


@pytest.mark.parametrize("shape", [(4,), (3, 3), (2, 2)])
def test_weights_that_do_not_broadcast(shape, kind, lazily):
    with pytest.raises(
        ValueError, match=r"b of shape .* does not broadcast with a of shape \(2, 3\)"
    ):
        lazily(logsumexp, kind(np.zeros((2, 3))), b=kind(np.ones(shape)))


@pytest.mark.parametrize("b", [["a", "b"], [None, 1]])
def test_weights_that_are_no_numbers(b, kind):
    with pytest.raises(TypeError, match="b has dtype"):
        logsumexp(kind([1.0, 2.0]), b=b)


def test_unknown_chunks_that_may_not_agree(lazily):
    x = da.from_array(np.arange(6.0), chunks=2)
    unknown = x[x > 1]
    for a, b in ((unknown, np.ones(4)), (np.ones(4), unknown), (unknown, x.rechunk(3)[x > 1])):
        with pytest.raises(ValueError, match="unknown.*compute_chunk_sizes"):
            lazily(logsumexp, a, b=b)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_collections_that_are_not_arrays(function, lazily):
    with pytest.raises(TypeError, match=r"is of type dask Bag.*to_dask_array"):
        lazily(function, db.from_sequence([1, 2]))


LAZY, MASKED = da.ones(2, chunks=1), np.ma.array([1.0, 2.0], mask=[0, 1])


@pytest.mark.parametrize("function", [*FUNCTIONS, dsoftmax.topk, Normalizer.of])
@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([LAZY, LAZY], r"is a list of Dask arrays, which would be computed.*dask.array.stack"),
        (([[1.0, 2.0]], [LAZY]), r"is a list of Dask arrays"),
        ([[LAZY[0], 1.0]], r"is a list of Dask arrays"),
        ([MASKED, MASKED], r"is a list of masked arrays, whose masks.*numpy.ma.stack"),
        (([1.0, 2.0], MASKED), r"is a tuple of masked arrays"),
    ],
)
def test_lists_of_what_numpy_would_not_just_copy(function, items, message, lazily):
    arguments = (1,) if function is dsoftmax.topk else ()
    with pytest.raises(TypeError, match=rf": (x|a) {message}"):
        lazily(function, items, *arguments)


def test_lists_of_such_weights(lazily):
    with pytest.raises(TypeError, match=r"b is a list of Dask arrays.*dask.array.stack\(b\)"):
        lazily(logsumexp, np.zeros((2, 2)), b=[LAZY, LAZY])
    with pytest.raises(TypeError, match=r"b is a list of masked arrays.*numpy.ma.stack\(b\)"):
        logsumexp(np.zeros((2, 2)), b=[MASKED, MASKED])


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize("axis", [False, True, np.False_, 0.0, "0"])
def test_axis_of_a_scalar(function, axis):
    with pytest.raises(TypeError, match="axis is .*None, an int or a tuple"):
        function(3.0, axis=axis)


@pytest.mark.parametrize("function", [*FUNCTIONS, lambda x: dsoftmax.softmax_topk(x, 1)])
@pytest.mark.parametrize(("value", "error"), [("a", TypeError), (1, ValueError), (0, ValueError)])
def test_split_every_of_the_configuration(function, value, error, lazily):
    with (
        dask.config.set(split_every=value),
        pytest.raises(error, match=f"Dask's setting split_every is {value!r}; use an int of at le"),
    ):
        lazily(function, da.ones(4, chunks=1))


@pytest.mark.parametrize("b", [[1.0, 2.0], [1, 2], [True, False], 2, 2.0, np.array([1.0, 2.0])])
def test_weights_go_to_the_library_of_the_array(b):
    x = np.array([3.0, 4.0])
    value = logsumexp(array_api_strict.asarray(x), b=b)
    assert isinstance(value, type(array_api_strict.asarray(x)))
    assert float(value) == pytest.approx(logsumexp(x, b=b), rel=1e-15)


def test_masked_weights_of_another_library_are_zero():
    value = logsumexp(array_api_strict.asarray([3.0, 4.0]), b=np.ma.array([1, 2], mask=[0, 1]))
    assert float(value) == 3


def test_weights_of_another_library():
    with pytest.raises(
        TypeError, match=r"libraries \(numpy ndarray, array_api_strict Array\); convert"
    ):
        logsumexp([3.0, 4.0], b=array_api_strict.asarray([1.0, 2.0]))


def test_axis_of_broadcast_weights():
    # the axes count in the common shape, as in SciPy
    assert logsumexp(np.zeros(3), b=np.ones((2, 3)), axis=1).shape == (2,)
    with pytest.raises(np.exceptions.AxisError):
        logsumexp(np.zeros(3), b=np.ones((2, 3)), axis=2)


class TestNormalizer:
    def test_merge_of_other_shapes(self):
        n = Normalizer.of(np.zeros((2, 3)), axis=0)
        with pytest.raises(
            ValueError, match=r"shape \(1, 3\) over axis \(0,\) and of shape \(2, 1\)"
        ):
            n.merge(Normalizer.of(np.zeros((2, 3)), axis=1))

    def test_merge_of_something_else(self):
        with pytest.raises(TypeError, match=r"merge: others\[0\] is of type int; pass Normalizers"):
            Normalizer.of([1.0]).merge(3)

    @pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)])
    def test_softmax_of_other_shapes(self, shape, kind, lazily):
        n = Normalizer.of(np.zeros((2, 3)), axis=0)
        with pytest.raises(ValueError, match=r"x has shape .*\(1, 3\).*axis \(0,\) only"):
            lazily(n.softmax, kind(np.zeros(shape)))

    def test_softmax_of_complex_data(self):
        with pytest.raises(TypeError, match="complex data"):
            Normalizer.of([1j]).softmax([1.0])

    @pytest.mark.parametrize("dtype", ["U3", "nonsense", "M8[s]", object, 3])
    def test_identity_of_another_dtype(self, dtype):
        with pytest.raises(TypeError, match=r"identity: dtype is .*; use a float"):
            Normalizer.identity((3,), dtype=dtype)

    @pytest.mark.parametrize(
        ("shape", "error"),
        [(3, TypeError), ("3", TypeError), ((2, 0.5), TypeError), ((2, -1), ValueError)],
    )
    def test_identity_of_another_shape(self, shape, error):
        with pytest.raises(error, match="identity: shape is .*; use a tuple of lengths"):
            Normalizer.identity(shape)

    def test_identity_of_unknown_lengths(self):
        assert Normalizer.identity((np.nan, 3), axis=0).shape == (1, 3)
        with pytest.raises(TypeError, match=r"shape is \(nan, 3\)"):
            Normalizer.identity((np.nan, 3), axis=1)

    def test_immutable(self):
        n = Normalizer.of([[1.0, 2.0]], axis=0)
        with pytest.raises(AttributeError, match="immutable"):
            n.axis = (1,)
        with pytest.raises(AttributeError, match="immutable"):
            del n.axis
        with pytest.raises(ValueError, match="read-only"):
            n.m[0] = 3


def test_version_is_a_version():
    assert dsoftmax.__version__.count(".") == 2
