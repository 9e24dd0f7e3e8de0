"""Calls of the compiled kernels of groups, with the tables and scratch memory that they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from . import kernels
from .call import address_of, scratch_address
from .compiler import compiled
from .protocol import GROUP_MOMENTS, GROUP_STATE

Array = np.ndarray


# Rows of a table that are worked on at a time where there are more, half of the second-level cache;
# and into how many parts elements are scattered at most, each of which is a stream to memory.
NEAR, MOST_PARTS = 1 << 14, 1 << 8


def states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> Iterator[Array]:
    """m, w and s of so many groups of the elements of a vector, or t and q, too.

    In tables that follow one another, each of which is to be used before the next one is asked for.
    """
    kernel, element = compiled(kernels.group_states, x.dtype.type, moments), x.dtype.type
    numbers = np.ascontiguousarray(numbers)
    ends, near = np.array([0, x.size]), max(count, 1)
    if count > NEAR:
        near = max(NEAR, 1 << (-(-count // MOST_PARTS) - 1).bit_length())
        ends = np.zeros(-(-count // near) + 2, np.int64)
        y, places = np.empty_like(x), np.empty(x.size, np.int64)
        arrays = map(address_of, (ends, y, places))
        given = address_of(x), address_of(numbers), first, x.size, count, near.bit_length() - 1
        compiled(kernels.group_scatter, element)(*given, *arrays)
        x, numbers, ends = y, places, ends[:-1]
    for table, begin, (start, stop) in zip(
        _tables(count, near, moments), range(0, count, near), pairwise(ends.tolist()), strict=False
    ):
        at = address_of(x) + x.itemsize * start, address_of(numbers) + 8 * start
        size = stop - start
        kernel(*at, first + begin, size, address_of(table), len(table), scratch_address())
        yield table


def merged(
    parts: Sequence[Sequence[Array]], numbers: Array, first: int, count: int
) -> Iterator[Array]:
    """The same of parts whose groups have numbers, in a row and ascending in each of them."""
    begins = np.cumsum([0, *(part[0].size for part in parts)])
    cuts = [
        np.searchsorted(numbers[start:stop], range(first, first + count + NEAR, NEAR))
        for start, stop in pairwise(begins)
    ]
    kernel = compiled(kernels.group_merge, len(parts[0]) > 3)
    parts = [[np.ascontiguousarray(field) for field in part] for part in parts]
    addresses = [[*map(address_of, part), 0, 0][:5] for part in parts]
    numbers = np.ascontiguousarray(numbers)
    for i, table in enumerate(_tables(count, NEAR, len(parts[0]) > 3)):
        at = address_of(table), len(table), scratch_address()
        for step in (0, 1):
            for part, cut, begin in zip(addresses, cuts, begins, strict=False):
                start = int(cut[i])
                here = [field and field + 8 * start for field in part]
                number = address_of(numbers) + 8 * (int(begin) + start)
                kernel(step, *here, number, first + i * NEAR, int(cut[i + 1]) - start, *at)
        kernel(2, *(0,) * 8, *at)
        yield table


def _tables(count: int, near: int, moments: bool) -> Iterator[Array]:
    """Tables of so many groups, so many at a time, in the same memory: -inf and sums of 0."""
    memory = np.empty((min(near, count), GROUP_MOMENTS if moments else GROUP_STATE))
    for start in range(0, count, near):
        table = memory[: count - start]
        table[:], table[:, 0] = 0, -np.inf
        yield table


def fields(tables: Iterator[Array], count: int) -> tuple[Array, ...]:
    """The columns of tables of so many groups: m, w and s, or t and q, too."""
    found: list[Array] = []
    start = 0
    for table in tables:
        columns = (0, 1, 2, 4, 6) if table.shape[1] == GROUP_MOMENTS else (0, 1, 2)
        found = found or [np.empty(count) for _ in columns]
        for field, column in zip(found, columns, strict=True):
            field[start : start + len(table)] = table[:, column]
        start += len(table)
    return tuple(found)


def present(tables: Iterator[Array], most: int) -> tuple[Array, tuple[Array, ...]]:
    """The places of the groups of tables that there are, at most so many, and their fields."""
    places, number = np.empty(most, np.int64), np.empty(1, np.int64)
    found: list[Array] = []
    start = size = 0
    for table in tables:
        moments = table.shape[1] == GROUP_MOMENTS
        found = found or [np.empty(most) for _ in range(5 if moments else 3)]
        addresses = [address_of(a) + 8 * size for a in (places, *found)]
        at = [*addresses, 0, 0][:6]
        compiled(kernels.group_present, moments)(
            address_of(table), len(table), start, *at, address_of(number)
        )
        start, size = start + len(table), size + int(number[0])
    return places[:size], tuple(field[:size] for field in found)


def mapped(x: Array, numbers: Array, first: int, rows: Array, logarithm: bool) -> Array:
    """The softmax of elements whose groups have m and 1 / d, or its logarithm with log d.

    The first of these rows are for elements of no group.
    """
    kernel = compiled(kernels.group_map, x.dtype.type, logarithm)
    y, numbers = np.empty_like(x), np.ascontiguousarray(numbers)
    at = (address_of(x), address_of(numbers), first, x.size)
    kernel(*at, address_of(rows), len(rows), address_of(y), scratch_address())
    return y
