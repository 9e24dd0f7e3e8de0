"""The algebra of softmax: the state (m, w, s), its merge and its final results.

For a slice x of length n (with weights b, all 1 when there are none) the state is

    m = max x_i,    w = sum of b_i over x_i == m,    s = sum of b_i exp(x_i - m) over the rest

so that ``d = w + s`` is the normalizer of the online softmax (Milakov & Gimelshein 2018,
arXiv:1805.02867, section 3) and ``sum b_i exp(x_i) = d exp(m)``.  The paper carries (m, d); w and
s are kept apart because d rounds to w when everything but the maximum is small: for x = [0, -40]
the log-sum-exp is log1p(s / w) = 4.2e-18, while log(d) is 0.

States merge by an associative and commutative operator with the identity (-inf, 0, 0).  It is
*total*: states of empty, all -inf, +inf and NaN slices merge like any other.

This module handles arrays of any array-API library, without Dask and without compilers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from . import numpy_arrays
from .dtypes import dtype_name, dtype_of, dtypes_for, is_complex, real_name
from .namespace import array_namespace

Array = Any

# So many numbers of NumPy's are the same time to an operation as one.
SMALL = 1 << 10


class State(NamedTuple):
    """The states (m, w, s) of slices, as arrays of one shape; reduced axes are kept with length 1.

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
    """Silence NumPy where inf - inf, log(0) and overflow are expected and handled."""
    return np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore")


def common_namespace(*arrays: Array) -> Any:
    """The array-API namespace of the arrays; TypeError if they have none in common."""
    try:
        return array_namespace(*arrays)
    except TypeError:
        names = sorted({type(array).__module__.partition(".")[0] for array in arrays})
        if len(names) == 1:
            raise
        raise TypeError(
            f"blocks of {' and '.join(names)} do not mix; convert all to one kind first, "
            "e.g. with x.map_blocks(cupy.asarray) for a Dask array x"
        ) from None


def identity(xp: Any, shape: tuple[int, ...], dtype_name: str, **device: Any) -> State:
    """The state of an empty slice, (-inf, 0, 0), for inputs of dtype ``dtype_name``."""
    working = dtype_of(xp, dtypes_for(dtype_name).maximum)
    accumulator = dtype_of(xp, dtypes_for(dtype_name).accumulator)
    m = xp.full(shape, -float("inf"), dtype=working, **device)
    zero = xp.zeros(shape, dtype=accumulator, **device)
    return State(m, zero, zero)


def as_dtypes(state: Any, dtype_name: str) -> Any:
    """The state in the dtypes that it has for inputs of dtype ``dtype_name``."""
    xp = array_namespace(state.m)
    working = dtype_of(xp, dtypes_for(dtype_name).maximum)
    accumulator = dtype_of(xp, dtypes_for(dtype_name).accumulator)
    m, *sums = state
    sums = [xp.astype(x, accumulator, copy=False) for x in sums]
    return type(state)(xp.astype(m, working, copy=False), *sums)


def merge(*states: State) -> State:
    """The state of the union of the slices.

    Every state is scaled once, straight to the common maximum, and the terms are added with
    compensation (Knuth's TwoSum): merging k states costs one rounding, not k.  The largest element
    of a slice is never multiplied by anything, so m and w stay exact.
    """
    first, *rest = states
    if not rest:
        return first
    if are_small(states):
        if first.m.size == 1 and first.w.dtype == np.float64:
            return _merged_numbers(states)
        return merged_together(side_by_side(states))
    xp = common_namespace(*(state.m for state in states))
    m = reduce(xp.maximum, (state.m for state in states))  # propagates NaN
    with quiet():
        w = compensated_sum(xp, (scaled_top(xp, state, m) for state in states))
        s = compensated_sum(xp, (scaled_rest(xp, state, m) for state in states))
    return State(m, w, s)


