"""Calls of the compiled logarithms of sums: of states, and of short slices, which have none."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from ..._algebra.normalizer import State
from ..in_memory import may_cut, share_out
from ..layout import reduced_axes
from . import kernels
from .call import Call, address_of
from .compiler import CannotCompileError, compiled
from .tuning import MOST_PIECES, PIECE

Array = np.ndarray
Axes = tuple[int, ...]

LANES = 16  # that a vector has at most


def few_log_sums(state: State) -> tuple[Array, bool]:
    """m + log(w + s) of fewer states than LANES, in float64, and whether some may not be used."""
    padded = np.ones((5, LANES))  # m, w, s, the results and how many are unusable
    for row, field in zip(padded, state, strict=False):
        row[: field.size] = field.reshape(-1)
    start = address_of(padded)
    kernel = compiled(kernels.log_sums, np.float64)
    kernel(*range(start, start + padded.nbytes, padded.strides[0]), LANES)
    result = padded[3, : state.m.size].reshape(state.m.shape)
    return result, padded[4, :1].view(np.int64).item() > 0


def many_log_sums(state: State) -> tuple[Array, bool]:
    """The same of at least LANES."""
    size = state.m.size
    result, unusable = np.empty(state.m.shape), np.zeros(MOST_PIECES, np.int64)
    arrays = [np.ascontiguousarray(a) for a in (*state, result)]
    kernel = compiled(kernels.log_sums, state.m.dtype.type)
    pieces = max(min(size // PIECE, MOST_PIECES), 1) if may_cut() else 1

    def run(piece: int) -> None:
        first, end = (size * k // pieces for k in (piece, piece + 1))
        places = (address_of(a) + first * a.itemsize for a in arrays)
        kernel(*places, address_of(unusable) + 8 * piece, end - first)

    share_out(run, range(pieces))
    return result, bool(unusable.any())


def logsumexp(x: Array, axes: Axes) -> Array | None:
    """The log-sum-exps of a block of many short slices, in the dtype of x; None of other blocks."""
    with suppress(CannotCompileError):
        call = Call(reduced_axes(x, axes), x)
        found = call.log_sums()
        return None if found is None else call.to_block(found)
    return None
