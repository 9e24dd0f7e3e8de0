"""Align the blocks of arrays: known chunks are cut alike, unknown ones compared on the worker.

The length of a block in unknown chunks is known only on the worker. NumPy would broadcast a
block of one row over the rows of another, so every stage that takes two blocks calls
`check_blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

import dask.array as da

from .stage import Stage
from .tree import Axes


def zip_blocks(join: Stage, a: da.Array, b: da.Array) -> da.Array:
    """The array of ``join`` applied to the blocks of a and b, which broadcast.

    Both have the same number of axes. Chunks of known lengths are unified. Where lengths are
    unknown, both have the same number of chunks, which the stage must compare, or one has length 1.
    """
    a, b = _single_ones(a), _single_ones(b)
    index = tuple(range(a.ndim))
    if not any(math.isnan(n) for n in (*a.shape, *b.shape)):
        return da.blockwise(join, index, a, index, b, index, dtype=join.dtype)
    a, b = _cut_alike(a, b), _cut_alike(b, a)
    stretched = {i: b.chunks[i] for i in index if a.shape[i] == 1}
    return da.blockwise(
        join,
        index,
        *(a, index, b, index),
        dtype=join.dtype,
        adjust_chunks=stretched,
        align_arrays=False,
    )


def _cut_alike(x: da.Array, other: da.Array) -> da.Array:
    """x cut where it or the other array is cut, along axes of the same known length."""
    new = {}
    for i, (own, others) in enumerate(zip(x.chunks, other.chunks, strict=True)):
        if own != others and x.shape[i] == other.shape[i]:  # false if one is nan
            edges = sorted({0, *accumulate(own), *accumulate(others)})
            new[i] = tuple(stop - start for start, stop in pairwise(edges))
    new = {i: chunks for i, chunks in new.items() if chunks != x.chunks[i]}
    return x.rechunk(new) if new else x


def _single_ones(x: da.Array) -> da.Array:
    """x with each axis of length 1 in one block, which broadcasts, unlike chunks (0, 1)."""
    several = {i: 1 for i, n in enumerate(x.shape) if n == 1 and x.numblocks[i] > 1}
    return x.rechunk(several) if several else x


def ones(x: Any) -> Axes:
    """The axes along which an array is known to broadcast."""
    return tuple(i for i, n in enumerate(x.shape) if n == 1)


def check_blocks(function: str, blocks: Mapping[str, tuple[tuple[int, ...], Axes]]) -> None:
    """Raise ValueError unless blocks have the same shape, apart from the axes they broadcast.

    ``blocks`` maps the name of each block to its shape and these axes, of length 1.
    """
    lengths: dict[int, int] = {}
    agree = len({len(shape) for shape, _ in blocks.values()}) == 1
    for shape, broadcast in blocks.values():
        for axis, n in enumerate(shape):
            expected = 1 if axis in broadcast else lengths.setdefault(axis, n)
            agree = agree and n == expected
    if not agree:
        found = " beside ".join(
            f"a block of {name} of shape {s}" for name, (s, _) in blocks.items()
        )
        raise ValueError(
            f"{function}: {found}: the lengths of their chunks do not agree; call "
            ".compute_chunk_sizes() on each Dask array whose lengths are unknown"
        )
