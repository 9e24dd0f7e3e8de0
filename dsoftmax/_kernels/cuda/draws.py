"""Draws without replacement from CuPy blocks: keys, and the k best of them from one reading.

Where slices run along memory, elements that cannot be drawn cost their random bits and no
logarithm, and no key is stored.  Else there are keys of all elements, in float64.  Nothing waits
for the device.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name
from ..loops import NO_LOOP, loops_of
from . import block, device
from .plan import MAX_GRID
from .source import ELEMENTS, ITEM, LOOPS, MAX_LOOPS, MOST_K, PIECE, THREADS, Kernel
from .topk import parts_of

Array = Any
Axes = tuple[int, ...]

_KEYS = ("x", "where", "y", "x_dtype", "count", "first", "key_0", "key_1")
KEYS = np.dtype([*((name, "i8") for name in _KEYS), ("loops", LOOPS)])
_ARRAYS = ("x", "keys", "indices", "part_orders", "part_indices")
_ROWS = ("rows", "length", "stride", "k", "parts", "portion", "first", "step", "key_0", "key_1")
DRAWS = np.dtype([(name, "i8") for name in (*_ARRAYS, *_ROWS)])

KEYS_KERNEL = Kernel("keys_any", "KEYS(keys_any)")
MERGE_KERNEL = Kernel("draws_merge", "DRAWS_MERGE(draws_merge)")
TILES = 4  # that a slice has at least; of fewer nearly all elements need their keys


class Numbered(NamedTuple):
    """Where a block begins in an array, the shape of that, and the words of the generator's key."""

    starts: tuple[int, ...]
    shape: tuple[int, ...]
    key: tuple[int, int]

    @property
    def strides(self) -> tuple[int, ...]:
        """Of indices."""
        return _strides(self.shape)

    @property
    def first(self) -> int:
        """The index of the block's first element."""
        return sum(start * step for start, step in zip(self.starts, self.strides, strict=True))


def part_kernel(dtype: str) -> Kernel:
    """The kernel for the k best of rows, or of parts of them, of a dtype."""
    return Kernel(f"draws_part_{dtype}", f"DRAWS_PART(draws_part_{dtype}, {ELEMENTS[dtype]})")


def keys(x: Array, where: Array | None, at: Numbered) -> Array | None:
    """x plus noise, in float64 and in C order.

    None if it has more loops than the kernel takes.
    """
    of_mask = (0,) * x.ndim if where is None else where.strides
    strides = (x.strides, at.strides, _strides(x.shape, 8), of_mask)
    loops = loops_of(x.shape, (False,) * x.ndim, strides)
    if len(loops) > MAX_LOOPS:
        return None
    y = device.empty(x, x.shape, "float64")
    call = np.zeros(1, KEYS)
    call["x"], call["y"] = device.address(x), device.address(y)
    call["where"] = 0 if where is None else device.address(where)
    call["x_dtype"], call["count"] = list(ELEMENTS).index(dtype_name(x.dtype)), x.size
    call["first"] = at.first
    call["key_0"], call["key_1"] = at.key
    call["loops"]["count"] = len(loops)
    for i, loop in enumerate(loops):
        call["loops"]["loop"][0, i] = (loop.length, *loop.strides)
    grid = min(math.ceil(x.size / THREADS), MAX_GRID[0])
    device.launch(KEYS_KERNEL, x, (grid, 1), THREADS, call)
    return y


def of_block(x: Array, axes: Axes, k: int, at: Numbered) -> tuple[Array, Array] | None:
    """The k largest keys of each slice along an axis, or of all of a block, and where they are.

    k is from 1 to the length of a slice.  None unless slices run along memory, evenly spaced, with
    indices that follow one another, and are long.
    """
    name = dtype_name(x.dtype)
    if k > MOST_K or name not in ITEM:
        return None
    reduced = tuple(i in axes for i in range(x.ndim))
    loops = loops_of(x.shape, reduced, (x.strides, at.strides))
    along = [loop for loop in loops if loop.reduced]
    kept = [loop for loop in loops if not loop.reduced]
    item, tile = ITEM[name], THREADS * (PIECE // ITEM[name])
    if len(kept) > 1 or [loop.strides for loop in along] != [(item, 1)]:
        return None
    (length,) = (loop.length for loop in along)
    row = kept[0] if kept else NO_LOOP
    parts, portion = parts_of(row.length, length, tile, device.properties(x))
    if length < TILES * tile or row.length * parts > MAX_GRID[0]:
        return None
    found, indices = device.empties(x, (row.length, k), ("float64", "int64"))
    many = row.length * parts * k if parts > 1 else 0
    scratch = device.empty(x, (2 * many,), "int64")
    address = device.address(scratch)
    call = np.array(
        (
            *map(device.address, (x, found, indices)),
            *(address, address + 8 * many),
            *(row.length, length, row.strides[0], k, parts, portion),
            *(at.first, row.strides[1], *at.key),
        ),
        np.int64,
    ).view(DRAWS)
    device.launch(part_kernel(name), x, (row.length * parts, 1), THREADS, call)
    if parts > 1:
        device.launch(MERGE_KERNEL, x, (row.length, 1), THREADS, call)
    whole = (k,) if len(axes) > 1 else tuple(k if i in axes else n for i, n in enumerate(x.shape))
    return found.reshape(whole), indices.reshape(whole)


def _strides(shape: Axes, item: int = 1) -> Axes:
    """Of an array in C order."""
    return tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))


supports = block.supports
