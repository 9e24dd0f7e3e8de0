"""The benchmark of the k best runs."""

import subprocess
import sys
from pathlib import Path


def test_the_benchmark_in_quick_mode():
    command = [sys.executable, "-m", "benchmarks.topk", "--quick"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert all(way in done.stdout for way in ("safe, unfused (5)", "online, fused (1)", "Dask"))
