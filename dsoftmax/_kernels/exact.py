"""Exact sums of one block: the same bits whatever blocks an array is cut into.

Compiled kernels alone are used, for small arrays too, which wait for the compiler here: NumPy's
exponentials and logarithms differ from theirs by an ulp.  CUDA's, for CuPy blocks, give the same
bits as those of the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for, type_name
from .._algebra.exact import KINDS, SLICE_BYTES, Exact, OnDevice, identity
from .._algebra.exact import as_dtype as as_dtype_on_host
from .._algebra.exact import merge as merge_on_host
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import common_namespace, quiet
from .._algebra.states import concatenated, mapped
from .blocks import Terms, is_masked_alone, laid_out, masked_like, unmasked_terms
from .cpu import block as on_cpu
from .cpu import exact as exact_on_cpu
from .cpu.compiler import CannotCompileError
from .cpu.exact import Finished
from .cuda import exact as exact_on_cuda
from .in_memory import waiting

__all__ = [
    "KINDS",
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

# The slices whose states are in memory at once, where a block holds them whole.
_TOGETHER, _TOGETHER_ON_DEVICE = 1 << 14, 1 << 20


def unsupported(x: Array) -> str | None:
    """Why there are no exact sums of an array, or of blocks like it, as a clause; else None."""
    on_device = exact_on_cuda.takes(x)
    if not on_device and not isinstance(x, (np.ndarray, np.generic)):
        return (
            f"is of type {type_name(x)}, and exact sums are for NumPy arrays, and for CuPy's on "
            "devices that run CUDA kernels"
        )
    name = dtype_name(x.dtype)
    if not (exact_on_cuda.knows(name) if on_device else name in on_cpu.NAMES):
        return f"has dtype {name}, and exact sums are for real numbers up to float64"
    return None


def of_block(x: Array | Terms, axes: Axes) -> Exact | OnDevice:
    """The exact states of a block over ``axes``, which stay with length 1.

    Raises
    ------
    TypeError
        If the block is not what its Dask array says, and has no exact sums.
    RuntimeError
        If there is no compiler, or the processor has no fused multiply-adds.
    """
    state = _of_terms(laid_out(x), axes)
    if is_masked_alone(x) and (state.m == -np.inf).any():  # -inf in the place of all of a slice?
        return _of_terms(unmasked_terms(x), axes)
    return state


def _of_terms(terms: Terms, axes: Axes) -> Exact | OnDevice:
    x, _, where, _ = terms
    if reason := unsupported(x):
        raise TypeError(f"a block {reason}; convert the blocks first, or use exact=False")
    on_device = exact_on_cuda.takes(x)
    if x.size == 0:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        nothing = identity(kept, dtype_name(x.dtype))
        return exact_on_cuda.on_device(nothing, x) if on_device else nothing
    if on_device:
        return exact_on_cuda.of_block(x, axes, where)
    try:
        if not exact_on_cpu.can_fuse():
            raise RuntimeError(
                "exact sums need fused multiply-adds, which this processor lacks (x86 has "
                "them since 2013, with AVX2); use exact=False"
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


def merge(*states: Exact | OnDevice) -> Exact | OnDevice:
    """The state of the union of the slices, on a device if one of the states is."""
    like = next((state.m for state in states if isinstance(state, OnDevice)), None)
    if like is None:
        return merge_on_host(*(state for state in states if isinstance(state, Exact)))
    wide = max((state.m.dtype for state in states), key=lambda dtype: dtype.itemsize)
    there = (as_dtype(state, dtype_name(wide)) for state in states)
    return exact_on_cuda.merge(*(_on_device(state, like) for state in there))


def as_dtype(state: Exact | OnDevice, dtype_name: str) -> Exact | OnDevice:
    """The states as they are for inputs of dtype ``dtype_name``."""
    if isinstance(state, Exact):
        return as_dtype_on_host(state, dtype_name)
    m = state.m.astype(dtype_of(np, dtypes_for(dtype_name).working), copy=False)
    return state._replace(m=m)


def _on_device(state: Exact | OnDevice, like: Array) -> OnDevice:
    return exact_on_cuda.on_device(state, like) if isinstance(state, Exact) else state


def finish(state: Exact | OnDevice | Finished) -> Finished:
    """The numbers that states stand for."""
    if isinstance(state, OnDevice):
        return Finished(*exact_on_cuda.finish(state))
    if not isinstance(state, Exact):
        return state
    with waiting():
        return exact_on_cpu.finish(state)


def log_sum(state: Exact | OnDevice | Finished) -> Array:
    """log(sum exp(x)) in float64."""
    return finish(state).log_sum


def sign(state: Exact | OnDevice | Finished) -> Array:
    """That of the sum: 1, or 0 of nothing."""
    xp = array_namespace(state.m)
    m = xp.astype(state.m, xp.float64)
    return xp.where(xp.isnan(m), m, xp.where(m == -float("inf"), 0.0, 1.0))


def rescale(x: Array | Terms, state: Exact | OnDevice | Finished) -> Array:
    """exp(x - m) / d; masked entries stay masked. NaN in slices of nothing, without a mask."""
    data, _, where, _ = laid_out(x)
    state = _beside(finish(state), data)
    m, d = state.m, state.d
    if exact_on_cuda.takes(data):
        return _applied(exact_on_cuda.rescale, data, m, d, where)
    if where is None and (nothing := d == 0).any():
        # Else all slices of the block would go to NumPy's exponentials.
        m, d = np.where(nothing, m.dtype.type(np.nan), m), np.where(nothing, 1.0, d)
    return masked_like(x, _applied(on_cpu.rescale, data, m, d, where))


def log_rescale(x: Array | Terms, state: Exact | OnDevice | Finished) -> Array:
    """(x - m) - log d; masked entries stay masked. NaN as in `rescale`."""
    data, _, where, _ = laid_out(x)
    state = _beside(finish(state), data)
    kernels, m = exact_on_cuda if exact_on_cuda.takes(data) else on_cpu, state.m
    if where is None:
        m = array_namespace(m).where(state.log_d == -float("inf"), float("nan"), m)
    return masked_like(x, _applied(kernels.log_rescale, data, m, state.log_d, where))


def _beside(state: Finished, x: Array) -> Finished:
    """The numbers where x is: on its device, to which those of NumPy's memory go."""
    if exact_on_cuda.takes(x) and isinstance(state.m, np.ndarray):
        return mapped(lambda a: exact_on_cuda.copied(a, x), state)
    common_namespace(x, state.m)
    return state


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
    together = _TOGETHER_ON_DEVICE if exact_on_cuda.takes(terms.x) else _TOGETHER
    if slices <= together or terms.x.size == 0:
        return finish(of_block(x, axes))
    step = max(1, together * shape[axis] // slices)
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
        return array_namespace(x).empty(x.shape, dtype=result)
    with waiting():
        if m.dtype == dtypes_for(name).working == working.name:
            return function(_supported(x), m, number, where)
        y = function(_supported(x.astype(working)), m.astype(working), number, where)
    with quiet():  # a logarithm may exceed the largest float16
        return y.astype(result, copy=False)


def _supported(x: Array) -> Array:
    """The block as the kernels take it: those of the CPU know no odd strides."""
    odd = isinstance(x, np.ndarray) and not on_cpu.supports(x)
    return np.ascontiguousarray(x) if odd else x
