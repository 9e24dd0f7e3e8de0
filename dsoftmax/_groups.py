"""Where operations on groups run: in memory, within blocks, or over a tree that joins labels.

Data are never shuffled: the states of the groups go to the elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from ._algebra.dtypes import dtype_name
from ._algebra.moments import effective_sample_size, entropy
from ._algebra.states import of_dtype
from ._arguments import Array, check_split_every
from ._graph.choose import Reread
from ._graph.stage import Call, Stage
from ._graph.tree import (
    SplitEvery,
    map_blocks,
    reduce_within_blocks,
    slices_in_one_block,
    tree_reduce,
)
from ._group_arguments import Grouping
from ._group_blocks import as_labelled
from ._group_parts import (
    in_order,
    labels_one_by_one,
    merged_parts,
    merging,
    one_by_one,
    rescaled_in_parts,
    states_of_runs,
    tables_in_parts,
)
from ._group_plan import Parts, group_bytes, limits_of, most_groups, parts_of
from ._kernels import groups, log_sum, partition
from ._kernels.groups import Groups
from ._reread import second_reads


def rescaled(given: Grouping, logarithm: bool, split_every: SplitEvery, reread: Reread) -> Array:
    """The softmax of each group, or its logarithm: an array like x, lazy if x or labels are."""
    axis = given.axis
    check_split_every(split_every, given.x.ndim, given.function)
    if not given.is_lazy:
        y = groups.whole(given.labelled, axis, logarithm)
        return of_dtype(y, dtype_name(given.dtype))
    options = given.options | {"logarithm": logarithm, "result": dtype_name(given.dtype)}
    arrays, call = (given.x, *given.keys), Call.of(given.function, given.x, (axis,))
    if slices_in_one_block(given.x, (axis,)):
        stage = Stage(given.key, _whole, given.dtype, call=call, **options)
        return map_blocks(stage, *arrays, *given.beside)
    parts = parts_of(given, split_every)
    if parts and not parts.steps:
        found = states_of(given, split_every, parts=parts)
        return rescaled_in_parts(given, parts, found, logarithm, reread)
    found = tables_of(given, logarithm, split_every)
    again = second_reads(given.function, arrays, given.labelled, found, (axis,), reread)
    stage = Stage(f"{given.key}-rescale", rescaled_block, given.dtype, **options)
    return map_blocks(stage, *again, *given.beside, found)


def tables_of(given: Grouping, logarithm: bool, split_every: SplitEvery) -> da.Array:
    """What the elements of a Dask array are mapped with: opaque blocks, one for each or for all."""
    if parts := parts_of(given, split_every):
        runs = states_of_runs(given, parts, _of_chunk(given, False, parts), split_every)
        return tables_in_parts(
            given, parts, runs, merged_parts(given, parts, runs, split_every), logarithm
        )
    states = states_of(given, split_every)
    stage = Stage(f"{given.key}-table", groups.table, states.dtype, logarithm=logarithm)
    return reduce_within_blocks(stage, states, (given.axis,))


class Statistic(NamedTuple):
    """A number that comes of the state of each group, or of its moments, and that of no element."""

    of_state: Callable[[Any], Array]
    moments: bool
    of_nothing: float


LOGSUMEXP = Statistic(log_sum, False, -math.inf)
ENTROPY = Statistic(entropy, True, 0.0)
EFFECTIVE_SAMPLE_SIZE = Statistic(effective_sample_size, True, 0.0)


def reduced(given: Grouping, statistic: Statistic, split_every: SplitEvery) -> Any:
    """A statistic of each group: (labels, values), or values if labels are expected."""
    axis, shape = given.axis, given.shape
    options: dict[str, Any] = {"axis": axis, "result": dtype_name(given.dtype)}
    options |= {"statistic": statistic, "length": None if shape is None else math.prod(shape)}
    parts = parts_of(given, split_every, statistic.moments)
    states = states_of(given, split_every, statistic.moments, parts)
    if not given.is_lazy:
        values = state_values(states, **options)
    elif parts:
        states = in_order(given, parts, states)
        stage = Stage(given.key, _values_of_part, given.dtype, width=parts.width, **options)
        values = one_by_one(stage, states, axis, parts.lengths(options["length"]))
    else:
        length = (math.nan,) if shape is None else (options["length"],)
        stage = Stage(given.key, state_values, given.dtype, **options)
        values = reduce_within_blocks(stage, states, (axis,), (), length)
    if shape is None:
        labels = tuple(_labels_of(given, states, i) for i in range(len(given.keys)))
        return (labels if len(labels) > 1 else labels[0]), values
    if len(shape) == 1:
        return values
    return _with_axes(values, axis, shape)


def _with_axes(values: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Values along one axis in so many; Dask knows how where it knows all lengths."""
    if not any(map(math.isnan, values.shape)):
        return values.reshape(values.shape[:axis] + shape + values.shape[axis + 1 :])
    chunks = values.chunks
    return da.map_blocks(
        _reshaped,
        values.rechunk({axis: -1}),
        axis=axis,
        shape=shape,
        new_axis=tuple(range(axis + 1, axis + len(shape))),
        chunks=chunks[:axis] + tuple((n,) for n in shape) + chunks[axis + 1 :],
        meta=values._meta.reshape((0,) * (values.ndim + len(shape) - 1)),
        dtype=values.dtype,
    )


