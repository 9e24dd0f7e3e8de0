"""Numbers and memory for the tests of kernels before their first use (`self_test`)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

LINE = 64  # scratch memory begins with a line of the cache


def scores(shape: tuple[int, ...], working: Any) -> Array:
    """Numbers between -9 and 9 that all differ."""
    n = np.prod(shape)
    return (9 * np.sin(np.arange(n) * 1.7)).reshape(shape).astype(working)


def in_memory(values: Array, name: str) -> Array:
    """Small integers in a dtype; those of bfloat16, which NumPy has not, as their bits."""
    if name == "bfloat16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(name)


def close(actual: Array, expected: Array, dtype: Any) -> bool:
    return np.allclose(actual, expected, rtol=100 * np.finfo(dtype).eps, atol=1e-30)


def scratch_memory(size: int) -> Array:
    """Scratch memory from the beginning of a line of the cache on."""
    memory = np.zeros(size + LINE, np.uint8)
    return memory[-place_of(memory) % LINE :]


def place_of(array: Array) -> int:
    return array.ctypes.data
