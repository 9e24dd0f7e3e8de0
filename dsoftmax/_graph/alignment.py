"""Align the blocks of arrays: known chunks are cut alike, unknown ones compared on the worker.

The length of a block in unknown chunks is known only on the worker. NumPy would broadcast a
block of one row over the rows of another, so every stage that takes two blocks calls
`check_blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import dask.array as da
from dask.blockwise import Blockwise

from .stage import Stage
from .tree import Axes


def zip_blocks(join: Stage, *arrays: da.Array) -> da.Array:
    """One array whose blocks are what ``join`` makes of the blocks of several, which broadcast.

    They have as many axes, and are `aligned`. Of unknown lengths the stage has to compare blocks.
    """
    index = tuple(range(arrays[0].ndim))
    chunks = {i: _widest(arrays, i) for i in index}
    return da.blockwise(
        join,
        index,
        *(item for a in arrays for item in (a, index)),
        dtype=join.dtype,
        adjust_chunks={i: c for i, c in chunks.items() if arrays[0].shape[i] == 1},
        align_arrays=False,
    )


def aligned(*arrays: da.Array) -> tuple[da.Array, ...]:
    """Arrays that broadcast, each cut where one of them is along the axes of known lengths.

    Those of length 1 are in one block, which broadcasts. Of unknown lengths there are as many
    blocks in all arrays, unless one has length 1 there.
    """
    arrays = tuple(map(_single_ones, arrays))
    cuts = {}
    for i in range(arrays[0].ndim):
        several = {a.chunks[i] for a in arrays if a.shape[i] != 1}
        if len(several) > 1 and not any(math.isnan(n) for chunks in several for n in chunks):
            edges = sorted({0}.union(*map(accumulate, several)))
            cuts[i] = tuple(stop - start for start, stop in pairwise(edges))
    return tuple(_cut(a, cuts) for a in arrays)


def _cut(x: da.Array, cuts: Mapping[int, tuple[int, ...]]) -> da.Array:
    new = {i: c for i, c in cuts.items() if x.shape[i] != 1 and x.chunks[i] != c}
    return x.rechunk(new) if new else x


def _widest(arrays: Sequence[da.Array], axis: int) -> tuple[float, ...]:
    """The chunks along an axis of the first array that does not broadcast there."""
    return next((a.chunks[axis] for a in arrays if a.shape[axis] != 1), (1,))


def join_blocks(join: Stage, ndim: int, *parts: tuple[da.Array, Axes]) -> da.Array:
    """One array of ``ndim`` axes, whose blocks are what ``join`` makes of those of several arrays.

    Each comes with those axes that it has. Along them it is cut as the others are, or is in one
    block of length 1; see `cut_as`. The stage has to compare what is of unknown lengths.
    """
    chunks: dict[int, tuple[float, ...]] = {}
    for x, axes in parts:
        for i, along in zip(axes, x.chunks, strict=True):
            chunks[i] = along if chunks.get(i, (1,)) == (1,) else chunks[i]
    several = {i for i, along in chunks.items() if len(along) > 1}
    arguments: list[Any] = []
    for x, axes in parts:
        shared = any(n == 1 for i, n in zip(axes, x.numblocks, strict=True) if i in several)
        arguments += [_read_once(x) if shared or several - {*axes} else x, axes]
    return da.blockwise(
        join,
        range(ndim),
        *arguments,
        dtype=join.dtype,
        new_axes={i: 1 for i in range(ndim) if i not in chunks},
        adjust_chunks=chunks,
        align_arrays=False,
    )


def _read_once(x: da.Array) -> da.Array:
    """x behind a layer of aliases, for blocks that several tasks share.

    Dask fuses what makes a block into each task of a Blockwise layer that takes it, however many
    there are: every row of blocks of a matrix would read the vector beside it anew.
    """
    if hasattr(x, "expr") or not isinstance(x.dask.layers.get(x.name), Blockwise) or not x.ndim:
        return x  # which have no blocks to select
    return x.blocks[(slice(None),) * x.ndim]


def cut_as(x: Any, other: Any, axes: Mapping[int, int]) -> da.Array:
    """x as a Dask array that is cut along ``axes`` as another is along those that they map to.

    Where both lengths are known, and equal; an axis of length 1 is in one block. An array in memory
    is in one block along all other axes.
    """
    new = dict.fromkeys((i for i, n in enumerate(x.shape) if n == 1), (1,))
    if isinstance(other, da.Array):
        new |= {i: other.chunks[j] for i, j in axes.items() if 1 != x.shape[i] == other.shape[j]}
    if not isinstance(x, da.Array):
        return da.from_array(x, chunks={i: new.get(i, -1) for i in range(x.ndim)})
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
        raise unlike(function, {name: shape for name, (shape, _) in blocks.items()})


def unlike(function: str, shapes: Mapping[str, tuple[int, ...]]) -> ValueError:
    """The error for blocks whose lengths do not agree."""
    found = " beside ".join(f"a block of {name} of shape {s}" for name, s in shapes.items())
    return ValueError(
        f"{function}: {found}: the lengths of their chunks do not agree; call "
        ".compute_chunk_sizes() on each Dask array whose lengths are unknown"
    )
