"""Block kernels for any array-API library: no compilation, temporaries of a panel.

``of_block`` cuts a block into panels that stay in cache, takes the state of each and merges: the
parallel form of the online softmax (arXiv:1805.02867, section 3.1) within one block.  This also
bounds what a sum can lose: within a panel it is pairwise, between panels it is compensated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from array_api_compat import device

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for, is_complex
from .._algebra.moments import Moments
from .._algebra.moments import identity as moments_of_nothing
from .._algebra.moments import merge as merge_moments
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import (
    State,
    identity,
    log_d,
    log_d_of_positive,
    merge,
    quiet,
    sign,
)
from .._algebra.normalizer import log_sum as log_sum  # that of any library
from .._algebra.states import concatenated
from .._algebra.sums import Sums
from .._algebra.sums import merge as merge_sums
from .complex_sums import of_complex_panel
from .layout import joint_name
from .pairwise import summed

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
        return _output(xp, x, xp.exp(shifted) / xp.astype(d, shifted.dtype), where, 0.0)


def log_rescale(x: Array, m: Array, logarithm: Array, where: Array | None = None) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``.

    Not x - (m + log d): rounding the log-sum-exp to the size of x loses the digits of x - m.
    """
    xp = array_namespace(x)
    with quiet():
        shifted = _shifted(xp, x, m)
        return _output(xp, x, shifted - xp.astype(logarithm, shifted.dtype), where, -float("inf"))


def softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The softmax of a block that holds its slices whole."""
    if not 0 < math.prod(x.shape) <= PANEL:
        state = of_block(x, axes, where=where)
        return rescale(x, state.m, state.d, where)
    xp = array_namespace(x)
    with quiet():  # of one panel, whose exponentials serve for the sum and for the result
        parts = _parts(xp, axes, x, where, dtype_name(x.dtype))
        m, w, s = _state(xp, axes, parts)
        d = w + s + (m - m)  # NaN where m is infinite, as in `rescale`
        return _output(xp, x, parts.e / xp.astype(d, parts.e.dtype, copy=False), where, 0.0)


def log_softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    if not 0 < math.prod(x.shape) <= PANEL:
        state = of_block(x, axes, where=where)
        return log_rescale(x, state.m, log_d(state), where)
    xp = array_namespace(x)
    with quiet():
        parts = _parts(xp, axes, x, where, dtype_name(x.dtype))
        logarithm = log_d_of_positive(_state(xp, axes, parts))
        y = parts.below - xp.astype(logarithm, parts.below.dtype, copy=False)
        return _output(xp, x, y, where, -float("inf"))


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
    x = xp.astype(x, dtype_of(xp, dtypes_for(name).working), copy=False)
    b = where if b is None else b  # complex numbers take a mask as weights of 1 and 0
    if b is not None:
        weights = xp.astype(b, dtype_of(xp, dtypes_for(name).accumulator), copy=False)
        x, b = _absorb_special_weights(xp, x, weights)
    if is_complex(name):
        return of_complex_panel(xp, x, axes, b)
    m, _, top, _, rest = _parts(xp, axes, x, None, name)
    assert b is not None
    # Weights at +inf count as infinite, so that both signs of them give inf - inf.
    weights = xp.where(m == float("inf"), b * float("inf"), b)
    return State(m, summed(xp, xp.where(top, weights, 0.0), axes), summed(xp, rest * b, axes))


def _moments_of_panel(xp: Any, axes: Axes, x: Array, where: Array | None) -> Moments:
    parts = _parts(xp, axes, x, where, dtype_name(x.dtype))
    rest = parts.rest
    below = xp.astype(parts.below, rest.dtype, copy=False)
    t = xp.where(rest == 0, 0.0, below) * rest  # below may be -inf; so gradients are 0 there, too
    q = rest * rest
    return Moments(*_state(xp, axes, parts), *(summed(xp, terms, axes) for terms in (t, q)))


def _sums_of_panel(xp: Any, axes: Axes, x: Array, where: Array | None, *values: Array) -> Sums:
    parts = _parts(xp, axes, x, where, joint_name(x, *values))
    # Not 1 at a maximum of -inf: there large values would be a sum that overflows, times 0.
    at_top = xp.astype(parts.m > -float("inf"), parts.rest.dtype)
    terms = xp.where(parts.top, at_top, parts.rest)

    def product(v: Array) -> Array:
        v = xp.astype(v, terms.dtype, copy=False)
        return terms * (v if where is None else xp.where(where, v, 0.0))

    return Sums(*_state(xp, axes, parts), tuple(summed(xp, product(v), axes) for v in values))


class _Parts(NamedTuple):
    """Of a panel: m, x - m, which elements equal m and count, exp(x - m), and that of the rest.

    The last one is in the dtype of sums, and belongs to its first sum: see `summed`.
    """

    m: Array
    below: Array
    top: Array
    e: Array
    rest: Array


def _parts(xp: Any, axes: Axes, x: Array, where: Array | None, name: str) -> _Parts:
    # To float before anything is subtracted: 0 - 1 is 255 in uint8.
    x = xp.astype(x, dtype_of(xp, dtypes_for(name).working), copy=False)
    if where is not None:
        x = xp.where(where, x, -float("inf"))
    m = xp.max(x, axis=axes, keepdims=True) if axes else x
    top = x == m
    below = x - m
    e = xp.exp(below)
    accumulator = dtype_of(xp, dtypes_for(name).accumulator)
    rest = xp.astype(xp.where(top, 0.0, e), accumulator, copy=False)
    return _Parts(m, below, top if where is None else top & where, e, rest)


def _state(xp: Any, axes: Axes, parts: _Parts) -> State:
    m, _, top, _, rest = parts
    w = xp.count_nonzero(top, axis=axes, keepdims=True) if axes else top
    return State(m, xp.astype(w, rest.dtype), summed(xp, rest, axes))


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


def _shifted(xp: Any, x: Array, m: Array) -> Array:
    return xp.astype(x, dtype_of(xp, dtypes_for(x.dtype).working), copy=False) - m


def _output(xp: Any, x: Array, y: Array, where: Array | None, out: float) -> Array:
    """y in the dtype of results of x, and ``out`` where an element takes no part."""
    y = y if where is None else xp.where(where, y, out)
    return xp.astype(y, dtype_of(xp, dtypes_for(x.dtype).result), copy=False)
