"""Sums weighted by a softmax: what an expectation is made of.

To the state (m, w, s) of a slice they add, for each of several arrays v beside x,

    o = sum of exp(x_i - m) v_i    over all elements, those at the maximum included

so that the mean of v under the softmax is o / d.  In a merge o is scaled as d is.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from .moments import is_empty
from .namespace import array_namespace
from .normalizer import (
    State,
    are_small,
    common_namespace,
    compensated_sum,
    distance,
    quiet,
    scaled_rest,
    scaled_top,
    side_by_side,
    sums_along_first,
)

Array = Any


class Sums(NamedTuple):
    """(m, w, s) of some slices and a tuple of sums o, as arrays of one shape."""

    m: Array
    w: Array
    s: Array
    o: tuple[Array, ...]

    @property
    def d(self) -> Array:
        """The paper's normalizer, d = w + s."""
        return self.w + self.s

    @property
    def normalizer(self) -> State:
        """(m, w, s) alone."""
        return State(self.m, self.w, self.s)


def merge(*sums: Sums) -> Sums:
    """The sums of the union: each scaled once, to the common maximum, and added compensated."""
    first, *rest = sums
    if not rest:
        return first
    if are_small(sums):
        return merged_together(side_by_side(sums))
    xp = common_namespace(*(part.m for part in sums))
    m = reduce(xp.maximum, (part.m for part in sums))  # propagates NaN
    with quiet():
        terms = zip(*(scaled(xp, part, m) for part in sums), strict=True)
        w, s, *o = (compensated_sum(xp, several) for several in terms)
    return Sums(m, w, s, tuple(o))


def merged_together(parts: Sums) -> Sums:
    """The same of small NumPy sums along the first axis."""
    m, w, s, *o = sums_along_first(parts, scaled)
    return Sums(m, w, s, tuple(o))


def scaled(xp: Any, part: Sums, m: Array) -> tuple[Array, ...]:
    """What a part adds to w, s and o at the maximum m."""
    factor = xp.exp(distance(xp, part, m))
    o = (xp.where(part.m == m, o, o * factor) for o in part.o)
    return scaled_top(xp, part, m), scaled_rest(xp, part, m), *o


def mean(sums: Sums, k: int = 0) -> Array:
    """The mean of the k-th values under the softmax; 0 of nothing, NaN where there is none."""
    xp = array_namespace(sums.m)
    with quiet():
        value = sums.o[k] / sums.d
    value = xp.where(xp.abs(sums.m) == float("inf"), float("nan"), value)
    return xp.where(is_empty(sums), 0.0, value)
