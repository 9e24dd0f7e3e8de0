"""Calls of the compiled kernels of groups, with the tables and scratch memory that they need."""

from __future__ import annotations

import numpy as np

from . import kernels
from .call import address_of
from .compiler import compiled
from .protocol import GROUP_MOMENTS, GROUP_SCRATCH_BYTES, GROUP_STATE

Array = np.ndarray


def states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> tuple[Array, ...]:
    """m, w and s, in float64, of so many groups of the elements of a vector; or t and q, too."""
    kernel = compiled(kernels.group_states, x.dtype.type, moments)
    width = GROUP_MOMENTS if moments else GROUP_STATE
    table, scratch = np.zeros((count, width)), np.empty(GROUP_SCRATCH_BYTES, np.uint8)
    table[:, 0] = -np.inf
    numbers = np.ascontiguousarray(numbers)
    at = (address_of(x), address_of(numbers), first, x.size)
    kernel(*at, address_of(table), count, address_of(scratch))
    return tuple(table[:, i] for i in ((0, 1, 2, 4, 6) if moments else (0, 1, 2)))


def mapped(
    x: Array, numbers: Array, first: int, m: Array, factors: Array, logarithm: bool
) -> Array:
    """The softmax of elements whose groups have m and 1 / d, or its logarithm with log d.

    The first of these are for elements of no group.
    """
    kernel = compiled(kernels.group_map, x.dtype.type, logarithm)
    table, scratch = np.stack([m, factors], axis=1), np.empty(GROUP_SCRATCH_BYTES, np.uint8)
    y, numbers = np.empty_like(x), np.ascontiguousarray(numbers)
    at = (address_of(x), address_of(numbers), first, x.size)
    kernel(*at, address_of(table), len(table), address_of(y), address_of(scratch))
    return y
