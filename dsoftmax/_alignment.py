"""Arrays side by side: known chunks are cut alike, unknown ones are compared on the worker.

The length of a block of unknown chunks is only known where the block is.  NumPy would broadcast a
block of one row over the rows of another, so every stage that takes two blocks calls
`check_blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import dask.array as da

from ._graph import Axes, Stage


def zip_blocks(join: Stage, a: da.Array, b: da.Array) -> da.Array:
    """One array whose blocks are what ``join`` makes of the blocks of a and b, which broadcast.

    They have as many axes. Chunks of known lengths are unified. Of unknown ones there are as many
    in both arrays, which the stage has to compare, unless one of these has length 1 there.
    """
    a, b = _single_ones(a), _single_ones(b)
    index = tuple(range(a.ndim))
    if not any(math.isnan(n) for n in (*a.shape, *b.shape)):
        return da.blockwise(join, index, a, index, b, index, dtype=join.dtype)
    pairs = [
        item
        for name, x in (("a", a), ("b", b))
        for item in (x, [f"{name}{i}" if math.isnan(x.shape[i]) else str(i) for i in index])
    ]
    _, (a, b) = da.unify_chunks(*pairs)
    stretched = {i: b.chunks[i] for i in index if a.shape[i] == 1}
    return da.blockwise(
        join,
        index,
        *(a, index, b, index),
        dtype=join.dtype,
        adjust_chunks=stretched,
        align_arrays=False,
    )


def _single_ones(x: da.Array) -> da.Array:
    """x with each axis of length 1 in one block, which broadcasts: not in chunks (0, 1)."""
    several = {i: 1 for i, n in enumerate(x.shape) if n == 1 and x.numblocks[i] > 1}
    return x.rechunk(several) if several else x


def ones(x: Any) -> Axes:
    """The axes along which an array is known to broadcast."""
    return tuple(i for i, n in enumerate(x.shape) if n == 1)


def check_blocks(
    function: str, shapes: dict[str, tuple[int, ...]], broadcast: Sequence[Axes]
) -> None:
    """Raise ValueError unless blocks have one shape, apart from the axes that each broadcasts.

    Along its axes of ``broadcast`` a block has to have length 1.
    """
    lengths: dict[int, int] = {}
    for shape, alone in zip(shapes.values(), broadcast, strict=True):
        for i, n in enumerate(shape):
            if n != (1 if i in alone else lengths.setdefault(i, n)):
                found = " beside ".join(
                    f"a block of {name} of shape {s}" for name, s in shapes.items()
                )
                raise ValueError(
                    f"{function}: {found}: the chunk sizes, which were unknown, do not agree; call "
                    ".compute_chunk_sizes() on each Dask array first"
                )
