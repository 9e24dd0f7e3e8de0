"""Keys of elements for draws without replacement: x plus Gumbel noise that belongs to the element.

The k largest keys of a slice are at k elements drawn without replacement, in the order drawn, with
probabilities softmax(x) (Gumbel-max trick; Kool, van Hoof and Welling 2019, arXiv:1903.06059).
The noise is a function of a key and of the index of the element in the whole array, so that it does
not depend on the chunks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from .._algebra.normalizer import quiet
from . import philox, topk
from .blocks import Terms, unmasked_terms
from .topk import Top

Array = Any

PANEL = 1 << 13  # elements whose random words are in memory at a time


class Placed(NamedTuple):
    """A block of x, with a mask or alone, and where it begins along each axis of the array."""

    x: Array | Terms
    starts: tuple[int, ...]


def of_block(
    block: Placed, axes: tuple[int, ...], k: int, shape: tuple[int, ...], key: philox.Key
) -> Top:
    """The k largest keys of a block, of an array of a shape, and where they are."""
    return topk.of_block(keys(block, shape, key), axes, k, False)


def keys(block: Placed, shape: tuple[int, ...], key: philox.Key) -> Array:
    """x plus noise, in float64; -inf for what is left out."""
    x, _, where, _ = unmasked_terms(block.x)
    xp = array_namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    if where is not None:
        x = xp.where(where, x, -float("inf"))
    if math.prod(x.shape) == 0:
        return x
    flat = xp.reshape(x, (-1,))
    panels = []
    for start in range(0, flat.shape[0], PANEL):
        stop = min(start + PANEL, flat.shape[0])
        places = xp.arange(start, stop, dtype=xp.int64, device=device(x))
        index = in_array(places, x.shape, block.starts, shape)
        panels.append(flat[start:stop] + noise(philox.bits(index, key)))
    return xp.reshape(xp.concat(panels), x.shape)


def noise(bits: Array) -> Array:
    """Gumbel noise, -log(-log(1 - v)), from 53 bits of v.

    Small v gives large noise, of which no digit is lost. v = 0 counts as half of the next number.
    """
    xp = array_namespace(bits)
    v = xp.astype(bits, xp.float64) * 2.0**-53
    v = xp.where(bits == 0, 2.0**-54, v)
    with quiet():
        return -xp.log(-xp.log1p(-v))


def in_array(
    places: Array, lengths: tuple[int, ...], starts: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    """The index in the flattened array of places in a flattened block, both in C order."""
    loops: list[tuple[int, int, int]] = []  # own length, start and length in the array
    for own, start, whole in zip(lengths, starts, shape, strict=True):
        if loops and own == whole:  # runs through memory as one with the axis before it
            outer, outer_start, outer_whole = loops.pop()
            loops.append((outer * own, outer_start * own, outer_whole * own))
        else:
            loops.append((own, start, whole))
    index, step = places * 0, 1
    while len(loops) > 1:
        own, start, whole = loops.pop()
        rest = places // own
        index = index + (places - rest * own + start) * step
        places, step = rest, step * whole
    return index + (places + sum(start for _, start, _ in loops)) * step
