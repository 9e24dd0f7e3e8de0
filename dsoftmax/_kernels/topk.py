"""The k best elements of every slice of a block, with or without the normalizer of the slice.

*Best first* is one total order: NaN, then descending values, and ascending indices where values
are equal.  It is the order of the exact probabilities, which are distinct where the elements are;
rounded, they may be equal (or both be 0), so that no order of theirs could be kept in k candidates.
Smallest first is ascending, with NaN last: NaN counts as larger than any number, as NumPy sorts it.
What a mask leaves out comes after all that takes part, -inf included, by ascending index.

The state of a part of a slice is `Top`, the paper's Algorithm 4 as a product of two monoids: the
normalizer and the k best.  Indices count from the start of the part, and merging consecutive parts
shifts those of the later ones.  So a block need not know where it is in its array.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.dtypes import dtype_name, dtype_of, result_name, working_name
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import common_namespace
from .._algebra.normalizer import merge as merge_normalizers
from .._algebra.states import concatenated
from . import exact as exactly
from .blocks import laid_out
from .choose import can_compile, kernels_for
from .cpu import topk as topk_cpu
from .cpu.compiler import CannotCompileError
from .cpu.tuning import ENOUGH, MOST_PIECES, PIECE
from .cuda import quick_topk
from .cuda import topk as topk_cuda
from .in_memory import may_cut, share_out

Array = Any

quick_result = quick_topk.result


class Top(NamedTuple):
    """The best elements of one part of every slice: k of them, or all of a shorter part.

    ``values`` and ``indices`` have them best first along the axis of the slices.  ``indices``
    (int64) count the part's elements in C order; ``lengths`` is its shape along the axes of the
    slices.  ``normalizer`` is the part's state (m, w, s), or None where no softmax is asked for.
    ``out`` is which of the values a mask leaves out, None without one.
    """

    values: Array
    indices: Array
    lengths: tuple[int, ...]
    normalizer: Any  # a `State`, or None
    out: Any = None


def of_block(x: Any, axes: tuple[int, ...], k: int, normalized: bool, exact: bool = False) -> Top:
    """The state of a block: of its slices along an axis, or of all of it, flattened, for several.

    A negative k asks for the smallest elements. ``exact`` is whether the sums of normalizers are.
    """
    if exact:
        top = of_block(x, axes, k, normalized)._replace(normalizer=None)
        state = exactly.of_block(x, axes)
        if len(axes) > 1:  # of the flattened block
            state = exactly.Exact(state.records.reshape(1))
        return top._replace(normalizer=state)
    found = _on_device(x, axes, k, normalized)
    if found is not None:
        return found
    axis = axes[0] if len(axes) == 1 else None
    if isinstance(x, np.ma.MaskedArray) and not normalized:
        raise TypeError("topk: a block is masked; fill it with what is to come last, as -inf or 0")
    x, _, where, _ = laid_out(x)
    lengths = tuple(x.shape) if axis is None else (x.shape[axis],)
    if axis is None:
        x, axis = array_namespace(x).reshape(x, (-1,)), 0
        where = None if where is None else array_namespace(where).reshape(where, (-1,))
    smallest, k = k < 0, min(abs(k), x.shape[axis])
    if smallest:
        values, indices = _smallest(x, axis, k)
        return Top(values, indices, lengths, None)
    if where is not None:
        return _of_masked(x, where, axis, k, lengths)
    if k > 0 and topk_cpu.supports(x) and can_compile():
        with suppress(CannotCompileError):
            return _compiled(x, axis, k, normalized)._replace(lengths=lengths)
    values, indices = select(x, axis, k)
    normalizer = kernels_for(x).of_block(x, (axis,)) if normalized else None
    return Top(values, indices, lengths, normalizer)


def _compiled(x: Array, axis: int, k: int, normalized: bool) -> Top:
    """The state of a block, or of an array in memory from those of its pieces."""

    def run(i: int) -> None:
        piece = slice(ends[i], ends[i + 1])
        part = x[(*(slice(None),) * along, piece)]
        values, indices, normalizer = topk_cpu.of_block(part, axis, k, normalized)
        parts[i] = Top(values, indices, (part.shape[axis],), normalizer)

    along, pieces = _pieces(x, axis, k) if may_cut() else (axis, 1)
    ends = [x.shape[along] * i // pieces for i in range(pieces + 1)]
    parts: list[Any] = [None] * pieces
    share_out(run, range(pieces))
    if pieces == 1 or along == axis:
        return merge(*parts, axis=axis, axes=(axis,), k=k)
    states = [part.normalizer for part in parts]
    values, indices = (np.concatenate([p[j] for p in parts], axis=along) for j in (0, 1))
    return Top(values, indices, (), concatenated(states, along) if normalized else None)


def _pieces(x: Array, axis: int, k: int) -> tuple[int, int]:
    """Along which axis to cut an array, and into how many pieces: slices only if they are few."""
    kept = [i for i in range(x.ndim) if i != axis and x.shape[i] >= ENOUGH]
    along = max(kept, key=lambda i: x.shape[i], default=axis)
    longest = x.shape[along] // (1 if kept else 4 * k)  # of which the k best are a small part
    return along, max(1, min(longest, x.size // PIECE, MOST_PIECES))


def _on_device(x: Any, axes: tuple[int, ...], k: int, normalized: bool) -> Top | None:
    """The state of a block that CUDA's kernels for top-k take."""
    if not topk_cuda.supports(x, k):
        return None
    if len(axes) == 1:
        axis, lengths = axes[0], (x.shape[axes[0]],)
    else:
        x, axis, lengths = x.reshape(-1), 0, x.shape
    k = max(-x.shape[axis], min(k, x.shape[axis]))
    found = topk_cuda.of_block(x, axis, k, normalized)
    return None if found is None else Top(found[0], found[1], lengths, found[2])


