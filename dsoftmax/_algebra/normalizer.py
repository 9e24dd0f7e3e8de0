"""The algebra of softmax: the state (m, w, s), its merge and what it finishes to.

For a slice x of length n (with weights b, all 1 when there are none) the state is

    m = max x_i,    w = sum of b_i over x_i == m,    s = sum of b_i exp(x_i - m) over the rest

so that ``d = w + s`` is the normalizer of the online softmax (Milakov & Gimelshein 2018,
arXiv:1805.02867, section 3) and ``sum b_i exp(x_i) = d exp(m)``.  The paper carries (m, d); w and
s are kept apart because d rounds to w when everything but the maximum is small: for x = [0, -40]
the log-sum-exp is log1p(s / w) = 4.2e-18, while log(d) is 0.

States merge by an associative and commutative operator with the identity (-inf, 0, 0).  It is
*total*: states of empty, all -inf, +inf and NaN slices merge like any other.

This module knows arrays of any array-API library and nothing of Dask or of compilers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from .dtypes import accumulator_name, dtype_name, dtype_of, is_complex, real_name, working_name

Array = Any


class State(NamedTuple):
    """(m, w, s) of some slices, as arrays of one shape: reduced axes are kept with length 1.

    ``m`` has the dtype that the exponentials are computed in, ``w`` and ``s`` at least float64.
    """

    m: Array
    w: Array
    s: Array

    @property
    def d(self) -> Array:
        """The paper's normalizer, d = w + s."""
        return self.w + self.s


def quiet() -> np.errstate:
    """Silence NumPy where inf - inf, log(0) and overflow are expected and dealt with."""
    return np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore")


def common_namespace(*arrays: Array) -> Any:
    """The array-API namespace of the arrays; a TypeError where they have none in common."""
    try:
        return array_namespace(*arrays)
    except TypeError:
        names = sorted({type(array).__module__.partition(".")[0] for array in arrays})
        if len(names) == 1:
            raise
        raise TypeError(
            f"blocks of {' and '.join(names)} do not mix; convert all to one kind before, as "
            "x.map_blocks(cupy.asarray) does of a Dask array x"
        ) from None


def identity(xp: Any, shape: tuple[int, ...], dtype_name: str, **device: Any) -> State:
    """The state of nothing, (-inf, 0, 0), for inputs of dtype ``dtype_name``."""
    working = dtype_of(xp, real_name(working_name(dtype_name)))
    accumulator = dtype_of(xp, accumulator_name(dtype_name))
    m = xp.full(shape, -float("inf"), dtype=working, **device)
    zero = xp.zeros(shape, dtype=accumulator, **device)
    return State(m, zero, zero)


def as_dtypes(state: State, dtype_name: str) -> State:
    """The state in the dtypes that it has for inputs of dtype ``dtype_name``."""
    xp = array_namespace(state.m)
    working = dtype_of(xp, real_name(working_name(dtype_name)))
    accumulator = dtype_of(xp, accumulator_name(dtype_name))
    m, w, s = zip(state, (working, accumulator, accumulator), strict=True)
    return State(*(xp.astype(x, dtype, copy=False) for x, dtype in (m, w, s)))


def merge(*states: State) -> State:
    """The state of the union of the states' slices.

    Every state is scaled once, straight to the common maximum, and the terms are added with
    compensation (Knuth's TwoSum): merging k states costs one rounding, not k.  The largest element
    of a slice is never multiplied by anything, so m and w stay exact.
    """
    first, *rest = states
    if not rest:
        return first
    xp = common_namespace(*(state.m for state in states))
    m = reduce(xp.maximum, (state.m for state in states))  # propagates NaN
    with quiet():
        w = compensated_sum(xp, (xp.where(s.m == m, s.w, 0.0) for s in states))
        s = compensated_sum(xp, (_scaled_rest(xp, state, m) for state in states))
    return State(m, w, s)


