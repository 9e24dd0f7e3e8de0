"""States of very many groups in parts: merged, looked up and finished one by one.

No task holds all groups: not those that merge, not the second map, whose blocks get the states of
their own groups, and not the results, where each part is a chunk.

Where chunks are small, those of a run of neighbours are merged first, and share what is looked up:
that takes about one task more for each chunk, and not one for each chunk and part.
"""

from __future__ import annotations

import math
from typing import Any

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
    merge_runs,
    reduce_within_blocks,
    tree_reduce,
)
from ._group_arguments import Grouping
from ._group_blocks import as_labelled, as_labels, checked_order, merged
from ._group_plan import Parts
from ._kernels import groups, partition
from ._kernels.factorize import Labels
from ._kernels.groups import Groups, Table
from ._reread import second_reads


def states_of_runs(
    given: Grouping, parts: Parts, of_chunk: Stage, split_every: SplitEvery
) -> da.Array:
    """The states of runs of chunks in parts, or of chunks as ``of_chunk`` gives them."""
    states = reduce_within_blocks(of_chunk, given.labelled, (given.axis,))
    if not parts.steps:
        return states
    merge = merging(given)
    split = Stage(f"{given.key}-split", partition.split, states.dtype, **parts.options)
    return map_blocks(split, merge_runs(merge, states, given.axis, parts.steps))


def merged_parts(
    given: Grouping, parts: Parts, runs: da.Array, split_every: SplitEvery
) -> da.Array:
    """The states of all groups: blocks as of `_groups.states_of`, with one more axis, of parts."""
    each = _in_parts(Stage(f"{given.key}-part", _part, runs.dtype), runs, parts.number)
    merge, axes = merging(given), (given.axis,)
    limits = fan_in(given.x, axes, split_every, parts.state_bytes)
    return tree_reduce(_same(given), merge, merge, each, axes, True, limits)


def in_order(given: Grouping, parts: Parts, states: da.Array) -> da.Array:
    """The same states in parts that follow one another, where the labels of all are in order.

    Labels between are taken from all parts; then these exchange their groups.
    """
    if parts.width is not None:
        return states
    key, last, dtype = given.key, states.ndim - 1, states.dtype
    sample = Stage(f"{key}-sample", partition.sample, dtype, count=8 * parts.number)
    options: dict[str, Any] = {"parts": parts.number, "function": given.function}
    between = Stage(f"{key}-between", _between, dtype, **options)
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
    labels = map_blocks(sought, *keys, *given.beside)
    pairs = (labels, index), (_numbers(parts.number), (x.ndim,)), (states, (*index, x.ndim))
    rows = join_blocks(found, x.ndim + 1, *pairs)
    options = given.options | {"logarithm": logarithm, "result": dtype_name(given.dtype)}
    stage = Stage(f"{key}-rescale", _rescaled_block, given.dtype, **options)
    arguments: list[Any] = [item for array in again for item in (array, index)]
    arguments += [item for array in given.beside for item in (array, ())]
    arguments += [rows, (*index, x.ndim)]
    return da.blockwise(stage, index, *arguments, dtype=stage.dtype, align_arrays=False)


def tables_in_parts(
    given: Grouping, parts: Parts, runs: da.Array, states: da.Array, logarithm: bool
) -> da.Array:
    """What the elements of each chunk are mapped with, from the states of parts that its run needs.

    Its labels are those of the run, which are held from the first map to the second.
    """
    key, axis, index = given.key, given.axis, tuple(range(runs.ndim))
    labels = map_blocks(Stage(f"{key}-sought", _labels, states.dtype), runs)
    found = Stage(f"{key}-found", _found, states.dtype)
    pairs = (labels, index), (_numbers(parts.number), (runs.ndim,)), (states, (*index, runs.ndim))
    rows = join_blocks(found, runs.ndim + 1, *pairs)
    options: dict[str, Any] = {"logarithm": logarithm, "function": given.function}
    table = Stage(f"{key}-table", _table, states.dtype, **options)
    tables = _blockwise(table, index, (rows, (*index, runs.ndim)), {})
    own = [i // parts.run for i in range(given.x.numblocks[axis])]
    return tables.blocks[(*(slice(None) for _ in range(axis)), own)]


def merging(given: Grouping) -> Stage:
    """What merges states."""
    return Stage(f"{given.key}-merge", merged, np.float64, function=given.function)


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
    return partition.sought(as_labels(*keys, **options), **parts.options)


def _labels(parts: tuple[Groups, ...]) -> tuple[Labels, ...]:
    return tuple(part.labels for part in parts)


def _found(sought: tuple[Labels, ...], number: Array, states: Groups) -> Groups:
    """The states of the groups of some labels, of those in a part."""
    return partition.found(states, sought[number.item()])


def _between(*samples: Labels, parts: int, function: str) -> Labels:
    with checked_order(function):
        return partition.between(*samples, parts=parts)


def _table(*states: Groups, logarithm: bool, function: str) -> Table:
    return groups.table(merged(*states, function=function), logarithm)


def _rescaled_block(x: Array, *others: Any, logarithm: bool, result: str, **options: Any) -> Array:
    *keys, states = others
    block = as_labelled(x, *keys, **options)
    states = merged(*states, function=options["function"])
    table = groups.table(states, logarithm, block.keys[0].shape[0])
    return of_dtype(groups.rescale(block, table, options["axis"], logarithm), result)
