"""Calls of the kernels for blocks of any layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtype_of, dtypes_for
from ..loops import Loop
from ..modes import LOGARITHM, REDUCE
from . import device
from .plan import Plan, plan
from .source import CALL, ELEMENTS, FIELDS, Kernel

Array = Any

# Fields of a plan that go to the kernel as they are.
_PLANNED = ("slices", "length", "portion", "portions", "parts", "lanes", "team", "members_adjacent")


def plan_of(
    x: Array,
    reduced: tuple[bool, ...],
    b: Array | None = None,
    y: Array | None = None,
    where: Array | None = None,
) -> Plan | None:
    """The plan for a block and what goes with it; None if it has more loops than kernels take."""
    strides = tuple((0,) * x.ndim if a is None else tuple(a.strides) for a in (x, b, y, where))
    items = (x.dtype.itemsize, 0 if y is None else y.dtype.itemsize)
    return plan(tuple(x.shape), reduced, strides, items, device.properties(x))


def empty_like(x: Array) -> Array:
    """An array for the result, of the memory layout of x."""
    return device.empty_like(x, dtype_of(np, dtypes_for(x.dtype).result))


def run(
    kernel: Kernel,
    planned: Plan,
    x: Array,
    *,
    b: Array | None = None,
    y: Array | None = None,
    where: Array | None = None,
    state: tuple[Array | None, ...] = (),
    mode: int = REDUCE,
) -> None:
    """Launch the kernel for a block; ``state`` is filled, or with APPLY alone read."""
    call = np.zeros(1, CALL)
    arrays = {"x": x, "b": b, "y": y, "where": where}
    arrays |= dict(zip(FIELDS, state))  # noqa: B905  # or m, w, s
    for name, array in arrays.items():
        call[name] = 0 if array is None else device.address(array)
    for name, array in (("x_dtype", x), ("b_dtype", b)):
        call[name] = 0 if array is None else list(ELEMENTS).index(dtype_name(array.dtype))
    for name in _PLANNED:
        call[name] = getattr(planned, name)
    call["logarithm"] = bool(mode & LOGARITHM)
    for name in ("kept", "outer", "inner"):
        _describe(call[name][0], getattr(planned, name))
    device.launch(kernel, x, planned.grid, planned.threads, call)


def _describe(field: Any, loops: list[Loop]) -> None:
    field["count"] = len(loops)
    for i, loop in enumerate(loops):
        field["loop"][i] = (loop.length, *loop.strides)
