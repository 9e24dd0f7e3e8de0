"""What the compiled kernels need beyond Python's arithmetic: memory by address.

Numba's arrays carry their dimension, layout and mutability in their type, so that each combination
would be compiled anew, and an index that may be negative keeps loops from being vectorised
(measured: 2 to 4 times slower).  An address, a stride and one signature for all do neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_INT64 = ir.IntType(64)

# What a compiled function returns to those that call it by its address: 0, since none of them
# raises anything.
STATUS = ir.IntType(32)

# For functions that only kernels call: nothing is compiled for calls from Python and C.
inlined = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


@intrinsic
def pointer(typing_context: Any, address: Any, dtype: Any) -> Any:
    """The elements of a dtype from an address on, as p[i]."""
    kind = types.CPointer(dtype.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.int64, dtype), codegen


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Have the cache line at an address loaded; never faults.

    The hardware sees no accesses while exponentials are computed, and stops fetching ahead.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        read, keep, data = int32(0), int32(3), int32(1)
        builder.call(function, [builder.inttoptr(args[0], byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def convert(
    typing_context: Any, function: Any, source: Any, target: Any, step: Any, size: Any
) -> Any:
    """Call the compiled `codecs` function at an address.

    Called and not inlined, so that the kernels are compiled for float32 and float64 alone.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(STATUS, [_INT64] * 4)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def call(typing_context: Any, function: Any, record: Any) -> Any:
    """Call the compiled kernel at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(STATUS, [args[1].type])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def count_up(typing_context: Any, address: Any) -> Any:
    """Add 1 to the integer at an address, whoever else does: what it was before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _INT64.as_pointer())
        return builder.atomic_rmw("add", place, _INT64(1), "seq_cst")

    return types.int64(types.int64), codegen


def _function_of_c(name: str) -> Callable[[float], float]:
    """A function of C's library, from float64 to float64.

    LLVM is kept from knowing what it does.  Otherwise it may turn a loop of calls into calls to a
    library of vector functions, such as Intel's SVML, which is not there when the code is loaded.
    """

    def call(typing_context: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            function = builder.module.globals.get(name)
            if function is None:
                kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()])
                function = ir.Function(builder.module, kind, name)
                function.attributes.add("nobuiltin")
            return builder.call(function, args)

        return types.float64(types.float64), codegen

    return intrinsic(call)


exp, log, log1p = (_function_of_c(name) for name in ("exp", "log", "log1p"))


@intrinsic
def reinterpret(typing_context: Any, value: Any, dtype: Any) -> Any:
    """The bits of a number as another dtype of its size."""
    # Numba computes with integers of 64 bits: have them cast back.
    same_size = {types.float32: types.uint32, types.float64: types.uint64}.get(dtype.dtype, value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return dtype.dtype(value if isinstance(value, types.Float) else same_size, dtype), codegen


@inlined
def power(n: int) -> float:
    """2**n, for n from -1022 to 1023."""
    return reinterpret((n + 1023) << 52, np.float64)


@inlined
def copy(source: int, target: int, size: int, dtype: Any) -> None:
    """Copy elements of a dtype from one address to another."""
    elements, copies = pointer(source, dtype), pointer(target, dtype)
    for i in range(size):
        copies[i] = elements[i]


@inlined
def add_compensated(total: Any, error: Any, term: Any) -> Any:
    """(total, error) after adding a term: Knuth's TwoSum, which needs no order of sizes."""
    new = total + term
    virtual = new - total
    return new, error + ((total - (new - virtual)) + (term - virtual))


@inlined
def closed(total: Any, error: Any) -> Any:
    """The sum of what `add_compensated` added; of an infinite total the error is NaN."""
    return total + error if error == error else total
