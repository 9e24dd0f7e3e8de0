"""What importing dsoftmax brings with it: not the libraries that a user may not have."""

import subprocess
import sys

import pytest

import dsoftmax

OPTIONAL = {
    "bokeh",
    "cupy",
    "jax",
    "matplotlib",
    "ml_dtypes",
    "numba",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "torch",
    "xarray",
    "zarr",
}
PROGRAM = f"""
import sys
import array_api_compat, dask.array, distributed, numpy
before = set(sys.modules)
import dsoftmax
x = dask.array.ones(3, chunks=1)
dsoftmax.softmax(x), dsoftmax.log_softmax(x), dsoftmax.logsumexp(x), dsoftmax.Normalizer.of(x)
dsoftmax.softmax_matmul(x, x), dsoftmax.cross_entropy(x, 1)
dsoftmax.choice(x, 2, rng=0), dsoftmax.gumbel_topk(x, 2, rng=0)
print(*sorted({{name.split('.')[0] for name in set(sys.modules) - before}} & {OPTIONAL!r}))
"""


def test_optional_libraries_are_imported_only_when_needed():
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


INTERFACE = """
import sys, dsoftmax
print(*[name for name in dir(dsoftmax) if not name.startswith("_")])
assert "dsoftmax.dashboard" not in sys.modules
print(dsoftmax.dashboard.show.__name__, dsoftmax.reference.naive_softmax.__name__)
"""


def test_what_the_package_offers():
    run = subprocess.run(
        [sys.executable, "-c", INTERFACE], capture_output=True, text=True, check=True
    )
    names, functions = run.stdout.splitlines()
    assert names.split() == sorted([*dsoftmax.__all__, "compile", "dataframe", "xarray"])
    assert functions == "show naive_softmax"
    with pytest.raises(AttributeError, match="no attribute 'Any'"):
        dsoftmax.Any  # noqa: B018
