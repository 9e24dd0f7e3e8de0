"""A pytest plugin: the tests that SciPy installs, of our functions in the place of SciPy's.

DSOFTMAX_INPUT says of what: "arrays" as the tests make them, NumPy's; "chunks", the same arrays cut
into Dask chunks and the results computed; "lazy", the Dask arrays that the tests make themselves
(SCIPY_ARRAY_API is "dask.array" then), of which nothing is computed in the call.
"""

import functools
import os

import dask
import dask.array as da
import numpy as np

import dsoftmax

NAMES = ("logsumexp", "softmax", "log_softmax")


def of_chunks(function):
    def cut(value):
        if not isinstance(value, np.ndarray):
            return value
        few = tuple(-(-n // 3) if n > 100 else 1 for n in value.shape)
        return da.from_array(value, chunks=few)

    @functools.wraps(function)
    def call(x, *args, b=None, **kwargs):
        kwargs |= {} if b is None else {"b": cut(b)}
        result = function(cut(x), *args, **kwargs)
        return dask.compute(*result) if isinstance(result, tuple) else dask.compute(result)[0]

    return call


def of_lazy_arrays(function):
    def refuse(*args, **kwargs):
        raise AssertionError(f"{function.__name__} computed while the graph was built")

    @functools.wraps(function)
    def call(x, *args, **kwargs):
        with dask.config.set(scheduler=refuse):
            result = function(x, *args, **kwargs)
        parts = result if isinstance(result, tuple) else (result,)
        assert {isinstance(part, da.Array) for part in parts} == {isinstance(x, da.Array)}
        return result

    return call


def pytest_collection_modifyitems(items):
    of = {"arrays": lambda function: function, "chunks": of_chunks, "lazy": of_lazy_arrays}
    replacing = of[os.environ["DSOFTMAX_INPUT"]]
    for module in {item.module for item in items}:
        for name in NAMES:
            setattr(module, name, replacing(getattr(dsoftmax, name)))
