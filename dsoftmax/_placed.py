"""Arrays whose blocks know where they are, for what belongs to an element and not to a chunk."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from ._algebra.dtypes import result_dtype
from ._arguments import Array, Axes, as_array
from ._graph.alignment import join_blocks
from ._graph.stage import Call, Stage
from ._graph.tree import SplitEvery
from ._kernels.gumbel import Placed
from ._terms import Joined, as_joined, as_mask, as_terms

PLACE = np.dtype([("start", np.int64), ("length", np.int64)])  # along one axis


class Slices(NamedTuple):
    """An array to draw from, with or without a mask, and what its slices are.

    Attributes
    ----------
    function : str
        The caller.
    joined : `Joined`, `Terms` or array
        x and the mask; Dask arrays if it is `Joined`.
    shape : tuple of int
        Of both together.
    axes : tuple of int
        Of a slice: one, or all of them.
    """

    function: str
    joined: Any
    shape: tuple[int, ...]
    axes: Axes

    @property
    def is_lazy(self) -> bool:
        """Whether there are Dask arrays."""
        return isinstance(self.joined, Joined)

    @property
    def call(self) -> Call | None:
        """What the dashboard shows, if there are Dask arrays."""
        if not self.is_lazy:
            return None
        return Call.of(self.function, self.joined.arrays[0], self.axes)

    @property
    def placed(self) -> da.Array | Placed:
        """A block that knows that it begins at 0, or a Dask array of such."""
        if not self.is_lazy:
            return Placed(self.joined, (0,) * len(self.shape))
        return placed(self.function, f"{self.key}-placed", self.joined)

    @property
    def key(self) -> str:
        """The prefix of the names of tasks."""
        return self.function.replace("_", "-")


def placed(function: str, name: str, joined: Joined) -> da.Array:
    """A Dask array of blocks that know where they begin, and have the lengths that it says."""
    chunks, dtype = joined.blocks.chunks, joined.stage.dtype
    ndim = len(chunks)
    stage = Stage(name, _placed, dtype, function=function, ndim=ndim, terms=joined.stage)
    places = [(places_along(along), (i,)) for i, along in enumerate(chunks)]
    return join_blocks(stage, ndim, *((a, tuple(range(ndim))) for a in joined.arrays), *places)


def places_along(chunks: tuple[int, ...]) -> da.Array:
    """Where chunks along an axis begin, and their lengths: a block of `PLACE` for each."""
    place = np.zeros(len(chunks), PLACE)
    place["length"], place["start"] = chunks, np.cumsum(chunks) - np.asarray(chunks)
    return da.from_array(place, chunks=1)


def as_slices(
    function: str, x: Any, axis: Any, where: Any, split_every: SplitEvery = None
) -> Slices:
    """What to draw from, from the arguments of users, or an error.

    Raises
    ------
    TypeError, ValueError
        As `softmax_topk` does; ValueError also if lengths are unknown.
    """
    x = as_array(x, function)
    mask = None if where is None else as_mask(where, function)
    if isinstance(axis, tuple):
        raise TypeError(f"{function}: axis is {axis!r}; use one int, or None for the whole array")
    if max(x.ndim, 0 if mask is None else mask.ndim) == 0:
        x, axis = x[None], 0 if axis is None else axis
    terms, axes, _ = as_terms(function, x, axis, split_every, where=mask)
    shape = tuple(terms.shape)
    if any(math.isnan(n) for n in shape):
        unknown = "x" if any(math.isnan(n) for n in x.shape) else "where"
        raise ValueError(
            f"{function}: the chunk sizes of {unknown} are unknown, and so are the indices of its "
            f"elements, to which random numbers belong; call {unknown}.compute_chunk_sizes()"
        )
    if isinstance(terms, da.Array):
        terms = as_joined(function, terms, None, {}, result_dtype(x))
    return Slices(function, terms, shape, axes)


# Called by stages: a module-level function, so that keys are deterministic.


def _placed(*blocks: Array, function: str, ndim: int, terms: Stage) -> Placed:
    x = terms(*blocks[:-ndim])
    starts, lengths = (
        tuple(int(place[name].item()) for place in blocks[-ndim:]) for name in PLACE.names or ()
    )
    if tuple(x.shape) != lengths:
        raise ValueError(
            f"{function}: a block of x has shape {tuple(x.shape)}, and its Dask array says "
            f"{lengths}, so that indices would be wrong; announce the lengths that there are, as "
            "with map_blocks(..., chunks=...)"
        )
    return Placed(x, starts)
