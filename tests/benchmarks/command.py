"""The command ``python -m benchmarks`` as tests run it."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.runner import Settings

ROOT = Path(__file__).parents[2]
QUICK = Settings(quick=True, rounds=1)


def run(*arguments, path=()):
    """``python -m benchmarks`` as a process, with ``path`` before the installed packages."""
    paths = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout
