"""Draws with replacement: cumulative sums of a block, inverted, in integers.

Element i has the integer weight W_i = round(exp(x_i - m) factor), where the factor is a power of
two that brings the sum T of a slice near 2**61.  A draw is an integer below T, and the element in
whose part of 0 ... T - 1 it lies, in the order of the elements.  Integers add exactly: sums do not
depend on what is added first, and so draws do not depend on the chunks, not even at their borders.
Rounding changes a weight by less than 2**-60 of the sum.

A block is worked on as rows of pieces, whose sums tell in which of them a draw is: see `pieces`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.namespace import array_namespace
from .._algebra.normalizer import State
from . import philox
from .blocks import Terms
from .gumbel import PANEL, Placed, in_array
from .pieces import piece_sums, piece_weights, pieces_at_a_time, rows_of

Array = Any
Axes = tuple[int, ...]
Method = Literal["multinomial", "systematic", "stratified"]

MOST_SORTED = 1 << 31  # draws of the sorted methods, whose square has to be below 2**63


class Targets(NamedTuple):
    """Where draws are to be found: arrays of shape (slices, size).

    In the row of this number, in the block that begins there along the axis of the cut, at the
    first element up to which weights in the row of this block add up to more than ``rest``.
    """

    row: Array
    begin: Array
    rest: Array


class Found(NamedTuple):
    """Draws that have been found: their numbers, slice by slice, and the indices of elements.

    The slices are those of a block whose lengths are ``lengths`` along the other axes.
    """

    numbers: Array
    indices: Array
    lengths: tuple[int, ...]


class Layout(NamedTuple):
    """How slices lie in an array and its blocks.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    axes : tuple of int
        Of a slice: one, or all of them.
    summed : tuple of int
        Of a row: those of ``axes`` from the last one on along which there are several blocks.
    starts : tuple of int
        Where the blocks begin along the first of ``summed``.
    """

    shape: tuple[int, ...]
    axes: Axes
    summed: Axes
    starts: tuple[int, ...]


class Sums(NamedTuple):
    """The sums of the weights in the pieces of a block, (rows, pieces), and its shape as rows."""

    table: Array
    kept: tuple[int, ...]


def sums(x: Array | Terms, state: State, layout: Layout) -> Sums:
    """The sums of the weights in each piece of a block."""
    rows, kept = rows_of(x, state, layout.summed)
    return Sums(piece_sums(rows), kept)


def totals(sums: Sums) -> Array:
    """Those of whole rows: int64, of the shape of the block but length 1 along ``summed``."""
    xp = array_namespace(sums.table)
    return xp.reshape(xp.sum(sums.table, axis=1), sums.kept)


def targets(placed: Placed, size: int, method: Method, layout: Layout, key: philox.Key) -> Targets:
    """Where the draws of each slice are to be found, from the sums of all of its rows."""
    total = placed.x
    xp = array_namespace(total)
    others = tuple(i for i in range(total.ndim) if i not in layout.axes)
    table = xp.permute_dims(total, (*others, *layout.axes))
    lengths = tuple(total.shape[i] for i in others)
    slices = math.prod(lengths)
    table = xp.reshape(table, (slices, -1) if slices else (0, 1))
    ends = xp.cumulative_sum(table, axis=1)
    numbers = xp.arange(slices, dtype=xp.int64, device=device(total))
    places = [tuple(of[i] for i in others) for of in (placed.starts, layout.shape)]
    numbers = in_array(numbers, lengths, *places)[:, None]
    target = _integers(ends[:, -1:], numbers, size, method, key)
    own = xp.broadcast_to(_counted(slices, target)[:, None], target.shape)
    part, rest = _located(ends, own, target)
    blocks = len(layout.starts)
    row = part // blocks if len(layout.axes) > 1 else _counted(slices, target)[:, None] + part * 0
    begin = xp.take(
        xp.asarray(layout.starts, dtype=xp.int64, device=device(total)),
        xp.reshape(part % blocks, (-1,)),
    )
    return Targets(row, xp.reshape(begin, part.shape), rest)


def find(block: Placed, state: State, sums: Sums, wanted: Targets, layout: Layout) -> Found:
    """Those of the draws that are in a block."""
    table, kept = sums
    xp = array_namespace(table)
    lengths = tuple(n for i, n in enumerate(kept) if i not in layout.summed)
    others = tuple(n for i, n in enumerate(kept) if i not in layout.axes)
    own = wanted.begin == block.starts[layout.summed[0]]
    row = wanted.row
    if len(layout.axes) > 1:  # of the whole array; make it one of the block
        row, inside = _in_block(row, lengths, block.starts, layout.shape)
        own = own & inside
    if table.shape[1] == 0:
        own = own & False
    (numbers,) = xp.nonzero(xp.reshape(own, (-1,)))
    if numbers.shape[0] == 0:
        return Found(numbers, numbers, others)
    row, rest = (xp.take(xp.reshape(a, (-1,)), numbers) for a in (row, wanted.rest))
    numbers, rest, row = _sorted(rest, False, numbers, rest, row)
    if table.shape[0] > 1:  # each of them ascending
        numbers, rest, row = _sorted(row, True, numbers, rest, row)
    piece, rest = _located(xp.cumulative_sum(table, axis=1), row, rest)
    piece = row * table.shape[1] + piece
    rows, _ = rows_of(block.x, state, layout.summed)
    hit = xp.concat([piece[:1] >= 0, piece[1:] != piece[:-1]])
    which = xp.cumulative_sum(xp.astype(hit, xp.int64)) - 1
    (first,) = xp.nonzero(hit)
    hits, step, indices = xp.take(piece, first), pieces_at_a_time(rows), []
    for start in range(0, hits.shape[0], step):
        stop = min(start + step, hits.shape[0])
        ends = xp.cumulative_sum(piece_weights(rows, hits[start:stop]), axis=1)
        here = _between(which, start, stop)
        place = _search(ends, which[here] - start, rest[here])
        place = piece[here] % table.shape[1] * rows.width + place
        indices.append(_index(block, row[here], place, rows.length, layout))
    return Found(numbers, xp.concat(indices), others)


def joined(*parts: Found) -> Found:
    """The draws of several blocks of the same slices."""
    xp = array_namespace(parts[0].numbers)
    numbers, indices = (xp.concat([part[i] for part in parts]) for i in (0, 1))
    return Found(numbers, indices, parts[0].lengths)


def in_order(found: Found, size: int, axes: Axes) -> Array:
    """The indices of all draws of slices: an array of their shape, with ``size`` for their axis."""
    xp = array_namespace(found.numbers)
    if isinstance(found.numbers, np.ndarray):  # a quarter of the time of sorting
        indices = np.empty_like(found.indices)
        indices[found.numbers] = found.indices
    else:
        indices = xp.take(found.indices, xp.argsort(found.numbers, stable=False))
    if len(axes) > 1:
        return indices
    return xp.moveaxis(xp.reshape(indices, (*found.lengths, size)), -1, axes[0])


def _integers(total: Array, numbers: Array, size: int, method: Method, key: philox.Key) -> Array:
    """The integers from 0 to total - 1 that are drawn, in the rows of (slices, size)."""
    xp = array_namespace(total)
    draw = xp.arange(size, dtype=xp.int64, device=device(total))[None, :]
    # Elements draw with 0, or the highest bit, in place of the number of the slice.
    own = draw[:, :1] if method == "systematic" else draw
    step = max(1, PANEL // max(1, total.shape[0]))
    count = own.shape[1]
    parts = (own[:, start : min(start + step, count)] for start in range(0, count, step))
    uniforms = [philox.mul_shift(total, philox.words(part, numbers + 1, key)) for part in parts]
    uniform = xp.concat(uniforms, axis=1)
    if method == "multinomial":
        return uniform
    # floor((draw total + uniform) / size), without a product that exceeds 63 bits.
    quotient, rest = total // size, total % size
    return draw * quotient + uniform // size + (draw * rest + uniform % size) // size


def _sorted(by: Array, stable: bool, *arrays: Array) -> tuple[Array, ...]:
    xp = array_namespace(by)
    order = xp.argsort(by, stable=stable)
    return tuple(xp.take(a, order) for a in arrays)


def _between(ascending: Array, low: int, high: int) -> slice:
    """Where ascending numbers are at least one, and less than the other."""
    xp = array_namespace(ascending)
    edges = xp.asarray([low, high], dtype=xp.int64, device=device(ascending))
    start, stop = xp.searchsorted(ascending, edges)
    return slice(int(start), int(stop))


def _located(ends: Array, row: Array, target: Array) -> tuple[Array, Array]:
    """In which part of a row each target is, and how far from where that begins."""
    xp, part = array_namespace(ends), _search(ends, row, target)
    starts = xp.reshape(xp.concat([xp.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1), (-1,))
    before = xp.take(starts, xp.reshape(row * ends.shape[1] + part, (-1,)))
    return part, target - xp.reshape(before, target.shape)


def _search(ends: Array, row: Array, target: Array) -> Array:
    """How many of the ascending numbers in a row are not above a target, for each target."""
    xp, length = array_namespace(ends), ends.shape[1]
    if ends.shape[0] == 1:
        found = xp.searchsorted(ends[0, :], xp.reshape(target, (-1,)), side="right")
        return xp.astype(xp.reshape(found, target.shape), xp.int64, copy=False)
    flat = xp.reshape(ends, (-1,))
    low = xp.zeros_like(target)
    for bit in reversed(range(length.bit_length())):
        ahead = low + (1 << bit)
        at = row * length + xp.where(ahead > length, length, ahead) - 1
        below = xp.reshape(xp.take(flat, xp.reshape(at, (-1,))), target.shape) <= target
        low = xp.where(below & (ahead <= length), ahead, low)
    return low


def _in_block(
    row: Array, lengths: tuple[int, ...], starts: Axes, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """The number in a block of a row of the array, and whether it is in the block."""
    local, inside, step = row * 0, row == row, 1
    for i in reversed(range(len(lengths))):
        place = row % shape[i] - starts[i]
        row = row // shape[i]
        inside = inside & (place >= 0) & (place < lengths[i])
        local, step = local + place * step, step * lengths[i]
    return local, inside


def _index(block: Placed, row: Array, place: Array, length: int, layout: Layout) -> Array:
    """The index in its slice of an element of a row."""
    if len(layout.axes) == 1:
        return place + block.starts[layout.axes[0]]
    shape = tuple(block.x.shape)
    return in_array(row * length + place, shape, block.starts, layout.shape)


def _counted(n: int, like: Array) -> Array:
    xp = array_namespace(like)
    return xp.arange(n, dtype=xp.int64, device=device(like))
