"""softmax(x) @ v of blocks: exponentials times a matrix, merged as the normalizer is.

The state of a part of each row is `Attended`: the normalizer (m, w, s) of the part, and

    o = sum of exp(x - m) v

over its elements, those at the maximum included, so that ``o / d`` is the softmax of the part times
v.  Merged to a common maximum, o is scaled as d is (arXiv:2112.05682, section 3; arXiv:2205.14135,
section 3.1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for, promoted_name
from .._algebra.moments import is_empty
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import State, common_namespace, compensated_sum, quiet
from .._algebra.normalizer import merge as merge_normalizers
from .blocks import Terms, plain, unmasked_terms
from .choose import kernels_for
from .cpu import attention_calls
from .cpu import block as on_cpu
from .cpu.compiler import CannotCompileError

Array = Any

# So many products are summed in the dtype of the blocks by BLAS, 128 or 64 of them by the compiled
# kernel; beyond that in the accumulator's.
PANEL = 1 << 13


class Factors(NamedTuple):
    """A block of x, (..., q, k) or (k,), and one of v, (..., k, n) or (k,), of the same k.

    x comes with a mask, or alone.
    """

    x: Array | Terms
    v: Array


class Attended(NamedTuple):
    """The normalizers of parts of rows, (..., q, 1, 1), and their o, (..., q, 1, n)."""

    normalizer: State
    o: Array


def of_block(factors: Factors, axes: tuple[int, ...]) -> Attended:
    """The state of a block; ``axes``, with length 1 in it, are the same for all blocks."""
    x, _, where, _ = unmasked_terms(factors.x)
    v = plain(factors.v, fill=0)
    xp = common_namespace(x, v)
    name = promoted_name(dtype_name(x.dtype), dtype_name(v.dtype))
    working, accumulator = (
        dtype_of(xp, dtypes_for(name).working),
        dtype_of(xp, dtypes_for(name).accumulator),
    )
    if x.ndim == 1:
        x, where = x[None, :], None if where is None else where[None, :]
    x = xp.astype(x, working, copy=False)
    v = xp.astype(v if v.ndim > 1 else v[:, None], working, copy=False)
    kernels = kernels_for(x)
    masked = {} if where is None else {"where": where}
    m, w, s = kernels.of_block(x, (x.ndim - 1,), **masked)
    # A row of nothing but -inf is all zeros beside others, and not the NaN of -inf - -inf.
    shift = xp.where(m == -float("inf"), 0.0, m)
    o = _on_the_cpu(x, shift, v, where) if kernels is on_cpu else None
    if o is None:
        o = _by_panels(x, shift, v, masked, accumulator)
    o = o[..., None, :]
    shape = (*o.shape[:-1], 1)
    normalizer = [a[..., None] for a in (m, w, s)]
    if normalizer[0].shape != shape:
        normalizer = [xp.broadcast_to(a, shape) for a in normalizer]
    return Attended(State(*normalizer), o)


def _on_the_cpu(x: Array, shift: Array, v: Array, where: Array | None) -> Array | None:
    """exp(x - shift) @ v by a compiled kernel; None if there is none for these."""
    if not attention_calls.supports(x, v):
        return None
    if where is not None:
        if not np.isfinite(v).all():  # of which 0 times an infinity would be NaN
            return None
        x = np.where(where, x, x.dtype.type(-np.inf))
    try:
        return attention_calls.products(x, shift, v)
    except CannotCompileError:
        return None


def _by_panels(
    x: Array, shift: Array, v: Array, masked: dict[str, Array], accumulator: Any
) -> Array:
    """The same by the library's product of matrices, whose sums are not to be too long."""
    xp, length, kernels = common_namespace(x, v), x.shape[-1], kernels_for(x)
    products, one = [], xp.ones_like(shift)
    with quiet():
        for start in range(0, max(length, 1), PANEL):
            panel = slice(start, min(start + PANEL, length))
            part = {name: mask[..., panel] for name, mask in masked.items()}
            y = kernels.rescale(x[..., panel], shift, one, **part)
            product = _product(xp, y, v[..., panel, :], **part)
            products.append(xp.astype(product, accumulator, copy=False))
        return compensated_sum(xp, products)


def _product(xp: Any, y: Array, v: Array, where: Array | None = None) -> Array:
    """y @ v without the terms that are out, which are not 0 beside infinities and NaN in v."""
    if where is None or bool(xp.all(finite := xp.isfinite(v))):
        return xp.matmul(y, v)
    total, inf, nan = xp.matmul(y, xp.where(finite, v, 0.0)), float("inf"), float("nan")
    some, none = y > 0, where & ~(y > 0)
    for terms, values, value in (
        (some, v == inf, inf),
        (some, v == -inf, -inf),
        (some, xp.isnan(v), nan),
        (none, ~finite, nan),
    ):
        count = xp.matmul(*(xp.astype(a, y.dtype) for a in (terms, values)))
        total = xp.where(count > 0, total + value, total)
    return total


def merge(*parts: Attended) -> Attended:
    """The state of the parts together, each scaled once to the common maximum."""
    first, *rest = parts
    if not rest:
        return first
    normalizer = merge_normalizers(*(part.normalizer for part in parts))
    xp = array_namespace(normalizer.m)
    with quiet():
        o = compensated_sum(xp, (_scaled(xp, part, normalizer.m) for part in parts))
    return Attended(normalizer, o)


def _scaled(xp: Any, part: Attended, m: Array) -> Array:
    own = xp.astype(part.normalizer.m, part.o.dtype)
    return part.o * xp.where(part.normalizer.m == m, 1.0, xp.exp(own - xp.astype(m, own.dtype)))


def mean(state: Attended) -> Array:
    """o / d; NaN where the softmax is NaN, since m is infinite, and 0 of nothing."""
    (m, _, _), xp = state.normalizer, array_namespace(state.o)
    with quiet():
        value = state.o / xp.where(xp.abs(m) == float("inf"), float("nan"), state.normalizer.d)
        return xp.where(is_empty(state.normalizer), 0.0, value)
