"""Map every block to a state, merge the states in a tree, map again; it needs only Dask.

The tree takes any monoid: one `Stage` maps a block to a state, one merges any number of states, one
merges and finishes. Only the stages know what a state is; to Dask it is an opaque block of an array
whose reduced axes have length 1.

Only public Dask is used, and only what the classic and the array-expression mode
(``array.query-planning``) share: `dask.array.blockwise` and `dask.array.reduction`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize

from .stage import Stage

Axes = tuple[int, ...]
SplitEvery = int | dict[int, int] | None

# Small partial states are merged many at a time, which saves tasks (measured: 16 needs 20 % fewer
# than 4 and is no slower); a merge of large ones holds them all in memory at once.
_SMALL_STATE = 2**20  # bytes
_FAN_IN_SMALL, _FAN_IN_LARGE = 16, 4


def constant(value: Any, name: str) -> da.Array:
    """An opaque block without axes: tasks that depend on it share it, one for each worker."""
    lazy = dask.delayed(value, name=f"{name}-{tokenize(value)}", traverse=False)
    return da.from_delayed(lazy, (), np.float64, name=f"{lazy.key}-block")


def slices_in_one_block(x: da.Array, axes: Axes) -> bool:
    """Whether every slice along ``axes`` lies within one block, so that no tree is needed."""
    return all(x.numblocks[axis] == 1 for axis in axes)


def map_blocks(
    stage: Stage,
    x: da.Array,
    *others: da.Array,
    chunks: Mapping[int, tuple[float, ...]] | None = None,
) -> da.Array:
    """Apply a stage to the blocks of x with the aligned blocks of ``others``.

    ``others`` have the shape of x, or length 1 (and so one block) along some axes, or no axes. The
    result has the chunks of x, known or unknown, but those of ``chunks`` along its axes.
    """
    index = range(x.ndim)
    pairs = [item for other in others for item in (other, tuple(index)[: other.ndim])]
    options: dict[str, Any] = {"dtype": stage.dtype, "adjust_chunks": chunks, **_ALIGNED}
    return da.blockwise(stage, index, x, tuple(index), *pairs, **options)


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
        Called with a block of x, with any number of states, and with the states of the last merge.
    x : dask.array.Array
    axes : tuple of int
        Non-negative.
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


def merge_runs(merge: Stage, states: da.Array, axis: int, steps: Sequence[int]) -> da.Array:
    """Merge the states of runs of neighbouring blocks, in a tree with so many at each of its steps.

    A run has as many blocks as the product of these, but the last one, which may have fewer.
    """
    index = tuple(range(states.ndim))

    def merged(count: int, blocks: slice) -> da.Array:
        """Of every so many blocks the first and those that follow it, one from each slice."""
        picked = (
            states.blocks[(*(slice(None) for _ in range(axis)), slice(i, blocks.stop, blocks.step))]
            for i in range(blocks.start, blocks.start + count)
        )
        pairs = [item for one in picked for item in (one, index)]
        return da.blockwise(merge, index, *pairs, dtype=merge.dtype, **_ALIGNED)

    for step in steps:
        number = states.numblocks[axis]
        whole, rest = number - number % step, number % step
        parts = [merged(step, slice(0, whole, step))] if whole else []
        parts += [merged(rest, slice(whole, number, rest))] if rest else []
        states = da.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]
    return states


def fan_in(
    x: da.Array,
    axes: Axes,
    split_every: SplitEvery = None,
    slice_bytes: float = 24,
    together: bool = True,
) -> dict[int, int]:
    """How many blocks along each axis one merge takes.

    An int limits the states that one task merges. It is divided over the axes that have several
    blocks, with at least 2 along each, or applies to each axis if they are not merged ``together``.
    The default is Dask's ``split_every`` setting, else 16, or 4 if a state, of ``slice_bytes`` per
    slice, exceeds 1 MiB.
    """
    if split_every is None:
        split_every = dask.config.get("split_every", None)
    if split_every is None:
        kept = math.prod(max(c) for i, c in enumerate(x.chunks) if i not in axes)
        small = slice_bytes * kept <= _SMALL_STATE  # false if it is nan
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


_ALIGNED = {"align_arrays": False}  # for chunks that all agree: allows unknown sizes
