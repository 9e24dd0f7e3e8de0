"""Calls of the compiled kernels of groups, with the tables and scratch memory that they need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import kernels
from .call import address_of
from .compiler import compiled
from .protocol import GROUP_MOMENTS, GROUP_SCRATCH_BYTES, GROUP_STATE

Array = np.ndarray


def states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> tuple[Array, ...]:
    """m, w and s, in float64, of so many groups of the elements of a vector; or t and q, too."""
    kernel = compiled(kernels.group_states, x.dtype.type, moments)
    table, scratch = _table(count, moments), np.empty(GROUP_SCRATCH_BYTES, np.uint8)
    numbers = np.ascontiguousarray(numbers)
    at = (address_of(x), address_of(numbers), first, x.size)
    kernel(*at, address_of(table), count, address_of(scratch))
    return _fields(table)


def merged(
    parts: Sequence[Sequence[Array]], numbers: Array, first: int, count: int
) -> tuple[Array, ...]:
    """The states, or moments, of so many groups: of parts whose groups have numbers, in a row."""
    moments = len(parts[0]) > 3
    kernel, table = compiled(kernels.group_merge, moments), _table(count, moments)
    numbers = np.ascontiguousarray(numbers)
    at = address_of(table), count
    for step in (0, 1):
        begin = 0
        for part in parts:
            fields = [np.ascontiguousarray(field) for field in part]
            addresses = [*map(address_of, fields), 0, 0][:5]
            size = fields[0].size
            kernel(step, *addresses, address_of(numbers) + 8 * begin, first, size, *at)
            begin += size
    kernel(2, *(0,) * 8, *at)
    return _fields(table)


def _table(count: int, moments: bool) -> Array:
    table = np.zeros((count, GROUP_MOMENTS if moments else GROUP_STATE))
    table[:, 0] = -np.inf
    return table


def _fields(table: Array) -> tuple[Array, ...]:
    columns = (0, 1, 2, 4, 6) if table.shape[1] == GROUP_MOMENTS else (0, 1, 2)
    return tuple(table[:, i] for i in columns)


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
