"""The kernels for exact sums, and what they and their callers agree on."""

from __future__ import annotations

import numpy as np

from ..._algebra.exact import SLICE_BYTES
from ..modes import REDUCE
from .source import ELEMENTS, TYPED, UNITED, Kernel

# Words of 64 bits of an exact state beside m, and what kernels are told of them.
WORDS = SLICE_BYTES // 8 - 1
_WORDS = [("m", "i8"), ("word", "i8", WORDS)]
_RECORDS = [(name, "i8") for name in ("m", "words", "pitch")]
_TO_MERGE = ("slices", "parts", "count", "lanes", "team")
MERGE = np.dtype(
    [("to", _RECORDS)] + [(name, "i8") for name in _TO_MERGE] + [("from", _WORDS, UNITED)]
)
FINISH = np.dtype(
    [(name, "i8") for name in ("w", "s", "log_d", "log_sum", "size")] + [("from", _WORDS)]
)


def exact_kernel(dtype: str, working: str, masked: bool, mode: int = REDUCE) -> Kernel:
    """The kernel for exact states, or for results of given ones, of blocks of any layout."""
    name, element = f"exact_{dtype}_{int(masked)}_{mode}", ELEMENTS[dtype]
    if dtype not in TYPED:
        name, element = (
            f"exact_any_{working}_{int(masked)}_{mode}",
            f"Any<{ELEMENTS[working]}::Real>",
        )
    return Kernel(name, f"EXACT({name}, {element}, {str(masked).lower()}, {mode})")


def exact_merge_kernel(working: str) -> Kernel:
    """The kernel that merges exact states."""
    name = f"exact_merge_{working}"
    return Kernel(name, f"EXACT_MERGE({name}, {ELEMENTS[working]}::Real)")


def exact_finish_kernel(working: str) -> Kernel:
    """The kernel for what exact states stand for."""
    name = f"exact_finish_{working}"
    return Kernel(name, f"EXACT_FINISH({name}, {ELEMENTS[working]}::Real)")