def _scaled_rest(xp: Any, state: State, m: Array) -> Array:
    """What a state adds to s at the maximum m: only s if it holds the maximum, else all of d.

    Where both maxima are the same infinity the subtraction gives NaN, which is not selected.
    """
    dtype = dtype_of(xp, real_name(dtype_name(state.w.dtype)))
    # In the accumulator's precision: float32 maxima would spoil 29 bits of the factor.
    factor = xp.exp(xp.astype(state.m, dtype) - xp.astype(m, dtype))
    return xp.where(state.m == m, state.s, state.d * factor)


def compensated_sum(xp: Any, terms: Iterable[Array]) -> Array:
    terms = iter(terms)
    total = next(terms)
    error = 0 * total
    for term in terms:
        new = add(xp, total, term)
        virtual = new - total
        error = error + ((total - (new - virtual)) + (term - virtual))
        total = new
    return xp.where(xp.isfinite(total) & (error != 0), total + error, total)  # -0.0 stays


def add(xp: Any, a: Array, b: Array) -> Array:
    """a + b, also of complex infinities: torch would multiply one by 1 + 0j, which gives NaN."""
    return xp.sum(xp.stack([a, b]), axis=0) if is_complex(a.dtype) else a + b


def log_sum(state: State) -> Array:
    """log(sum b exp(x)), in the accumulator's precision; NaN where a real sum is negative."""
    value, direction = signed_log_sum(state)
    xp = array_namespace(value)
    if not is_complex(direction.dtype):
        return xp.where(direction < 0, float("nan"), value)
    # A sum that is infinite or 0 has the phase of its signs, as log(sum(exp(x))) has it.
    signs = xp.where(xp.isnan(state.s), state.s, state.w)
    direction = xp.where(xp.abs(state.m) == float("inf"), signs, direction)
    phase = xp.atan2(xp.imag(direction), xp.real(direction))
    # 1j * NaN is NaN in both parts.
    return value + xp.where(xp.isnan(phase), complex(0, float("nan")), 1j * phase)


def signed_log_sum(state: State) -> tuple[Array, Array]:
    """log|sum b exp(x)| and the sign of the sum: a phase if it is complex, 0 where the sum is 0."""
    xp = array_namespace(state.m)
    value, direction = _signed_log_d(xp, state)
    with quiet():
        value = value + xp.astype(state.m, value.dtype)
    return value, xp.where(state.m == -float("inf"), 0.0, direction)


def log_d(state: State) -> Array:
    """log(d) of a real state, in the accumulator's precision; NaN where d is negative."""
    xp = array_namespace(state.m)
    value, direction = _signed_log_d(xp, state)
    return xp.where(direction < 0, float("nan"), value)


def _signed_log_d(xp: Any, state: State) -> tuple[Array, Array]:
    """log|d| = log|w| + log1p(s / w), or the other way round where s is larger, and the sign of d.

    Of w and s only the larger divides: weights may be so far apart that w / s or s / w overflows.
    """
    _, w, s = state
    with quiet():
        larger = xp.abs(s) > xp.abs(w)
        base, other = xp.where(larger, s, w), xp.where(larger, w, s)
        ratio = xp.where(other == 0, 0.0, other / base)
        value = _log_abs_one_plus(xp, ratio) + xp.log(xp.abs(base))
        return value, sign(xp, base) * xp.sign(1 + ratio)


def sign(xp: Any, x: Array) -> Array:
    """x / |x|, that of an infinite complex number by its infinite parts."""
    if not is_complex(x.dtype):
        return xp.sign(x)

    def part(value: Array) -> Array:
        return xp.where(xp.abs(value) == float("inf"), xp.sign(value), 0 * value)

    re, im = part(xp.real(x)), part(xp.imag(x))
    return xp.sign(xp.where(xp.abs(x) == float("inf"), re + 1j * im, x))


def _log_abs_one_plus(xp: Any, r: Array) -> Array:
    """log|1 + r| without losing a small r, which may be complex; |r| <= 1."""
    if not is_complex(r.dtype):
        return xp.log1p(r)
    re, im = xp.real(r), xp.imag(r)
    near = 0.5 * xp.log1p(2 * re + (re * re + im * im))
    return xp.where(xp.abs(r) < 0.5, near, xp.log(xp.abs(1 + r)))
