"""Exact states of NumPy blocks of any layout, and what comes of them, by compiled kernels alone."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from ..._algebra.exact import Exact, merged
from ..._algebra.normalizer import State
from ..layout import reduced_axes
from . import kernels
from .call import Call, address_of
from .compiler import compiled

Array = np.ndarray
Axes = tuple[int, ...]


@cache
def can_fuse() -> bool:
    """Whether this machine can give the same bits as all others."""
    try:
        from .machine_code import fuses
    except ImportError:  # without a compiler, which is for who calls it to say
        return True
    return fuses()


class Finished(NamedTuple):
    """What exact states stand for: (m, w, s), log d, and m + log d in float64."""

    m: Array
    w: Array
    s: Array
    log_d: Array
    log_sum: Array

    @property
    def d(self) -> Array:
        """The normalizer, w + s."""
        return self.w + self.s


def of_block(x: Array, axes: Axes, where: Array | None = None) -> Exact:
    """The exact states of a block that `block.supports`, over ``axes``, which stay with length 1.

    ``where`` tells which elements are in.
    """
    call = Call(reduced_axes(x, axes), x, where=where, kind="exact")
    records = call.to_block(*call.reduce())
    rest = tuple(i for i in call.plan.order if i in axes)  # loops that run elsewhere
    if not rest:
        return Exact(records)
    kept = tuple(1 if i in axes else n for i, n in enumerate(records.shape))
    rows = np.moveaxis(records, rest, range(len(rest))).reshape(-1, math.prod(kept))
    return Exact(merged(rows).records.reshape(kept))


def finish(state: Exact) -> Finished:
    """The numbers, each within 0.7 ulp."""
    records = np.array(state.records, order="C", copy=None)
    s, log_d, log_sum = (np.empty(records.shape) for _ in range(3))
    kernel = compiled(kernels.exact_finish, records["m"].dtype.type)
    kernel(*map(address_of, (records, s, log_d, log_sum)), records.size)
    m, w = records["m"].copy(), records["w"].astype(np.float64)
    return Finished(m, w, s, log_d, log_sum)


def state_of(finished: Finished) -> State:
    """(m, w, s) alone."""
    return State(*finished[:3])
