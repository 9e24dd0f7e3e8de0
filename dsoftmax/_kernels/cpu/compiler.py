"""Kernels as functions to call: compiled when they are first called for, once per machine.

A kernel is made by a factory, from a few parameters.  Its machine code is kept on disk, where other
processes find it (`kept_code`), and is used only if it passes a test on a few numbers
(`self_test`).  Where there is no room for it, every process compiles for itself.

Small arrays in memory do not wait for the compiler (`in_memory`): of kernels that were neither
loaded nor on disk when the first of them came, they do without as long as the process lasts.  So
equal arrays have equal results in it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int32, c_int64
from importlib.util import find_spec
from typing import Any, NamedTuple

from ..in_memory import may_compile
from .self_test import passes

Factory = Callable[..., Any]


class Kernel(NamedTuple):
    """A compiled function of integers, for Python and for other compiled functions to call."""

    call: Callable[..., None]
    address: int


listeners: set[Callable[[], object]] = set()  # called before a kernel is compiled

_kernels: dict[tuple[Any, ...], Kernel] = {}
_not_kept: set[tuple[Any, ...]] = set()
_failures: list[Exception] = []
_lock = threading.RLock()  # the test of a kernel may need another one


class CannotCompileError(Exception):
    """No Numba for this Python, no compiler for this machine, or one that is switched off."""


class NotKeptError(CannotCompileError):
    """No code of this kernel at hand, and nobody to wait for it."""


def compiled(factory: Factory, *parameters: Any) -> Callable[..., None]:
    """The compiled ``factory(*parameters)``, a function of integers that releases the GIL.

    ``factory`` is one of `kernels`, and the parameters are names, booleans and NumPy scalar types.
    Whatever goes wrong on the way, from the import of LLVM on, raises CannotCompileError,
    from then on at once, and is warned about the first time.  NotKeptError is one.
    """
    return _kernel(factory, parameters).call


def address(factory: Factory, *parameters: Any) -> int:
    """The address of that function, for other compiled functions to call."""
    return _kernel(factory, parameters).address


def kept(factory: Factory, *parameters: Any) -> bool:
    """Whether the code of that function, which is compiled if need be, is on disk."""
    from . import kept_code

    _kernel(factory, parameters)
    return any(True for _ in kept_code.read(name_of(factory, *parameters)))


def name_of(factory: Factory, *parameters: Any) -> str:
    """The name of a kernel's code on disk."""
    from . import kept_code

    words = (getattr(word, "__name__", str(word)) for word in (factory, *parameters))
    return "-".join((*words, str(kept_code.fingerprint())))


def _kernel(factory: Factory, parameters: tuple[Any, ...]) -> Kernel:
    key = (factory, *parameters)
    if key in _not_kept and not may_compile():
        raise NotKeptError
    kernel = _kernels.get(key)
    if kernel is None:
        with _lock:  # threads of a worker meet here
            kernel = _kernels.get(key)
            if kernel is None:
                try:
                    kernel = _kernels[key] = _kernel_once(factory, parameters)
                except NotKeptError:
                    _not_kept.add(key)
                    raise
    return kernel


def _kernel_once(factory: Factory, parameters: tuple[Any, ...]) -> Kernel:
    if not _failures:
        try:
            return _load_or_compile(factory, parameters)
        except CannotCompileError:  # of a kernel that this one needs
            raise
        except Exception as error:
            _failures.append(error)
            warnings.warn(
                f"dsoftmax runs without compiled kernels, several times slower ({error!r}); the "
                "results are as accurate, but exact=True fails. Install a numba that supports this "
                "Python and this machine",
                RuntimeWarning,
                stacklevel=2,
            )
    raise CannotCompileError from _failures[0]


def _load_or_compile(factory: Factory, parameters: tuple[Any, ...]) -> Kernel:
    from . import kept_code, machine_code

    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise RuntimeError("NUMBA_DISABLE_JIT is set")

    def usable(code: machine_code.MachineCode) -> Kernel:
        entry = machine_code.load(code)
        function = callable_at(entry, code.arguments)
        if not passes(function, address, factory, parameters):
            raise RuntimeError(f"the compiled kernel {code.entry} computes wrong numbers")
        return Kernel(function, entry)

    fingerprint, name = kept_code.fingerprint(), name_of(factory, *parameters)
    for code in kept_code.read(name) if fingerprint else ():
        try:
            return usable(code)
        except CannotCompileError:
            raise
        except Exception:  # of any kind: if it is not of the kept code, it will come again
            continue
    if not may_compile() and _numba_is_installed():
        raise NotKeptError
    for listener in tuple(listeners):
        listener()
    code = machine_code.compile_function(factory(*parameters), name)
    kernel = usable(code)
    if fingerprint:
        kept_code.write(code)
    return kernel


def _numba_is_installed() -> bool:
    try:
        return find_spec("numba") is not None
    except (ImportError, ValueError):  # it is kept from being imported
        return False


def _in_a_fork() -> None:
    """A fork has no thread that would release the lock, if one of its parent's holds it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)


def callable_at(address: int, arguments: int) -> Callable[..., None]:
    """The machine code at an address as a function of that number of integers."""
    function = CFUNCTYPE(c_int32, *[c_int64] * arguments)(address)
    function.errcheck = _check_status  # type: ignore[assignment]
    return function


def _check_status(status: int, function: Any, arguments: tuple[int, ...]) -> None:
    if status:
        raise RuntimeError(f"a compiled kernel failed with status {status} for {arguments}")
