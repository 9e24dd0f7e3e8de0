"""CUDA block kernels for CuPy: one reading of a block for its state, one for its result.

A block of any layout is described to a kernel as loops (`plan`), and never copied or moved.
Where there are too few slices for all of the device, each is taken in parts, whose states a second
kernel merges.  Nothing waits for the device.
"""

from __future__ import annotations

from typing import Any

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.moments import Moments
from ..._algebra.normalizer import State, log_d, log_sum
from ..._algebra.sums import Sums
from .. import portable
from ..layout import fits, from_block, joint_name, reduced_axes, reduced_in, to_block
from ..modes import APPLY, LOGARITHM, REDUCE
from . import columns, contiguous, device, finish
from .call import empty_like, plan_of, run
from .merging import empty_states, merged
from .plan import Plan
from .source import (
    CONTIGUOUS,
    ELEMENTS,
    MASKED,
    STRIDED,
    WEIGHTED,
    Kernel,
    Kind,
    slices_kernel,
)

Array = Any
Axes = tuple[int, ...]


def supports(x: Any) -> bool:
    """Whether x is a block for these kernels: CuPy's, not empty, of a dtype they know."""
    return (
        device.is_array(x)
        and dtype_name(x.dtype) in ELEMENTS
        and x.size > 0
        and not device.address(x) % x.dtype.itemsize
        and not any(stride % x.dtype.itemsize for stride in x.strides)
    )


def of_block(x: Array, axes: Axes, b: Array | None = None, where: Array | None = None) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    ``b`` holds weights of the shape of x; or ``where`` tells which elements are in.
    """
    if b is None and where is None:
        known = contiguous.state(x, axes) or columns.state(x, axes)
        if known:
            return known
    state = _states("plain", x, axes, b, where, joint_name(x, b))
    return portable.of_block(x, axes, b, where) if state is None else State(*state)


def moments(x: Array, axes: Axes, where: Array | None = None) -> Moments:
    """The moments (m, w, s, t, q) of a block over ``axes``, which stay with length 1."""
    state = _states("moments", x, axes, None, where, dtype_name(x.dtype))
    return portable.moments(x, axes, where) if state is None else Moments(*state)


def sums(x: Array, axes: Axes, values: tuple[Array, ...], where: Array | None = None) -> Sums:
    """The sums (m, w, s, o) of a block and of values of its shape over ``axes``."""
    dtype = joint_name(x, *values)
    states = [_states("values", x, axes, v, where, dtype) for v in values]
    known = [state for state in states if state is not None]
    if len(known) < len(values):
        return portable.sums(x, axes, values, where)
    m, w, s, _ = known[0]
    return Sums(m, w, s, tuple(o for *_, o in known))


def rescale(x: Array, m: Array, d: Array, where: Array | None = None) -> Array:
    """exp(x - m) / d, the softmax of a block whose slices have the normalizer (m, d).

    0 for elements that are out.
    """
    y = contiguous.rescale("softmax", x, m, d) if where is None else None
    if y is None and where is None:
        y = columns.rescale("softmax", x, m, d)
    if y is None:
        y = _applied(APPLY, x, m, d, where)
    return portable.rescale(x, m, d, where) if y is None else y


def log_rescale(x: Array, m: Array, logarithm: Array, where: Array | None = None) -> Array:
    """(x - m) - log d, the logarithm of `rescale`, given ``logarithm = log d``.

    -inf for elements that are out.
    """
    y = contiguous.rescale("log_softmax", x, m, logarithm) if where is None else None
    if y is None and where is None:
        y = columns.rescale("log_softmax", x, m, logarithm)
    if y is None:
        y = _applied(APPLY | LOGARITHM, x, m, logarithm, where)
    return portable.log_rescale(x, m, logarithm, where) if y is None else y


def softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The softmax of a block that holds its slices whole."""
    y = contiguous.result("softmax", x, axes) if where is None else None
    if y is None:
        y = _fused(REDUCE | APPLY, x, axes, where)
    if y is None:
        state = of_block(x, axes, where=where)
        y = rescale(x, state.m, state.d, where)
    return y


def log_softmax(x: Array, axes: Axes, where: Array | None = None) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    y = contiguous.result("log_softmax", x, axes) if where is None else None
    if y is None:
        y = _fused(REDUCE | APPLY | LOGARITHM, x, axes, where)
    if y is None:
        state = of_block(x, axes, where=where)
        logarithm = finish.log_d(state) if finish.supports(state) else log_d(state)
        y = log_rescale(x, state.m, logarithm, where)
    return y


def logsumexp(x: Array, axes: Axes) -> Array:
    """The log-sum-exp of a block that holds its slices whole; in the dtype of x, or float64."""
    y = contiguous.logsumexp(x, axes)
    if y is not None:
        return y
    state = of_block(x, axes)
    return finish.log_sum(state) if finish.supports(state) else log_sum(state)


def _states(
    kind: Kind, x: Array, axes: Axes, b: Array | None, where: Array | None, dtype: str
) -> tuple[Array, ...] | None:
    """The fields of the states of a kind, computed as of the dtype; b are weights or values.

    None if the block has more loops than the kernels take.
    """
    planned = plan_of(x, reduced_axes(x, axes), b=b, where=where)
    if planned is None:
        return None
    working = dtypes_for(dtype).working
    weighted = kind == "plain" and b is not None
    kernel = _kernel(planned, x, where, kind=kind, weighted=weighted, working=working)
    state = empty_states(kind, x, planned.slices * planned.parts, working)
    run(kernel, planned, x, b=b, where=where, state=state)
    if planned.parts > 1:
        state = merged(kind, state, planned.slices, planned.parts, working)
    return tuple(to_block(field, x.shape, planned.order) for field in state)


def _fused(mode: int, x: Array, axes: Axes, where: Array | None) -> Array | None:
    """The result of one kernel that reads x twice, the second time from the cache.

    None where it would not find it there.
    """
    y = empty_like(x)
    planned = plan_of(x, reduced_axes(x, axes), y=y, where=where)
    if planned is None or not planned.cached:
        return None
    run(_kernel(planned, x, where, mode), planned, x, y=y, where=where, mode=mode)
    return y


def _applied(mode: int, x: Array, m: Array, d_or_log: Array, where: Array | None) -> Array | None:
    """The result of a block with given states.

    None if these are not of the dtypes and the shape that `of_block` gives for such blocks.
    """
    if not fits(x, m, d_or_log):
        return None
    y = empty_like(x)
    planned = plan_of(x, reduced_in(m, x), y=y, where=where)
    if planned is None:
        return None
    m, d_or_log = (device.flat(from_block(a, planned.order)) for a in (m, d_or_log))
    state = (m, None, d_or_log)
    kernel = _kernel(planned, x, where, mode)
    run(kernel, planned, x, y=y, where=where, state=state, mode=mode)
    return y


def _kernel(
    planned: Plan,
    x: Array,
    where: Array | None,
    mode: int = REDUCE,
    kind: Kind = "plain",
    weighted: bool = False,
    working: str = "",
) -> Kernel:
    """The kernel for a block, computed in ``working``, by default the working dtype of x."""
    if weighted:
        layout = WEIGHTED
    elif where is not None:
        layout = MASKED
    else:
        layout = CONTIGUOUS if planned.contiguous and kind == "plain" else STRIDED
    dtype = dtype_name(x.dtype)
    return slices_kernel(
        dtype, working or dtypes_for(dtype).working, layout, mode & ~LOGARITHM, kind
    )
