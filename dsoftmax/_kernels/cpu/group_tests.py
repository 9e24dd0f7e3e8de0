"""Tests of the kernels of groups before their first use, as in `self_test`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .protocol import GROUP_MOMENTS, GROUP_SCALE, GROUP_SCRATCH_BYTES, GROUP_STATE
from .samples import close, place_of, scores, scratch_memory

Array = np.ndarray
Function = Callable[..., None]
Address = Callable[..., int]

_SLICES, _LENGTH = 3, 37  # several vectors, and not whole ones


def group_labels(kernel: Function, address: Address, word: Any) -> bool:
    labels = (np.arange(2 * _LENGTH, dtype=word) * 7 % 12).reshape(-1, 2)
    expected = np.unique(labels, axis=0, return_index=True)[1]
    slots, firsts = np.full(64, -1), np.zeros(32, np.int64)
    numbers, groups = np.zeros(len(labels), np.int64), np.zeros(1, np.int64)
    addresses = map(place_of, (firsts, numbers, groups))
    kernel(place_of(labels), 2, len(labels), place_of(slots), slots.size, *addresses)
    found = firsts[: groups[0]]
    same = np.array_equal(found, np.sort(expected))
    return same and np.array_equal(labels[found[numbers]], labels)


def group_join(kernel: Function, address: Address, word: Any) -> bool:
    labels = [np.array(one, word) for one in ([1, 5, 9], [], [0, 5, 8, 11], [9])]
    numbers = [np.zeros(len(own), np.int64) for own in labels]
    given = [[*map(place_of, pair), len(pair[0]), 0] for pair in zip(labels, numbers, strict=True)]
    parts, union, found = np.array(given, np.int64), np.zeros(8, word), np.zeros(1, np.int64)
    kernel(place_of(parts), len(parts), place_of(union), place_of(found))
    expected = np.unique(np.concatenate(labels))
    places = np.concatenate([np.searchsorted(expected, own) for own in labels])
    same = np.array_equal(np.concatenate(numbers), places)
    return same and found[0] == 6 and np.array_equal(union[:6], expected)


def group_states(kernel: Function, address: Address, element: Any, moments: bool) -> bool:
    x, numbers = _grouped(element)
    table = np.zeros((_SLICES + 1, GROUP_MOMENTS if moments else GROUP_STATE))
    table[:, 0] = -np.inf
    scratch = scratch_memory(GROUP_SCRATCH_BYTES)
    kernel(place_of(x), place_of(numbers), 5, x.size, place_of(table), _SLICES, place_of(scratch))
    right = True
    for k in range(_SLICES):
        own = x[numbers == 5 + k].astype(np.float64)
        t = own - own.max()
        e = np.exp(t)
        expected = np.array([own.max(), 1, e.sum() - 1, (t * e).sum(), (e * e).sum() - 1])
        found = table[k, [0, 1, 2, 4, 6] if moments else [0, 1, 2]]
        found[2:] /= GROUP_SCALE
        found[4:] /= GROUP_SCALE
        right &= close(found, expected[: found.size], np.float64)
    return right


def group_merge(kernel: Function, address: Address, moments: bool) -> bool:
    numbers = np.array([5, 8]), np.array([5, 6]), np.array([5, 8])
    m, w = np.array([1.0, 4, 3, 2, 3, np.nan]), np.array([2.0, 1, 1, 3, 1, 0])
    s, t = np.array([0.5, 0, 0.25, 1, 0.5, np.nan]), -m
    fields, width = np.array([m, w, s, t, m / 8]), GROUP_MOMENTS if moments else GROUP_STATE
    parts = np.zeros((3, 9), np.int64)
    for i, own in enumerate(numbers):
        columns = [place_of(field) + 16 * i for field in fields]
        parts[i, :7] = [place_of(own), *columns, own.size]
    results, places = np.zeros((5, 5)), np.zeros(5, np.int64)
    addresses = np.array([place_of(places), *map(place_of, results)], np.int64)
    table, scratch = np.zeros((3, width)), scratch_memory(GROUP_SCRATCH_BYTES)
    given = (3, 5, 4, place_of(table), len(table), place_of(scratch))
    kernel(place_of(parts), *given, place_of(addresses))
    f = np.exp(-2)
    first = [3, 2, 0.75 + 2.5 * f, -6 - 6 * f, 0.75 + 2.125 * f * f]
    size = 5 if moments else 3
    expected = np.array([first, [2, 3, 1, -2, 0.25]])[:, :size].T
    right = addresses[0] == 3 and np.array_equal(places[:3], [5, 6, 8])
    return right and np.isnan(results[2, 2]) and close(results[:size, :2], expected, np.float64)


def group_scatter(kernel: Function, address: Address, element: Any) -> bool:
    x = scores((_LENGTH,), element)
    numbers = 4 + np.arange(_LENGTH) * 7 % 11  # of which 5 to 13 are groups
    y, places, ends = np.zeros_like(x), np.zeros_like(numbers), np.zeros(7, np.int64)
    addresses = map(place_of, (ends, y, places))
    kernel(place_of(x), place_of(numbers), 5, x.size, 9, 1, *addresses)
    inside = np.flatnonzero((numbers > 4) & (numbers < 14))
    order = inside[np.argsort((numbers[inside] - 5) // 2, kind="stable")]
    right = np.array_equal(ends[:6], np.searchsorted((numbers[order] - 5) // 2, np.arange(6)))
    found = places[: order.size], y[: order.size]
    return right and all(map(np.array_equal, found, (numbers[order], x[order])))


def group_present(kernel: Function, address: Address, moments: bool) -> bool:
    table = np.arange(4.0 * (GROUP_MOMENTS if moments else GROUP_STATE)).reshape(4, -1)
    table[1, 1], table[2, 2] = 0, np.nan
    sums = np.array([table[:, k] + table[:, k + 1] for k in ((2, 4, 6) if moments else (2,))])
    sums[:] /= GROUP_SCALE
    sums[2:] /= GROUP_SCALE
    expected = np.array([*table.T[:2], *sums])
    expected[:2, 2] = np.nan, 0
    for everything, rows in ((0, [0, 2, 3]), (1, [0, 1, 2, 3])):
        fields, places, number = np.zeros((5, 5)), np.zeros(5, np.int64), np.zeros(1, np.int64)
        results = map(place_of, (places, *fields, number))
        kernel(place_of(table), 4, 7, everything, *results)
        found = fields[: len(expected), : len(rows)]
        right = number[0] == len(rows) and np.array_equal(places[: len(rows)], np.add(rows, 7))
        if not right or not np.array_equal(found, expected[:, rows], equal_nan=True):
            return False
    return True


def group_map(kernel: Function, address: Address, element: Any, logarithm: bool) -> bool:
    x, numbers = _grouped(element)
    table = np.array([[np.nan, np.nan], [9, 0.25], [12, 0.5], [9.5, 2]])
    y, scratch = np.zeros_like(x), scratch_memory(GROUP_SCRATCH_BYTES)
    at = (place_of(x), place_of(numbers), 5, x.size)
    kernel(*at, place_of(table), len(table), place_of(y), place_of(scratch))
    m, factor = table[np.where(numbers < 5, 0, numbers - 4)].T
    expected = (x - m) - factor if logarithm else np.exp(x - m) * factor
    return np.allclose(y, expected, rtol=100 * np.finfo(element).eps, atol=0, equal_nan=True)


def _grouped(element: Any) -> tuple[Array, Array]:
    """Elements and their numbers, of which 5, 6 and 7 are groups, and 4 is none."""
    return scores((_LENGTH,), element), 4 + np.arange(_LENGTH) * 3 % 4
