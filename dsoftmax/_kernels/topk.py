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

from .._algebra.dtypes import dtype_name, dtypes_for
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import common_namespace
from .._algebra.normalizer import merge as merge_normalizers
from .._algebra.states import concatenated, mapped
from . import exact as exactly
from .blocks import Terms, laid_out, plain
from .choose import can_compile, kernels_for
from .cpu import block as block_on_cpu
from .cpu import quick as quick_on_cpu
from .cpu import topk as topk_cpu
from .cpu.compiler import CannotCompileError
from .cpu.tuning import ENOUGH, MOST_PIECES, PIECE
from .cuda import quick_topk
from .cuda import topk as topk_cuda
from .in_memory import InMemory, may_cut, share_out
from .select import best_first, select, taken, turned_round

Array = Any


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


def quick_result(x: Any, k: Any, axis: Any, normalized: bool) -> tuple[Array, Array] | None:
    """The k largest elements or probabilities of an array of NumPy's or CuPy's, and their indices.

    None for what takes more; among these are arguments that may be wrong.
    """
    if type(x) is not np.ndarray:
        return quick_topk.result(x, k, axis) if normalized else None
    if normalized and x.dtype not in (np.float32, np.float64):
        return None
    found = topk_cpu.quick(x, k, axis, normalized)
    if found is None or not normalized:
        return found and found[:2]
    values, indices, state = found
    assert state is not None
    quick = quick_on_cpu.applied if state.m.size == 1 else block_on_cpu.rescale
    with InMemory(x.shape, lambda: 1):
        p = quick(values, state.m, state.d)
    return None if p is None else (p, indices)


def of_block(x: Any, axes: tuple[int, ...], k: int, normalized: bool, exact: bool = False) -> Top:
    """The state of a block: of its slices along an axis, or of all of it, flattened, for several.

    A negative k asks for the smallest elements. ``exact`` is whether the sums of normalizers are.
    """
    if isinstance(x, Terms):  # masked entries count as -inf, also beside a mask
        x = x._replace(x=plain(x.x))
    if exact:
        top = of_block(x, axes, k, normalized)._replace(normalizer=None)
        state = exactly.of_block(x, axes)
        if len(axes) > 1:  # of the flattened block
            state = mapped(lambda a: a.reshape(1), state)
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
        return Top(_native(values), indices, lengths, None)
    if where is not None:
        return _of_masked(x, where, axis, k, lengths)
    if k > 0 and topk_cpu.supports(x) and can_compile():
        with suppress(CannotCompileError):
            return _compiled(x, axis, k, normalized)._replace(lengths=lengths)
    values, indices = select(x, axis, k)
    normalizer = kernels_for(x).of_block(x, (axis,)) if normalized else None
    return Top(_native(values), indices, lengths, normalizer)


def _native(values: Array) -> Array:
    """In the byte order of the machine, as all results are."""
    if not isinstance(values, np.ndarray):
        return values
    return values.astype(values.dtype.newbyteorder("="), copy=False)


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
    name, floating = dtype_name(x.dtype), dtypes_for(x.dtype).is_inexact
    least = -float("inf") if floating else False if name == "bool" else xp.iinfo(x.dtype).min
    filled = xp.where(where, x, xp.full_like(x, least))
    values, indices = select(filled, axis, k, out=out)
    values = _native(values)
    normalizer = kernels_for(x, where).of_block(x, (axis,), where=where)
    return Top(values, indices, lengths, normalizer, xp.take_along_axis(out, indices, axis=axis))


def _smallest(x: Array, axis: int, k: int) -> tuple[Array, Array]:
    """The k smallest: the largest of what is turned round, but that NaN is last again."""
    turned = turned_round(x)
    if k > 0 and topk_cpu.supports(turned) and can_compile():
        with suppress(CannotCompileError):
            floating = turned.dtype.kind not in "biu"
            numbers = np.where(np.isnan(turned), -np.inf, turned) if floating else turned
            values, indices, _ = topk_cpu.of_block(numbers.astype(x.dtype), axis, k, False)
            if not floating or (values > -np.inf).all():  # else NaN is not told from infinity
                return turned_round(values), indices
    values, indices = select(turned, axis, k, nan_first=False)
    return turned_round(values), indices


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
        values, indices, out = (taken(a, order, axis) for a in (values, indices, out))
    if k < 0:
        best = best_first(turned_round(values), axis, -k, nan_first=False)
    else:
        best = best_first(values, axis, k, out=out)
    normalizers = [part.normalizer for part in parts if part.normalizer is not None]
    return Top(
        taken(values, best, axis),
        taken(indices, best, axis),
        lengths,
        _merged(normalizers),
        taken(out, best, axis),
    )


def _merged(normalizers: list[Any]) -> Any:
    if not normalizers:
        return None
    exact = isinstance(normalizers[0], exactly.KINDS)
    return (exactly.merge if exact else merge_normalizers)(*normalizers)


def _embedded(part: Top, along: int, start: int, length: int) -> Array:
    """The indices of a part in the C order of a whole that has ``length`` along one axis."""
    inner = math.prod(part.lengths[along + 1 :])
    own = part.lengths[along]
    outer = part.indices // max(own * inner, 1)
    return part.indices + (outer * (length - own) + start) * inner
