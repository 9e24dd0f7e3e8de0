"""What importing dsoftmax brings with it: not the libraries that a user may not have."""

import subprocess
import sys

OPTIONAL = {
    "bokeh",
    "cupy",
    "jax",
    "matplotlib",
    "ml_dtypes",
    "numba",
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
print(*sorted({{name.split('.')[0] for name in set(sys.modules) - before}} & {OPTIONAL!r}))
"""


def test_optional_libraries_are_imported_only_when_needed():
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
