"""SciPy's own tests of these functions, as SciPy installs them: see scipy_suite.py."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.system

CASES = 407  # of SciPy 1.17; one that is skipped, or missing, is a failure


@pytest.mark.parametrize("given", ["arrays", "chunks", "lazy"])
def test_the_tests_of_scipy(given):
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"]
    command += ["-p", "tests.operations.scipy_suite"]
    command += ["--pyargs", "scipy.special.tests.test_logsumexp"]
    environment = os.environ | {"DSOFTMAX_INPUT": given}
    environment.pop("SCIPY_ARRAY_API", None)
    if given == "lazy":
        environment["SCIPY_ARRAY_API"] = '["dask.array"]'
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = done.stdout[-4000:] + done.stderr[-2000:]
    assert done.returncode == 0, report
    assert re.search(rf"^{CASES} passed(, \d+ warnings)? in", done.stdout, re.MULTILINE), report
