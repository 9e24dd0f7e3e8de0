"""The example for several GPUs: what it says without one, and its graph on a stand-in for CuPy."""

import importlib
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from .. import fake_cupy
from ..emulator import COMPILER, Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def gpu_cluster(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("gpu_cluster")


def test_without_the_libraries_it_says_what_to_install(gpu_cluster, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dask_cuda" else found(name)
    )
    assert gpu_cluster.missing() in ("cupy is not installed", "dask_cuda is not installed")


def test_it_ends_with_a_line_and_no_traceback():
    program = f"""
import importlib.util, sys
importlib.util.find_spec = lambda name: None
sys.path.insert(0, {str(EXAMPLES)!r})
import gpu_cluster
gpu_cluster.main([])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("cupy is not installed: this example needs a GPU")
    assert "pip install '.[gpu]'" in line


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with")
def test_what_it_reports(gpu_cluster):
    with fake_cupy.installed(Emulator()) as cupy:
        cupy.random = types.SimpleNamespace(
            default_rng=lambda seed: types.SimpleNamespace(
                standard_normal=lambda shape, dtype: cupy.asarray(
                    np.random.default_rng(seed).standard_normal(shape, dtype)
                )
            )
        )
        first, *lines = gpu_cluster.report(gpu_cluster.scores_on_gpus(100, 40, 30))
    assert first == "chunks of cupy, 4 of them"
    assert "sum to 1.000000" in lines[1]
    assert len(lines) == 6
