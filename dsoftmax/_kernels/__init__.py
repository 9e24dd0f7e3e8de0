"""One block on its own device: the state of a block, and the maps from a state to an output.

Kernels know one block and nothing of its neighbours.  They are chosen by the type of the block:
compiled ones for NumPy's, CUDA for CuPy's, else those that any array-API library runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._algebra.normalizer import State, common_namespace, log_d
from . import portable
from .blocks import Weighted, as_block, masked_like, moved, plain
from .choose import SMALL, can_compile, kernels_for
from .cpu import block as on_cpu

__all__ = [
    "Weighted",
    "as_block",
    "log_rescale",
    "log_softmax",
    "log_sum",
    "of_block",
    "rescale",
    "softmax",
]

Array = Any
Axes = tuple[int, ...]


def of_block(x: Array | Weighted, axes: Axes) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    Masked entries take no part, and masked weights are 0.
    """
    if isinstance(x, Weighted):
        a, b = plain(x.a), plain(x.b, fill=0)
        if isinstance(b, np.ndarray) and b.size == 1 and not isinstance(a, np.ndarray):
            b = moved(b, a)
        a, b = common_namespace(a, b).broadcast_arrays(a, b)
        return kernels_for(a, b).of_block(a, axes, b)
    x = plain(x)
    return kernels_for(x).of_block(x, axes)


def rescale(x: Array, state: State) -> Array:
    """exp(x - m) / d; masked entries stay masked."""
    data = plain(x)
    common_namespace(data, state.m)
    return masked_like(x, kernels_for(data).rescale(data, state.m, state.d))


def log_rescale(x: Array, state: State) -> Array:
    """(x - m) - log d; masked entries stay masked."""
    data = plain(x)
    common_namespace(data, state.m)
    return masked_like(x, kernels_for(data).log_rescale(data, state.m, log_d(state)))


def log_sum(state: State) -> Array:
    """log(sum b exp(x)), in the accumulator's precision; NaN where a real sum is negative."""
    many = (
        all(map(on_cpu.supports, state)) and state.s.dtype == np.float64 and state.s.size >= SMALL
    )
    return (on_cpu if many and can_compile() else portable).log_sum(state)


def softmax(x: Array, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    data = plain(x)
    return masked_like(x, kernels_for(data).softmax(data, axes))


def log_softmax(x: Array, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    data = plain(x)
    return masked_like(x, kernels_for(data).log_softmax(data, axes))
