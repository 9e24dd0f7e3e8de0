"""The array-expression mode of dask.array, which is chosen when Dask is imported."""

import os
import subprocess
import sys

FILTERED = """
import dask.array as da, numpy as np, dsoftmax
x = np.arange(8.0).reshape(4, 2)
for chunks in ((2, 1), (2, 2)):
    rows = da.from_array(x, chunks=chunks)
    rows = rows.map_blocks(np.copy, chunks=((np.nan,) * 2, rows.chunks[1]), dtype=float)
    for b in (2.0, np.array([1.0, 3.0])):
        for axis in (0, None):  # that mode computes no array of unknown lengths
            result = dsoftmax.logsumexp(rows, b=b, axis=axis).compute()
            np.testing.assert_allclose(result, dsoftmax.logsumexp(x, b=b, axis=axis))
print(da.array_expr_enabled())
"""


def test_filtered_rows_in_the_array_expression_mode():
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    command = [sys.executable, "-c", FILTERED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_results_in_the_array_expression_mode():
    # what that mode cannot build itself is left out: unknown chunks come from a boolean index
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0"]
    command += [
        "tests/operations/test_softmax.py",
        "tests/operations/test_normalizer.py",
        "tests/operations/test_device_arrays.py",
    ]
    command += ["-k", "not unknown and not Unknown"]
    # of a Normalizer and an array, as Dask says whenever it meets both kinds of collections
    command += ["-W", "ignore:Computing mixed collections:UserWarning"]
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
