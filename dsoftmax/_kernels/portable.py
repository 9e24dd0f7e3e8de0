"""Block kernels for any array-API library: no compilation, temporaries of a panel.

``of_block`` cuts a block into panels that stay in cache, takes the state of each and merges: the
parallel form of the online softmax (arXiv:1805.02867, section 3.1) within one block.  This also
bounds what a sum can lose: within a panel it is pairwise, between panels it is compensated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from array_api_compat import array_namespace, device, is_numpy_array

from .._algebra.dtypes import (
    accumulator_name,
    dtype_name,
    dtype_of,
    is_complex,
    result_name,
    working_name,
)
from .._algebra.moments import Moments
from .._algebra.moments import identity as moments_of_nothing
from .._algebra.moments import merge as merge_moments
from .._algebra.normalizer import State, add, identity, log_d, merge, quiet, sign
from .._algebra.normalizer import log_sum as log_sum  # that of any library
from .._algebra.states import concatenated
from .._algebra.sums import Sums
from .._algebra.sums import merge as merge_sums
from .layout import joint_name

Array = Any
Axes = tuple[int, ...]

PANEL = 1 << 16


def of_block(x: Array, axes: Axes, b: Array | None = None, where: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x, or ``where`` whether an element takes part.
    """
    return _of_panels(_of_panel, merge, _nothing, axes, x, b, where)


def moments(x: Array, axes: Axes, where: Array | None = None) -> Moments:
    """The moments (m, w, s, t, q) of a block over ``axes``, which stay with length 1."""
    return _of_panels(_moments_of_panel, merge_moments, _no_moments, axes, x, where)


def sums(x: Array, axes: Axes, values: tuple[Array, ...], where: Array | None = None) -> Sums:
    """The sums (m, w, s, o) of a block and of values of its shape over ``axes``."""
    return _of_panels(_sums_of_panel, merge_sums, _no_sums, axes, x, where, *values)


def _of_panels(
    of_panel: Callable[..., Any],
    merge: Callable[..., Any],
    nothing: Callable[..., Any],
    axes: Axes,
    x: Array,
    *others: Array | None,
) -> Any:
    """A state of x, and of arrays beside it, from those of its panels."""
    xp = array_namespace(x)
    size = math.prod(x.shape)
    if size == 0:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return nothing(xp, kept, device(x), x, *others)
    if size <= PANEL:
        with quiet():
            return of_panel(xp, axes, x, *others)
    axis = max(range(x.ndim), key=lambda i: x.shape[i])
    states = [
        _of_panels(
            *(of_panel, merge, nothing, axes),
            *(None if a is None else a[panel] for a in (x, *others)),
        )
        for panel in _panels(x.shape, axis, math.ceil(size / PANEL))
    ]
    return merge(*states) if axis in axes else concatenated(states, axis)


def rescale(x: Array, m: Array, d: Array, where: Array | None = None) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d).

    0 where an element takes no part, whatever it is.
    """
    xp = array_namespace(x)
    with quiet():
        shifted = _shifted(xp, x, m)
        # A maximum of +inf has no softmax: inf - inf, in the whole slice, as in SciPy.
        d = xp.where(m == float("inf"), float("nan"), d)
        y = xp.exp(shifted) / xp.astype(d, shifted.dtype)
        y = y if where is None else xp.where(where, y, 0.0)
        return xp.astype(y, _result_dtype(xp, x), copy=False)


def log_rescale(x: Array, m: Array, logarithm: Array, where: Array | None = None) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``.

    Not x - (m + log d): rounding the log-sum-exp to the size of x loses the digits of x - m.
    """
    xp = array_namespace(x)
    with quiet():
        shifted = _shifted(xp, x, m)
        y = shifted - xp.astype(logarithm, shifted.dtype)
        y = y if where is None else xp.where(where, y, -float("inf"))
        return xp.astype(y, _result_dtype(xp, x), copy=False)


def softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The softmax of a block that holds its slices whole."""
    state = of_block(x, axes, where=where)
    return rescale(x, state.m, state.d, where)


def log_softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    state = of_block(x, axes, where=where)
    return log_rescale(x, state.m, log_d(state), where)


def _panels(shape: tuple[int, ...], axis: int, pieces: int) -> Iterator[tuple[Any, ...]]:
    step = math.ceil(shape[axis] / min(pieces, shape[axis]))
    for start in range(0, shape[axis], step):
        panel = slice(start, min(start + step, shape[axis]))
        yield (*(slice(None),) * axis, panel, ...)


def _nothing(xp: Any, shape: tuple[int, ...], where: Any, x: Array, b: Any, *_: Any) -> State:
    return identity(xp, shape, joint_name(x, b), device=where)


def _no_moments(xp: Any, shape: tuple[int, ...], where: Any, x: Array, *_: Any) -> Moments:
    return moments_of_nothing(xp, shape, dtype_name(x.dtype), device=where)


def _no_sums(xp: Any, shape: tuple[int, ...], where: Any, x: Array, _: Any, *values: Array) -> Sums:
    state = identity(xp, shape, joint_name(x, *values), device=where)
    return Sums(*state, (state.s,) * len(values))


def _of_panel(xp: Any, axes: Axes, x: Array, b: Array | None, where: Array | None) -> State:
    name = joint_name(x, b)
    if b is None and not is_complex(name):
        return _state(xp, axes, _parts(xp, axes, x, where, name))
    x = xp.astype(x, dtype_of(xp, working_name(name)), copy=False)
    b = where if b is None else b  # complex numbers take a mask as weights of 1 and 0
    if b is not None:
        weights = xp.astype(b, dtype_of(xp, accumulator_name(name)), copy=False)
        x, b = _absorb_special_weights(xp, x, weights)
    if is_complex(name):
        return _of_complex_panel(xp, x, axes, b)
    _, m, top, rest = _parts(xp, axes, x, None, name)
    assert b is not None
    # Weights at +inf count as infinite, so that both signs of them give inf - inf.
    weights = xp.where(m == float("inf"), b * float("inf"), b)
    return State(m, _sum(xp, xp.where(top, weights, 0.0), axes), _sum(xp, rest * b, axes))


def _moments_of_panel(xp: Any, axes: Axes, x: Array, where: Array | None) -> Moments:
    parts = x, m, _, rest = _parts(xp, axes, x, where, dtype_name(x.dtype))
    below = xp.astype(x - m, rest.dtype, copy=False)
    t = xp.where(rest == 0, 0.0, below) * rest  # below may be -inf; so gradients are 0 there, too
    return Moments(*_state(xp, axes, parts), *(_sum(xp, terms, axes) for terms in (t, rest * rest)))


def _sums_of_panel(xp: Any, axes: Axes, x: Array, where: Array | None, *values: Array) -> Sums:
    parts = _, m, top, rest = _parts(xp, axes, x, where, joint_name(x, *values))
    # Not 1 at a maximum of -inf: there large values would be a sum that overflows, times 0.
    terms = xp.where(top, xp.astype(m > -float("inf"), rest.dtype), rest)

    def product(v: Array) -> Array:
        v = xp.astype(v, rest.dtype, copy=False)
        return terms * (v if where is None else xp.where(where, v, 0.0))

    return Sums(*_state(xp, axes, parts), tuple(_sum(xp, product(v), axes) for v in values))


_Parts = tuple[Array, Array, Array, Array]


def _parts(xp: Any, axes: Axes, x: Array, where: Array | None, name: str) -> _Parts:
    """x as it is computed with, m, which elements equal m and count, exp(x - m) of the rest."""
    # To float before anything is subtracted: 0 - 1 is 255 in uint8.
    x = xp.astype(x, dtype_of(xp, working_name(name)), copy=False)
    if where is not None:
        x = xp.where(where, x, -float("inf"))
    m = xp.max(x, axis=axes, keepdims=True) if axes else x
    top = x == m
    accumulator = dtype_of(xp, accumulator_name(name))
    rest = xp.astype(xp.where(top, 0.0, xp.exp(x - m)), accumulator, copy=False)
    return x, m, top if where is None else top & where, rest


def _state(xp: Any, axes: Axes, parts: _Parts) -> State:
    _, m, top, rest = parts
    w = xp.count_nonzero(top, axis=axes, keepdims=True) if axes else top
    return State(m, xp.astype(w, rest.dtype), _sum(xp, rest, axes))


def _of_complex_panel(xp: Any, x: Array, axes: Axes, b: Array | None) -> State:
    """The same of complex terms, of which the one with the largest real part is the maximum."""
    real = xp.real(x)
    m = xp.max(real, axis=axes, keepdims=True) if axes else real
    at_max = real == m
    # Where the real part is -inf the term is 0, whatever the phase; else the phase has to be known.
    rest = xp.where(xp.isfinite(xp.imag(x)), xp.exp(x - m), float("nan"))
    rest = xp.where(at_max | (real == -float("inf")), 0.0, rest)
    top = xp.exp(1j * xp.imag(x))
    if b is not None:
        top, rest = top * b, rest * b
    extreme = xp.abs(m) == float("inf")
    if not (is_numpy_array(x) and not extreme.any()):  # to ask a device would wait for it
        top = xp.where(extreme, _extreme(xp, x, top, b), top)
    accumulator = dtype_of(xp, accumulator_name(dtype_name(top.dtype)))
    terms = (xp.astype(a, accumulator, copy=False) for a in (xp.where(at_max, top, 0.0), rest))
    return State(m, *(_sum(xp, a, axes) for a in terms))


def _extreme(xp: Any, x: Array, direction: Array, b: Array | None) -> Array:
    """b exp(x) where x has an infinite real part: an infinity or a zero in a known direction.

    As C99 has it (G.6.3.1), and so NumPy: of an infinity each part is infinite, or 0 where the
    direction has none of it; of a zero each part has its sign. They are sums of constants, since
    a product with an infinity gives NaN in the other part.
    """
    known = xp.isfinite(xp.imag(x))
    re, im = xp.real(direction), xp.imag(direction)
    re = xp.where(known, re, 1.0 if b is None else xp.sign(xp.real(b)))

    def part(value: Array, plus: complex, minus: complex, otherwise: complex) -> Array:
        negative = xp.where(value < 0, minus, xp.full_like(direction, otherwise))
        return xp.where(value > 0, plus, negative)

    inf = float("inf")
    across = part(im, complex(0, inf), complex(0, -inf), 0)
    across = xp.where(known, across, complex(0, float("nan")))
    infinity = add(xp, part(re, inf, -inf, 0), across)
    zero = add(
        xp,
        part(re, complex(0, -0.0), complex(-0.0, -0.0), complex(0, -0.0)),
        part(im, complex(-0.0, 0), complex(-0.0, -0.0), complex(-0.0, 0)),
    )
    return xp.where(xp.real(x) > 0, infinity, zero)


def _absorb_special_weights(xp: Any, x: Array, b: Array) -> tuple[Array, Array]:
    """Move weights of 0, inf and NaN into x, so that all that remain are finite.

    0 exp(x) is nothing whatever x is, as in SciPy; b = +-inf is +-exp(inf), and NaN with
    x = -inf; b = NaN is exp(NaN).
    """
    zero, infinite = b == 0, xp.abs(b) == float("inf")
    special = infinite | xp.isnan(b)
    something = (xp.real(x) if is_complex(x.dtype) else x) > -float("inf")  # and not NaN
    infinity = x + float("inf")  # of the same phase
    x = xp.where(special, float("nan"), x)
    x = xp.where(infinite & something, infinity, x)
    x = xp.where(zero, -float("inf"), x)
    return x, xp.where(infinite, sign(xp, b), xp.where(xp.isnan(b), 1.0, b))


def _sum(xp: Any, terms: Array, axes: Axes) -> Array:
    """A pairwise sum over each axis in turn.

    NumPy adds pairwise along the last axis only, other libraries promise nothing: along the first
    axis 10^7 equal terms would lose three digits.
    """
    for axis in axes:
        before = (slice(None),) * axis
        while (n := terms.shape[axis]) > 8:
            half = n // 2
            halves = (slice(0, half), slice(half, 2 * half))
            total = add(xp, *(terms[(*before, one, ...)] for one in halves))
            if n % 2:
                last = terms[(*before, slice(n - 1, n), ...)]
                total = xp.concat([total, last], axis=axis)
            terms = total
        terms = xp.sum(terms, axis=axis, keepdims=True, dtype=terms.dtype)
    return terms


def _shifted(xp: Any, x: Array, m: Array) -> Array:
    return xp.astype(x, dtype_of(xp, working_name(dtype_name(x.dtype))), copy=False) - m


def _result_dtype(xp: Any, x: Array) -> Any:
    return dtype_of(xp, result_name(dtype_name(x.dtype)))
