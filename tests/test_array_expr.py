"""The array-expression mode of dask.array, which is chosen when Dask is imported."""

import os
import subprocess
import sys


def test_results_in_the_array_expression_mode():
    # what that mode cannot build itself is left out: unknown chunks come from a boolean index
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0"]
    command += ["tests/test_softmax.py", "tests/test_normalizer.py", "tests/test_device_arrays.py"]
    command += ["-k", "not unknown and not Unknown"]
    # of a Normalizer and an array, as Dask says whenever it meets both kinds of collections
    command += ["-W", "ignore:Computing mixed collections:UserWarning"]
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
