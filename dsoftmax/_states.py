"""From data to states and from states to logarithms, in memory or as a Dask graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from array_api_compat import array_namespace

from . import _kernels
from ._algebra import State, as_dtypes, merge, quiet, signed_log_sum
from ._alignment import check_blocks, ones, zip_blocks
from ._arguments import (
    Array,
    Axes,
    Axis,
    as_array,
    as_like,
    check_axis,
    check_broadcast,
    check_split_every,
)
from ._dtypes import accumulator_dtype, dtype_name, dtype_of, real_name, result_dtype
from ._graph import (
    SplitEvery,
    Stage,
    bytes_of,
    reduce_within_blocks,
    slices_in_one_block,
    tree_reduce,
)


def as_terms(
    function: str, x: Array, axis: Axis, b: Any, split_every: SplitEvery
) -> tuple[Array | _kernels.Weighted, Axes, np.dtype]:
    """What `states` takes, the axes and the dtype of the result, from the user's arguments.

    The terms are an array and, if there are weights, a pair of them, or a Dask array of pairs.
    """
    shape, weights, dtype = x.shape, None, result_dtype(x)
    if b is not None:
        weights = as_array(b, function, "b", complex_ok=True)
        # A Python scalar adapts to the dtype of x, an array promotes it.
        dtype = result_dtype(x, b if type(b) in (bool, int, float, complex) else weights)
        if not isinstance(x, da.Array) and not isinstance(weights, da.Array):
            weights = as_like(weights, x, function)
        shape = check_broadcast(x, weights, function)
    axes = check_axis(axis, shape, function)
    check_split_every(split_every, len(shape), function)
    if weights is None:
        return x, axes, dtype
    if isinstance(x, da.Array) or isinstance(weights, da.Array):
        x, weights = (da.asarray(a)[(None,) * (len(shape) - a.ndim)] for a in (x, weights))
        options: dict[str, Any] = {"function": function, "broadcast": (ones(x), ones(weights))}
        join = Stage(f"{function}-weighted", _weighted, dtype, **options)
        return zip_blocks(join, x, weights), axes, dtype
    return _kernels.Weighted(x, weights), axes, dtype


def states(
    name: str,
    x: Array | _kernels.Weighted,
    axes: Axes,
    split_every: SplitEvery = None,
    keepdims: bool = True,
) -> State | da.Array:
    """The state of every slice; of a Dask array lazily, in blocks of length 1 along ``axes``.

    ``name`` begins the names of the tasks. Without ``keepdims`` the states have no ``axes``.
    """
    if isinstance(x, da.Array):
        drop = () if keepdims else axes
        union = Stage(f"{name}-merge", _union_dropped, accumulator_dtype(x.dtype), drop=drop)
        return _reduced(name, x, axes, split_every, union, keepdims)
    return dropped(_kernels.of_block(x, axes), () if keepdims else axes)


def logsumexp(
    x: da.Array, axes: Axes, dtype: np.dtype, keepdims: bool, split_every: SplitEvery
) -> da.Array:
    """The log-sum-exp of a Dask array, finished by the tasks that merge."""
    options: dict[str, Any] = {"result": dtype_name(dtype), "drop": () if keepdims else axes}
    if slices_in_one_block(x, axes):
        stage = Stage("logsumexp", _log_of_block, dtype, nbytes=bytes_of(x), axes=axes, **options)
        return reduce_within_blocks(stage, x, axes, keepdims)
    finish = Stage("logsumexp-merge", _log_of_union, dtype, **options)
    return _reduced("logsumexp", x, axes, split_every, finish, keepdims)


def logarithms(
    states: State | da.Array, axes: Axes, dtype: Any, keepdims: bool, return_sign: bool
) -> Any:
    """The log-sum-exp of states, or the logarithm of its absolute value and its sign."""

    def finished(finish: Callable[..., Array], result: str) -> Array:
        options: dict[str, Any] = {"result": result, "drop": () if keepdims else axes}
        if isinstance(states, State):
            return finish(states, **options)
        stage = Stage("logsumexp", finish, dtype_of(np, result), **options)
        return reduce_within_blocks(stage, states, axes, keepdims)

    name = dtype_name(dtype)
    if not return_sign:
        return finished(log, name)
    return finished(log_abs, real_name(name)), finished(sign, name)


def unwrap_scalar(x: Array) -> Array:
    """A NumPy scalar for a NumPy array of no dimension, as ufuncs return."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def _reduced(
    name: str,
    x: da.Array,
    axes: Axes,
    split_every: SplitEvery,
    finish: Stage,
    keepdims: bool,
) -> da.Array:
    dtype, drop = accumulator_dtype(x.dtype), () if keepdims else axes
    options: dict[str, Any] = {"nbytes": bytes_of(x), "axes": axes}
    if slices_in_one_block(x, axes):
        stage = Stage(f"{name}-normalizer", _of_block_dropped, dtype, drop=drop, **options)
        return reduce_within_blocks(stage, x, axes, keepdims)
    of_block = Stage(f"{name}-normalizer", _kernels.of_block, dtype, **options)
    union = Stage(f"{name}-merge", merge, dtype)
    return tree_reduce(of_block, union, finish, x, axes, keepdims, split_every)


# States in memory, as values.


