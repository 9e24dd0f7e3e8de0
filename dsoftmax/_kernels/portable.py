"""Block kernels for any array-API library: no compilation, temporaries of a panel.

``of_block`` cuts a block into panels that stay in cache, takes the state of each and merges: the
parallel form of the online softmax (arXiv:1805.02867, section 3.1) within one block.  This also
bounds what a sum can lose: within a panel it is pairwise, between panels it is compensated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from array_api_compat import array_namespace, device, is_numpy_array

from .._algebra.dtypes import (
    accumulator_name,
    dtype_name,
    dtype_of,
    is_complex,
    promoted_name,
    result_name,
    working_name,
)
from .._algebra.normalizer import State, add, identity, log_d, merge, quiet, sign
from .._algebra.normalizer import log_sum as log_sum  # that of any library

Array = Any
Axes = tuple[int, ...]

PANEL = 1 << 16


def of_block(x: Array, axes: Axes, b: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x.
    """
    xp = array_namespace(x)
    size = math.prod(x.shape)
    if size == 0:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return identity(xp, kept, _joint_name(x, b), device=device(x))
    if size <= PANEL:
        with quiet():
            return _of_panel(xp, x, axes, b)
    axis = max(range(x.ndim), key=lambda i: x.shape[i])
    states = [
        of_block(x[panel], axes, None if b is None else b[panel])
        for panel in _panels(x.shape, axis, math.ceil(size / PANEL))
    ]
    if axis in axes:
        return merge(*states)
    return State(*(xp.concat(parts, axis=axis) for parts in zip(*states, strict=True)))


def rescale(x: Array, m: Array, d: Array) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d)."""
    xp = array_namespace(x)
    with quiet():
        shifted = _shifted(xp, x, m)
        # A maximum of +inf has no softmax: inf - inf, in the whole slice, as in SciPy.
        d = xp.where(m == float("inf"), float("nan"), d)
        y = xp.exp(shifted) / xp.astype(d, shifted.dtype)
        return xp.astype(y, _result_dtype(xp, x), copy=False)


def log_rescale(x: Array, m: Array, logarithm: Array) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``.

    Not x - (m + log d): rounding the log-sum-exp to the size of x loses the digits of x - m.
    """
    xp = array_namespace(x)
    with quiet():
        shifted = _shifted(xp, x, m)
        y = shifted - xp.astype(logarithm, shifted.dtype)
        return xp.astype(y, _result_dtype(xp, x), copy=False)


def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    state = of_block(x, axes)
    return rescale(x, state.m, state.d)


def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    state = of_block(x, axes)
    return log_rescale(x, state.m, log_d(state))


def _panels(shape: tuple[int, ...], axis: int, pieces: int) -> Iterator[tuple[Any, ...]]:
    step = math.ceil(shape[axis] / min(pieces, shape[axis]))
    for start in range(0, shape[axis], step):
        panel = slice(start, min(start + step, shape[axis]))
        yield (*(slice(None),) * axis, panel, ...)


def _of_panel(xp: Any, x: Array, axes: Axes, b: Array | None) -> State:
    name = _joint_name(x, b)
    accumulator = dtype_of(xp, accumulator_name(name))
    # To float before anything is subtracted: 0 - 1 is 255 in uint8.
    x = xp.astype(x, dtype_of(xp, working_name(name)), copy=False)
    if b is not None:
        x, b = _absorb_special_weights(xp, x, xp.astype(b, accumulator, copy=False))
    if is_complex(x.dtype):
        return _of_complex_panel(xp, x, axes, b)
    m = xp.max(x, axis=axes, keepdims=True) if axes else x
    at_max = x == m
    rest = xp.astype(xp.where(at_max, 0.0, xp.exp(x - m)), accumulator, copy=False)
    if b is None:
        w = xp.count_nonzero(at_max, axis=axes, keepdims=True) if axes else at_max
        return State(m, xp.astype(w, accumulator), _sum(xp, rest, axes))
    # Weights at +inf count as infinite, so that both signs of them give inf - inf.
    top = xp.where(m == float("inf"), b * float("inf"), b)
    return State(m, _sum(xp, xp.where(at_max, top, 0.0), axes), _sum(xp, rest * b, axes))


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


def _joint_name(x: Array, b: Array | None) -> str:
    return promoted_name(*(dtype_name(a.dtype) for a in (x, b) if a is not None))


def _result_dtype(xp: Any, x: Array) -> Any:
    return dtype_of(xp, result_name(dtype_name(x.dtype)))
