"""What it was measured on: the machine and the versions, without any name of the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("dask", "numpy", "scipy", "numba", "torch", "jax", "jaxlib")


def describe() -> dict[str, Any]:
    """CPU model, cores and memory, and what runs on them."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str | None]:
    """Of Python, dsoftmax and everything it is compared with; None where it is not installed."""
    import dsoftmax

    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "dsoftmax": dsoftmax.__version__,
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def cpu_model() -> str:
    """As the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown CPU")


def available_cores() -> int:
    """How many cores this process may run on."""
    return len(psutil.Process().cpu_affinity()) if _can_pin() else os.cpu_count() or 1


def pin(threads: int) -> list[int] | None:
    """Confine this process to as many cores; None where the system cannot.

    Before the libraries are imported: torch, JAX and BLAS count the cores then.
    """
    if not _can_pin():
        return None
    process = psutil.Process()
    process.cpu_affinity(process.cpu_affinity()[:threads])
    return process.cpu_affinity()


def peak_memory() -> int | None:
    """The most bytes that this process has held, where the system tells (Linux)."""
    if sys.platform != "linux":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _can_pin() -> bool:
    return hasattr(psutil.Process, "cpu_affinity")
