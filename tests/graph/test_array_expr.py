"""The array-expression mode of dask.array, which is chosen when Dask is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..processes import printed

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


LABELS = """
import dask.array as da, numpy as np
from dsoftmax import grouped
x, by = da.zeros((4, 2), chunks=(2, 1)), [0, 1, 0, 1]
print(grouped.logsumexp(x, by, axis=0, expected_groups=[0, 1]).compute().round(2).tolist())
try:
    grouped.logsumexp(x, by, axis=0)
except NotImplementedError as error:
    print(error)
"""


def test_labels_of_several_blocks_in_the_array_expression_mode():
    values, error = printed(LABELS, expressions=True).splitlines()
    assert values == "[[0.69, 0.69], [0.69, 0.69]]"
    assert error.startswith("grouped.logsumexp: x has chunks ((2, 2), (1, 1)), and Dask's array-")
    assert error.endswith("pass expected_groups, or x with one chunk along axes (1,)")


def test_filtered_rows_in_the_array_expression_mode():
    assert printed(FILTERED, expressions=True) == "True\n"


@pytest.mark.system
def test_results_in_the_array_expression_mode():
    """All that is marked `expressions`, in a process in which that mode was chosen."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0"]
    command += ["-m", "expressions", str(Path(__file__).parents[1] / "operations")]
    # of a Normalizer and an array, as Dask says whenever it meets both kinds of collections
    command += ["-W", "ignore:Computing mixed collections:UserWarning"]
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 750
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout[-2000:]