def probabilities(top: Top, logarithm: bool) -> Array | None:
    """Those of the k best, or their logarithms, if there is a kernel for this; else None."""
    if top.out is not None:
        return None
    return topk_cuda.probabilities(top.values, top.normalizer, logarithm)


def _of_masked(x: Array, where: Array, axis: int, k: int, lengths: tuple[int, ...]) -> Top:
    xp, out = array_namespace(x), ~where
    floating = result_name(name := dtype_name(x.dtype)) == name
    least = -float("inf") if floating else False if name == "bool" else xp.iinfo(x.dtype).min
    filled = xp.where(where, x, xp.full_like(x, least))
    values, indices = select(filled, axis, k, out=out)
    normalizer = kernels_for(x, where).of_block(x, (axis,), where=where)
    return Top(values, indices, lengths, normalizer, xp.take_along_axis(out, indices, axis=axis))


def _smallest(x: Array, axis: int, k: int) -> tuple[Array, Array]:
    """The k smallest: the largest of what is turned round, but that NaN is last again."""
    turned = _turned(x)
    if k > 0 and topk_cpu.supports(turned) and can_compile():
        with suppress(CannotCompileError):
            floating = turned.dtype.kind not in "biu"
            numbers = np.where(np.isnan(turned), -np.inf, turned) if floating else turned
            values, indices, _ = topk_cpu.of_block(numbers.astype(x.dtype), axis, k, False)
            if not floating or (values > -np.inf).all():  # else NaN is not told from infinity
                return _turned(values), indices
    values, indices = select(turned, axis, k, nan_first=False)
    return _turned(values), indices


def _turned(x: Array) -> Array:
    """Elements in the opposite order: -x, or ~x of integers, since there is no -(-128) in int8."""
    return -x if result_name(dtype_name(x.dtype)) == dtype_name(x.dtype) else ~x


def merge(*parts: Top, axis: int, axes: tuple[int, ...], k: int) -> Top:
    """The state of consecutive parts together, that follow one another along an axis.

    ``axes`` are those of the slices. Along the other ones, the parts are of the same lengths. A
    negative k keeps the smallest.
    """
    along, axis = axes.index(axis), axes[0] if len(axes) == 1 else 0
    first, *rest = parts
    if not rest:
        return first
    xp = common_namespace(*(part.values for part in parts))
    length = sum(part.lengths[along] for part in parts)
    lengths = (*first.lengths[:along], length, *first.lengths[along + 1 :])
    shifted, start = [], 0
    for part in parts:
        shifted.append(_embedded(part, along, start, length))
        start += part.lengths[along]
    values = xp.concat([part.values for part in parts], axis=axis)
    indices = xp.concat(shifted, axis=axis)
    out = None if first.out is None else xp.concat([part.out for part in parts], axis=axis)
    if along > 0:  # along the first axis, equal values follow one another as their indices do
        order = xp.argsort(indices, axis=axis)
        values, indices, out = (_taken(a, order, axis) for a in (values, indices, out))
    if k < 0:
        best = _best_first(_turned(values), axis, -k, nan_first=False)
    else:
        best = _best_first(values, axis, k, out=out)
    normalizers = [part.normalizer for part in parts if part.normalizer is not None]
    return Top(
        _taken(values, best, axis),
        _taken(indices, best, axis),
        lengths,
        _merged(normalizers),
        _taken(out, best, axis),
    )


def _merged(normalizers: list[Any]) -> Any:
    if not normalizers:
        return None
    exact = isinstance(normalizers[0], exactly.Exact)
    return (exactly.merge if exact else merge_normalizers)(*normalizers)


