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
