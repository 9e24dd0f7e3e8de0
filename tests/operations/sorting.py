"""The oracle of topk and softmax_topk: a stable sort of every slice; and arrays to sort."""

import dask
import dask.array as da
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from dsoftmax import softmax_topk, topk

from ..compare import assert_allclose, assert_array_equal
from ..strategies import chunkings, floats

INF, NAN = np.inf, np.nan
FUNCTIONS = (softmax_topk, topk)
DTYPES = ("float16", "bfloat16", "float32", "float64", "longdouble")
DTYPES += ("bool", "int8", "uint8", "int64", "uint64")


def best_first(row, k):
    """The order as it is documented: NaN, then descending, ties by ascending index."""

    def rank(i):
        return (0, 0, i) if row[i] != row[i] else (1, -row[i], i)

    return sorted(range(len(row)), key=rank)[:k]


def expected_indices(x, k, axis):
    if axis is None:
        x, axis = x.ravel(), 0
    found = np.apply_along_axis(lambda row: best_first(row.tolist(), k), axis, x)
    return found.astype(np.int64)


def taken(y, indices, axis):
    """Of an array of the shape of x, what is at the indices."""
    if axis is None:
        return y.ravel()[indices]
    return np.take_along_axis(y, indices, axis)


def assert_topk(result, x, k, axis, rtol=1e-14):
    """The probabilities and indices of the k best of a float64 array."""
    values, indices = dask.compute(*result)
    expected = expected_indices(x, k, axis)
    with np.errstate(all="ignore"):
        probabilities = special.softmax(x, axis=axis)
    assert_array_equal(indices, expected)
    assert_allclose(values, taken(probabilities, expected, axis), rtol=rtol, atol=5e-324)
    assert (values.shape, indices.shape) == (expected.shape, expected.shape)
    assert (values.dtype, indices.dtype) == (np.float64, np.int64)


def dask_array(x, chunks):
    return da.from_array(x, chunks=chunks)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape) * 5


@st.composite
def cases(draw, max_dims=3):
    """(array, chunks, axis or None, k): often with ties, sometimes with NaN and infinities."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=max_dims, max_side=5))
    few = st.sampled_from([0.0, -0.0, 1.0, -3.0, INF, -INF, NAN])
    elements = draw(st.sampled_from([floats(), floats(special=False), few, st.just(2.5)]))
    x = draw(hnp.arrays(np.float64, shape, elements=elements))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    length = x.size if axis is None else x.shape[axis]
    return x, draw(chunkings(shape)), axis, draw(st.integers(0, length))