def _taken(x: Array | None, positions: Array, axis: int) -> Array | None:
    return None if x is None else array_namespace(x).take_along_axis(x, positions, axis=axis)


def select(
    x: Array, axis: int, k: int, nan_first: bool = True, out: Array | None = None
) -> tuple[Array, Array]:
    """The k best elements along an axis and where they are, best first.

    ``out`` is what comes last, and is as small as an element can be.

    NaN is the best of all, or without ``nan_first`` the last.

    The k best lie in the k groups of consecutive elements with the best maxima.  In groups of
    sqrt(n / k), all that is sorted is about 2 sqrt(n k) elements, and the rest is a maximum: on
    every device, and without a branch that depends on the data.
    """
    xp, n, k = array_namespace(x), x.shape[axis], min(k, x.shape[axis])
    size = math.isqrt(n // max(k, 1))
    if k == 0 or size < 2:
        positions = _best_first(x, axis, k, nan_first, out)
        return xp.take_along_axis(x, positions, axis=axis), positions
    ahead, behind = x.shape[:axis], x.shape[axis + 1 :]
    count = n // size

    def grouped(a: Array) -> Array:
        a = a[(slice(None),) * axis + (slice(0, count * size), ...)]
        return xp.reshape(a, (*ahead, count, size, *behind))

    all_out = None if out is None else xp.all(grouped(out), axis=axis + 1)
    best = _max(xp, grouped(x), axis + 1, nan_first)
    _, groups = select(best, axis, k, nan_first, all_out)
    groups = xp.sort(groups, axis=axis)  # so that equal elements stay in the order of x

    def counted(*bounds: int, ndim: int) -> Array:
        numbers = xp.arange(*bounds, dtype=xp.int64, device=device(x))
        return xp.reshape(numbers, (-1,) + (1,) * (ndim - 1))

    starts = xp.expand_dims(groups * size, axis=axis + 1)
    members = starts + counted(size, ndim=1 + len(behind))
    members = xp.reshape(members, (*ahead, k * size, *behind))
    rest = counted(count * size, n, ndim=1 + len(behind))
    rest = xp.broadcast_to(rest, (*ahead, n - count * size, *behind))
    positions = xp.concat([members, rest], axis=axis)
    values = xp.take_along_axis(x, positions, axis=axis)
    best = _best_first(values, axis, k, nan_first, _taken(out, positions, axis))
    return tuple(xp.take_along_axis(a, best, axis=axis) for a in (values, positions))


def _best_first(
    x: Array, axis: int, k: int, nan_first: bool = True, out: Array | None = None
) -> Array:
    """The positions of the k best along an axis, by a stable sort of everything."""
    xp = array_namespace(x)
    first = (slice(None),) * axis + (slice(0, k), ...)
    name = dtype_name(x.dtype)
    if result_name(name) == name:
        # Where argsort puts NaN is left open by the array API.
        x = xp.astype(x, dtype_of(xp, working_name(name)), copy=False)
        nan = xp.isnan(x)
        order = xp.argsort(xp.where(nan, float("inf"), x), axis=axis, descending=True, stable=True)
        order = _parted(xp, order, nan, axis, nan_first)
    else:  # integers have no NaN
        x = xp.astype(x, xp.uint8) if name == "bool" else x
        order = xp.argsort(x, axis=axis, descending=True, stable=True)
    if out is not None:
        order = _parted(xp, order, out, axis, False)
    return xp.astype(order[first], xp.int64, copy=False)


def _parted(xp: Any, order: Array, which: Array, axis: int, first: bool) -> Array:
    """An order with some elements before, or after, all others, and otherwise kept."""
    flags = xp.take_along_axis(xp.astype(which, xp.uint8), order, axis=axis)
    parted = xp.argsort(flags, axis=axis, descending=first, stable=True)
    return xp.take_along_axis(order, parted, axis=axis)


def _max(xp: Any, x: Array, axis: int, nan_first: bool) -> Array:
    """The best of each group: NaN if it holds one, or only NaN without ``nan_first``."""
    name = dtype_name(x.dtype)
    if name == "bool":
        return xp.any(x, axis=axis)
    if nan_first or result_name(name) != name:
        return xp.max(x, axis=axis)
    nan = xp.isnan(x)
    best = xp.max(xp.where(nan, -float("inf"), x), axis=axis)
    return xp.where(xp.all(nan, axis=axis), float("nan"), best)


def _embedded(part: Top, along: int, start: int, length: int) -> Array:
    """The indices of a part in the C order of a whole that has ``length`` along one axis."""
    inner = math.prod(part.lengths[along + 1 :])
    own = part.lengths[along]
    outer = part.indices // max(own * inner, 1)
    return part.indices + (outer * (length - own) + start) * inner
