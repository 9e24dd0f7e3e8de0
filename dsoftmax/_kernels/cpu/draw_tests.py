"""Tests of the kernels of draws before their first use, as in `self_test`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import noise, philox, weights
from .protocol import RANDOM_TILE
from .samples import place_of, scores

Function = Callable[..., None]
Address = Callable[..., int]

_SLICES, _LENGTH = 3, 37  # several vectors, and not whole ones


def random_bits(kernel: Function, address: Address) -> bool:
    index, bits = 2**40 + 7 * np.arange(_LENGTH), np.zeros(_LENGTH, np.int64)
    kernel(*map(place_of, (index, bits)), _LENGTH, 0xA4093822, 0x299F31D0)
    return np.array_equal(bits, philox.bits(index, (0xA4093822, 0x299F31D0)))


def gumbel_noise(kernel: Function, address: Address) -> bool:
    bits = np.concatenate([[0, 1, 2**53 - 1], philox.bits(np.arange(_LENGTH), (1, 2))])
    result = np.zeros(bits.size)
    kernel(*map(place_of, (bits, result)), bits.size)
    return np.array_equal(result, noise.noise(bits))


def noisy_candidates(kernel: Function, address: Address, element: Any) -> bool:
    key, least = (0xA4093822, 0x299F31D0), np.array([6.5])
    x = scores((2 * RANDOM_TILE + _SLICES,), element) / 3
    index = 2**40 + 5 + np.arange(x.size)  # tiles begin within
    bits = philox.bits(index, key)
    expected = np.flatnonzero(bits < np.exp(x.astype(np.float64) - least) * 2.0**53)
    places, found, number = (np.zeros(n, np.int64) for n in (x.size, x.size, 1))
    results = [place_of(a) for a in (least, places, found, number, np.zeros(RANDOM_TILE, np.int64))]
    for indices, start in ((0, index[0]), (place_of(index), 0)):
        kernel(place_of(x), x.size, indices, int(start), *key, *results)
        kept = places[: number[0]]
        if not (np.array_equal(kept, expected) and np.array_equal(found[: kept.size], bits[kept])):
            return False
    return True


def integer_weights(kernel: Function, address: Address, element: Any) -> bool:
    x = scores((_SLICES * _LENGTH,), element)
    begins, lengths = _LENGTH * np.arange(_SLICES), _LENGTH - np.arange(_SLICES)
    m, k = 9 + np.arange(_SLICES) / 2, 61 - np.arange(_SLICES)
    found, sums = np.zeros((_SLICES, _LENGTH), np.int64), np.zeros((2, _SLICES), np.int64)
    pieces = *map(place_of, (begins, lengths, m, k)), _SLICES
    kernel(place_of(x), *pieces, place_of(found), _LENGTH, place_of(sums[0]))
    kernel(place_of(x), *pieces, 0, 0, place_of(sums[1]))
    t = x.reshape(_SLICES, _LENGTH).astype(np.float64) - m[:, None]
    expected = np.where(
        np.arange(_LENGTH) < lengths[:, None], weights.integer_weights(t, k[:, None]), 0
    )
    return np.array_equal(found, expected) and bool((sums == expected.sum(axis=1)).all())
