"""All that touches CuPy: its arrays, its devices and its compiler.

CuPy is looked up among the modules that are imported already, so that nobody imports it here who
does not use it.  Nothing waits for the device, and nothing is copied from or to it.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .source import OPTIONS, Kernel, source

Array = Any

_compiled: dict[Kernel, Any] = {}
_lock = threading.Lock()


class Properties(NamedTuple):
    """What blocks are cut for."""

    multiprocessors: int
    l2_bytes: int


def is_array(x: Any) -> bool:
    """Whether x is one of CuPy's arrays, on a device that runs the kernels."""
    kind: Any = getattr(sys.modules.get("cupy"), "ndarray", ())
    return isinstance(x, kind) and _able(x.device.id)


def properties(x: Array) -> Properties:
    """Of the device that x is on."""
    return _properties(x.device.id)


def address(x: Array) -> int:
    """Where x begins."""
    return x.data.ptr


def empty(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array on the device of another one."""
    with like.device:
        return _cupy().empty(shape, dtype)


def empty_like(x: Array, dtype: Any) -> Array:
    """An array of the shape, device and memory layout of x."""
    with x.device:
        return _cupy().empty_like(x, dtype)


def flat(x: Array) -> Array:
    """The elements of x one after the other, copied (on its device) only if they are not."""
    with x.device:
        return _cupy().ascontiguousarray(x).reshape(-1)


def launch(
    kernel: Kernel, on: Array, grid: tuple[int, int], threads: int, call: np.ndarray
) -> None:
    """Run a kernel on the device of ``on``; ``call``, of one element, is its argument by value."""
    with on.device:
        _function(kernel)(grid, (threads,), (call,))


def _cupy() -> Any:
    return sys.modules["cupy"]


@cache
def _able(device: int) -> bool:
    """CUDA's, and not too old for ``__grid_constant__``."""
    cuda = _cupy().cuda
    return not cuda.runtime.is_hip and int(cuda.Device(device).compute_capability) >= 70


@cache
def _properties(device: int) -> Properties:
    attributes = _cupy().cuda.Device(device).attributes
    return Properties(attributes["MultiProcessorCount"], attributes["L2CacheSize"])


def _function(kernel: Kernel) -> Any:
    """The kernel as CuPy's, which compiles it once for each device and keeps it on disk."""
    function = _compiled.get(kernel)
    if function is None:
        with _lock:
            function = _cupy().RawKernel(source([kernel]), kernel.name, OPTIONS)
            _compiled[kernel] = function
    return function
