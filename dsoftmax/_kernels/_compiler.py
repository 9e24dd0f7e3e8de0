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
compiles for itself; files that cannot be read are replaced.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_functions: dict[tuple[Any, ...], Any] = {}
_failures: list[Exception] = []
_lock = threading.Lock()


class CannotCompileError(Exception):
    """No Numba for this Python, no compiler for this machine, or one that is switched off."""


def compiled(factory: str, *parameters: Any) -> Callable[..., None]:
    """The compiled ``factory(*parameters)``, a function of integers that releases the GIL.

    ``factory`` is "module.function", and the parameters are names, booleans and NumPy scalar
    types.  Whatever goes wrong on the way, from the import of Numba on, raises CannotCompileError,
    from then on at once, and is warned about the first time.
    """
    return _function(factory, parameters).ctypes


def address(factory: str, *parameters: Any) -> int:
    """The address of that function, for other compiled functions to call."""
    return _function(factory, parameters).address


def _function(factory: str, parameters: tuple[Any, ...]) -> Any:
    key = (factory, *parameters)
    function = _functions.get(key)
    if function is None:
        with _lock:  # threads of a worker meet here
            function = _functions.get(key)
            if function is None:
                function = _functions[key] = _compiled_once(factory, parameters)
    return function


def _compiled_once(factory: str, parameters: tuple[Any, ...]) -> Any:
    if not _failures:
        try:
            return _compile(factory, parameters)
        except Exception as error:
            _failures.append(error)
            warnings.warn(
                f"dsoftmax runs without compiled kernels, several times slower ({error!r}); the "
                "results are the same. Install a numba that supports this Python and this machine",
                RuntimeWarning,
                stacklevel=2,
            )
    raise CannotCompileError from _failures[0]


def _compile(factory: str, parameters: tuple[Any, ...]) -> Any:
    from numba import config, types
    from numba.core.caching import FunctionCache
    from numba.core.ccallback import CFunc

    class Cache(FunctionCache):  # type: ignore[misc]
        def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
            # The name says all.  Numba would add the functions that a kernel is made of, which it
            # gives other identities in every process.
            return signature, codegen.magic_tuple()

    class Kernel(CFunc):
        def enable_caching(self) -> None:
            self._cache = Cache(source)

    if config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    module, name = factory.split(".")
    source = getattr(import_module(f".{module}", __package__), name)(*parameters)
    words = (getattr(word, "__name__", str(word)) for word in (factory, *parameters))
    integers = (types.int64,) * source.__code__.co_argcount

    def make(cached: bool) -> Any:
        # No exceptions: division by 0 is inf.
        function = Kernel(source, (integers, types.void), {}, {"error_model": "numpy"})
        if cached:
            function.enable_caching()
        function.compile()
        return function

    try:
        source.__qualname__ = "-".join((*words, _digest()))
        return make(cached=True)
    except Exception:  # no directory, no room, a damaged file; an error of compilation comes again
        pass
    try:
        Cache(source).flush()
        return make(cached=True)
    except Exception:  # so far of the cache, it seems, which may be of any kind; else it is raised
        return make(cached=False)


@cache
def _digest() -> str:
    """What the machine code depends on, in few letters."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    processor = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    settings = (numba.config.CPU_NAME, numba.config.CPU_FEATURES)
    versions = (numba.__version__, llvmlite.__version__)
    digest.update(repr((processor, settings, versions)).encode())
    return digest.hexdigest()[:16]
