"""NumPy's comparisons, of lazy arrays too (which they compute in one of Dask's modes only)."""

import dask
import numpy.testing


def assert_allclose(actual, expected, **tolerances):
    numpy.testing.assert_allclose(*dask.compute(actual, expected), **tolerances)


def assert_array_equal(actual, expected):
    numpy.testing.assert_array_equal(*dask.compute(actual, expected))
