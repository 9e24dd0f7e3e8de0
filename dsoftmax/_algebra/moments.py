"""The moments of a softmax: what its entropy and its effective sample size are made of.

To the state (m, w, s) of a slice they add

    t = sum of (x_i - m) exp(x_i - m)    q = sum of exp(2 (x_i - m))    over the rest: x_i != m

so that with p_i = exp(x_i - m) / d and d = w + s

    entropy                 -sum p_i log p_i = log d - t / d
    effective sample size   1 / sum p_i^2    = d^2 / (w + q)

t is not positive, so nothing cancels in the entropy, and log d is log w + log1p(s / w): the entropy
of [0, -40] is 1.742e-16, of which d alone, 1 when rounded, has lost every digit.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from .dtypes import dtype_of, dtypes_for
from .namespace import array_namespace
from .normalizer import (
    State,
    are_small,
    common_namespace,
    compensated_sum,
    distance,
    log_d,
    quiet,
    scaled_rest,
    scaled_top,
    side_by_side,
    sums_along_first,
)
from .normalizer import identity as nothing

Array = Any


class Moments(NamedTuple):
    """(m, w, s, t, q) of some slices, as arrays of one shape: reduced axes have length 1.

    ``m`` has the dtype that the exponentials are computed in, the others at least float64.
    """

    m: Array
    w: Array
    s: Array
    t: Array
    q: Array

    @property
    def d(self) -> Array:
        """The paper's normalizer, d = w + s."""
        return self.w + self.s

    @property
    def normalizer(self) -> State:
        """(m, w, s) alone."""
        return State(self.m, self.w, self.s)


def identity(xp: Any, shape: tuple[int, ...], dtype_name: str, **device: Any) -> Moments:
    """The moments of nothing, for inputs of dtype ``dtype_name``."""
    state = nothing(xp, shape, dtype_name, **device)
    zero = xp.zeros(shape, dtype=dtype_of(xp, dtypes_for(dtype_name).accumulator), **device)
    return Moments(*state, zero, zero)


def merge(*moments: Moments) -> Moments:
    """The moments of the union: each scaled once, to the common maximum, and added compensated."""
    first, *rest = moments
    if not rest:
        return first
    if are_small(moments):
        return merged_together(side_by_side(moments))
    xp = common_namespace(*(part.m for part in moments))
    m = reduce(xp.maximum, (part.m for part in moments))  # propagates NaN
    with quiet():
        terms = zip(*(scaled(xp, part, m) for part in moments), strict=True)
        return Moments(m, *(compensated_sum(xp, several) for several in terms))


def merged_together(parts: Moments) -> Moments:
    """The same of small NumPy moments along the first axis."""
    return Moments(*sums_along_first(parts, scaled))


def scaled(xp: Any, part: Moments, m: Array) -> tuple[Array, ...]:
    """What a part adds to w, s, t and q at the maximum m.

    Below it x - m is (x - m_k) + g, and what equals m_k is one of the rest.
    """
    top = part.m == m
    g = distance(xp, part, m)
    f = xp.exp(g)
    t = xp.where(f == 0, 0.0, (part.t + part.d * g) * f)  # g may be -inf
    return (
        scaled_top(xp, part, m),
        scaled_rest(xp, part, m),
        xp.where(top, part.t, t),
        xp.where(top, part.q, (part.w + part.q) * f * f),
    )


def entropy(moments: Moments) -> Array:
    """-sum p log p in nats; 0 of nothing, NaN where there is no softmax."""
    xp = array_namespace(moments.m)
    with quiet():
        return _finished(xp, moments, log_d(moments) + xp.abs(moments.t) / moments.d)


def effective_sample_size(moments: Moments) -> Array:
    """1 / sum p^2; 0 of nothing, NaN where there is no softmax."""
    xp = array_namespace(moments.m)
    d = moments.d
    with quiet():
        return _finished(xp, moments, d * d / (moments.w + moments.q))


def _finished(xp: Any, moments: Moments, value: Array) -> Array:
    """0 where a slice has no elements, and NaN where its maximum is infinite."""
    value = xp.where(xp.abs(moments.m) == float("inf"), float("nan"), value)
    return xp.where(is_empty(moments), 0.0, value)


def undefined_if_empty(state: Any) -> Any:
    """The state with NaN for the maximum of a slice without elements, which has no softmax."""
    xp = array_namespace(state.m)
    return state._replace(m=xp.where(is_empty(state), float("nan"), state.m))


def is_empty(state: Any) -> Array:
    """Where a slice has no elements: -inf that is there has a count."""
    return (state.m == -float("inf")) & (state.w == 0)
