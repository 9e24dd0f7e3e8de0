"""The kernels compiled for a device, and kept on disk: in ``CUPY_CACHE_DIR``, or the user's cache.

CuPy's `RawKernel` compiles by itself, but always with ``-ftz=true``, by which subnormal float32
numbers are zero: small exponentials would be lost, and maxima as small.  Here NVRTC gets no options
but ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from .source import Kernel, source


def compiled(kernel: Kernel, device: int) -> Any:
    """The kernel as one of CuPy's for a device, which has to be the current one."""
    cupy: Any = sys.modules["cupy"]
    code = source([kernel])
    capability = cupy.cuda.Device(device).compute_capability
    made_of = repr((code, kernel.options, capability, cupy.cuda.nvrtc.getVersion()))
    name = f"dsoftmax-{kernel.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.cubin"
    folder = os.environ.get("CUPY_CACHE_DIR")
    path = Path(folder or platformdirs.user_cache_path("dsoftmax", appauthor=False), name)
    if not path.exists():
        content, _ = cupy.cuda.compiler.compile_using_nvrtc(code, kernel.options)
        path = _written(path, content)
    return cupy.RawModule(path=str(path)).get_function(kernel.name)


def _written(path: Path, content: bytes) -> Path:
    """A file of that content, whole whenever it is seen: there, or where this process may write."""
    for folder in _folders(path.parent):
        unfinished = folder / f"{path.name}.{uuid.uuid4().hex}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(content)
            return unfinished.replace(folder / path.name)
        except OSError:  # read-only, or no room
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
    raise OSError(
        f"the machine code of a kernel cannot be written to {path.parent}, nor to a temporary "
        "folder; set CUPY_CACHE_DIR to a folder with room that can be written to"
    )


def _folders(first: Path) -> Iterator[Path]:
    yield first
    yield Path(_folder_of_this_process().name)


@cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dsoftmax-")
