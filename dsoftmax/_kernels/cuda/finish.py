"""What comes of states in one launch, where array functions would take twenty."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_name
from ..._algebra.moments import Moments
from ..._algebra.normalizer import State
from ..._algebra.sums import Sums
from . import device
from .plan import MAX_GRID
from .source import (
    FIELDS,
    OF_MOMENTS,
    OUTPUTS,
    ROWS,
    THREADS,
    UNION,
    UNITED,
    finish_kernel,
    unite_kernel,
)

Array = Any


def supports(state: Any) -> bool:
    """Whether the fields of a state are CuPy's, side by side, of the dtypes that kernels give.

    Without a sum of values, which is not the kernels'.
    """
    fields = state[:3] if isinstance(state, Sums) else state
    m, *sums = fields
    return (
        all(map(device.is_array, fields))
        and dtype_name(m.dtype) in ("float32", "float64")
        and all(a.dtype == np.float64 and a.shape == m.shape for a in sums)
        and all(a.flags.c_contiguous for a in fields)
        and 0 < m.size <= MAX_GRID[0] * THREADS
    )


def merges(states: tuple[Any, ...]) -> bool:
    """Whether `merge` takes these states: as `supports`, of one kind, and on one device."""
    first = states[0]
    return (
        1 < len(states) <= UNITED
        and all(map(supports, states))
        and all(s.m.shape == first.m.shape and s.m.dtype == first.m.dtype for s in states)
        and device.together(*(s.m for s in states))
    )


def merge(*states: State) -> State:
    """The state of the union of the slices: each is scaled once, to the common maximum."""
    first = states[0].m
    m, w, s = device.empties(first, first.shape, (first.dtype, "float64", "float64"))
    call = np.zeros(1, UNION)
    call["count"], call["size"] = len(states), first.size
    fields = call["from"][0]
    for k, state in enumerate(states):
        fields[k] = (*map(device.address, state), 0, 0)
    call["to"][0] = (*map(device.address, (m, w, s)), 0, 0)
    grid = (-(-first.size // THREADS), 1)
    device.launch(unite_kernel(dtype_name(first.dtype)), first, grid, THREADS, call)
    return State(m, w, s)


def log_sum(state: Any) -> Array:
    """log(sum b exp(x)), NaN where the sum is negative."""
    return _finished(state, "logsumexp")


def log_d(state: Any) -> Array:
    """log d, NaN where d is negative."""
    return _finished(state, "log_softmax")


def entropy(moments: Moments) -> Array:
    """-sum p log p in nats."""
    return _finished(moments, "entropy")


def effective_sample_size(moments: Moments) -> Array:
    """1 / sum p^2."""
    return _finished(moments, "effective_sample_size")


def _finished(state: Any, output: str) -> Array:
    fields = state[:3] if isinstance(state, Sums) else state
    m = fields[0]
    y = device.empty(m, m.shape, "float64")
    call = np.zeros(1, ROWS)
    call["y"] = device.address(y)
    for name, array in zip(FIELDS, fields):  # noqa: B905  # or m, w, s
        call[name] = device.address(array)
    call["rows"], call["gives"] = m.size, (*OUTPUTS, *OF_MOMENTS).index(output)
    grid = (-(-m.size // THREADS), 1)
    device.launch(finish_kernel(dtype_name(m.dtype)), m, grid, THREADS, call)
    return y