def merged_together(parts: State) -> State:
    """The same of small NumPy states along the first axis."""
    return State(*sums_along_first(parts, lambda *of: (scaled_top(*of), scaled_rest(*of))))


def _merged_numbers(states: tuple[State, ...]) -> State:
    """The same of one slice in Python's floats, which take half the time of arrays of one."""
    maxima, w, s = ([x.item() for x in field] for field in zip(*states, strict=True))
    m = max(maxima) if all(x == x for x in maxima) else math.nan
    with quiet():
        factors = np.exp([x - m for x in maxima]).tolist()
    parts = list(zip([x == m for x in maxima], w, s, factors, strict=True))
    total = _sum_of_floats([a if top else 0.0 for top, a, _, _ in parts])
    rest = _sum_of_floats([b if top else (a + b) * factor for top, a, b, factor in parts])
    shape, dtype = states[0].m.shape, states[0].m.dtype
    return State(np.full(shape, m, dtype), np.full(shape, total), np.full(shape, rest))


def are_small(states: tuple[Any, ...]) -> bool:
    """Whether states of any kind are NumPy's, alike, and so few and small that they go together."""
    if not all(type(state.m) is np.ndarray for state in states):
        return False
    alike = len({(state.m.shape, state.m.dtype, state.w.dtype) for state in states}) == 1
    return alike and len(states) <= SMALL // max(states[0].m.size, 1)


def side_by_side(states: tuple[Any, ...]) -> Any:
    """States of any kind, all NumPy's and alike, as one along a new first axis."""
    return type(states[0])(
        *(
            tuple(map(np.array, zip(*field, strict=True)))
            if isinstance(field[0], tuple)
            else np.array(field)
            for field in zip(*states, strict=True)
        )
    )


def sums_along_first(parts: Any, scaled: Callable[..., tuple[Array, ...]]) -> list[Array]:
    """The maximum of small NumPy states along the first axis, and the sums of scaled terms."""
    m = np.asarray(np.max(parts.m, axis=0))  # propagates NaN
    with quiet():
        terms = np.stack(scaled(numpy_arrays, parts, m), axis=1)
        if m.size == 1 and terms.dtype == np.float64:  # a tenth of the time of arrays
            columns = terms.reshape(terms.shape[:2]).T.tolist()
            return [m, *(np.full(m.shape, _sum_of_floats(column)) for column in columns)]
        total = compensated_sum(numpy_arrays, terms)
    return [m, *(total[i, ...] for i in range(len(total)))]


def scaled_top(xp: Any, state: Any, m: Array) -> Array:
    """What a state adds to w at the maximum m: its own w, if it holds the maximum."""
    return xp.where(state.m == m, state.w, 0.0)


def scaled_rest(xp: Any, state: Any, m: Array) -> Array:
    """What a state adds to s at the maximum m: only s if it holds the maximum, else all of d."""
    return xp.where(state.m == m, state.s, state.d * xp.exp(distance(xp, state, m)))


def distance(xp: Any, state: Any, m: Array) -> Array:
    """How far the maximum of a state is below m, as a number that is not positive.

    In the accumulator's precision: float32 maxima would spoil 29 bits of a factor exp(g). NaN where
    both are the same infinity, and so not to be selected there.
    """
    dtype = dtype_of(xp, real_name(dtype_name(state.w.dtype)))
    return xp.astype(state.m, dtype, copy=False) - xp.astype(m, dtype, copy=False)


def compensated_sum(xp: Any, terms: Iterable[Array]) -> Array:
    """The sum of some arrays, rounded about once however many there are (Knuth's TwoSum)."""
    terms = iter(terms)
    total = next(terms)
    error = None
    for term in terms:
        new = add(xp, total, term)
        virtual = new - total
        lost = (total - (new - virtual)) + (term - virtual)
        error = lost if error is None else error + lost
        total = new
    if error is None:
        return total
    return xp.where(xp.isfinite(total) & (error != 0), total + error, total)  # -0.0 stays


