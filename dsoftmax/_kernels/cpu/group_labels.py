"""Kernels of labels: which group each is of, and elements of neighbouring groups together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import pointer

# Of the finalizer of splitmix64 (Steele, Lea & Flood 2014).
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def labels(word: Any) -> Callable[..., None]:
    """The kernel that numbers labels in the order of their first appearance, by hashing.

    Parameters of the kernel: the address of the labels, each of so many ``words`` of a dtype; how
    many there are; the address of slots (-1 where they are free) and how many, a power of 2;
    addresses for the index of the first label of each group, of which half as many as slots may be
    written, for the number of each label, and for that of groups, or -1 if there are more of them.
    """
    uint64 = np.uint64

    def kernel(
        labels: int,
        words: int,
        size: int,
        slots: int,
        slot_count: int,
        firsts: int,
        numbers: int,
        groups: int,
    ) -> None:
        parts, table = pointer(labels, word), pointer(slots, np.int64)
        first_of, number_of = pointer(firsts, np.int64), pointer(numbers, np.int64)
        found = pointer(groups, np.int64)
        last, count = slot_count - 1, 0
        found[0] = -1
        for i in range(size):
            h = uint64(0)
            for j in range(words):
                h = h ^ uint64(parts[i * words + j])
                h = (h ^ (h >> _30)) * _MIX_1
                h = (h ^ (h >> _27)) * _MIX_2
                h = h ^ (h >> _31)
            slot = np.int64(h & uint64(last))
            while True:
                k = table[slot]
                if k < 0:
                    if 2 * count >= slot_count:
                        return
                    k = count
                    table[slot], first_of[k] = k, i
                    count += 1
                    break
                other, same = first_of[k], True
                for j in range(words):
                    if parts[i * words + j] != parts[other * words + j]:
                        same = False
                        break
                if same:
                    break
                slot = (slot + 1) & last
            number_of[i] = k
        found[0] = count

    return kernel


def join(word: Any) -> Callable[..., None]:
    """The kernel that numbers labels of several parts, each of which are in order and differ.

    Parameters of the kernel: the address of 4 integers for each part, and how many parts there are;
    the address for the labels of all, in order, and for how many these are. The integers of a part
    are addresses of its labels and for their numbers, how many there are, and 0.
    """

    def kernel(parts: int, part_count: int, labels: int, number: int) -> None:
        given, union, found = pointer(parts, np.int64), pointer(labels, word), 0
        while True:
            least, there = word(0), False
            for part in range(0, 4 * part_count, 4):
                if given[part + 3] < given[part + 2]:
                    label = pointer(given[part], word)[given[part + 3]]
                    least = label if (label < least) | (not there) else least
                    there = True
            if not there:
                break
            for part in range(0, 4 * part_count, 4):
                i = given[part + 3]
                if i < given[part + 2]:
                    pointer(given[part + 1], np.int64)[i] = found  # or soon another
                    given[part + 3] = i + (pointer(given[part], word)[i] == least)
            union[found] = least
            found += 1
        pointer(number, np.int64)[0] = found

    return kernel


def scatter(element: Any) -> Callable[..., None]:
    """The kernel that brings elements of neighbouring groups together, in their order.

    Then the part of a table that they need is within a cache, and not all of memory.

    Parameters of the kernel: addresses of the elements and of their numbers, of which the group
    ``first`` is the first one; how many elements and how many groups there are; the logarithm to
    base 2 of how many groups are neighbours; the address for where the parts end, with 0 before
    them and one in reserve, all 0; and for the elements and their numbers.
    """

    def kernel(
        x: int,
        numbers: int,
        first: int,
        size: int,
        count: int,
        shift: int,
        ends: int,
        sorted_x: int,
        sorted_numbers: int,
    ) -> None:
        elements, number_of = pointer(x, element), pointer(numbers, np.int64)
        results, places = pointer(sorted_x, element), pointer(sorted_numbers, np.int64)
        end_of, parts = pointer(ends, np.int64), ((count - 1) >> shift) + 1
        for i in range(size):
            k = number_of[i] - first
            if 0 <= k < count:
                end_of[(k >> shift) + 2] += 1
        for part in range(2, parts + 2):
            end_of[part] += end_of[part - 1]
        for i in range(size):
            k = number_of[i] - first
            if 0 <= k < count:
                at = end_of[(k >> shift) + 1]
                end_of[(k >> shift) + 1] = at + 1
                results[at], places[at] = elements[i], number_of[i]

    return kernel
