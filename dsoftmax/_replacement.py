"""Where draws with replacement run: in memory, within blocks, or in three passes over blocks.

The first pass gives the normalizer of each slice, the second the sums of the weights in the pieces
of each block, which are integers once the normalizer is known, and the third the elements, of those
pieces only in which there are draws.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from ._arguments import Array
from ._draw_arguments import check_maxima
from ._engine import states
from ._graph.alignment import join_blocks
from ._graph.stage import Stage
from ._graph.tree import (
    fan_in,
    map_blocks,
    reduce_within_blocks,
    slices_in_one_block,
    tree_reduce,
)
from ._kernels import inversion, of_block
from ._kernels.gumbel import Placed
from ._kernels.inversion import Found, Layout, Method, Sums, Targets
from ._kernels.philox import Key
from ._placed import Slices, placed
from ._reread import check_reread, second_reads
from ._terms import Joined
from .operations import NORMALIZER


class Draws(NamedTuple):
    """What is drawn of each slice: so many, by a method, with random numbers of a key."""

    size: int
    method: Method
    key: Key
    layout: Layout
    function: str


class Hunt(NamedTuple):
    """A block, the normalizers of its slices, the sums of its weights, and where the draws are."""

    block: Placed
    state: Any
    sums: Sums
    targets: Targets


def drawn(slices: Slices, size: int, method: Method, key: Key) -> Array:
    """The indices that are drawn of each slice: int64, lazy if there are Dask arrays."""
    axes, whole, function = slices.axes, slices.placed, slices.function
    if not isinstance(whole, da.Array):
        layout = Layout(slices.shape, axes, axes, (0,))
        return _whole(whole, Draws(size, method, key, layout, function))
    several = [i for i in axes if whole.numblocks[i] > 1]
    cut = several[-1] if several else axes[0]
    summed = tuple(i for i in axes if i >= cut)
    starts = (0, *accumulate(whole.chunks[cut][:-1]))
    draws = Draws(size, method, key, Layout(slices.shape, axes, summed, starts), function)
    dtype = np.dtype(np.int64)
    if slices_in_one_block(whole, axes):
        stage = Stage(slices.key, _whole, dtype, call=slices.call, draws=draws)
        return reduce_within_blocks(stage, whole, axes, axes[1:], size)
    found = _in_passes(slices, draws)
    stage = Stage(slices.key, _in_order, dtype, draws=draws)
    return reduce_within_blocks(stage, found, axes, axes[1:], size)


def _in_passes(slices: Slices, draws: Draws) -> da.Array:
    """The draws that have been found in all blocks of each slice, as opaque blocks of an array."""
    axes, key, joined = slices.axes, slices.key, slices.joined
    blocks, dtype = joined.blocks, np.dtype(np.int64)

    def again(after: da.Array) -> da.Array:
        how = check_reread("auto", slices.function)
        arrays = second_reads(slices.function, joined.arrays, blocks, after, axes, how)
        return placed(slices.function, f"{key}-placed", joined._replace(arrays=arrays))

    kept = states(key, NORMALIZER, joined, axes, call=slices.call)
    ones = {i: (1,) * blocks.numblocks[i] for i in draws.layout.summed}
    sums = map_blocks(Stage(f"{key}-sums", _sums, dtype, draws=draws), again(kept), kept)
    totals = map_blocks(Stage(f"{key}-totals", inversion.totals, dtype), sums, chunks=ones)
    gathered = totals.rechunk(dict.fromkeys(axes, -1))
    same = Joined(Stage(f"{key}-sums", _same, dtype), (gathered,))
    at = placed(slices.function, f"{key}-targets", same)
    one = dict.fromkeys(axes, (1,))
    targets = map_blocks(Stage(f"{key}-targets", _targets, dtype, draws=draws), at, chunks=one)
    index = tuple(range(blocks.ndim))
    # Many blocks share the targets, which are looked up once.
    hunts = join_blocks(
        Stage(f"{key}-placed", _hunt, dtype),
        blocks.ndim,
        *((x, index) for x in (again(targets), kept, sums, targets)),
    )
    of_block = Stage(f"{key}-block", _found, dtype, draws=draws)
    merge = Stage(f"{key}-merge", inversion.joined, dtype)
    limits = fan_in(blocks, axes, slice_bytes=16 * draws.size)
    return tree_reduce(of_block, merge, merge, hunts, axes, True, limits)


# Called by stages: module-level functions, so that keys are deterministic.


def _sums(block: Placed, state: Any, draws: Draws) -> Sums:
    check_maxima(state.m, draws.function)
    return inversion.sums(block.x, state, draws.layout)


def _targets(totals: Placed, draws: Draws) -> Targets:
    return inversion.targets(totals, draws.size, draws.method, draws.layout, draws.key)


def _hunt(block: Placed, state: Any, sums: Sums, targets: Targets) -> Hunt:
    return Hunt(block, state, sums, targets)


def _found(hunt: Hunt, draws: Draws) -> Found:
    return inversion.find(*hunt, draws.layout)


def _in_order(found: Found, draws: Draws) -> Array:
    return inversion.in_order(found, draws.size, draws.layout.axes)


def _whole(block: Placed, draws: Draws) -> Array:
    state = of_block(block.x, draws.layout.axes)
    sums = _sums(block, state, draws)
    targets = _targets(Placed(inversion.totals(sums), block.starts), draws)
    return _in_order(_found(Hunt(block, state, sums, targets), draws), draws)


def _same(x: Any) -> Any:
    return x
