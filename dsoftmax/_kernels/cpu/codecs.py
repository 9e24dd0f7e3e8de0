"""Between the dtypes and layouts that blocks come in and the contiguous tiles the kernels work on.

Half types are converted as bits: Numba has no arithmetic for them on the CPU, and this vectorises
on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

from .memory import inlined, pointer, reinterpret

Codec = Callable[[int, int, int, int], None]

_u16, _u32, _f32 = np.uint16, np.uint32, np.float32


def load(name: str, swapped: bool, working: type) -> Codec:
    """A function that copies elements of dtype ``name``, ``step`` bytes apart, to a tile."""
    half, brain = name == "float16", name == "bfloat16"
    raw = np.dtype({"float16": "u2", "bfloat16": "u2", "bool": "u1"}.get(name, name))
    stored = np.dtype(f"u{raw.itemsize}").type if swapped else raw.type
    raw, itemsize = raw.type, raw.itemsize

    @njit(inline="always")  # LLVM would inline it too late for loops to become vectors
    def converted(value: Any) -> Any:
        if swapped:
            value = reinterpret(_swap_bytes(value), raw)
        if half:
            value = _widen_float16(value)
        elif brain:
            value = reinterpret(_u32(value) << _u32(16), _f32)
        return working(value)

    def load_tile(source: int, target: int, step: int, size: int) -> None:
        elements, tile = pointer(source, stored), pointer(target, working)
        step //= itemsize
        if step == 2:  # of every second one LLVM makes vectors, where it knows that they are
            for i in range(size):
                tile[i] = converted(elements[2 * i])
        else:
            for i in range(size):
                tile[i] = converted(elements[i * step])

    return load_tile


def store(name: str, working: type) -> Codec:
    """A function that copies a tile to elements of dtype ``name``, ``step`` bytes apart."""
    half, brain = name == "float16", name == "bfloat16"
    stored = _u16 if half or brain else working
    itemsize = np.dtype(stored).itemsize

    def store_tile(source: int, target: int, step: int, size: int) -> None:
        tile, elements = pointer(source, working), pointer(target, stored)
        step //= itemsize
        for i in range(size):
            if half:
                elements[i * step] = _narrow_to_float16(tile[i])
            elif brain:
                elements[i * step] = _narrow_to_bfloat16(tile[i])
            else:
                elements[i * step] = tile[i]

    return store_tile


@intrinsic
def _swap_bytes(typing_context: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bswap(args[0])

    return value(value), codegen


_SIGN_16, _MAGNITUDE_16 = _u32(0x8000), _u32(0x7FFF)
_INFINITY_32 = _u32(0x7F800000)
_16, _13 = _u32(16), _u32(13)


@inlined
def _widen_float16(bits: Any) -> Any:
    # With the fields moved in place the value is off by the difference of the exponents' biases;
    # a multiplication mends that for subnormal numbers too.
    magnitude = _u32((bits & _MAGNITUDE_16) << _13)
    value = reinterpret(reinterpret(magnitude, _f32) * _f32(2.0**112), _u32)
    if magnitude >= _u32(0x0F800000):  # infinity and NaN
        value = value | _INFINITY_32
    return reinterpret(value | ((bits & _SIGN_16) << _16), _f32)


@inlined
def _narrow_to_float16(value: Any) -> Any:
    bits = reinterpret(value, _u32)
    sign = (bits >> _16) & _SIGN_16
    magnitude = bits & _u32(0x7FFFFFFF)
    if magnitude > _INFINITY_32:
        result = _u32(0x7E00)
    elif magnitude >= _u32((127 + 16) << 23):  # 2**16 and more
        result = _u32(0x7C00)
    elif magnitude < _u32((127 - 14) << 23):
        # Subnormal: adding 1/2 leaves the result, rounded to even, in the low bits of the sum.
        result = reinterpret(reinterpret(magnitude, _f32) + _f32(0.5), _u32) - _u32(0x3F000000)
    else:
        odd = (magnitude >> _13) & _u32(1)
        result = (magnitude - _u32((127 - 15) << 23) + _u32(0xFFF) + odd) >> _13
    return _u16(result | sign)


@inlined
def _narrow_to_bfloat16(value: Any) -> Any:
    bits = reinterpret(value, _u32)
    if value != value:
        return _u16((bits >> _16) | _u32(0x40))  # keep a NaN's payload from rounding to infinity
    return _u16((bits + _u32(0x7FFF) + ((bits >> _16) & _u32(1))) >> _16)
