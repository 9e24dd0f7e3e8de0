"""The machine and the versions of a measurement, without any name of the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("dsoftmax", "dask", "numpy", "scipy", "numba", "torch", "jax", "jaxlib", "cupy-cuda12x")
CAN_PIN = hasattr(psutil.Process, "cpu_affinity")


def describe() -> dict[str, Any]:
    """CPU model, cores and memory, and what runs on them."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str | None]:
    """Of Python and everything that is compared; None where it is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown CPU")


def available_cores() -> int:
    """How many cores this process may run on."""
    return len(psutil.Process().cpu_affinity()) if CAN_PIN else os.cpu_count() or 1


def pin(threads: int) -> None:
    """Confine this process to as many cores, where the system can."""
    if CAN_PIN:
        process = psutil.Process()
        process.cpu_affinity(process.cpu_affinity()[:threads])


def peak_memory() -> int:
    """The most bytes that this process has held; 0 where the system does not tell (not Linux)."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
