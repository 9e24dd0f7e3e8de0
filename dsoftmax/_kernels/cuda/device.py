"""All that touches CuPy's arrays and devices.

CuPy is looked up among the modules that are imported already, so that nobody imports it here who
does not use it.  Nothing waits for the device, and nothing is copied from or to it.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .compiler import compiled
from .source import PIECE, Kernel

Array = Any

USUAL_SHARED_BYTES = 48 << 10  # more has to be asked for

_compiled: dict[tuple[Kernel, int], Any] = {}
_lock = threading.Lock()
_local = threading.local()


class Properties(NamedTuple):
    """What blocks are cut for."""

    multiprocessors: int
    l2_bytes: int
    shared_bytes: int = 48 << 10  # that a thread block may have


def is_array(x: Any) -> bool:
    """Whether x is one of CuPy's arrays, on a device that runs the kernels."""
    kind: Any = getattr(sys.modules.get("cupy"), "ndarray", ())
    return isinstance(x, kind) and _able(x.data.device_id)


def properties(x: Array) -> Properties:
    """Of the device that x is on."""
    return properties_of(x.data.device_id)


def together(*arrays: Array) -> bool:
    """Whether the arrays are on one device."""
    return len({x.data.device_id for x in arrays}) == 1


def address(x: Array) -> int:
    """Where x begins."""
    return x.data.ptr


def on(x: Array) -> AbstractContextManager[Any]:
    """A context in which the device of x is the current one; none is needed where it is."""
    device, cuda = x.data.device_id, _cupy().cuda
    return nullcontext() if device == cuda.runtime.getDevice() else cuda.Device(device)


def empty(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array on the device of another one."""
    with on(like):
        return _cupy().empty(shape, dtype)


def zeros(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of zeros on the device of another one."""
    with on(like):
        return _cupy().zeros(shape, dtype)


def empties(like: Array, shape: tuple[int, ...], dtypes: tuple[Any, ...]) -> list[Array]:
    """Arrays of one shape, side by side in one piece of memory, on the device of another one."""
    cupy, size = _cupy(), math.prod(shape)
    items = [np.dtype(dtype).itemsize for dtype in dtypes]
    # those of the largest items first, so that each is aligned
    order = sorted(range(len(dtypes)), key=lambda i: -items[i])
    with on(like):
        memory = cupy.cuda.alloc(size * sum(items))
    arrays, start = [None] * len(dtypes), 0
    for i in order:
        arrays[i] = cupy.ndarray(shape, dtypes[i], memory + start)
        start += size * items[i]
    return arrays


def empty_like(x: Array, dtype: Any) -> Array:
    """An array of the shape, device and memory layout of x."""
    with on(x):
        return _cupy().empty_like(x, dtype)


def empty_beside(x: Array) -> Array:
    """An array like x, which has no gaps, that begins as many bytes after a multiple of 16."""
    offset = address(x) % PIECE
    if not offset:
        return empty_like(x, x.dtype)
    cupy = _cupy()
    with on(x):
        memory = cupy.cuda.alloc(x.nbytes + PIECE)
    return cupy.ndarray(x.shape, x.dtype, memory + offset, x.strides)


def flat(x: Array) -> Array:
    """The elements of x one after the other, copied (on its device) only if they are not."""
    with on(x):
        return _cupy().ascontiguousarray(x).reshape(-1)


def from_host(like: Array, x: np.ndarray) -> Array:
    """A copy of a NumPy array on the device of another one."""
    with on(like):
        return _cupy().asarray(x)


def launch(
    kernel: Kernel,
    x: Array,
    grid: tuple[int, int],
    threads: int,
    call: np.ndarray,
    shared_bytes: int = 0,
) -> None:
    """Run a kernel on the device of x; ``call``, of one element, is its argument by value.

    On the current device it goes to the driver directly, for a launch through `RawKernel` costs
    three times as much.  That is the first one of each thread, and one on another device, all the
    same: it makes the device's context the thread's.
    """
    with on(x) as switched:
        function, known = _function(kernel), _has_context(x.data.device_id)
        if shared_bytes > USUAL_SHARED_BYTES:
            function.max_dynamic_shared_size_bytes = shared_bytes
        if switched or not known:
            function(grid, (threads,), (call,), shared_mem=shared_bytes)
            return
        cuda, start = _cupy().cuda, np.array(call.ctypes.data, np.uintp)
        cuda.driver.launchKernel(
            function.kernel.ptr,
            *(*grid, 1, threads, 1, 1),
            shared_bytes,
            cuda.get_current_stream().ptr,
            start.ctypes.data,
            0,
        )


def _has_context(device: int) -> bool:
    """Whether the driver knows that this thread is on a device: it has launched there last."""
    known = getattr(_local, "device", None) == device
    _local.device = device
    return known


def prepared(
    device: int,
    kernel: Kernel,
    grid: tuple[int, int],
    threads: int,
    call: np.ndarray,
    at: tuple[int, ...],
    shared_bytes: int = 0,
) -> Callable[..., None]:
    """A launch on the current device: a function of the numbers at these places of its call.

    It is for what is launched often, and goes to the driver as `launch` does.
    """
    function = _function(kernel)
    if shared_bytes > USUAL_SHARED_BYTES:
        function.max_dynamic_shared_size_bytes = shared_bytes
    numbers = np.append(call.view(np.int64), 0)
    start = numbers.ctypes.data
    numbers[-1] = start  # the argument by its address, in an array of one
    arguments = start + numbers[:-1].nbytes
    cuda, handle, lock = _cupy().cuda, function.kernel.ptr, threading.Lock()
    launch_kernel, stream, size = cuda.driver.launchKernel, cuda.get_current_stream, (threads, 1, 1)

    def run(*values: int) -> None:
        with lock:
            for place, value in zip(at, values, strict=True):
                numbers[place] = value
            if not _has_context(device):
                function(
                    grid, (threads,), (numbers[:-1].view(call.dtype),), shared_mem=shared_bytes
                )
                return
            launch_kernel(handle, *grid, 1, *size, shared_bytes, stream().ptr, arguments, 0)

    return run


def is_current(x: Array) -> bool:
    """Whether x is CuPy's, and on the current device."""
    cupy = sys.modules.get("cupy")
    if cupy is None or type(x) is not cupy.ndarray:
        return False
    device = x.data.device_id
    return device == cupy.cuda.runtime.getDevice() and _able(device)


def new(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array on the current device."""
    return _cupy().ndarray(shape, dtype)


def _cupy() -> Any:
    return sys.modules["cupy"]


@cache
def _able(device: int) -> bool:
    """CUDA's, and not too old for ``__grid_constant__``."""
    cuda = _cupy().cuda
    return not cuda.runtime.is_hip and int(cuda.Device(device).compute_capability) >= 70


@cache
def properties_of(device: int) -> Properties:
    """Of the device of that number."""
    attributes = _cupy().cuda.Device(device).attributes
    return Properties(
        attributes["MultiProcessorCount"],
        attributes["L2CacheSize"],
        attributes["MaxSharedMemoryPerBlockOptin"],
    )


def _function(kernel: Kernel) -> Any:
    """The kernel for the current device, compiled once."""
    device = _cupy().cuda.runtime.getDevice()
    function = _compiled.get((kernel, device))
    if function is None:
        with _lock:
            function = _compiled.get((kernel, device)) or compiled(kernel, device)
            _compiled[kernel, device] = function
    return function
