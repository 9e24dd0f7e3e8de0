"""A device for tests: the CUDA sources of dsoftmax compiled for the host, on NumPy arrays.

`Emulator` stands in for the module `dsoftmax._kernels.cuda.device`: the sources are those that CuPy
would be given, and so are the launches.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np

from dsoftmax._kernels.cuda import (
    block,
    columns,
    contiguous,
    draws,
    exact,
    finish,
    merging,
    running,
    topk,
)
from dsoftmax._kernels.cuda import call as calls
from dsoftmax._kernels.cuda import source as cuda_source
from dsoftmax._kernels.cuda.device import Properties

from .cuda_kernels import (
    draws_kernels,
    exact_kernels,
    general_kernels,
    running_kernels,
    topk_kernels,
)

COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = ["-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-ffp-contract=off"]
FLAGS += ["-fno-strict-aliasing"]
OUTPUT = "|".join(sorted(cuda_source.OUTPUTS, key=len, reverse=True))
PRELUDE = Path(__file__).with_name("emulator.hpp")


def compile_library(code):
    """A shared library of C++ code which may use the prelude; it is kept for other processes."""
    code = PRELUDE.read_text() + code
    digest = hashlib.sha256(repr((COMPILER, FLAGS, code)).encode()).hexdigest()
    kept = Path(__file__).parent / "__pycache__" / f"emulated-{digest[:16]}.so"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            source, library = Path(folder, "code.cpp"), Path(folder, "code.so")
            source.write_text(code)
            command = [COMPILER, *FLAGS, source, "-o", library]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:4000]
            library.replace(kept)  # complete, or not there
    return ctypes.CDLL(str(kept))


def _compiled(kernels):
    """A library of kernels, each with a function ``launch_NAME``."""
    launchers = (f"LAUNCHER({kernel.name}, {kernel.argument})" for kernel in kernels)
    return compile_library(cuda_source.source(kernels) + "\n".join(launchers))


@cache
def _general_kernels():
    return _compiled(general_kernels())


@cache
def _exact_kernels():
    return _compiled(exact_kernels())


@cache
def _topk_kernels():
    return _compiled(topk_kernels())


@cache
def _draws_kernels():
    return _compiled(draws_kernels())


@cache
def _running_kernels():
    return _compiled(running_kernels())


@cache
def _library(kernel):
    """That of a kernel: one for those of any layout, and some for others that go together."""
    if kernel.name.startswith("topk_tiny"):
        return _of_rows((kernel,))
    if kernel.name.startswith("topk"):
        return _topk_kernels()
    if kernel.argument in ("Keys", "Draws"):
        return _draws_kernels()
    if kernel.name.startswith("exact"):
        return _exact_kernels()
    if kernel.argument == "Run":
        return _running_kernels()
    if kernel.argument in ("Call", "Merge"):
        return _general_kernels()
    return _of_rows(tuple(sorted({_with_output(kernel, one) for one in cuda_source.OUTPUTS})))


@cache
def _of_rows(kernels):
    return _compiled(kernels)


def _with_output(kernel, output):
    """The same kernel for another output."""
    name = re.sub(OUTPUT, output, kernel.name)
    line = re.sub(OUTPUT.upper(), output.upper(), kernel.line.replace(kernel.name, name))
    return cuda_source.Kernel(name, line)


def use(monkeypatch, emulator):
    """Have the kernels of CUDA run there."""
    modules = (block, calls, columns, contiguous, draws, exact, finish, merging, running, topk)
    for module in modules:
        monkeypatch.setattr(module, "device", emulator)


class Emulator:
    """A device with few multiprocessors, so that small blocks are taken in parts."""

    def __init__(self, multiprocessors=2, l2_bytes=1 << 20, shared_bytes=223 << 10):
        self.lock = threading.Lock()  # it runs one block at a time
        self.launched = []
        self.multiprocessors, self.l2_bytes = multiprocessors, l2_bytes
        self.shared_bytes = shared_bytes

    def is_array(self, x):
        return isinstance(x, np.ndarray)

    def properties(self, x):
        return Properties(self.multiprocessors, self.l2_bytes, self.shared_bytes)

    def together(self, *arrays):
        return True

    def address(self, x):
        return x.__array_interface__["data"][0]

    def empty(self, like, shape, dtype):
        return np.full(shape, 77, dtype)  # nothing is to be left of it

    def zeros(self, like, shape, dtype):
        return np.zeros(shape, dtype)

    def empties(self, like, shape, dtypes):
        return [self.empty(like, shape, dtype) for dtype in dtypes]

    def empty_like(self, x, dtype):
        y = np.empty_like(x, dtype, subok=False)
        y[...] = 77
        return y

    def empty_beside(self, x):
        memory = np.full(x.nbytes + 32, 77, np.uint8)
        start = (self.address(x) - self.address(memory)) % 16
        return np.ndarray(x.shape, x.dtype, memory, start, x.strides)

    def flat(self, x):
        return np.ascontiguousarray(x).reshape(-1)

    def from_host(self, like, x):
        return x.copy()

    def launch(self, kernel, on, grid, threads, call, shared_bytes=0):
        assert call.shape == (1,)
        assert 0 < threads <= 1024
        assert shared_bytes <= self.shared_bytes
        assert 0 < grid[0] < 2**31
        assert 0 < grid[1] < 2**16
        with self.lock:
            self.launched.append(kernel.name)
            function = getattr(_library(kernel), f"launch_{kernel.name}")
            function.restype = ctypes.c_bool
            argument = ctypes.c_void_p(call.ctypes.data)
            assert function(*grid, threads, argument), "threads that wait for others in vain"
