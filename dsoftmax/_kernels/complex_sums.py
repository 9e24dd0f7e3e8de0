"""The state of a panel of complex numbers, for any array-API library."""

from __future__ import annotations

from typing import Any

from array_api_compat import is_numpy_array

from .._algebra.dtypes import dtype_of, dtypes_for
from .._algebra.normalizer import State, add
from .pairwise import summed

Array = Any
Axes = tuple[int, ...]


def of_complex_panel(xp: Any, x: Array, axes: Axes, b: Array | None) -> State:
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
    accumulator = dtype_of(xp, dtypes_for(top.dtype).accumulator)
    terms = (xp.astype(a, accumulator, copy=False) for a in (xp.where(at_max, top, 0.0), rest))
    return State(m, *(summed(xp, a, axes) for a in terms))


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
