"""States of very many groups in parts: merged, looked up and finished one by one.

No task holds all groups: not those that merge, not the second map, whose blocks get the states of
their own groups, and not the results, where each part is a chunk.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from ._algebra.dtypes import dtype_name
from ._algebra.states import of_dtype
from ._arguments import Array
from ._graph.alignment import join_blocks
from ._graph.choose import Reread
from ._graph.stage import Stage
from ._graph.tree import (
    SplitEvery,
    fan_in,
    map_blocks,
    reduce_within_blocks,
    slices_in_one_block,
    tree_reduce,
)
from ._group_arguments import Grouping, as_labelled, as_labels
from ._kernels import groups, partition
from ._kernels.factorize import Labels
from ._kernels.groups import Groups
from ._reread import second_reads

# States that may be larger have parts: as many as keep one of all groups below PART_BYTES, but
# never fewer or more than these.
LARGE_STATE, PART_BYTES = 1 << 27, 1 << 30
FEWEST, MOST = 8, 64


class Parts(NamedTuple):
    """How groups are parted: how many parts there are, and how many labels each may have.

    These are places from 0 then; else ``width`` is None, and a hash of a label says its part.
    """

    number: int
    width: int | None

    def lengths(self, total: int | None) -> tuple[float, ...]:
        """How many of all labels are in each part, nan where only workers know."""
        if total is None or self.width is None:
            return (math.nan,) * self.number
        return tuple(min(self.width, total - i * self.width) for i in range(self.number))


def parts_of(given: Grouping, group_bytes: int) -> Parts | None:
    """The parts of groups that there may be too many of for one task; else None."""
    if not given.is_lazy or slices_in_one_block(given.x, (given.axis,)):
        return None
    known, total = _known(given), given.x.shape[given.axis]
    many = most_groups(given) if known is None else known
    if not group_bytes * many > LARGE_STATE:  # nan is not
        return None
    total = total if known is None else known
    count = max(FEWEST, min(math.ceil(group_bytes * total / PART_BYTES), MOST))
    if known is None:
        hashed = all(key.dtype.kind in partition.KINDS for key in given.keys)
        return Parts(count, None) if hashed else None
    # Whole rows of a result with several axes.
    rows = known if given.shape is None else given.shape[0]
    width = math.ceil(rows / count) * (known // rows)
    return Parts(math.ceil(known / width), width)


def _known(given: Grouping) -> int | None:
    """How many labels there are that are places from 0, None if they are something else."""
    if given.shape is not None:
        return math.prod(given.shape)
    (categories, *others) = given.categories
    return len(categories) if categories is not None and not others else None


def most_groups(given: Grouping) -> float:
    """How many groups a state has at most, nan where only workers know."""
    most = max(given.x.chunks[given.axis])
    if given.shape is not None:
        return min(most, math.prod(given.shape)) if most == most else math.prod(given.shape)
    known = 1
    for key, categories in zip(given.keys, given.categories, strict=True):
        if categories is not None:
            known *= len(categories)
        elif key.dtype.kind in "biu" and key.dtype.itemsize <= 2:
            known *= 2 if key.dtype.kind == "b" else 256**key.dtype.itemsize
        else:
            return most
    return min(known, most) if most == most else known


def states_in_parts(
    given: Grouping, parts: Parts, of_block: Stage, group_bytes: int, split_every: SplitEvery
) -> da.Array:
    """The states of all groups: blocks as of `_groups.states_of`, with one more axis, of parts.

    ``of_block`` gives the state of a block, in parts.
    """
    joined, axis, dtype = given.labelled, given.axis, of_block.dtype
    limits = fan_in(joined, (axis,), split_every, group_bytes * most_groups(given) / parts.number)
    blocks = reduce_within_blocks(of_block, joined, (axis,))
    merge, same = Stage(f"{given.key}-merge", groups.merge, dtype), _same(given)
    each = _in_parts(Stage(f"{given.key}-part", _part, dtype), blocks, parts.number)
    return tree_reduce(same, merge, merge, each, (axis,), True, limits)


def in_order(given: Grouping, parts: Parts, states: da.Array) -> da.Array:
    """The same states in parts that follow one another, where the labels of all are in order.

    Labels between are taken from all parts; then these exchange their groups.
    """
    if parts.width is not None:
        return states
    key, last, dtype = given.key, states.ndim - 1, states.dtype
    sample = Stage(f"{key}-sample", partition.sample, dtype, count=8 * parts.number)
    between = Stage(f"{key}-between", partition.between, dtype, parts=parts.number)
    limits = {last: parts.number}
    ends = tree_reduce(sample, between, between, states, (last,), True, limits)
    split_at = Stage(f"{key}-split", partition.split_at, dtype, parts=parts.number)
    split = map_blocks(split_at, states, ends)
    pieces = _in_parts(Stage(f"{key}-piece", _part, dtype), split, parts.number)
    merge = Stage(f"{key}-sort", groups.merge, dtype)
    return tree_reduce(_same(given), merge, merge, pieces, (last,), False, limits)


def one_by_one(stage: Stage, states: da.Array, axis: int, lengths: tuple[float, ...]) -> da.Array:
    """What a stage makes of each part and its number, one after the other along an axis."""
    index = tuple(range(states.ndim))
    last = index[-1]
    out = tuple(last if i == axis else i for i in index[:-1])
    pairs = (states, index, _numbers(len(lengths)), (last,))
    return _blockwise(stage, out, pairs, {last: lengths})


def labels_one_by_one(stage: Stage, states: da.Array) -> da.Array:
    """What a stage makes of the labels of each part, one after the other."""
    index = tuple(range(states.ndim))
    if math.prod(states.numblocks[:-1]) > 1:  # all have the same labels
        states = states.blocks[(*(slice(1) for _ in index[:-1]), slice(None))]
    lengths = (math.nan,) * states.numblocks[-1]
    return _blockwise(stage, index[-1:], (states, index), {index[-1]: lengths})


def rescaled_in_parts(
    given: Grouping, parts: Parts, states: da.Array, logarithm: bool, reread: Reread
) -> da.Array:
    """The softmax of each group or its logarithm, where a block gets the states that it needs."""
    arrays, key, axis = (given.x, *given.keys), given.key, given.axis
    # Labels are sought before the block that they belong to waits for what is found.
    again = second_reads(given.function, arrays, given.labelled, states, (axis,), reread, wait=True)
    x, *keys = again
    sought = Stage(f"{key}-sought", sought_in_block, states.dtype, parts=parts, **given.options)
    found = Stage(f"{key}-found", _found, states.dtype)
    index = tuple(range(x.ndim))
    labels = map_blocks(sought, *keys)
    pairs = (labels, index), (_numbers(parts.number), (x.ndim,)), (states, (*index, x.ndim))
    rows = join_blocks(found, x.ndim + 1, *pairs)
    options = given.options | {"logarithm": logarithm, "result": dtype_name(given.dtype)}
    stage = Stage(f"{key}-rescale", _rescaled_block, given.dtype, **options)
    arguments: list[Any] = [item for array in again for item in (array, index)]
    arguments += [rows, (*index, x.ndim)]
    return da.blockwise(stage, index, *arguments, dtype=stage.dtype, align_arrays=False)


def _same(given: Grouping) -> Stage:
    return Stage(f"{given.key}-merge", _itself, np.float64)


def _in_parts(stage: Stage, blocks: da.Array, count: int) -> da.Array:
    """What a stage makes of each block and the number of each part, along one more axis."""
    index = tuple(range(blocks.ndim))
    pairs = (blocks, index), (_numbers(count), (blocks.ndim,))
    return join_blocks(stage, blocks.ndim + 1, *pairs)


def _numbers(count: int) -> da.Array:
    return da.from_array(np.arange(count), chunks=1)


def _blockwise(stage: Stage, out: Any, pairs: tuple[Any, ...], chunks: Any) -> da.Array:
    options = {"dtype": stage.dtype, "adjust_chunks": chunks, "align_arrays": False}
    return da.blockwise(stage.in_lists(None), out, *pairs, **options)


# What stages call: module-level functions, so that keys are deterministic.


def _itself(states: Groups) -> Groups:
    return states


def _part(parts: tuple[Any, ...], number: Array) -> Any:
    return parts[number.item()]


def sought_in_block(*keys: Array, parts: Parts, **options: Any) -> tuple[Labels, ...]:
    """The labels that a block has, in parts."""
    return partition.sought(as_labels(*keys, **options), *parts)


def _found(sought: tuple[Labels, ...], number: Array, states: Groups) -> Groups:
    """The states of the groups of some labels, of those in a part."""
    return partition.found(states, sought[number.item()])


def _rescaled_block(x: Array, *others: Any, logarithm: bool, result: str, **options: Any) -> Array:
    *keys, states = others
    block = as_labelled(x, *keys, **options)
    table = groups.table(groups.merge(*states), logarithm, len(block.keys[0]))
    return of_dtype(groups.rescale(block, table, options["axis"], logarithm), result)
