"""Kernels of groups: maxima and sums of each group, merged, and the map of its elements.

Elements of one group may be anywhere, so that numbers are gathered from a table of the groups, and
added to it, one by one; what is between, the exponentials, is of vectors.  A group has one row of
the table, which is within a line of the cache.  An element whose number is outside of the table is
of no group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .exp import SCALE, scaled_exp
from .memory import add_compensated, pointer
from .protocol import GROUP_MOMENTS, GROUP_STATE
from .protocol import GROUP_TILE as TILE
from .simd import lanes_in_vector, load, store

_LANES = lanes_in_vector(np.float64)


def states(element: Any, moments: bool) -> Callable[..., None]:
    """The kernel for the states of groups, or their moments, in two passes: maxima, then sums.

    Parameters of the kernel: addresses of the elements and of their numbers, of which the group
    ``first`` is that of the first row; how many elements there are; the address of the table, with
    m = -inf and sums of 0 in each row, and how many it has; and of scratch memory. `present` makes
    states of the sums, which are scaled.
    """
    n, float64, infinity = _LANES, np.float64, np.float64(np.inf)
    width, sums = (GROUP_MOMENTS, (2, 4, 6)) if moments else (GROUP_STATE, (2,))
    s_at, t_at, q_at = sums[0], sums[-2:][0], sums[-1]

    def kernel(
        x: int, numbers: int, first: int, size: int, table: int, count: int, scratch: int
    ) -> None:
        elements, number_of = pointer(x, element), pointer(numbers, np.int64)
        rows, distances = pointer(table, np.float64), pointer(scratch, np.float64)
        exponentials = pointer(scratch + 8 * TILE, np.float64)
        for i in range(size):
            k = number_of[i] - first
            row = width * (count if (k < 0) | (k >= count) else k)
            value, m = float64(elements[i]), rows[row]
            rows[row] = value if value > m else m
        for start in range(0, size, TILE):
            here = min(TILE, size - start)
            for i in range(here):
                k = number_of[start + i] - first
                row = width * (count if (k < 0) | (k >= count) else k)
                value, m = float64(elements[start + i]), rows[row]
                distances[i] = float64(1) if value == m else value - m  # which is not positive
            for i in range(here, (here + n - 1) // n * n):
                distances[i] = -infinity
            for at in range(scratch, scratch + 8 * here, 8 * n):
                store(scaled_exp(load(at, np.float64, n)), at + 8 * TILE)
            for i in range(here):
                k = number_of[start + i] - first
                row = width * (count if (k < 0) | (k >= count) else k)
                distance = distances[i]
                e = 0.0 if distance > 0 else exponentials[i]
                rows[row + 1] += 1.0 if distance > 0 else 0.0
                s = row + s_at
                rows[s], rows[s + 1] = add_compensated(rows[s], rows[s + 1], e)
                if moments:
                    t, q = row + t_at, row + q_at
                    product = 0.0 if e == 0 else distance * e  # the distance may be -inf
                    rows[t], rows[t + 1] = add_compensated(rows[t], rows[t + 1], product)
                    rows[q], rows[q + 1] = add_compensated(rows[q], rows[q + 1], e * e)

    return kernel


def present(moments: bool) -> Callable[..., None]:
    """The kernel that takes from a table of `states` the groups that there are, and their states.

    Parameters of the kernel: the address of the table, how many rows it has, and the number of the
    first; whether groups that are not there are taken, too; addresses for the numbers of the groups
    and for their m, w, s, t and q, the last two of moments only, with one in reserve; and for how
    many there are. What is there has an element at the maximum, or NaN: then m = NaN, w = 0 and
    s = NaN.
    """
    width = GROUP_MOMENTS if moments else GROUP_STATE
    nan, unscale = np.float64(np.nan), np.float64(2.0 ** -SCALE[np.float64])

    def kernel(
        table: int,
        count: int,
        first: int,
        everything: int,
        groups: int,
        m: int,
        w: int,
        s: int,
        t: int,
        q: int,
        number: int,
    ) -> None:
        rows, numbers = pointer(table, np.float64), pointer(groups, np.int64)
        ms, ws, ss = pointer(m, np.float64), pointer(w, np.float64), pointer(s, np.float64)
        ts, qs, found = pointer(t, np.float64), pointer(q, np.float64), 0
        for k in range(count):  # what is not there is written over: no branch
            row = width * k
            rest = (rows[row + 2] + rows[row + 3]) * unscale
            bad = rest != rest
            numbers[found], ss[found] = first + k, rest
            ms[found] = nan if bad else rows[row]
            ws[found] = 0.0 if bad else rows[row + 1]
            if moments:
                ts[found] = (rows[row + 4] + rows[row + 5]) * unscale
                qs[found] = (rows[row + 6] + rows[row + 7]) * unscale * unscale
            found += (rows[row + 1] > 0) | bad | (everything != 0)
        pointer(number, np.int64)[0] = found

    return kernel


def merge(moments: bool) -> Callable[..., None]:
    """The kernel that merges states of groups, as `_algebra` does, a table of some at a time.

    Parameters of the kernel: the address of 9 integers for each part, and how many parts there are;
    the number of the first group, and how many numbers there are; the address of a table, and how
    many rows it has; that of scratch memory; and of the addresses for the numbers of the groups and
    for their m, w, s, t and q, the last two of moments only, with one in reserve.  The first of
    these becomes how many groups there are.

    The integers of a part are addresses of the numbers of its groups, which ascend, and of their m,
    w, s, t and q; and how many groups it has, followed by two zeros.
    """
    width = GROUP_MOMENTS if moments else GROUP_STATE
    n, infinity, unscale = _LANES, np.float64(np.inf), 2.0 ** -SCALE[np.float64]

    def kernel(
        parts: int,
        part_count: int,
        first: int,
        size: int,
        table: int,
        count: int,
        scratch: int,
        results: int,
    ) -> None:
        given, addresses = pointer(parts, np.int64), pointer(results, np.int64)
        rows, distances = pointer(table, np.float64), pointer(scratch, np.float64)
        factors = pointer(scratch + 8 * TILE, np.float64)
        new_number, found = pointer(addresses[0], np.int64), 0
        new_m, new_w = pointer(addresses[1], np.float64), pointer(addresses[2], np.float64)
        new_s, new_t = pointer(addresses[3], np.float64), pointer(addresses[4], np.float64)
        new_q = pointer(addresses[5], np.float64)
        for start in range(0, size, count):
            begin, here = first + start, min(count, size - start)
            for k in range(here):
                rows[width * k] = -infinity
                for column in range(1, width):
                    rows[width * k + column] = 0.0
            for part in range(0, 9 * part_count, 9):
                number_of = pointer(given[part], np.int64)
                ms, i, last = pointer(given[part + 1], np.float64), given[part + 7], given[part + 6]
                while i < last and number_of[i] - begin < here:
                    row = width * (number_of[i] - begin)
                    top = rows[row]
                    rows[row] = ms[i] if (ms[i] > top) | (ms[i] != ms[i]) else top
                    i += 1
                given[part + 8] = i
            for part in range(0, 9 * part_count, 9):
                number_of = pointer(given[part], np.int64)
                ms, ws = pointer(given[part + 1], np.float64), pointer(given[part + 2], np.float64)
                ss, ts = pointer(given[part + 3], np.float64), pointer(given[part + 4], np.float64)
                qs, stop = pointer(given[part + 5], np.float64), given[part + 8]
                for tile in range(given[part + 7], stop, TILE):
                    length = min(TILE, stop - tile)
                    for j in range(length):
                        m, top = ms[tile + j], rows[width * (number_of[tile + j] - begin)]
                        distances[j] = 0.0 if m == top else m - top
                    for j in range(length, (length + n - 1) // n * n):
                        distances[j] = 0.0
                    for at in range(scratch, scratch + 8 * length, 8 * n):
                        store(scaled_exp(load(at, np.float64, n)) * unscale, at + 8 * TILE)
                    for j in range(length):
                        i, distance, factor = tile + j, distances[j], factors[j]
                        row, at_top = width * (number_of[i] - begin), distance == 0
                        rows[row + 1] += ws[i] if at_top else 0.0
                        term = ss[i] if at_top else (ws[i] + ss[i]) * factor
                        at = row + 2
                        rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], term)
                        if moments and factor != 0:  # the distance may be -inf
                            t_term, q_term = ts[i], qs[i]
                            if not at_top:
                                t_term = (t_term + (ws[i] + ss[i]) * distance) * factor
                                q_term = (q_term + ws[i]) * factor * factor
                            at = row + 4
                            rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], t_term)
                            at = row + 6
                            rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], q_term)
                given[part + 7] = stop
            for k in range(here):
                row = width * k
                rest = rows[row + 2] + rows[row + 3]
                new_number[found], new_s[found] = begin + k, rest
                new_m[found], new_w[found] = rows[row], rows[row + 1]
                if moments:
                    new_t[found] = rows[row + 4] + rows[row + 5]
                    new_q[found] = rows[row + 6] + rows[row + 7]
                found += (rows[row + 1] > 0) | (rest != rest)
        addresses[0] = found

    return kernel


def apply(element: Any, logarithm: bool) -> Callable[..., None]:
    """The kernel for exp(x - m) / d or (x - m) - log d of elements whose groups have m and d.

    Parameters of the kernel: addresses of the elements and their numbers, and ``first``, as above;
    how many elements there are; the address of the table and the number of its rows, of which the
    first is for elements of no group, each with m and 1 / d, or log d; addresses of the results
    and of scratch memory.
    """
    n, float64, unscale = _LANES, np.float64, 2.0 ** -SCALE[np.float64]

    def kernel(
        x: int,
        numbers: int,
        first: int,
        size: int,
        table: int,
        count: int,
        y: int,
        scratch: int,
    ) -> None:
        elements, number_of = pointer(x, element), pointer(numbers, np.int64)
        rows, results = pointer(table, np.float64), pointer(y, element)
        distances = pointer(scratch, np.float64)
        others = pointer(scratch + 8 * TILE, np.float64)
        for start in range(0, size, TILE):
            here = min(TILE, size - start)
            for i in range(here):
                k = number_of[start + i] - first + 1
                if k < 0 or k >= count:
                    k = 0
                distances[i] = float64(elements[start + i]) - rows[2 * k]
                others[i] = rows[2 * k + 1]
            for i in range(here, (here + n - 1) // n * n):
                distances[i] = others[i] = 0.0
            for at in range(scratch, scratch + 8 * here, 8 * n):
                distance = load(at, np.float64, n)
                other = load(at + 8 * TILE, np.float64, n)
                if logarithm:
                    store(distance - other, at)
                else:
                    store(scaled_exp(distance) * unscale * other, at)
            for i in range(here):
                results[start + i] = element(distances[i])

    return kernel
