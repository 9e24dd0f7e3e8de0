"""A device for tests: the CUDA sources of dsoftmax compiled for the host, on NumPy arrays.

`Emulator` stands in for the module `dsoftmax._kernels.cuda.device`: the sources are those that CuPy
would be given, and so are the launches.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np

from dsoftmax._kernels.cuda import source as cuda_source
from dsoftmax._kernels.cuda.device import Properties

COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = ["-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-ffp-contract=off"]
FLAGS += ["-fno-strict-aliasing"]
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


@cache
def _compiled_kernels():
    """All kernels, each with a function ``launch_NAME``."""
    kernels = cuda_source.every_kernel()
    launchers = (
        f"LAUNCHER({kernel.name}, {'Merge' if kernel.name.startswith('merge') else 'Call'})"
        for kernel in kernels
    )
    return compile_library(cuda_source.source(kernels) + "\n".join(launchers))


class Emulator:
    """A device with few multiprocessors, so that small blocks are taken in parts."""

    def __init__(self, multiprocessors=2, l2_bytes=1 << 20):
        self.library = _compiled_kernels()
        self.lock = threading.Lock()  # it runs one block at a time
        self.launched = []
        self.multiprocessors, self.l2_bytes = multiprocessors, l2_bytes

    def is_array(self, x):
        return isinstance(x, np.ndarray)

    def properties(self, x):
        return Properties(self.multiprocessors, self.l2_bytes)

    def address(self, x):
        return x.__array_interface__["data"][0]

    def empty(self, like, shape, dtype):
        return np.full(shape, 77, dtype)  # nothing is to be left of it

    def empty_like(self, x, dtype):
        y = np.empty_like(x, dtype, subok=False)
        y[...] = 77
        return y

    def flat(self, x):
        return np.ascontiguousarray(x).reshape(-1)

    def launch(self, kernel, on, grid, threads, call):
        assert call.shape == (1,)
        assert 0 < threads <= 1024
        assert 0 < grid[0] < 2**31
        assert 0 < grid[1] < 2**16
        with self.lock:
            self.launched.append(kernel.name)
            function = getattr(self.library, f"launch_{kernel.name}")
            function.restype = ctypes.c_bool
            argument = ctypes.c_void_p(call.ctypes.data)
            assert function(*grid, threads, argument), "threads that wait for others in vain"
