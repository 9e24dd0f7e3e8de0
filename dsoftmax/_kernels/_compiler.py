"""Kernels are compiled when they are first called for, once per process, and kept on disk.

Numba's cache is safe from several processes at a time only where an index file holds a single
entry: a process that adds one to an index reads the file, chooses the next free name for the
code and writes the file back, so that two of them can give one name to the code of different
signatures or processors (numba issue 4807).  Here every function has one signature, and its name,
which Numba makes the file names from, carries a digest of all that the code depends on: the
sources (Numba alone looks at one file), the processor and the versions.  So whoever writes a file
writes the same, and a file is replaced in one step.

The files are in ``__pycache__`` next to the sources or, where that is read-only, in the user's
cache directory; ``NUMBA_CACHE_DIR`` overrides both.  Where there is no room for them, every process
compiles for itself.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

Kernel = Callable[..., None]

_compiled: dict[tuple[Any, ...], Kernel] = {}
_lock = threading.Lock()


def compiled(factory_name: str, *parameters: Any) -> Kernel:
    """The compiled ``factory(*parameters)``, a function of integers that releases the GIL.

    ``factory_name`` is "module.function".  Whatever goes wrong on the way, from the import of
    Numba on, is raised.
    """
    key = (factory_name, *parameters)
    kernel = _compiled.get(key)
    if kernel is None:
        with _lock:  # threads of a worker meet here
            kernel = _compiled.get(key)
            if kernel is None:
                kernel = _compiled[key] = _compile(factory_name, parameters)
    return kernel


def address(factory_name: str, *parameters: Any) -> int:
    """The address of such a function, for other kernels to call."""
    compiled(factory_name, *parameters)
    return _addresses[factory_name, *parameters]


_addresses: dict[tuple[Any, ...], int] = {}
_keep_alive: list[Any] = []


def _compile(factory_name: str, parameters: tuple[Any, ...]) -> Kernel:
    from importlib import import_module

    from numba import cfunc, types

    module, name = factory_name.split(".")
    factory = getattr(import_module(f".{module}", __package__), name)
    function = factory(*parameters)
    words = (getattr(p, "__name__", str(p)) for p in parameters)
    function.__qualname__ = "_".join((name, *words, _digest()))
    signature = types.void(*[types.int64] * function.__code__.co_argcount)
    try:
        result = cfunc(signature, error_model="numpy", cache=True)(function)
    except Exception:  # no directory, no room, a damaged file; an error of compilation comes again
        result = cfunc(signature, error_model="numpy")(function)
    _keep_alive.append(result)
    _addresses[factory_name, *parameters] = result.address
    return result.ctypes


@cache
def _digest() -> str:
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    processor = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    digest.update(repr((processor, numba.__version__, llvmlite.__version__)).encode())
    return digest.hexdigest()[:16]
