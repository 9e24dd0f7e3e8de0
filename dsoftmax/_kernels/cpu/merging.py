"""States of the parts of a block as one: the loops over reduced axes that no kernel runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra import moments, normalizer, sums
from ..._algebra.moments import Moments
from ..._algebra.normalizer import SMALL, State
from ..._algebra.sums import Sums
from .plan import Axes, Kind

Array = np.ndarray

_MERGED_AT_ONCE = 64


def _one_sum(m: Array, w: Array, s: Array, o: Array) -> Sums:
    return Sums(m, w, s, (o,))


_ALGEBRAS: dict[Kind, tuple[Callable[..., Any], Any]] = {
    "plain": (State, normalizer),
    "weighted": (State, normalizer),
    "moments": (Moments, moments),
    "values": (_one_sum, sums),
}


def merge(kind: Kind, *states: tuple[Array, ...]) -> tuple[Array, ...]:
    """The fields of the union of states, given by their fields."""
    make, algebra = _ALGEBRAS[kind]
    return _fields(algebra.merge(*(make(*state) for state in states)))


def _fields(state: Any) -> tuple[Array, ...]:
    return (*state[:3], *state.o) if isinstance(state, Sums) else tuple(state)


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
        if size == 1 and rows[0].size <= SMALL:
            make, algebra = _ALGEBRAS[kind]
            rows = list(_fields(algebra.merged_together(make(*rows))))
            break
        parts = range(0, n, size)
        rows = list(merge(kind, *(tuple(row[i : i + size] for row in rows) for i in parts)))
    return tuple(row.reshape(kept) for row in rows)
