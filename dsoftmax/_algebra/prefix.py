"""The state of all that comes before a place in a slice: where a running sum goes on from.

A prefix is (m, d, lost): the maximum, and the normalizer as a sum of two numbers, of which ``lost``
holds what d is rounded by.  A running sum over k chunks adds up k states one after the other; with
d alone it would lose a rounding to each of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .normalizer import State, common_namespace, quiet

Array = Any


class Prefix(NamedTuple):
    """(m, d, lost) of some slices, as arrays of one shape: the axis of the sums has length 1.

    ``m`` has the dtype that the exponentials of states are computed in, the others at least
    float64; the sum of the exponentials is (d + lost) exp(m).
    """

    m: Array
    d: Array
    lost: Array


def after(before: Prefix | None, state: State) -> Prefix:
    """The prefix that ends with a part of known state; ``before`` is None at the beginning."""
    if before is None:
        with quiet():
            return Prefix(state.m, *two_sum(state.w, state.s))
    xp = common_namespace(before.m, state.m)
    m = xp.maximum(before.m, state.m)  # propagates NaN
    with quiet():
        old, new = (factor(xp, part, m, before.d.dtype) for part in (before.m, state.m))
        d, lost = two_sum(before.d * old, state.w * new)
        d, more = two_sum(d, state.s * new)
        return Prefix(m, d, before.lost * old + (lost + more))


def factor(xp: Any, m: Array, new: Array, dtype: Any) -> Array:
    """exp(m - new) in a dtype; 1 where both are the same, infinities included."""
    m, new = (xp.astype(a, dtype, copy=False) for a in (m, new))
    return xp.where(m == new, xp.ones_like(m), xp.exp(m - new))


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b, rounded, and what it is rounded by (Knuth's TwoSum)."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)
