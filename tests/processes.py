"""Programs that have a process of their own."""

import os
import subprocess
import sys


def printed(program, *, expressions=False):
    """What a program prints, in which warnings are errors.

    With ``expressions`` in the array-expression mode of dask.array, which is chosen when Dask is
    imported.
    """
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": str(expressions)}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