def states_of(
    given: Grouping, split_every: SplitEvery, moments: bool = False, parts: Parts | None = None
) -> Any:
    """The states of the groups, or their moments.

    Lazy if x is: opaque blocks of an array, one for each block of other axes, and each of ``parts``
    along one more axis.
    """
    if not given.is_lazy:
        return groups.of_block(given.labelled, given.axis, moments)
    if moments:  # which several statistics have in common, and so one name
        given = given._replace(function="grouped.softmax")
    of_chunk = _of_chunk(given, moments, parts)
    if parts:
        runs = states_of_runs(given, parts, of_chunk, split_every)
        return merged_parts(given, parts, runs, split_every)
    axis, joined = given.axis, given.labelled
    if slices_in_one_block(joined, (axis,)):
        return reduce_within_blocks(of_chunk, joined, (axis,))
    merge = merging(given)
    limits = limits_of(given, split_every, group_bytes(moments) * most_groups(given))
    return tree_reduce(of_chunk, merge, merge, joined, (axis,), True, limits)


def _of_chunk(given: Grouping, moments: bool, parts: Parts | None) -> Stage:
    """What makes the state of a chunk, in parts if there are some and no runs."""
    call = Call.of(given.function, given.x, (given.axis,))
    options: dict[str, Any] = {"axis": given.axis, "moments": moments, "call": call}
    function: Callable[..., Any] = groups.of_block
    if parts and not parts.steps:
        function, options = partition.parts_of_block, options | parts.options
    name = f"{given.key}-moments" if moments else f"{given.key}-normalizer"
    return Stage(name, function, np.float64, **options)


def _labels_of(given: Grouping, states: Any, i: int) -> Array:
    """The labels of a key, lazy if the states are."""
    categories = given.categories[i]
    if not isinstance(states, da.Array):
        return state_labels(states, i, categories)
    dtype = given.keys[i].dtype if categories is None else categories.dtype
    stage = Stage("grouped-labels", state_labels, dtype, i=i, categories=categories)
    if states.ndim > given.x.ndim:
        return labels_one_by_one(stage, states)
    others = tuple(axis for axis in range(states.ndim) if axis != given.axis)
    if any(states.numblocks[axis] > 1 for axis in others):  # all have the same labels
        if not hasattr(states, "blocks"):
            raise NotImplementedError(
                f"{given.function}: x has chunks {given.x.chunks}, and Dask's array-expression "
                "mode cannot pick one that has all labels; pass expected_groups, or x with one "
                f"chunk along axes {others}"
            )
        states = states.blocks[(0,) * states.ndim]
    return reduce_within_blocks(stage, states, (given.axis,), others, (math.nan,))


# What stages call: module-level functions, so that keys are deterministic.


def _reshaped(values: Array, axis: int, shape: tuple[int, ...]) -> Array:
    return values.reshape(values.shape[:axis] + shape + values.shape[axis + 1 :])


def _whole(x: Array, *keys: Array, logarithm: bool, result: str, **options: Any) -> Array:
    block = as_labelled(x, *keys, **options)
    return of_dtype(groups.whole(block, options["axis"], logarithm), result)


def rescaled_block(x: Array, *others: Any, logarithm: bool, result: str, **options: Any) -> Array:
    *keys, table = others
    block = as_labelled(x, *keys, **options)
    return of_dtype(groups.rescale(block, table, options["axis"], logarithm), result)


def state_values(
    states: Groups, axis: int, statistic: Statistic, length: int | None, result: str
) -> Array:
    """A statistic of groups, in the order of the labels or at the places that these are."""
    value = statistic.of_state(states.state)
    if length is not None:
        dense = np.full((length, *value.shape[1:]), statistic.of_nothing, value.dtype)
        dense[states.labels[0]] = value
        value = dense
    return of_dtype(np.moveaxis(value, 0, axis), result)


def _values_of_part(
    states: Groups, number: Array, width: int | None, length: int | None, **options: Any
) -> Array:
    """The same of a part of so many labels, if these are places."""
    if length is not None and width is not None:
        first = width * number.item()
        states = states._replace(labels=(states.labels[0] - first,))
        length = min(width, length - first)
    return state_values(states, length=length, **options)


def state_labels(states: Groups, i: int, categories: Array | None) -> Array:
    labels = states.labels[i]
    return labels if categories is None else categories[labels]
