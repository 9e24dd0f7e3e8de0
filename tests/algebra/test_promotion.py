"""One rule for the dtype of what is made of several: NumPy's, in which bfloat16 is a half."""

import array_api_strict
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from scipy import special

from dsoftmax import Normalizer, logsumexp
from dsoftmax._algebra.dtypes import promoted_name

from ..compare import assert_allclose

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
X = np.array([0.5, 1.5, -2.0])
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "i8", "u8", "f2", BFLOAT16, "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        (2, BFLOAT16),
        (2.0, BFLOAT16),
        (True, BFLOAT16),
        (2j, "c8"),
        ([1, 2, 3], "f8"),
        ([1.0, 2.0, 3.0], "f8"),
        (np.float64(2), "f8"),
        (np.float32(2), "f4"),
        (np.array([1, 2, 3], "i1"), BFLOAT16),
        (np.array([1, 2, 3], "u1"), BFLOAT16),
        (np.array([1, 2, 3], "i2"), "f4"),
        (np.array([1, 2, 3], "u2"), "f4"),
        (np.array([1, 2, 3], "i4"), "f8"),
        (np.array([1, 2, 3], "i8"), "f8"),
        (np.array([1, 2, 3], "f2"), "f4"),
        (np.array([1, 2, 3], BFLOAT16), BFLOAT16),
        (np.array([1, 2, 3], "g"), "g"),
    ],
    ids=str,
)
def test_weights_of_bfloat16(b, expected):
    x = X.astype(BFLOAT16)
    wide = np.asarray(b) if isinstance(b, complex) else np.asarray(b, float)
    for a in (x, np.tile(x, 4000).reshape(4000, 3)):  # of the portable and the compiled kernels
        lazy = da.from_array(a, chunks=(2000, 2)[-a.ndim :])
        total = special.logsumexp(a.astype(float), b=wide)
        for result in (logsumexp(a, b=b), logsumexp(lazy, b=b)):
            assert result.dtype == expected
            tolerance = 2**-8 if expected in (BFLOAT16, "f2") else 1e-6
            assert_allclose(np.asarray(result).astype(complex), total, rtol=tolerance)


@pytest.mark.parametrize("b", [2, 2.5, 2j, True])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "?", "c8"])
def test_python_scalars_adapt_as_in_numpy(dtype, b):
    x = X.astype(dtype)
    expected = np.result_type(x, b, *(() if x.dtype.kind in "fc" else [np.float64]))
    assert logsumexp(x, b=b).dtype == expected
    assert logsumexp(da.from_array(x, chunks=2), b=b).dtype == expected


@pytest.mark.parametrize("a", DTYPES, ids=str)
@pytest.mark.parametrize("b", DTYPES, ids=str)
def test_weights_promote_as_merging_does(a, b):
    one, two = (np.ones(3, dtype) for dtype in (a, b))
    expected = Normalizer.of(one).merge(Normalizer.of(two)).dtype
    integers = one.dtype.kind in "?biu" and two.dtype.kind in "?biu"
    if BFLOAT16 not in (one.dtype, two.dtype) and not integers:
        wanted = np.result_type(one, two)
        if all(x.dtype.kind in "fc" for x in (one, two)):
            assert expected == wanted
        assert logsumexp(one, b=two).dtype == wanted
    elif integers:
        assert logsumexp(one, b=two).dtype == "f8"
    if all(x.dtype.kind not in "?biu" for x in (one, two)):
        assert logsumexp(one, b=two).dtype == expected


@pytest.mark.parametrize("b", [2, 2.0, [1, 2, 3], np.ones(3, "i2"), np.ones(3, "f4")])
def test_weights_of_another_library_promote_alike(b):
    result = logsumexp(array_api_strict.asarray(X, dtype=array_api_strict.float32), b=b)
    assert np.dtype(str(result.dtype).rpartition(".")[2]) == logsumexp(X.astype("f4"), b=b).dtype


def test_the_order_does_not_matter():
    for names in (("bfloat16", "float16"), ("int32", "bfloat16"), ("bfloat16", "float32", "uint8")):
        assert promoted_name(*names) == promoted_name(*reversed(names))
    assert promoted_name("bfloat16") == "bfloat16"
