"""Dask only: map every block to a state, merge the states in a tree, map again.

The tree takes any monoid: a `Stage` that makes a state of a block, one that merges any number of
states, one that merges and finishes.  What a state is only the stages know; to Dask it is an
opaque block of an array whose reduced axes have length 1.

Only public Dask is used, and of that what the classic and the array-expression mode
(``array.query-planning``) have in common: `dask.array.blockwise` and `dask.array.reduction`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import normalize_token

Axes = tuple[int, ...]
SplitEvery = int | dict[int, int] | None

# Small partial states are merged many at a time, which saves tasks (measured: 16 needs 20 % fewer
# than 4 and is no slower); a merge of large ones holds them all in memory at once.
_SMALL_STATE = 2**20  # bytes
_FAN_IN_SMALL, _FAN_IN_LARGE = 16, 4


class Stage:
    """A function of blocks, under the name that its tasks show on the dashboard.

    Dask names the tasks of a reduction after its functions, so this is one.  It takes the blocks
    out of the lists that Dask puts them in, and answers the empty arrays that Dask tries functions
    on by itself: an empty array of the same kind and of ``dtype``.

    Parameters
    ----------
    name : str
        Prefix of the task keys, as ``softmax-rescale``.
    func : callable
        A module-level function, called with the blocks (so that keys are deterministic).
    dtype : dtype
        Of the blocks it returns; of the accumulator where these are states.
    nbytes : float, optional
        Of the whole array that the blocks are of, for those who watch.
    masks : bool, optional
        Whether it returns masked blocks for masked ones.
    **options
        Keyword arguments of ``func``.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        dtype: Any,
        *,
        nbytes: float | None = None,
        masks: bool = False,
        **options: Any,
    ) -> None:
        self.__name__ = name
        self.func = func
        self.dtype = np.dtype(dtype)
        self.nbytes = nbytes
        self.masks = masks
        self.options = options
        self.lists: float = 0  # how deep Dask nests each block in lists

    def in_lists(self, depth: float) -> Stage:
        """The same function of blocks that come in nested lists of one each.

        Of any depth and length for `math.inf`: states are no lists, but blocks may be.
        """
        stage = copy(self)
        stage.lists = depth
        return stage

    def __call__(
        self,
        *blocks: Any,
        axis: Any = None,
        keepdims: bool = True,
        computing_meta: bool = False,
    ) -> Any:
        if computing_meta:
            meta = next(_flatten(blocks)).astype(self.dtype)
            if isinstance(meta, np.ndarray):  # of a subclass, if it is one
                masked = isinstance(meta, np.ma.MaskedArray)
                meta = np.ma.getdata(meta, subok=False)
                meta = np.ma.array(meta) if masked and self.masks else meta
            return meta if keepdims else meta.sum(axis=axis)
        if self.lists == math.inf:
            blocks = tuple(_flatten(blocks))
        else:
            for _ in range(int(self.lists)):
                blocks = tuple(block for (block,) in blocks)
        return self.func(*blocks, **self.options)

    def __dask_tokenize__(self) -> Any:
        # A function as it is would count by its address, which other processes do not have.
        return normalize_token(
            (self.__name__, self.func, self.dtype.name, self.options, self.lists)
        )

    def __repr__(self) -> str:
        return f"<Stage {self.__name__}>"


def _flatten(nested: Iterable[Any]) -> Iterator[Any]:
    for item in nested:
        if isinstance(item, list):  # a tuple may be a state
            yield from _flatten(item)
        else:
            yield item


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


def reduce_within_blocks(stage: Stage, x: da.Array, axes: Axes, keepdims: bool) -> da.Array:
    """Apply a stage to blocks that hold their slices whole; ``axes`` get length 1 or are dropped.

    The stage has to return blocks of that shape.
    """
    index = tuple(range(x.ndim))
    out = tuple(i for i in index if keepdims or i not in axes)
    ones = {i: 1 for i in out if i in axes}
    stage = stage.in_lists(x.ndim - len(out))
    return da.blockwise(stage, out, x, index, dtype=stage.dtype, adjust_chunks=ones, **_ALIGNED)


def tree_reduce(
    of_block: Stage,
    merge: Stage,
    finish: Stage,
    x: da.Array,
    axes: Axes,
    keepdims: bool,
    split_every: SplitEvery = None,
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
    split_every : int or dict, optional
        At most so many states are merged by one task; see `fan_in`.
    """
    return da.reduction(
        x,
        chunk=of_block,
        combine=merge.in_lists(math.inf),
        aggregate=finish.in_lists(math.inf),
        axis=axes,
        keepdims=keepdims,
        dtype=finish.dtype,
        concatenate=False,
        split_every=fan_in(x, axes, split_every),
    )


def fan_in(x: da.Array, axes: Axes, split_every: SplitEvery = None) -> dict[int, int]:
    """How many blocks along each axis one merge takes.

    An int is shared out over the axes that have several blocks, so that one task merges at most
    that many states (but at least two along each such axis, without which there is no tree).  The
    default is Dask's ``split_every`` setting, else 16, or 4 where a state exceeds 1 MiB.
    """
    if split_every is None:
        split_every = dask.config.get("split_every", None)
    if split_every is None:
        kept = math.prod(max(c) for i, c in enumerate(x.chunks) if i not in axes)
        small = not math.isnan(kept) and 24 * kept <= _SMALL_STATE
        split_every = _FAN_IN_SMALL if small else _FAN_IN_LARGE
    if isinstance(split_every, dict):
        split_every = {axis % x.ndim: n for axis, n in split_every.items()}
        return {axis: split_every.get(axis, 2) for axis in axes}
    several = sum(x.numblocks[axis] > 1 for axis in axes)
    return dict.fromkeys(axes, max(2, _integer_root(split_every, max(several, 1))))


def _integer_root(n: int, k: int) -> int:
    """The largest r with r**k <= n.  In integers: int(64 ** (1 / 3)) is 3."""
    r = round(n ** (1 / k))
    return r if r**k <= n else r - 1


_ALIGNED = {"align_arrays": False}  # asked for where all chunks agree: unknown sizes then work
