"""The one place that runs operations: in memory, within blocks, or over a tree of blocks.

It chooses among these, names the stages, sets the fan-in of merges, and compares blocks of unknown
lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from . import _kernels
from ._algebra.dtypes import accumulator_dtype, dtype_name, dtype_of
from ._algebra.namespace import array_namespace
from ._algebra.states import expanded, of_dtype, part_of, unwrap_scalar
from ._graph.alignment import check_blocks
from ._graph.choose import Reread
from ._graph.prefix import prefixes
from ._graph.stage import Call, Stage
from ._graph.threads import threads_here
from ._graph.tree import (
    Axes,
    SplitEvery,
    fan_in,
    map_blocks,
    reduce_within_blocks,
    slices_in_one_block,
    tree_reduce,
)
from ._operation import Monoid, Operation, Result, Scan
from ._reread import second_read, second_reads
from ._terms import Joined

Array = Any
State = Any


class Finish(NamedTuple):
    """How the last tasks of a reduction turn states into results, and their name.

    ``whole`` gives results of blocks of whole slices, which are still to be cast and cut by
    ``of_whole``.
    """

    name: str
    of_state: Callable[[State], Any]
    dtype: Any
    keepdims: bool = True
    whole: Callable[[Array, Axes], Array] | None = None
    of_whole: Callable[[Array], Any] | None = None


def states(
    key: str,
    monoid: Monoid,
    x: Array | Joined,
    axes: Axes,
    split_every: SplitEvery = None,
    finish: Finish | None = None,
    call: Call | None = None,
) -> State | da.Array:
    """The states of the slices along ``axes``, or what ``finish`` makes of them; lazy if x is.

    ``key`` is the prefix of the task names. Blocks of states have length 1 along ``axes``.
    ``call`` is what the dashboard shows, if it is not the function of that name on x.
    """
    assert finish is None or not monoid.ordered  # whose trees have no last task for all axes
    read, x = (x.arrays[0], x.blocks) if isinstance(x, Joined) else (x, x)
    of_slices, of_state = monoid.of_block, finish.of_state if finish else _same
    if finish and finish.whole and finish.of_whole:
        of_slices, of_state = finish.whole, finish.of_whole
    if not isinstance(x, da.Array):
        with _in_memory(x):
            return of_state(of_slices(x, axes))
    dtype, drop = accumulator_dtype(x.dtype), axes if finish and not finish.keepdims else ()
    finish = finish or Finish(f"{key}-{monoid.name}", _same, dtype)
    call = call or Call.of(key.replace("-", "_"), x, axes, read.dtype)
    options: dict[str, Any] = {"axes": axes, "ndim": x.ndim, "call": call}
    if slices_in_one_block(x, axes):
        options |= {"of_block": of_slices, "finish": of_state}
        return reduce_within_blocks(
            Stage(finish.name, _of_block, finish.dtype, **options), x, axes, drop
        )
    options |= {"of_block": monoid.of_block, "finish": _same}
    of_block = Stage(f"{key}-{monoid.name}", _of_block, dtype, **options)
    name, merge = f"{key}-merge", monoid.merge
    limits = fan_in(x, axes, split_every, monoid.slice_bytes, not monoid.ordered)
    if not monoid.ordered:
        union = Stage(name, merge, dtype)
        last = Stage(name, _of_parts, finish.dtype, merge=merge, finish=finish.of_state)
        return tree_reduce(of_block, union, last, x, axes, not drop, limits)
    for axis in axes:  # one tree per axis, of consecutive parts
        if x.numblocks[axis] > 1:
            union = Stage(name, merge, dtype, axis=axis)
            x = tree_reduce(of_block, union, union, x, (axis,), True, limits)
            of_block = Stage(name, _same, dtype)
    return x


def reduced(
    operation: Operation,
    x: Array | Joined,
    axes: Axes,
    dtype: Any,
    keepdims: bool = False,
    split_every: SplitEvery = None,
    call: Call | None = None,
) -> tuple[Array, ...]:
    """The results of an operation; ``dtype`` is that of the input, or what it promotes to.

    A result of one number per slice is finished within the last merge.
    """
    key, (result, *others) = operation.key, operation.results
    if others or result.length is not None or operation.monoid.ordered or operation.states:
        prefix = operation.states or key
        kept = states(prefix, operation.monoid, x, axes, split_every, call=call)
        of = partial(of_states, key=key, states=kept, axes=axes, dtype=dtype, keepdims=keepdims)
        return tuple(map(of, operation.results))
    name = result.dtype(dtype_name(dtype))
    cut = partial(_result, dtype=name, drop=() if keepdims else axes)
    of_state, of_whole = (partial(cut, of_state=of) for of in (result.of_state, _same))
    finish = Finish(key, of_state, dtype_of(np, name), keepdims, operation.whole, of_whole)
    return (states(key, operation.monoid, x, axes, split_every, finish, call),)


def of_states(
    result: Result, key: str, states: Any, axes: Axes, dtype: Any, keepdims: bool
) -> Array:
    """A result computed from states, in memory or lazily."""
    name = result.dtype(dtype_name(dtype))
    drop = () if keepdims or result.length is not None else axes
    options: dict[str, Any] = {"of_state": result.of_state, "dtype": name, "drop": drop}
    if not isinstance(states, da.Array):
        with _in_memory(states):
            return _result(states, **options)
    stage = Stage(result.name or key, partial(_result, **options), dtype_of(np, name))
    if result.length is None:
        return reduce_within_blocks(stage, states, axes, drop)
    return reduce_within_blocks(stage, states, axes, axes[1:], result.length)


def rescaled(
    operation: Operation,
    x: Array | Joined,
    axes: Axes,
    dtype: Any,
    split_every: SplitEvery,
    reread: Reread,
) -> Array:
    """The second map of an operation: an array of the shape of x, lazy if x is."""
    assert operation.rescale is not None
    key, monoid = operation.key, operation.monoid
    whole = operation.whole or partial(_whole, monoid=monoid, rescale=operation.rescale)
    joined, x = (x, x.blocks) if isinstance(x, Joined) else (None, x)
    if not isinstance(x, da.Array):
        with _in_memory(x):
            return unwrap_scalar(whole(x, axes))
    options: dict[str, Any] = {"axes": axes, "result": dtype_name(dtype), "masks": True}
    if slices_in_one_block(x, axes):
        call = Call.of(operation.name, x, axes, joined and joined.arrays[0].dtype)
        stage = Stage(key, _mapped, dtype, kernel=whole, ndim=x.ndim, call=call, **options)
        return map_blocks(stage, x)
    last = Finish(key, monoid.finish, accumulator_dtype(x.dtype)) if monoid.finish else None
    kept = states(operation.states or key, monoid, x, axes, split_every, last)
    again = second_reads(operation.name, joined.arrays if joined else (x,), x, kept, axes, reread)
    x = joined._replace(arrays=again).blocks if joined else again[0]
    options |= {"kernel": operation.rescale, "function": operation.name}
    return map_blocks(Stage(f"{key}-rescale", applied, dtype, **options), x, kept)


def scanned(
    scan: Scan,
    x: Array,
    axis: int,
    dtype: Any,
    reread: Reread,
    *,
    reverse: bool,
    include_initial: bool,
) -> Array:
    """What a scan makes of every element and all before it along an axis; lazy if x is."""
    options: dict[str, Any] = {"running": scan.running, "axis": axis, "reverse": reverse}
    options |= {"include_initial": include_initial, "result": dtype_name(dtype)}
    if not isinstance(x, da.Array):
        with _in_memory(x):
            return _scanned(x, **options)
    key, axes = scan.key, (axis,)
    call = Call.of(scan.name, x, axes)
    chunks = list(x.chunks[axis])
    chunks[-1 if reverse else 0] += include_initial
    longer = {axis: tuple(chunks)}
    options |= {"function": scan.name, "ndim": x.ndim, "masks": True}
    if slices_in_one_block(x, axes):
        stage = Stage(key, _scanned, dtype, call=call, **options)
        return map_blocks(stage, x, chunks=longer)
    kept = accumulator_dtype(x.dtype)
    block: dict[str, Any] = {"of_block": scan.monoid.of_block, "axes": axes, "ndim": x.ndim}
    block |= {"finish": _same, "call": call}
    of_block = Stage(f"{key}-{scan.monoid.name}", _of_block, kept, **block)
    blocks = reduce_within_blocks(of_block, x, axes)
    before = prefixes(Stage(f"{key}-merge", scan.after, kept), blocks, axis, reverse)
    x = second_read(scan.name, x, before, axes, reread)
    return map_blocks(Stage(f"{key}-scan", _scanned, dtype, **options), x, before, chunks=longer)


def _in_memory(x: Any) -> _kernels.InMemory:
    return _kernels.InMemory(getattr(x, "shape", None) or _first_field(x).shape, threads_here)


# Called by stages: module-level functions, so that keys are deterministic.


def applied(
    x: Array,
    state: State,
    *starts: Array,
    kernel: Callable[[Array, State], Array],
    axes: Axes,
    function: str,
    result: str,
    parts: Axes = (),
) -> Array:
    """Apply a kernel to a block and its states, which have length 1 along ``axes``.

    Along the axes in ``parts`` there may be more states; those of the block begin at ``starts``.
    """
    x = _kernels.as_block(x)
    for axis, start in zip(parts, starts, strict=True):
        state = part_of(state, axis, int(start.item()), x.shape[axis])
    field = _first_field(state)
    if field.ndim == 0:  # one slice, of any number of dimensions
        state = expanded(state, x.ndim)
        field = state[0]
    blocks = {"x": (tuple(x.shape), ()), "the normalizer": (tuple(field.shape), axes)}
    check_blocks(function, blocks)
    return of_dtype(kernel(x, state), result)


def _first_field(state: State) -> Array:
    """One array of a state (all have the same shape); states of products are nested."""
    while isinstance(state, tuple):
        state = state[0]
    return state


def _mapped(
    x: Array, kernel: Callable[[Array, Axes], Array], axes: Axes, ndim: int, result: str
) -> Array:
    return of_dtype(kernel(_kernels.as_block(x, ndim), axes), result)


def _scanned(
    x: Array,
    before: Any = None,
    *,
    running: Callable[..., Array],
    axis: int,
    result: str,
    function: str = "",
    ndim: int | None = None,
    **options: bool,
) -> Array:
    x = _kernels.as_block(x, ndim)
    if before is not None:
        state = (tuple(_first_field(before).shape), (axis,))
        check_blocks(function, {"x": (tuple(x.shape), ()), "what is before it": state})
    return of_dtype(running(x, before, axis, **options), result)


def _whole(x: Array, axes: Axes, monoid: Monoid, rescale: Callable[[Array, State], Array]) -> Array:
    return rescale(x, monoid.of_block(x, axes))


def _of_block(
    x: Array,
    of_block: Callable[[Array, Axes], State],
    axes: Axes,
    ndim: int,
    finish: Callable[[State], Any],
) -> Any:
    if not hasattr(type(x), "_fields"):  # else a named tuple of the blocks of several arrays
        x = _kernels.as_block(x, ndim)
    return finish(of_block(x, axes))


def _of_parts(*parts: State, merge: Callable[..., State], finish: Callable[[State], Any]) -> Any:
    return finish(merge(*parts))


def _result(state: State, of_state: Callable[[State], Array], dtype: str, drop: Axes) -> Array:
    value = of_dtype(of_state(state), dtype)
    return unwrap_scalar(array_namespace(value).squeeze(value, axis=drop) if drop else value)


def _same(state: State) -> State:
    return state
