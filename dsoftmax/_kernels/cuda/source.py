"""The CUDA sources as they go to the compiler, and what the kernels and their callers agree on.

The files in ``src`` need no header, so that any NVRTC compiles them.  Every kernel is compiled by
itself when it is first called for: their common source, and a line that asks for this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np

from ..modes import APPLY, REDUCE

FILES = ("state.cuh", "elements.cuh", "teams.cuh", "typed.cuh", "mixed.cuh", "kernels.cu")

# No --use_fast_math: its exponentials are not within 2 ulp, and it flushes subnormal numbers.
OPTIONS = ("-std=c++17",)

# The names of the dtypes in CUDA, in the order in which `load_any` numbers them.
ELEMENTS = {
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "float32": "Float32",
    "float64": "Float64",
    "bool": "Bool",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
}
CONTIGUOUS, STRIDED, WEIGHTED, MIXED = 0, 1, 2, 3

# What a state has, and how it is called in CUDA: (m, w, s); with moments (t, q); with a sum of
# values, which is at the place of t.
Kind = Literal["plain", "moments", "values"]
KINDS: dict[Kind, str] = {"plain": "PLAIN", "moments": "MOMENTS", "values": "VALUES"}
FIELDS = ("m", "w", "s", "t", "q")
NUMBERS_OF_FIELDS: dict[Kind, int] = {"plain": 3, "moments": 5, "values": 4}

MAX_LOOPS = 8
THREADS = 256

_LOOP = [(name, "i8") for name in ("length", "x", "b", "y", "where")]
_LOOPS = np.dtype([("count", "i8"), ("loop", _LOOP, MAX_LOOPS)])
_ADDRESSES = ("x", "b", "y", "where", *FIELDS)
_NUMBERS = ("x_dtype", "b_dtype", "slices", "parts", "length", "portion", "portions")
_TEAMS = ("lanes", "team", "members_adjacent", "logarithm")
CALL = np.dtype(
    [(name, "i8") for name in (*_ADDRESSES, *_NUMBERS, *_TEAMS)]
    + [(name, _LOOPS) for name in ("kept", "outer", "inner")]
)
_FROM_AND_TO = (*FIELDS, *(f"to_{name}" for name in FIELDS))
MERGE = np.dtype([(name, "i8") for name in (*_FROM_AND_TO, "slices", "parts", "lanes", "team")])


class Kernel(NamedTuple):
    """One kernel: its name, and the line of CUDA that makes it."""

    name: str
    line: str


def slices_kernel(dtype: str, layout: int, mode: int) -> Kernel:
    """The kernel for blocks of a dtype; with weights or a mask, of the dtype to compute in."""
    name = f"slices_{dtype}_{layout}_{mode}"
    return Kernel(name, f"SLICES({name}, {ELEMENTS[dtype]}, {layout}, {mode}, PLAIN)")


def sums_kernel(kind: Kind, working: str) -> Kernel:
    """The kernel for states with moments or values of blocks that are computed in ``working``."""
    name = f"{kind}_{working}"
    return Kernel(name, f"SLICES({name}, {ELEMENTS[working]}, {MIXED}, {REDUCE}, {KINDS[kind]})")


def merge_kernel(working: str, kind: Kind = "plain") -> Kernel:
    """The kernel that merges states of a kind whose maxima are of the dtype ``working``."""
    name = f"merge_{working}" if kind == "plain" else f"merge_{kind}_{working}"
    return Kernel(name, f"MERGE({name}, {ELEMENTS[working]}::Real, {KINDS[kind]})")


def every_kernel() -> list[Kernel]:
    """All kernels that can reach a device."""
    modes = (REDUCE, APPLY, REDUCE | APPLY)
    kernels = [
        slices_kernel(dtype, layout, mode)
        for dtype in ELEMENTS
        for layout in (CONTIGUOUS, STRIDED)
        for mode in modes
    ]
    for working in ("float32", "float64"):
        kernels.append(slices_kernel(working, WEIGHTED, REDUCE))
        kernels += [slices_kernel(working, MIXED, mode) for mode in modes]
        kernels += [sums_kernel("moments", working), sums_kernel("values", working)]
        kernels += [merge_kernel(working, kind) for kind in KINDS]
    return kernels


def source(kernels: Iterable[Kernel]) -> str:
    """The CUDA source of some kernels."""
    return "\n".join([*map(text, FILES), *(kernel.line for kernel in kernels), ""])


@cache
def text(name: str) -> str:
    """What is in one of the `FILES`."""
    return files(__package__).joinpath("src", name).read_text(encoding="utf-8")
