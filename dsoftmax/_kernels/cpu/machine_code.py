"""Machine code of single kernels: made by Numba and LLVM, linked with nothing but C's library.

Numba would keep a kernel as an object file in which the functions that it is made of are weak
global symbols, named by their qualified names, the types of their arguments and a counter that
starts anew in each process.  All that a process compiles or loads is linked in one namespace, and
of two functions with one name the first serves both: a float64 kernel that was kept by one process
then runs the helpers of a float32 kernel kept by another.  Numba has no option against that.

Here the object file of a kernel has one global symbol, its entry, and every kernel is linked by an
engine of its own.  The names of all else are numbers, so that the code of a kernel is the same, to
the byte, whatever a process has compiled before.  It needs no Numba to run: loading it takes
milliseconds.

Only what Numba and llvmlite document is used, but for the calling convention in `_add_entry`.
Tried with Numba 0.61.2 (llvmlite 0.44) and 0.68.1 (0.50).
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding as llvm

# All that a kernel may call.  LLVM itself calls the last three.
C_FUNCTIONS = frozenset(["exp", "log", "log1p", "memcpy", "memmove", "memset"])

# Vectors that find no register are to be aligned on the stack, which LLVM does only if told so.
# Else a kernel takes up to twice as long where the stack is so deep that a vector crosses a page.
_DEFINITION = re.compile(r"^(define .*) \{$", re.MULTILINE)

_engines: list[Any] = []  # they own the memory that the code is in


class MachineCode(NamedTuple):
    """An object file whose one global symbol is a function of 64-bit integers."""

    entry: str
    arguments: int
    object_file: bytes


class Target(NamedTuple):
    """What machine code is made for, in LLVM's words."""

    triple: str
    processor: str
    features: str


def target() -> Target:
    """The target of this process, on this machine's processor or the one named to Numba.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name it; "generic" has no features by itself.
    """
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = "" if name == "generic" else llvm.get_host_cpu_features().flatten()
    return Target(llvm.get_process_triple(), name, features)


def fuses() -> bool:
    """Whether the target rounds a product and a sum once: x86 since 2013, and all of ARM64."""
    on_x86 = target().triple.startswith(("x86", "i386", "i686", "amd64"))
    return not on_x86 or "+fma" in target().features.split(",")


def compile_function(function: Callable[..., None], entry: str) -> MachineCode:
    """The machine code of a function of integers, which calls `numba.njit` functions at most."""
    module = module_of(function, entry)
    arguments = function.__code__.co_argcount
    return MachineCode(entry, arguments, target_machine().emit_object(module))


def module_of(function: Callable[..., None], entry: str) -> Any:
    """What LLVM makes that of."""
    from numba import njit, types

    arguments = function.__code__.co_argcount
    signature = types.void(*[types.int64] * arguments)
    # No exceptions: division by 0 is inf.  No wrappers: nothing calls from Python.
    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    text = njit(signature, **options)(function).inspect_llvm(signature.args)
    module = llvm.parse_assembly(_DEFINITION.sub(r'\1 "stackrealign" {', text))
    _add_entry(module, entry, arguments)
    _make_internal(module, entry)
    module.verify()
    return module


def load(code: MachineCode) -> int:
    """The address of the entry of machine code, linked apart from all other code."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    # LLVM aborts the process if a symbol is missing.
    missing = sorted(name for name in C_FUNCTIONS if llvm.address_of_symbol(name) is None)
    if missing:
        raise OSError(f"LLVM does not find {', '.join(missing)} of C's library in this process")
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.object_file))
    engine.finalize_object()
    address = engine.get_function_address(code.entry)
    if not address:
        raise RuntimeError(f"there is no function {code.entry} in the machine code")
    _engines.append(engine)
    return address


def _add_entry(module: Any, entry: str, arguments: int) -> None:
    """Define the entry: it takes the integers and returns Numba's status, 0 if nothing was raised.

    By Numba's calling convention a function returns its status, and takes two pointers first: to
    where the result and to where what describes an exception are to be written.
    """
    (function,) = (
        f for f in module.functions if not f.is_declaration and f.linkage == llvm.Linkage.external
    )
    pointers = [str(argument.type) for argument in function.arguments][:-arguments]
    if len(pointers) != 2:
        raise RuntimeError(f"Numba calls {function.name} in a way that is not known here")
    # What typed pointers, which LLVM had until version 16, point to.
    kinds = [pointer.removesuffix("*") for pointer in pointers]
    types = ", ".join([*pointers, *["i64"] * arguments])
    integers = ", ".join(f"i64 %{i}" for i in range(arguments))
    places = ", ".join(f"{pointer} %place{i}" for i, pointer in enumerate(pointers))
    text = f"""
        declare i32 @"{function.name}"({types})
        define i32 @"{entry}"({integers}) {{
            %place0 = alloca {kinds[0]}
            %place1 = alloca {kinds[1]}
            %status = call i32 @"{function.name}"({places}, {integers})
            ret i32 %status
        }}
    """
    module.link_in(llvm.parse_assembly(text))


def _make_internal(module: Any, entry: str) -> None:
    """Hide everything that a module defines from the linker, except its entry."""
    values = [*module.functions, *module.global_variables]
    for number, value in enumerate(value for value in values if value.name != entry):
        if not value.is_declaration:
            value.linkage = "internal"
            value.name = str(number)
        elif not value.name.startswith("llvm.") and value.name not in C_FUNCTIONS:
            raise RuntimeError(f"{entry} calls {value.name}, which is not one of C_FUNCTIONS")


def target_machine() -> Any:
    """LLVM's generator of code for the target."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple, name, features = target()
    on_x86 = platform.machine() in ("x86_64", "AMD64", "i386", "i686")
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=name,
        features=features,
        opt=3,
        # As Numba has it: the linker of the engine knows no other for x86.
        reloc="static" if on_x86 else "default",
        codemodel="jitdefault",
        jit=True,
    )
