"""Random bits and noise for NumPy: calls of the compiled `philox`."""

from __future__ import annotations

import numpy as np

from . import kernels
from .call import address_of, scratch_address
from .compiler import compiled

Array = np.ndarray


def of_indices(index: Array, key: tuple[int, int]) -> Array:
    """53 random bits for each index, both int64: those of the portable `philox.bits`."""
    index = np.ascontiguousarray(index)
    bits = np.empty_like(index)
    compiled(kernels.random_bits)(address_of(index), address_of(bits), index.size, *key)
    return bits


def noise(bits: Array) -> Array:
    """Gumbel noise of random bits: that of the portable `noise.noise`."""
    bits = np.ascontiguousarray(bits)
    result = np.empty(bits.shape, np.float64)
    compiled(kernels.gumbel_noise)(address_of(bits), address_of(result), bits.size)
    return result


def candidates(
    x: Array, indices: Array | int, least: float, key: tuple[int, int]
) -> tuple[Array, Array]:
    """Which elements of a vector may exceed a number, with Gumbel noise, and their random bits.

    Their indices are given, or the first one of them where they follow one another.
    """
    at, start = (address_of(indices), 0) if isinstance(indices, np.ndarray) else (0, indices)
    places, bits, number = (np.empty(n, np.int64) for n in (x.size, x.size, 1))
    threshold = np.array([least], np.float64)
    addresses = (*map(address_of, (threshold, places, bits, number)), scratch_address())
    kernel = compiled(kernels.noisy_candidates, x.dtype.type)
    kernel(address_of(x), x.size, at, start, *key, *addresses)
    return places[: number[0]], bits[: number[0]]
