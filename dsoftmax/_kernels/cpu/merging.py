"""States of the parts of a block as one: the loops over reduced axes that no kernel runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..._algebra.moments import Moments
from ..._algebra.moments import merge as merge_moments
from ..._algebra.normalizer import SMALL, State, merge, merged_together
from ..._algebra.sums import Sums
from ..._algebra.sums import merge as merge_sums
from .plan import Axes, Kind

Array = np.ndarray

_MERGED_AT_ONCE = 64


def _merge_states(*states: tuple[Array, ...]) -> State:
    return merge(*(State(*state) for state in states))


def _merge_moments(*states: tuple[Array, ...]) -> Moments:
    return merge_moments(*(Moments(*state) for state in states))


def _merge_sums(*states: tuple[Array, ...]) -> tuple[Array, ...]:
    m, w, s, (o,) = merge_sums(*(Sums(m, w, s, (o,)) for m, w, s, o in states))
    return m, w, s, o


MERGES: dict[Kind, Callable[..., tuple[Array, ...]]] = {
    "plain": _merge_states,
    "weighted": _merge_states,
    "moments": _merge_moments,
    "values": _merge_sums,
}


def merged(kind: Kind, state: tuple[Array, ...], axes: Axes) -> tuple[Array, ...]:
    """The states along some axes as one, each of which stays with length 1.

    In a tree of large fan-in, since every merge costs a rounding.
    """
    if not axes:
        return state
    kept = tuple(1 if i in axes else n for i, n in enumerate(state[0].shape))
    first = tuple(range(len(axes)))
    if axes != first:
        state = tuple(np.moveaxis(field, axes, first) for field in state)
    rows = [field.reshape(-1, math.prod(kept)) for field in state]
    while (n := len(rows[0])) > 1:
        size = math.ceil(n / _MERGED_AT_ONCE)
        missing = -n % size
        if missing:  # the identity: -inf, and sums of 0
            rows = [
                np.concatenate([row, np.full((missing, row.shape[1]), value, row.dtype)])
                for row, value in zip(rows, (-np.inf, *(0,) * len(rows)), strict=False)
            ]
        if kind in ("plain", "weighted") and size == 1 and rows[0].size <= SMALL:
            return tuple(field.reshape(kept) for field in merged_together(State(*rows)))
        parts = range(0, n, size)
        rows = list(MERGES[kind](*(tuple(row[i : i + size] for row in rows) for i in parts)))
    return tuple(row.reshape(kept) for row in rows)
