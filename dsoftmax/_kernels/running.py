"""Running log-sum-exps of a block, from what came before it: for any array-API library.

For y_i = log(sum of exp(x_j) over j <= i) every element needs the state of its own prefix.  These
are combined as the parallel prefix sums of Blelloch (1990, "Prefix sums and their applications"):
within runs of `RUN` elements by doubling, then their totals by the same rule, and each run goes on
from the total of those before it.  The operator is that of the online softmax (arXiv:1805.02867,
section 3.1) with compensation, so that sums of any length lose about one rounding.

Sums are scaled by exp(-reference), where the reference follows the running maximum in steps of 1: a
maximum that creeps up would else cost a rounding at each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import common_namespace, quiet
from .._algebra.prefix import Prefix, factor, two_sum
from .blocks import masked_like, plain
from .choose import kernels_for
from .cpu import block as on_cpu
from .cpu import running as compiled_running
from .cpu.compiler import CannotCompileError
from .cuda import running as on_cuda

Array = Any

RUN = 16
PANEL = 1 << 14  # elements whose states are in memory at a time
_FAR = 2.0**20  # references that have risen so far are the maxima themselves
_LOG_2_HIGH, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


def cumulative_logsumexp(
    x: Array, before: Prefix | None, axis: int, reverse: bool, include_initial: bool
) -> Array:
    """The running log-sum-exps of a block along an axis, in the dtype of results.

    ``before`` is the state of all that comes first, None at the beginning, where
    ``include_initial`` adds the -inf of the empty sum. Masked entries take no part, and stay
    masked.
    """
    data = plain(x)
    if before is not None:
        common_namespace(data, before.m)
    xp = array_namespace(data)
    y = masked_like(x, _running(data, before, axis, reverse))
    if not include_initial or before is not None:
        return y
    shape = tuple(1 if i == axis else n for i, n in enumerate(y.shape))
    initial = xp.full(shape, -float("inf"), dtype=y.dtype, device=device(data))
    concat = np.ma.concatenate if isinstance(y, np.ma.MaskedArray) else xp.concat
    return concat([y, initial] if reverse else [initial, y], axis=axis)


def _running(x: Array, before: Prefix | None, axis: int, reverse: bool) -> Array:
    if kernels_for(x) is on_cpu and (before is None or compiled_running.takes(before)):
        try:
            return compiled_running.of_block(x, before, axis, reverse)
        except CannotCompileError:
            pass
    if on_cuda.supports(x):
        y = on_cuda.of_block(x, before, axis, reverse)
        if y is not None:
            return y
    return of_block(x, before, axis, reverse)


def of_block(x: Array, before: Prefix | None, axis: int, reverse: bool) -> Array:
    """The same of a block of any array library without masks, with no initial value."""
    xp = array_namespace(x)
    name = dtype_name(x.dtype)
    result = dtype_of(xp, dtypes_for(name).result)
    x = xp.moveaxis(x, axis, -1)
    x = xp.flip(x, axis=-1) if reverse else x
    before = before and Prefix(*(xp.moveaxis(field, axis, -1) for field in before))
    length = x.shape[-1]
    step = max(RUN, PANEL // max(1, math.prod(x.shape[:-1])))
    panels = []
    accumulator = dtype_of(xp, dtypes_for(name).accumulator)
    with quiet():
        for start in range(0, length, step):
            panel = xp.astype(x[..., start : min(start + step, length)], accumulator, copy=False)
            y, before = _of_panel(xp, panel, before)
            panels.append(xp.astype(y, result, copy=False))
    y = xp.concat(panels, axis=-1) if panels else xp.astype(x, result, copy=True)
    return xp.moveaxis(xp.flip(y, axis=-1) if reverse else y, -1, axis)


def _of_panel(xp: Any, x: Array, before: Prefix | None) -> tuple[Array, Prefix]:
    """The running sums of a panel along its last axis, and the prefix that ends with it."""
    (m,) = _scan(xp, (x,), _MAXIMA)
    if before is not None:
        m = xp.maximum(m, xp.astype(before.m, m.dtype, copy=False))
    first = m[..., :1] if before is None else xp.astype(before.m, m.dtype, copy=False)
    rise = m - first
    reference = xp.where(rise < _FAR, first + xp.floor(rise), m)  # not so if that is NaN
    # -inf adds nothing, and nothing is more than +inf; NaN stays, in m and so here.
    infinite = xp.abs(reference) == float("inf")
    terms = xp.where(infinite, 0.0, xp.exp(x - reference))
    parts = (terms, xp.zeros_like(terms), reference)
    if before is not None:
        scale = factor(xp, before.m, reference[..., :1], m.dtype)
        d = xp.where(infinite[..., :1], 0.0, before.d * scale)
        lost = xp.where(infinite[..., :1], 0.0, before.lost * scale)
        start, error = two_sum(d, terms[..., :1])
        parts = tuple(
            xp.concat([a, part[..., 1:]], axis=-1)
            for a, part in zip((start, lost + error, reference[..., :1]), parts, strict=True)
        )
    d, lost, reference = _scan(xp, parts, _SUMS)
    d, lost = two_sum(d, lost)
    y = xp.where(infinite, reference, _add_log(xp, reference, d, lost))
    return y, Prefix(*(part[..., -1:] for part in (reference, d, lost)))


def _add_log(xp: Any, m: Array, d: Array, lost: Array) -> Array:
    """m + log(d + lost), rounded once at the size of the result: m and the logarithm may cancel."""
    k = xp.floor(xp.log2(d) + 0.5)
    fraction = xp.log(d / xp.pow(xp.full_like(k, 2.0), k))
    value, error = two_sum(m, k * _LOG_2_HIGH)
    value, more = two_sum(value, fraction)
    y = value + (error + more + (k * _LOG_2_LOW + lost / d))
    # Only a state that weights have made may have such sums; of negative ones y is NaN.
    return xp.where((d == 0) | (d == float("inf")), xp.log(d), y)


Parts = tuple[Array, ...]


class _Operator(NamedTuple):
    """What combines two states, and the state that changes nothing where it comes before one."""

    combine: Callable[[Any, Parts, Parts], Parts]
    nothing: Callable[[Any, Parts], Parts]


def _scan(xp: Any, parts: Parts, operator: _Operator) -> Parts:
    """What an operator makes of each element and all before it, along the last axis.

    All that is computed has one shape for each level of the recursion: JAX compiles for each shape.
    """
    n = parts[0].shape[-1]
    if n <= RUN:
        step = 1
        while step < n:
            first = operator.nothing(xp, tuple(a[..., :step] for a in parts))
            earlier = _joined(xp, first, tuple(a[..., : n - step] for a in parts))
            parts = operator.combine(xp, earlier, parts)
            step *= 2
        return parts
    runs, kept = math.ceil(n / RUN), parts[0].shape[:-1]
    if missing := runs * RUN - n:
        last = tuple(xp.broadcast_to(a[..., n - 1 :], (*kept, missing)) for a in parts)
        parts = _joined(xp, parts, last)  # which do not get into what comes before
    whole = _scan(xp, tuple(xp.reshape(a, (*kept, runs, RUN)) for a in parts), operator)
    totals = _scan(xp, tuple(a[..., -1] for a in whole), operator)
    first = operator.nothing(xp, tuple(a[..., :1, 0] for a in whole))
    earlier = _joined(xp, first, tuple(a[..., : runs - 1] for a in totals))
    whole = operator.combine(xp, tuple(a[..., None] for a in earlier), whole)
    return tuple(xp.reshape(a, (*kept, runs * RUN))[..., :n] for a in whole)


def _joined(xp: Any, first: Parts, second: Parts) -> Parts:
    return tuple(xp.concat([a, b], axis=-1) for a, b in zip(first, second, strict=True))


def _larger(xp: Any, earlier: Parts, later: Parts) -> Parts:
    return (xp.maximum(earlier[0], later[0]),)


def _the_same(xp: Any, parts: Parts) -> Parts:
    return parts


def _sum(xp: Any, earlier: Parts, later: Parts) -> Parts:
    (d, lost, reference), (term, term_lost, new) = earlier, later
    scale = factor(xp, reference, new, d.dtype)
    total, error = two_sum(term, d * scale)
    return total, term_lost + (lost * scale + error), new


def _no_sum(xp: Any, parts: Parts) -> Parts:
    d, lost, reference = parts
    return xp.zeros_like(d), xp.zeros_like(lost), reference


_MAXIMA, _SUMS = _Operator(_larger, _the_same), _Operator(_sum, _no_sum)
