"""Blocks as rows of pieces, and the integer weights of these, for draws with replacement.

A *row* is a part of one slice whose elements follow one another; a *piece* is a part of a row.
The sums of the pieces are kept, so that only those are computed again in which there is a draw.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.dtypes import dtype_of, dtypes_for
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import State, quiet
from .blocks import Terms, unmasked_terms
from .choose import kernels_for
from .cpu import block as on_cpu
from .cpu import weight_calls
from .cpu.compiler import CannotCompileError
from .weights import integer_weights

Array = Any
Axes = tuple[int, ...]

# Sums take 1 / 64 of the memory of as many float32; of 10^5 draws of 10^8 elements most are in
# pieces of their own, which are an eighth of all.
PIECE = 1 << 7
TILE = 1 << 17  # elements whose weights are in memory at a time
_LARGEST_SUM = 61  # in bits
# Powers of two are sums of many data, as of equal elements. None of these is near one times this.
_UNLIKELY = 1.2345678901234567


class Rows(NamedTuple):
    """A block as rows of one length, one after the other in a vector.

    Attributes
    ----------
    x, where : array
        The vector, and a mask of it or None.
    length : int
        Of each row.
    m, k : array
        The maximum of the slice of each row, and the power of 2 that its weights are times.
    """

    x: Array
    where: Array | None
    length: int
    m: Array
    k: Array

    @property
    def width(self) -> int:
        """The length of a piece, of which the last one of a row may be shorter."""
        return max(1, min(PIECE, self.length))

    @property
    def pieces(self) -> int:
        """How many there are in a row."""
        return -(-self.length // self.width)


def rows_of(x: Array | Terms, state: State, summed: Axes) -> tuple[Rows, tuple[int, ...]]:
    """A block as rows along the axes ``summed``, and its shape with length 1 along these."""
    x, _, where, _ = unmasked_terms(x)
    xp = array_namespace(x)
    kept = tuple(1 if i in summed else n for i, n in enumerate(x.shape))
    order = (*(i for i in range(x.ndim) if i not in summed), *summed)

    def flat(a: Array) -> Array:
        a = xp.reshape(xp.permute_dims(a, order), (-1,))
        return np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a

    with quiet():
        bits = xp.floor(xp.log2(xp.astype(state.d, xp.float64) * _UNLIKELY))
        k = _LARGEST_SUM - xp.astype(bits, xp.int64)
    length = math.prod(x.shape[i] for i in summed)
    m, k = (flat(xp.broadcast_to(a, kept)) for a in (state.m, k))
    return Rows(flat(x), None if where is None else flat(where), length, m, k), kept


def piece_sums(rows: Rows) -> Array:
    """The sums of the weights in all pieces: int64, of shape (rows, pieces)."""
    xp, count, pieces = array_namespace(rows.x), rows.m.shape[0], rows.pieces
    number = xp.arange(count * pieces, dtype=xp.int64, device=device(rows.x))
    found = [number[:0]]
    size = count * pieces
    # A compiled kernel holds no weights, but what it is told of the pieces.
    step = pieces_at_a_time(rows) * (1 << 5 if _is_for_the_cpu(rows) else 1)
    for start in range(0, size, step):
        found.append(_weights(rows, number[start : min(start + step, size)], True)[1])
    return xp.reshape(xp.concat(found), (count, pieces))


def piece_weights(rows: Rows, number: Array) -> Array:
    """The weights in pieces of these numbers, 0 beyond their ends: int64."""
    return _weights(rows, number, False)[0]


def pieces_at_a_time(rows: Rows) -> int:
    """How many pieces are worked on at a time."""
    return max(1, TILE // rows.width)


def _weights(rows: Rows, number: Array, sums_only: bool) -> tuple[Array, Array]:
    xp, width = array_namespace(rows.x), rows.width
    row, place = number // rows.pieces, number % rows.pieces * width
    begin, length = row * rows.length + place, rows.length - place
    length = xp.where(length < width, length, width)
    m, k = xp.take(rows.m, row), xp.take(rows.k, row)
    if _is_for_the_cpu(rows):
        with suppress(CannotCompileError):
            pieces = begin, length, m.astype(np.float64), k
            return weight_calls.weights(rows.x, pieces, 0 if sums_only else width)
    along = xp.arange(width, dtype=xp.int64, device=device(rows.x))
    index = begin[:, None] + along
    inside = along < length[:, None]
    index = xp.reshape(xp.where(inside, index, 0), (-1,))
    if rows.where is not None:
        inside = inside & xp.reshape(xp.take(rows.where, index), inside.shape)
    accumulator = dtype_of(xp, dtypes_for(rows.x.dtype).accumulator)
    x = xp.reshape(xp.astype(xp.take(rows.x, index), accumulator, copy=False), inside.shape)
    with quiet():
        t = x - xp.astype(m, accumulator, copy=False)[:, None]
        t = xp.where(inside, xp.astype(t, xp.float64, copy=False), -math.inf)
        weights = integer_weights(t, k[:, None])
    return weights, xp.sum(weights, axis=1)


def _is_for_the_cpu(rows: Rows) -> bool:
    x = rows.x
    native = isinstance(x, np.ndarray) and x.dtype in (np.float32, np.float64)
    return native and rows.where is None and kernels_for(x) is on_cpu
