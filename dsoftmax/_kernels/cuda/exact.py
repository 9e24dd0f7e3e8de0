"""Exact sums of CuPy blocks: states with the bytes of those on the CPU, and what comes of them.

A block of any layout goes to one kernel, in parts where there are too few slices for all of the
device.  What is merged are integers, so that neither parts nor their order show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.exact import Exact, OnDevice, words_of
from ..._algebra.states import mapped
from ..layout import from_block, reduced_axes, reduced_in, to_block
from ..modes import APPLY, LOGARITHM
from . import device
from .block import supports
from .call import empty_like, plan_of, run
from .exact_source import (
    FINISH,
    MERGE,
    WORDS,
    exact_finish_kernel,
    exact_kernel,
    exact_merge_kernel,
)
from .plan import merge_plan
from .source import ELEMENTS, THREADS, UNITED

Array = Any
Axes = tuple[int, ...]


def takes(x: Any) -> bool:
    """Whether x is one of CuPy's arrays, on a device that runs the kernels."""
    return device.is_array(x)


def knows(name: str) -> bool:
    """Whether there are exact sums of a dtype."""
    return name in ELEMENTS


def of_block(x: Array, axes: Axes, where: Array | None = None) -> OnDevice:
    """The exact states of a block that is not empty, over ``axes``, which stay with length 1."""
    planned = plan_of(x, reduced_axes(x, axes), where=where) if supports(x) else None
    if planned is None:
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        table, where = _table(x, axes), None if where is None else _table(where, axes)
        return mapped(lambda a: a.reshape(kept), of_block(table, (1,), where))
    name = dtype_name(x.dtype)
    working = dtypes_for(name).working
    state, memory = _empty(x, planned.slices * planned.parts, working)
    kernel = exact_kernel(name, working, where is not None)
    run(kernel, planned, x, where=where, state=memory)
    if planned.parts > 1:
        state = _merged([state], planned.slices, planned.parts)
    return mapped(lambda a: to_block(a, x.shape, planned.order), state)


def merge(*states: OnDevice) -> OnDevice:
    """The states of the unions of slices, all of one dtype."""
    shape = states[0].m.shape
    left = [mapped(device.flat, state) for state in states]
    while len(left) > 1:
        left = [_merged(left[:UNITED], left[0].m.size, 1), *left[UNITED:]]
    return mapped(lambda a: a.reshape(shape), left[0])


def finish(state: OnDevice) -> tuple[Array, ...]:
    """m, w, s, log d and m + log d."""
    m, shape = state.m, state.m.shape
    numbers = device.empties(m, shape, ("float64",) * 4)
    if m.size:
        state = mapped(device.flat, state)
        call = np.zeros(1, FINISH)
        for name, array in zip(("w", "s", "log_d", "log_sum"), numbers, strict=True):
            call[name] = device.address(array)
        call["size"] = m.size
        _describe(call["from"][0], state)
        grid = (-(-m.size // THREADS), 1)
        device.launch(exact_finish_kernel(dtype_name(m.dtype)), m, grid, THREADS, call)
    return (m, *numbers)


def rescale(x: Array, m: Array, d: Array, where: Array | None = None) -> Array:
    """exp(x - m) / d, with m of the working dtype of x; 0 for elements that are out."""
    return _applied(APPLY, x, m, d, where)


def log_rescale(x: Array, m: Array, logarithm: Array, where: Array | None = None) -> Array:
    """(x - m) - log d; -inf for elements that are out."""
    return _applied(APPLY | LOGARITHM, x, m, logarithm, where)


def on_device(state: Exact, like: Array) -> OnDevice:
    """States of NumPy's memory on the device of an array."""
    m, words = words_of(state)
    return OnDevice(*(device.from_host(like, field) for field in (m, *words)))


def copied(x: np.ndarray, like: Array) -> Array:
    """A NumPy array on the device of another array."""
    return device.from_host(like, x)


def _applied(mode: int, x: Array, m: Array, number: Array, where: Array | None) -> Array:
    y, reduced = empty_like(x), reduced_in(m, x)
    planned = plan_of(x, reduced, y=y, where=where) if supports(x) else None
    if planned is None:
        axes = tuple(i for i, along in enumerate(reduced) if along)
        table, is_in = _table(x, axes), None if where is None else _table(where, axes)
        y = _applied(mode, table, m.reshape(-1, 1), number.reshape(-1, 1), is_in)
        order = _order(x, axes)
        y = y.reshape([x.shape[i] for i in order])
        return y.transpose(sorted(range(x.ndim), key=order.__getitem__))
    m, number = (device.flat(from_block(a, planned.order)) for a in (m, number))
    name = dtype_name(x.dtype)
    kernel = exact_kernel(name, dtypes_for(name).working, where is not None, APPLY)
    run(kernel, planned, x, y=y, where=where, state=(m, None, number), mode=mode)
    return y


def _table(x: Array, axes: Axes) -> Array:
    """A copy of a block with its slices as rows."""
    slices = math.prod(n for i, n in enumerate(x.shape) if i not in axes)
    return device.flat(x.transpose(_order(x, axes))).reshape(slices, -1)


def _order(x: Array, axes: Axes) -> Axes:
    return (*(i for i in range(x.ndim) if i not in axes), *axes)


def _empty(like: Array, size: int, working: str) -> tuple[OnDevice, tuple[Array, Array]]:
    """States that are to be filled, and their memory: m, and each word of all of them."""
    m, words = device.empty(like, (size,), working), device.empty(like, (WORDS, size), "int64")
    return OnDevice(m, *(words[k] for k in range(WORDS))), (m, words)


def _merged(states: Sequence[OnDevice], slices: int, parts: int) -> OnDevice:
    """The states of slices from those of their parts, one after the other in each of the arrays."""
    m = states[0].m
    working = dtype_name(m.dtype)
    whole, memory = _empty(m, slices, working)
    if not slices:
        return whole
    shape = merge_plan(slices, parts)
    call = np.zeros(1, MERGE)
    call["to"][0] = (*map(device.address, memory), slices)
    call["slices"], call["parts"], call["count"] = slices, parts, len(states)
    call["lanes"], call["team"] = shape.lanes, shape.team
    for field, state in zip(call["from"][0], states):  # noqa: B905  # there is room for more
        _describe(field, state)
    device.launch(exact_merge_kernel(working), m, shape.grid, shape.threads, call)
    return whole


def _describe(field: Any, state: OnDevice) -> None:
    field["m"], *field["word"] = map(device.address, state)
