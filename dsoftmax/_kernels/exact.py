"""Exact sums of one block: the same bits whatever blocks an array is cut into.

Compiled kernels alone are used, for small arrays too, which wait for the compiler here: NumPy's
exponentials and logarithms differ from theirs by an ulp.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for, type_name
from .._algebra.exact import SLICE_BYTES, Exact, as_dtype, identity, merge
from .._algebra.normalizer import quiet
from .._algebra.states import concatenated
from .blocks import Terms, laid_out, masked_like
from .cpu import block as on_cpu
from .cpu import exact as exact_on_cpu
from .cpu.compiler import CannotCompileError
from .cpu.exact import Finished
from .in_memory import waiting

__all__ = [
    "SLICE_BYTES",
    "Exact",
    "Finished",
    "as_dtype",
    "finish",
    "identity",
    "log_rescale",
    "log_softmax",
    "log_sum",
    "logsumexp",
    "merge",
    "of_block",
    "rescale",
    "sign",
    "softmax",
    "unsupported",
]

Array = Any
Axes = tuple[int, ...]

_TOGETHER = 1 << 14  # the slices whose states are in memory at once, where a block holds them whole


def unsupported(x: Array) -> str | None:
    """Why there are no exact sums of an array, or of blocks like it, as a clause; else None."""
    if not isinstance(x, (np.ndarray, np.generic)):
        return f"is a {type_name(x)}, and exact sums are for NumPy arrays"
    name = dtype_name(x.dtype)
    if name not in on_cpu.NAMES:
        return f"has dtype {name}, and exact sums are for real numbers up to float64"
    return None


def of_block(x: Array | Terms, axes: Axes) -> Exact:
    """The exact states of a block over ``axes``, which stay with length 1.

    Raises
    ------
    TypeError
        If the block is not what its Dask array says, and has no exact sums.
    RuntimeError
        If there is no compiler, or the processor has no fused multiply-adds.
    """
    x, _, where, _ = laid_out(x)
    if reason := unsupported(x):
        raise TypeError(f"a block {reason}; convert the blocks first, or use exact=False")
    if x.size == 0:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return identity(kept, dtype_name(x.dtype))
    try:
        if not exact_on_cpu.can_fuse():
            raise RuntimeError(
                "exact sums need fused multiply-adds, which this processor has not (x86 has them "
                "since 2013, with AVX2); use exact=False"
            )
        with waiting():
            state = exact_on_cpu.of_block(_supported(x), axes, where)
    except CannotCompileError as error:
        raise RuntimeError(
            "exact sums need compiled kernels, and these cannot be made on this machine; install "
            "a numba that supports this Python, or use exact=False"
        ) from error.__cause__
    state.records["m"] += 0.0  # of 0 and -0 either may be found
    return state


def finish(state: Exact | Finished) -> Finished:
    """The numbers that states stand for."""
    if not isinstance(state, Exact):
        return state
    with waiting():
        return exact_on_cpu.finish(state)


def log_sum(state: Exact | Finished) -> Array:
    """log(sum exp(x)) in float64."""
    return finish(state).log_sum


def sign(state: Exact | Finished) -> Array:
    """That of the sum: 1, or 0 of nothing."""
    return np.where(np.isnan(state.m), np.nan, np.where(state.m == -np.inf, 0.0, 1.0))


def rescale(x: Array | Terms, state: Exact | Finished) -> Array:
    """exp(x - m) / d; masked entries stay masked. NaN in slices of nothing, without a mask."""
    data, _, where, _ = laid_out(x)
    state = finish(state)
    m, d = state.m, state.d
    if where is None and (nothing := d == 0).any():
        # Else all slices of the block would go to NumPy's exponentials.
        m, d = np.where(nothing, m.dtype.type(np.nan), m), np.where(nothing, 1.0, d)
    return masked_like(x, _applied(on_cpu.rescale, data, m, d, where))


def log_rescale(x: Array | Terms, state: Exact | Finished) -> Array:
    """(x - m) - log d; masked entries stay masked."""
    data, _, where, _ = laid_out(x)
    state = finish(state)
    return masked_like(x, _applied(on_cpu.log_rescale, data, state.m, state.log_d, where))


def softmax(x: Array | Terms, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    return rescale(x, _finished(x, axes))


def log_softmax(x: Array | Terms, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    return log_rescale(x, _finished(x, axes))


def logsumexp(x: Array | Terms, axes: Axes) -> Array:
    """The log-sum-exp, in float64, of a block that holds its slices whole."""
    return _finished(x, axes).log_sum


def _finished(x: Array | Terms, axes: Axes) -> Finished:
    """The numbers of a block, whose states are made a part at a time: they are large."""
    terms = laid_out(x)
    shape = terms.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    axis = max(kept, key=lambda i: shape[i], default=0)
    slices = math.prod(shape[i] for i in kept)
    if slices <= _TOGETHER or terms.x.size == 0:
        return finish(of_block(x, axes))
    step = max(1, _TOGETHER * shape[axis] // slices)
    parts = []
    for start in range(0, shape[axis], step):
        panel = (*(slice(None),) * axis, slice(start, start + step), ...)
        parts.append(finish(of_block(terms.of(a[panel] for a in terms.arrays), axes)))
    return concatenated(parts, axis)


def _applied(function: Any, x: Array, m: Array, number: Array, where: Array | None) -> Array:
    """A compiled kernel for the elements of a block, in the dtype of m or of x if that is wider."""
    name = dtype_name(x.dtype)
    working = np.result_type(m.dtype, dtypes_for(name).working)
    result = dtype_of(np, dtypes_for(name).result)
    if x.size == 0:
        return np.empty(x.shape, result)
    with waiting():
        if m.dtype == dtypes_for(name).working == working.name:
            return function(_supported(x), m, number, where)
        y = function(x.astype(working), m.astype(working), number, where)
    with quiet():  # a logarithm may exceed the largest float16
        return y.astype(result, copy=False)


def _supported(x: Array) -> Array:
    """The block as the kernels take it: they know no odd strides."""
    return x if on_cpu.supports(x) else np.ascontiguousarray(x)
