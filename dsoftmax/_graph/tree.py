"""Dask only: map every block to a state, merge the states in a tree, map again.

The tree takes any monoid: a `Stage` that makes a state of a block, one that merges any number of
states, one that merges and finishes.  What a state is only the stages know; to Dask it is an
opaque block of an array whose reduced axes have length 1.

Only public Dask is used, and of that what the classic and the array-expression mode
(``array.query-planning``) have in common: `dask.array.blockwise` and `dask.array.reduction`.
"""

from __future__ import annotations

import math

import dask
import dask.array as da

from .stage import Stage

Axes = tuple[int, ...]
SplitEvery = int | dict[int, int] | None

# Small partial states are merged many at a time, which saves tasks (measured: 16 needs 20 % fewer
# than 4 and is no slower); a merge of large ones holds them all in memory at once.
_SMALL_STATE = 2**20  # bytes
_FAN_IN_SMALL, _FAN_IN_LARGE = 16, 4


def bytes_of(x: da.Array) -> float:
    """The size of the whole array, NaN where its shape is not known."""
    return math.prod(x.shape) * x.dtype.itemsize


def slices_in_one_block(x: da.Array, axes: Axes) -> bool:
    """Whether every slice along ``axes`` lies within one block, so that no tree is needed."""
    return all(x.numblocks[axis] == 1 for axis in axes)


def map_blocks(stage: Stage, x: da.Array, *others: da.Array) -> da.Array:
    """Apply a stage to the blocks of x with the aligned blocks of ``others``.

    ``others`` have the shape of x, or length 1 (and so one block) along some axes, or no axes. The
    result has the chunks of x, known or unknown.
    """
    index = range(x.ndim)
    pairs = [item for other in others for item in (other, tuple(index)[: other.ndim])]
    return da.blockwise(stage, index, x, tuple(index), *pairs, dtype=stage.dtype, **_ALIGNED)


def reduce_within_blocks(
    stage: Stage,
    x: da.Array,
    axes: Axes,
    drop: Axes = (),
    length: int | tuple[float, ...] = 1,
) -> da.Array:
    """Apply a stage to blocks that hold their slices whole.

    ``axes`` get a new ``length``, or are dropped. The stage has to return blocks of that shape;
    (nan,) is for one block of a length that only it knows.
    """
    index = tuple(range(x.ndim))
    out = tuple(i for i in index if i not in drop)
    lengths = {i: length for i in out if i in axes}
    stage = stage.in_lists(len(index) - len(out))
    return da.blockwise(stage, out, x, index, dtype=stage.dtype, adjust_chunks=lengths, **_ALIGNED)


def tree_reduce(
    of_block: Stage,
    merge: Stage,
    finish: Stage,
    x: da.Array,
    axes: Axes,
    keepdims: bool,
    split_every: dict[int, int],
) -> da.Array:
    """Reduce slices that span several blocks: map, then a tree of bounded fan-in.

    Parameters
    ----------
    of_block, merge, finish : Stage
        Called with a block of x, with any number of states, and with any number of states for
        the last time.
    x : dask.array.Array
    axes : tuple of int
        Not negative.
    keepdims : bool
        Whether the blocks that ``finish`` returns have the reduced axes, with length 1.
    split_every : dict of int to int
        How many blocks along each axis one merge takes; see `fan_in`.
    """
    return da.reduction(
        x,
        chunk=of_block,
        combine=merge.in_lists(None),
        aggregate=finish.in_lists(None),
        axis=axes,
        keepdims=keepdims,
        dtype=finish.dtype,
        concatenate=False,
        split_every={axis: split_every[axis] for axis in axes},
    )


def fan_in(
    x: da.Array,
    axes: Axes,
    split_every: SplitEvery = None,
    slice_bytes: float = 24,
    together: bool = True,
) -> dict[int, int]:
    """How many blocks along each axis one merge takes.

    An int is shared out over the axes that have several blocks, so that one task merges at most
    that many states (but at least two along each such axis, without which there is no tree); or
    where these are not merged ``together``, it holds for each.  The default is Dask's
    ``split_every`` setting, else 16, or 4 where a state, of ``slice_bytes`` for each slice, exceeds
    1 MiB.
    """
    if split_every is None:
        split_every = dask.config.get("split_every", None)
    if split_every is None:
        kept = math.prod(max(c) for i, c in enumerate(x.chunks) if i not in axes)
        small = slice_bytes * kept <= _SMALL_STATE  # not so if it is nan
        split_every = _FAN_IN_SMALL if small else _FAN_IN_LARGE
    if isinstance(split_every, dict):
        split_every = {axis % x.ndim: n for axis, n in split_every.items()}
        return {axis: split_every.get(axis, 2) for axis in axes}
    several = sum(x.numblocks[axis] > 1 for axis in axes) if together else 1
    return dict.fromkeys(axes, max(2, _integer_root(split_every, max(several, 1))))


def _integer_root(n: int, k: int) -> int:
    """The largest r with r**k <= n.  In integers: int(64 ** (1 / 3)) is 3."""
    r = round(n ** (1 / k))
    return r if r**k <= n else r - 1


_ALIGNED = {"align_arrays": False}  # asked for where all chunks agree: unknown sizes then work