def _sum_of_floats(terms: list[float]) -> float:
    """`compensated_sum` of Python's floats."""
    total, error = terms[0], 0.0
    for term in terms[1:]:
        new = total + term
        virtual = new - total
        error += (total - (new - virtual)) + (term - virtual)
        total = new
    return total + error if math.isfinite(total) and error != 0 else total


def add(xp: Any, a: Array, b: Array) -> Array:
    """a + b, also for complex infinities, which torch's + multiplies by 1 + 0j, giving NaN."""
    return xp.sum(xp.stack([a, b]), axis=0) if is_complex(a.dtype) else a + b


def log_sum(state: State) -> Array:
    """log(sum b exp(x)), in the accumulator's precision; NaN where a real sum is negative."""
    if _is_positive(state):
        with quiet():
            return log_d_of_positive(state) + state.m
    xp = array_namespace(state.m)
    value, direction = signed_log_sum(state)
    if not is_complex(direction.dtype):
        return xp.where(direction < 0, float("nan"), value)
    # An infinite or zero sum has the phase of its signs, as in log(sum(exp(x))).
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


def log_d(state: Any) -> Array:
    """log(d) of a real state, in the accumulator's precision; NaN where d is negative."""
    if _is_positive(state):
        return log_d_of_positive(state)
    xp = array_namespace(state.m)
    value, direction = _signed_log_d(xp, state)
    return xp.where(direction < 0, float("nan"), value)


def log_d_of_positive(state: Any) -> Array:
    """The same as `log_d` where w > 0 and s >= 0, as without weights; NaN where w and s are 0."""
    xp = array_namespace(state.m)
    with quiet():
        base, other = xp.maximum(state.w, state.s), xp.minimum(state.w, state.s)
        return xp.log1p(other / base) + xp.log(base)


def _is_positive(state: Any) -> bool:
    """Whether w > 0 and s >= 0 everywhere, as is known of NumPy's alone: to ask a device waits."""
    _, w, s, *_ = state
    if not isinstance(w, np.ndarray) or w.dtype.kind != "f":
        return False
    return bool(np.minimum.reduce(w, None, initial=1) > 0 <= np.minimum.reduce(s, None, initial=0))


def _signed_log_d(xp: Any, state: Any) -> tuple[Array, Array]:
    """log|d| = log|w| + log1p(s / w), or the other way round where s is larger, and the sign of d.

    It divides only by the larger: weights may be so far apart that the other quotient overflows.
    """
    w, s = state.w, state.s
    with quiet():
        larger = xp.abs(s) > xp.abs(w)
        base, other = xp.where(larger, s, w), xp.where(larger, w, s)
        ratio = xp.where(other == 0, 0.0, other / base)
        value = _log_abs_one_plus(xp, ratio) + xp.log(xp.abs(base))
        return value, sign(xp, base) * xp.sign(1 + ratio)


def sign(xp: Any, x: Array) -> Array:
    """x / |x|; for an infinite complex number only its infinite parts count."""
    if not is_complex(x.dtype):
        return xp.sign(x)

    def part(value: Array) -> Array:
        return xp.where(xp.abs(value) == float("inf"), xp.sign(value), 0 * value)

    re, im = part(xp.real(x)), part(xp.imag(x))
    return xp.sign(xp.where(xp.abs(x) == float("inf"), re + 1j * im, x))


def _log_abs_one_plus(xp: Any, r: Array) -> Array:
    """log|1 + r|, accurate for small r; r may be complex, with |r| <= 1."""
    if not is_complex(r.dtype):
        return xp.log1p(r)
    re, im = xp.real(r), xp.imag(r)
    near = 0.5 * xp.log1p(2 * re + (re * re + im * im))
    return xp.where(xp.abs(r) < 0.5, near, xp.log(xp.abs(1 + r)))
