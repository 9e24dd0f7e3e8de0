"""SciPy's functions beside ours, and what has to be the same of their results."""

import numpy as np
from scipy import special

import dsoftmax
from dsoftmax.operations import OPERATIONS

from ..compare import assert_allclose

FUNCTIONS = tuple(one.name for one in OPERATIONS if hasattr(special, one.name))
INF, NAN = np.inf, np.nan
SHAPE = (6, 9, 5)


def both(name):
    """Our function and SciPy's, of which the second warns about inf - inf."""
    return getattr(dsoftmax, name), np.errstate(all="ignore")(getattr(special, name))


def assert_same(actual, expected, rtol=1e-13, atol=1e-15):
    """Values, dtype, shape and type (a scalar or an array)."""
    assert_allclose(actual, expected, rtol=rtol, atol=atol)
    assert np.asarray(actual).dtype == np.asarray(expected).dtype
    assert np.shape(actual) == np.shape(expected)