def frozen(state: State) -> State:
    """A copy that shares no memory with the data, and that nobody can write to if it is NumPy's.

    What owns its memory can be made writeable again; a buffer of bytes cannot.
    """

    def copy(x: Array) -> Array:
        if isinstance(x, (np.ndarray, np.generic)):
            return np.ndarray(x.shape, x.dtype, buffer=x.tobytes())
        return copied(x)

    return State(*map(copy, state))


def copied(x: Array) -> Array:
    return array_namespace(x).asarray(x, copy=True)


def equal(a: State, b: State) -> bool:
    """Whether two states are of one kind and equal, NaN being equal to NaN."""

    def same(x: Array, y: Array) -> bool:
        if type(x) is not type(y) or x.shape != y.shape:
            return False
        return bool(array_namespace(x).all((x == y) | ((x != x) & (y != y))))

    return all(map(same, a, b))


def joined(blocks: Any, axes: Axes | None = None, depth: int = 0) -> State:
    """One state of nested lists of blocks, the outermost along the first of some, or all, axes."""
    if isinstance(blocks, State):
        return blocks
    first, *rest = (joined(inner, axes, depth + 1) for inner in blocks)
    if not rest:
        return first
    axis = depth if axes is None else axes[depth]
    xp = array_namespace(first.m)
    return State(*(xp.concat(parts, axis=axis) for parts in zip(first, *rest, strict=True)))


def part_of(state: State, axis: int, start: int, length: int) -> State:
    """The states from ``start`` along an axis, ``length`` of them if there are as many."""
    index = (slice(None),) * axis + (slice(start, start + length), ...)
    return State(*(a[index] for a in state))


def expanded(state: State, ndim: int) -> State:
    """The state of one slice, which has no axes, with so many of length 1."""
    xp = array_namespace(state.m)
    return State(*(xp.reshape(a, (1,) * ndim) for a in state))


def dropped(state: State, axes: Axes) -> State:
    """The state without some axes of length 1."""
    if not axes:
        return state
    xp = array_namespace(state.m)
    return State(*(xp.squeeze(a, axis=axes) for a in state))


# What stages call: module-level functions, so that keys are deterministic. ``result`` names the
# dtype to return, ``drop`` the axes of length 1 to remove.


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
    """What a kernel makes of a block and its states, which have length 1 along ``axes``.

    Along the axes of ``parts`` these are more states, of which those of the block begin at
    ``starts``.
    """
    x = _kernels.as_block(x)
    for axis, start in zip(parts, starts, strict=True):
        state = part_of(state, axis, int(start.item()), x.shape[axis])
    if state.m.ndim == 0:  # of one slice, whatever its dimensions
        state = expanded(state, x.ndim)
    shapes = {"x": tuple(x.shape), "the normalizer": tuple(state.m.shape)}
    check_blocks(function, shapes, ((), axes))
    return of_dtype(kernel(x, state), result)


def mapped(x: Array, kernel: Callable[[Array, Axes], Array], axes: Axes, result: str) -> Array:
    """What a kernel makes of a block that holds its slices whole."""
    return of_dtype(kernel(_kernels.as_block(x), axes), result)


def union(*states: State, result: str) -> State:
    """The state of all together, in the dtypes that states for results of that dtype have."""
    shapes = {f"normalizer {i}": tuple(state.m.shape) for i, state in enumerate(states, start=1)}
    check_blocks("Normalizer.merge", shapes, ((),) * len(states))
    return as_dtypes(merge(*states), result)


def log(state: State, result: str, drop: Axes) -> Array:
    """log(sum), NaN where the sum is negative."""
    return _shaped(_kernels.log_sum(state), result, drop)


def log_abs(state: State, result: str, drop: Axes) -> Array:
    """log|sum|."""
    return _shaped(signed_log_sum(state)[0], result, drop)


def sign(state: State, result: str, drop: Axes) -> Array:
    """The sign of the sum, or its phase."""
    return _shaped(signed_log_sum(state)[1], result, drop)


def _weighted(a: Array, b: Array, function: str, broadcast: tuple[Axes, Axes]) -> _kernels.Weighted:
    pair = _kernels.Weighted(_kernels.as_block(a), _kernels.as_block(b))
    check_blocks(function, {"a": tuple(pair.a.shape), "b": tuple(pair.b.shape)}, broadcast)
    return pair


def _of_block_dropped(x: Array, axes: Axes, drop: Axes) -> State:
    return dropped(_kernels.of_block(x, axes), drop)


def _union_dropped(*parts: State, drop: Axes) -> State:
    return dropped(merge(*parts), drop)


def _log_of_block(x: Array, axes: Axes, result: str, drop: Axes) -> Array:
    return log(_kernels.of_block(x, axes), result, drop)


def _log_of_union(*parts: State, result: str, drop: Axes) -> Array:
    return log(merge(*parts), result, drop)


def _shaped(value: Array, result: str, drop: Axes) -> Array:
    value = of_dtype(value, result)
    return unwrap_scalar(array_namespace(value).squeeze(value, axis=drop) if drop else value)


def of_dtype(x: Array, name: str) -> Array:
    """x in the dtype that was announced: blocks may be of another than their array says."""
    if dtype_name(x.dtype) == name:
        return x
    xp = array_namespace(x)
    with quiet():  # a logarithm may exceed the largest float16, as those of weights of 1e9 do
        return xp.astype(x, dtype_of(xp, name))
