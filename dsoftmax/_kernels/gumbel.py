"""Keys of elements for draws without replacement: x plus Gumbel noise that belongs to the element.

The k largest keys of a slice are at k elements drawn without replacement, in the order drawn, with
probabilities softmax(x) (Gumbel-max trick; Kool, van Hoof and Welling 2019, arXiv:1903.06059).
The noise is a function of a key and of the index of the element in the whole array, so that it does
not depend on the chunks.

Where a block of NumPy's is all of one slice, or slices run along the memory of a device, most
elements need no logarithm: random bits alone tell that a key is less than the k-th largest so far.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.namespace import array_namespace
from .._algebra.normalizer import quiet
from . import philox, topk
from .blocks import Terms, unmasked_terms
from .choose import kernels_for
from .cpu import block as on_cpu
from .cpu import random_bits
from .cpu.compiler import CannotCompileError
from .cpu.protocol import NOISE_ROUNDINGS
from .cuda import draws as on_cuda
from .noise import noise
from .topk import Top

Array = Any
Axes = tuple[int, ...]

# Elements whose random words are in memory at a time: with all of the portable generator's in the
# first-level cache, or few calls of the compiled one.
PANEL, COMPILED_PANEL = 1 << 13, 1 << 15
PENDING = 1 << 9  # least number of candidates that are sorted into the best


class Placed(NamedTuple):
    """A block of x, with a mask or alone, and where it begins along each axis of the array."""

    x: Array | Terms
    starts: tuple[int, ...]


def of_block(block: Placed, axes: Axes, k: int, shape: tuple[int, ...], key: philox.Key) -> Top:
    """The k largest keys of a block, of an array of a shape, and where they are."""
    terms = unmasked_terms(block.x)
    x = terms.x
    if isinstance(x, np.ndarray) and k and len(axes) == x.ndim:
        return _of_slice(terms, block.starts, k, shape, key)
    if terms.where is None and k and on_cuda.supports(x):
        length = math.prod(x.shape[i] for i in axes)
        at = on_cuda.Numbered(block.starts, shape, key)
        found = on_cuda.of_block(x, axes, min(k, length), at)
        if found is not None:
            return Top(*found, tuple(x.shape[i] for i in axes), None)
    return topk.of_block(keys(block, shape, key), axes, k, False)


def keys(block: Placed, shape: tuple[int, ...], key: philox.Key) -> Array:
    """x plus noise, in float64; -inf for what is left out."""
    x, _, where, _ = unmasked_terms(block.x)
    if on_cuda.supports(x):
        found = on_cuda.keys(x, where, on_cuda.Numbered(block.starts, shape, key))
        if found is not None:
            return found
    xp = array_namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    if where is not None:
        x = xp.where(where, x, -float("inf"))
    if math.prod(x.shape) == 0:
        return x
    flat, compiled = xp.reshape(x, (-1,)), kernels_for(x) is on_cpu
    panels = []
    for start in range(0, flat.shape[0], PANEL):
        stop = min(start + PANEL, flat.shape[0])
        places = xp.arange(start, stop, dtype=xp.int64, device=device(x))
        index = in_array(places, x.shape, block.starts, shape)
        panels.append(flat[start:stop] + _noise(_bits(index, key, compiled), compiled))
    return xp.reshape(xp.concat(panels), x.shape)


def in_array(
    places: Array, lengths: tuple[int, ...], starts: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    """The index in the flattened array of places in a flattened block, both in C order."""
    loops = _loops(lengths, starts, shape)
    index, step = places * 0, 1
    while len(loops) > 1:
        own, start, whole = loops.pop()
        rest = places // own
        index = index + (places - rest * own + start) * step
        places, step = rest, step * whole
    return index + (places + sum(start for _, start, _ in loops)) * step


def _loops(
    lengths: tuple[int, ...], starts: tuple[int, ...], shape: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """A block as few loops: the length of each, where it begins, and its length in the array."""
    loops: list[tuple[int, int, int]] = []
    for own, start, whole in zip(lengths, starts, shape, strict=True):
        if loops and own == whole:  # runs through memory as one with the axis before it
            outer, outer_start, outer_whole = loops.pop()
            loops.append((outer * own, outer_start * own, outer_whole * own))
        else:
            loops.append((own, start, whole))
    return loops


def _of_slice(
    terms: Terms, starts: tuple[int, ...], k: int, shape: tuple[int, ...], key: philox.Key
) -> Top:
    """The k largest keys of a block that is all of one slice: those of `keys`, to the bit."""
    x, mask = terms.x, terms.where
    flat, compiled = np.ascontiguousarray(x).reshape(-1), kernels_for(x) is on_cpu
    mask = None if mask is None else mask.reshape(-1)
    loops = _loops(x.shape, starts, shape)
    best = pending = _Best(np.empty(0), np.empty(0, np.int64))
    step = COMPILED_PANEL if compiled else PANEL
    for start in range(0, flat.size, step):
        stop = min(start + step, flat.size)
        panel = flat[start:stop]
        if mask is not None:
            panel = np.where(mask[start:stop], panel.astype(np.float64), -np.inf)
        elif panel.dtype not in (np.float32, np.float64):
            panel = panel.astype(np.float64)
        if len(loops) == 1:  # indices follow one another
            indices = start + loops[0][1]
        else:
            indices = in_array(np.arange(start, stop), x.shape, starts, shape)
        least = best.keys[-1] if best.keys.size == k else -np.inf
        hit, bits = _candidates(panel, indices, least, key, compiled)
        keys = panel[hit].astype(np.float64) + _noise(bits, compiled)
        pending = pending.with_others(keys, start + hit)
        if pending.keys.size >= max(k // 2, PENDING):
            best, pending = pending.with_others(*best).first(k), _Best(*(a[:0] for a in pending))
    return Top(*pending.with_others(*best).first(k), tuple(x.shape), None)


class _Best(NamedTuple):
    """Keys and where they are."""

    keys: np.ndarray
    places: np.ndarray

    def with_others(self, keys: np.ndarray, places: np.ndarray) -> _Best:
        return _Best(np.concatenate([self.keys, keys]), np.concatenate([self.places, places]))

    def first(self, k: int) -> _Best:
        """The k largest, of equal ones those that come first; NaN before all."""
        keys, places = self
        if keys.size > k:
            kept = ~(keys < np.partition(keys, -k)[-k])  # few, and NaN
            keys, places = keys[kept], places[kept]
        order = np.lexsort((places, -keys, keys == keys))[:k]
        return _Best(keys[order], places[order])


def _candidates(
    x: np.ndarray, indices: np.ndarray | int, least: float, key: philox.Key, compiled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Elements whose keys may exceed the least of the best, and few others, and their bits."""
    if compiled:
        with suppress(CannotCompileError):
            return random_bits.candidates(x, indices, least, key)
    index = indices if isinstance(indices, np.ndarray) else np.arange(indices, indices + x.size)
    high = philox.high_words(index, key)
    lowest = philox.joined(high, np.int64(0))
    hit = np.flatnonzero(~(lowest >= _limit(x.max(), least)))  # one number tells for most
    bits = philox.joined(high[hit], philox.low_words(index[hit], key))
    kept = ~(bits >= _limit(x[hit], least))  # NaN is one
    return hit[kept], bits[kept]


def _limit(x: Array, least: float) -> Array:
    """What the bits of an element are below if its key may exceed the least of the best.

    x + G > least if G > least - x, or v < 1 - exp(-exp(x - least)), which is less than
    exp(x - least).
    """
    with quiet():
        x = np.asarray(x, np.float64)
        size = np.where(x == -np.inf, 0, np.abs(x))  # -inf is below any that is finite
        margin = NOISE_ROUNDINGS + 2.0**-50 * (abs(least) + size)
        return np.exp(x - least + margin) * 2.0**53 + 1


def _bits(index: Array, key: philox.Key, compiled: bool) -> Array:
    if compiled:
        with suppress(CannotCompileError):
            return random_bits.of_indices(index, key)
    return philox.bits(index, key)


def _noise(bits: Array, compiled: bool) -> Array:
    if compiled:
        with suppress(CannotCompileError):
            return random_bits.noise(bits)
    return noise(bits)
