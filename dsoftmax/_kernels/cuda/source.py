"""The CUDA sources as they go to the compiler, and what the kernels and their callers agree on.

The files in ``src`` need no header, so that any NVRTC compiles them.  Every kernel is compiled by
itself when it is first called for: their common source, and a line that asks for this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

FILES = ("state.cuh", "elements.cuh", "kernels.cu")

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
CONTIGUOUS, STRIDED, WEIGHTED = 0, 1, 2
MAX_LOOPS = 8
THREADS = 256

_LOOPS = np.dtype(
    [("count", "i8"), ("loop", [(name, "i8") for name in ("length", "x", "b", "y")], MAX_LOOPS)]
)
_ADDRESSES = ("x", "b", "y", "m", "w", "s")
_NUMBERS = ("x_dtype", "b_dtype", "slices", "parts", "length", "portion", "portions")
_TEAMS = ("lanes", "team", "members_adjacent", "logarithm")
CALL = np.dtype(
    [(name, "i8") for name in (*_ADDRESSES, *_NUMBERS, *_TEAMS)]
    + [(name, _LOOPS) for name in ("kept", "outer", "inner")]
)
_FROM_AND_TO = ("m", "w", "s", "to_m", "to_w", "to_s")
MERGE = np.dtype([(name, "i8") for name in (*_FROM_AND_TO, "slices", "parts", "lanes", "team")])


class Kernel(NamedTuple):
    """One kernel: its name, and the line of CUDA that makes it."""

    name: str
    line: str


def slices_kernel(dtype: str, layout: int, mode: int) -> Kernel:
    """The kernel for blocks of a dtype; for weighted ones, of the dtype to compute in."""
    name = f"slices_{dtype}_{layout}_{mode}"
    return Kernel(name, f"SLICES({name}, {ELEMENTS[dtype]}, {layout}, {mode})")


def merge_kernel(working: str) -> Kernel:
    """The kernel that merges states whose maxima are of the dtype ``working``."""
    name = f"merge_{working}"
    return Kernel(name, f"MERGE({name}, {ELEMENTS[working]}::Real)")


def every_kernel() -> list[Kernel]:
    """All kernels that can reach a device."""
    unweighted = [
        slices_kernel(dtype, layout, mode)
        for dtype in ELEMENTS
        for layout in (CONTIGUOUS, STRIDED)
        for mode in (1, 2, 3)
    ]
    working = ("float32", "float64")
    weighted = [slices_kernel(dtype, WEIGHTED, 1) for dtype in working]
    return [*unweighted, *weighted, *map(merge_kernel, working)]


def source(kernels: Iterable[Kernel]) -> str:
    """The CUDA source of some kernels."""
    return "\n".join([*map(text, FILES), *(kernel.line for kernel in kernels), ""])


@cache
def text(name: str) -> str:
    """What is in one of the `FILES`."""
    return files(__package__).joinpath("src", name).read_text(encoding="utf-8")
