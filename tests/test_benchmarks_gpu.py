"""The benchmark of the CUDA kernels: what it refuses, what it counts, and that all of it runs.

A stand-in for CuPy (`fake_cupy`) takes the place of a device: no time means anything here.
"""

import io
import math
import sys
import types

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import gpu

from . import fake_cupy
from .emulator import COMPILER, Emulator


def test_without_a_device_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    refused = CliRunner().invoke(gpu.main, ["--quick"])
    assert refused.exit_code == 1
    assert "CuPy is not installed" in refused.output
    assert "pip install 'dsoftmax[gpu]'" in " ".join(refused.output.split())


@pytest.mark.parametrize("count", [0, None])
def test_a_driver_without_a_device(count, monkeypatch):
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=lambda: count + 0)
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    refused = CliRunner().invoke(gpu.main, ["--quick"])
    assert refused.exit_code == 1
    assert "needs a CUDA device" in " ".join(refused.output.split())


def test_bytes_and_bandwidth():
    case = gpu.Case("", (1000, 10), 1, "float16")
    assert (case.elements, case.bytes) == (10_000, 20_000)
    assert gpu.bandwidth(case, "state", 0.5) == 40_000
    assert gpu.bandwidth(case, "softmax from a state", 0.5) == 80_000
    assert gpu.bandwidth(case, "copy", 0.5) == 80_000


def test_the_table_shows_shares_of_the_copy():
    case = gpu.CASES[0]
    samples = {"copy": [1.0], "state": [0.5], "softmax from a state": [2.0]}
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(gpu.passes_table([(case, samples)]))
    text = console.export_text()
    assert "100% met" in text  # half of the bytes in half of the time
    assert "50% MISSED" in text


def test_sizes():
    assert all(math.prod(case.shape) >= 5 * 10**8 for case in gpu.CASES)
    assert gpu.CASES[0] == ("one vector, 10^9", (10**9,), 0, "float32")
    assert {batch for batch, _ in gpu.BATCHES} == {4000, 10}


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with")
def test_a_quick_run(monkeypatch):
    with fake_cupy.installed(Emulator()) as cupy:
        cupy.__version__ = "0"
        cupy.cuda.runtime = types.SimpleNamespace(
            is_hip=False,
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda _: {"name": b"a host", "multiProcessorCount": 2},
            driverGetVersion=lambda: 0,
        )
        rng = types.SimpleNamespace(
            standard_normal=lambda shape, dtype: cupy.asarray(
                np.random.default_rng(0).standard_normal(shape, dtype)
            )
        )
        cupy.random = types.SimpleNamespace(default_rng=lambda seed: rng)
        monkeypatch.setattr(fake_cupy.Device, "synchronize", lambda self: None, raising=False)
        done = CliRunner().invoke(gpu.main, ["--quick", "--rounds", "1", "--seconds", "0"])
    assert done.exit_code == 0, done.output
    for text in ("a host", "log-softmax from a state", "by hand", "batch 40", "online over safe"):
        assert text in done.output
    assert "Error" not in done.output
