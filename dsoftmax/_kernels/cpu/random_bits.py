"""Random bits for NumPy: a call of the compiled `philox`."""

from __future__ import annotations

import numpy as np

from . import kernels
from .call import address_of
from .compiler import compiled


def of_indices(index: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """53 random bits for each index, both int64: those of the portable `philox.bits`."""
    index = np.ascontiguousarray(index)
    bits = np.empty_like(index)
    compiled(kernels.random_bits)(address_of(index), address_of(bits), index.size, *key)
    return bits
