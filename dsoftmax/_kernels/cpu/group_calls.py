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


# Rows of a table that are worked on at a time where there are more: those to which elements from
# anywhere are added take half of the second-level cache; those of merges, whose states are in
# order, half of the first. And into how many parts elements are scattered at most, each a stream
# to memory.
NEAR, MERGED, MOST_PARTS = 1 << 14, 1 << 10, 1 << 8

Fields = tuple[Array, ...]  # m, w and s of some groups, or t and q, too


def states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> tuple[Array, Fields]:
    """The numbers of the groups that the elements of a vector are of, and their states."""
    most, size = min(count, x.size), 0
    present, *found = results = _results(most, moments)
    for table, begin in _tables(x, numbers, first, count, moments):
        size += _present(table, begin, False, [address_of(a) + 8 * size for a in results])
    return present[:size], tuple(field[:size] for field in found)


def every_state(x: Array, numbers: Array, first: int, count: int) -> Iterator[Fields]:
    """The states of all of so many groups, of which one after the other gets a few.

    In the same memory: each is to be used before the next one is asked for.
    """
    results: list[Array] = []
    for table, begin in _tables(x, numbers, first, count, moments=False):
        results = results or _results(len(table), moments=False)
        _present(table, begin, True, list(map(address_of, results)))
        yield tuple(field[: len(table)] for field in results[1:])


def _tables(
    x: Array, numbers: Array, first: int, count: int, moments: bool
) -> Iterator[tuple[Array, int]]:
    """Tables of the kernel `states` in the same memory, and the number of the first row of each."""
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
    memory = np.empty((min(near, count) + 1, GROUP_MOMENTS if moments else GROUP_STATE))
    for begin, (start, stop) in zip(range(0, count, near), pairwise(ends.tolist()), strict=False):
        table = memory[: min(near, count - begin)]
        memory[:], memory[:, 0] = 0, -np.inf
        at = address_of(x) + x.itemsize * start, address_of(numbers) + 8 * start
        size = stop - start
        kernel(*at, first + begin, size, address_of(table), len(table), scratch_address())
        yield table, first + begin


def _results(count: int, moments: bool) -> list[Array]:
    """Memory for the numbers and states of groups, with one in reserve."""
    return [
        np.empty(count + 1, np.int64),
        *(np.empty(count + 1) for _ in range(5 if moments else 3)),
    ]


def _present(table: Array, begin: int, everything: bool, results: list[int]) -> int:
    """Write what there is of a table to some addresses, and say how much it is."""
    number = np.empty(1, np.int64)
    given = address_of(table), len(table), begin, everything, *[*results, 0, 0][:6]
    compiled(kernels.group_present, table.shape[1] == GROUP_MOMENTS)(*given, address_of(number))
    return int(number[0])


def merged(
    parts: Sequence[Sequence[Array]], numbers: Sequence[Array], first: int, count: int
) -> tuple[Array, Fields]:
    """The same as of `states`, of parts whose groups have numbers, which ascend in each."""
    moments = len(parts[0]) > 3
    arrays = [
        [np.ascontiguousarray(a) for a in (number, *part)]
        for number, part in zip(numbers, parts, strict=True)
    ]
    given = [[*[*map(address_of, one), 0, 0][:6], one[0].size, 0, 0] for one in arrays]
    present, *found = results = _results(min(count, sum(map(len, numbers))), moments)
    table = np.empty((min(MERGED, count), GROUP_MOMENTS if moments else GROUP_STATE))
    records = np.array(given, np.int64)
    addresses = np.array([*map(address_of, results), 0, 0][:6], np.int64)
    compiled(kernels.group_merge, moments)(
        *(address_of(records), len(given), first, count, address_of(table), len(table)),
        *(scratch_address(), address_of(addresses)),
    )
    size = int(addresses[0])
    return present[:size], tuple(field[:size] for field in found)


def joined(parts: Sequence[Array]) -> tuple[list[Array], Array]:
    """The numbers of labels of several parts, in order in each, and those of all, in order."""
    labels = [np.ascontiguousarray(part) for part in parts]
    numbers = [np.empty(len(own), np.int64) for own in labels]
    given = [
        [*map(address_of, pair), len(pair[0]), 0] for pair in zip(labels, numbers, strict=True)
    ]
    records, found = np.array(given, np.int64), np.empty(1, np.int64)
    union = np.empty(sum(map(len, labels)), labels[0].dtype)
    addresses = address_of(records), len(given), address_of(union), address_of(found)
    compiled(kernels.group_join, union.dtype.type)(*addresses)
    return numbers, union[: found[0]]


def mapped(x: Array, numbers: Array, first: int, rows: Array, logarithm: bool) -> Array:
    """The softmax of elements whose groups have m and 1 / d, or its logarithm with log d.

    The first of these rows are for elements of no group.
    """
    kernel = compiled(kernels.group_map, x.dtype.type, logarithm)
    y, numbers = np.empty_like(x), np.ascontiguousarray(numbers)
    at = (address_of(x), address_of(numbers), first, x.size)
    kernel(*at, address_of(rows), len(rows), address_of(y), scratch_address())
    return y
