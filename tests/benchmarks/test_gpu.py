"""The benchmark of the CUDA kernels: what it refuses, what it counts, and that all of it runs.

A stand-in for CuPy (`fake_cupy`) takes the place of a device: no time means anything here.
"""

import math
import sys
import types

import numpy as np
import pytest

from benchmarks import report
from benchmarks.runner import measure
from benchmarks.suites import SUITES, gpu, gpu_shapes

from .. import fake_cupy
from ..emulator import COMPILER, Emulator
from .command import QUICK


def absent(suite):
    """Why a case cannot be measured."""
    record = measure(SUITES[suite], SUITES[suite].cases(True)[0], QUICK)
    assert record["samples"] == record["failed"] == {}
    return record["absent"]["all sides"]


def test_without_a_device_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for suite in (
        "gpu-passes",
        "gpu",
        "gpu-paper",
        "gpu-rows",
        "gpu-columns",
        "gpu-host",
        "gpu-topk",
        "gpu-topk-host",
    ):
        assert absent(suite).startswith("CuPy is not installed")
        assert "pip install '.[gpu]'" in absent(suite)


@pytest.mark.parametrize("count", [0, None])
def test_a_driver_without_a_device(count, monkeypatch):
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=lambda: count + 0)
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert "needs a CUDA device" in absent("gpu")


def test_passes_are_held_to_the_bandwidth_of_a_copy():
    case = SUITES["gpu-passes"].cases(False)[0]
    assert case.elements == gpu.REPEAT * 10**9
    # The state takes half of the accesses of the copy: 100% of its bandwidth. The softmax: 50%.
    seconds = {
        "copy": [1.0],
        "dsoftmax: state": [0.5],
        "dsoftmax: softmax from a state": [2.0],
    }
    met = [report.verdict(vars(target), seconds) for target in case.targets]
    assert met == [
        "state at most 0.625 times copy: 0.50, met",
        "softmax from a state at most 1.25 times copy: 2.00, MISSED",
        "",
    ]


def test_sizes():
    assert all(math.prod(shape) >= 5 * 10**8 for shape, _, _ in gpu.BLOCKS.values())
    names = {case.name for case in SUITES["gpu-paper"].cases(False)}
    assert {"batch-4000-V-32256", "batch-10-V-63", "batch-10-V-1032192"} <= names


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with")
def test_a_quick_run(monkeypatch):
    monkeypatch.setattr(fake_cupy.Device, "synchronize", lambda self: None, raising=False)
    with fake_cupy.installed(Emulator()) as cupy:
        cupy.cuda.runtime.getDeviceCount = lambda: 1
        rng = types.SimpleNamespace(
            standard_normal=lambda shape, dtype: cupy.asarray(
                np.random.default_rng(0).standard_normal(shape, dtype)
            )
        )
        cupy.random = types.SimpleNamespace(default_rng=lambda seed: rng)
        for suite, sides in (
            ("gpu-passes", ["copy", *(target.of for target in gpu.OVER_COPY)]),
            ("gpu", ["dsoftmax", "by hand"]),
            ("gpu-paper", ["dsoftmax", "safe"]),
            ("gpu-rows", ["copy", *(f"dsoftmax: {name}" for name in gpu_shapes.RESULTS)]),
            ("gpu-columns", ["copy", "dsoftmax: state", "dsoftmax: softmax from a state"]),
            ("gpu-host", [f"dsoftmax: {name}" for name in gpu_shapes.RESULTS]),
            ("gpu-topk", ["copy", "dsoftmax"]),
            ("gpu-topk-host", ["dsoftmax: softmax_topk", "dsoftmax: its state"]),
        ):
            for case in SUITES[suite].cases(True):
                record = measure(SUITES[suite], case, QUICK)
                assert record["failed"] == {}
                worst = ["dsoftmax: ascending", "dsoftmax: constant"]
                measured = sides + worst * ("long-rows" in case.name)
                assert list(record["samples"]) == measured
                compared = suite in ("gpu", "gpu-paper")
                assert list(record["differences"]) == sides[1:] * compared
