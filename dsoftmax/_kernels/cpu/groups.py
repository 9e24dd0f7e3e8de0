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
    m = -inf and sums of 0 in each row, and how many it has; and of scratch memory. A group with NaN
    gets m = NaN, w = 0 and s = NaN.
    """
    n, float64, scale = _LANES, np.float64, np.float64(2.0 ** SCALE[np.float64])
    infinity, nan = float64(np.inf), float64(np.nan)
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
            if 0 <= k < count:
                value, m = float64(elements[i]), rows[width * k]
                rows[width * k] = value if value > m else m  # no branch, which nobody could predict
        for start in range(0, size, TILE):
            here = min(TILE, size - start)
            for i in range(here):
                k = number_of[start + i] - first
                distance = -infinity
                if 0 <= k < count:
                    value, m = float64(elements[start + i]), rows[width * k]
                    distance = float64(1) if value == m else value - m  # which is not positive
                distances[i] = distance
            for i in range(here, (here + n - 1) // n * n):
                distances[i] = -infinity
            for at in range(scratch, scratch + 8 * here, 8 * n):
                store(scaled_exp(load(at, np.float64, n)), at + 8 * TILE)
            for i in range(here):
                k = number_of[start + i] - first
                if 0 <= k < count:
                    row, distance = width * k, distances[i]
                    e = 0.0 if distance > 0 else exponentials[i]
                    rows[row + 1] += 1.0 if distance > 0 else 0.0
                    s = row + s_at
                    rows[s], rows[s + 1] = add_compensated(rows[s], rows[s + 1], e)
                    if moments:
                        t, q = row + t_at, row + q_at
                        product = 0.0 if e == 0 else distance * e  # the distance may be -inf
                        rows[t], rows[t + 1] = add_compensated(rows[t], rows[t + 1], product)
                        rows[q], rows[q + 1] = add_compensated(rows[q], rows[q + 1], e * e)
        for row in range(0, width * count, width):
            s = row + s_at
            rows[s] = (rows[s] + rows[s + 1]) / scale
            if moments:
                t, q = row + t_at, row + q_at
                rows[t] = (rows[t] + rows[t + 1]) / scale
                rows[q] = (rows[q] + rows[q + 1]) / scale / scale
            if rows[s] != rows[s]:
                rows[row], rows[row + 1] = nan, 0.0

    return kernel


def present(moments: bool) -> Callable[..., None]:
    """The kernel that takes from a table the groups that there are, and their states or moments.

    Parameters of the kernel: the address of the table, how many rows it has, and the place of the
    first; addresses for the places of the groups and for their m, w, s, t and q, the last two of
    moments only; and for how many there are. What is there has an element at the maximum, or NaN.
    """
    width = GROUP_MOMENTS if moments else GROUP_STATE

    def kernel(
        table: int,
        count: int,
        first: int,
        places: int,
        m: int,
        w: int,
        s: int,
        t: int,
        q: int,
        number: int,
    ) -> None:
        rows, place_of = pointer(table, np.float64), pointer(places, np.int64)
        ms, ws, ss = pointer(m, np.float64), pointer(w, np.float64), pointer(s, np.float64)
        ts, qs, found = pointer(t, np.float64), pointer(q, np.float64), 0
        for k in range(count):
            row = width * k
            if rows[row + 1] > 0 or rows[row + 2] != rows[row + 2]:
                place_of[found] = first + k
                ms[found], ws[found], ss[found] = rows[row], rows[row + 1], rows[row + 2]
                if moments:
                    ts[found], qs[found] = rows[row + 4], rows[row + 6]
                found += 1
        pointer(number, np.int64)[0] = found

    return kernel


def merge(moments: bool) -> Callable[..., None]:
    """The kernel that merges states of groups into a table, as `_algebra` does, in three steps.

    Parameters of the kernel: the step, 0 for the maxima and 1 for the sums, each of one part after
    the other, and 2 to finish; addresses of m, w, s, t and q of a part, the last two of moments
    only; the address of the numbers of its groups, and ``first``, as above; how many states there
    are; the address of the table and how many rows it has; and of scratch memory.
    """
    width, sums = (GROUP_MOMENTS, (2, 4, 6)) if moments else (GROUP_STATE, (2,))
    s_at, t_at, q_at = sums[0], sums[-2:][0], sums[-1]
    n, unscale = _LANES, 2.0 ** -SCALE[np.float64]

    def kernel(
        step: int,
        m: int,
        w: int,
        s: int,
        t: int,
        q: int,
        numbers: int,
        first: int,
        size: int,
        table: int,
        count: int,
        scratch: int,
    ) -> None:
        ms, ws, ss = pointer(m, np.float64), pointer(w, np.float64), pointer(s, np.float64)
        ts, qs = pointer(t, np.float64), pointer(q, np.float64)
        number_of, rows = pointer(numbers, np.int64), pointer(table, np.float64)
        distances = pointer(scratch, np.float64)
        factors = pointer(scratch + 8 * TILE, np.float64)
        if step == 0:
            for i in range(size):
                k = number_of[i] - first
                if 0 <= k < count:
                    top = rows[width * k]
                    rows[width * k] = ms[i] if (ms[i] > top) | (ms[i] != ms[i]) else top
            return
        if step == 2:
            for row in range(0, width * count, width):
                rows[row + s_at] += rows[row + s_at + 1]
                if moments:
                    rows[row + t_at] += rows[row + t_at + 1]
                    rows[row + q_at] += rows[row + q_at + 1]
            return
        for start in range(0, size, TILE):
            here = min(TILE, size - start)
            for i in range(here):
                k = number_of[start + i] - first
                distances[i] = 0.0
                if 0 <= k < count and ms[start + i] != rows[width * k]:
                    distances[i] = ms[start + i] - rows[width * k]
            for i in range(here, (here + n - 1) // n * n):
                distances[i] = 0.0
            for at in range(scratch, scratch + 8 * here, 8 * n):
                store(scaled_exp(load(at, np.float64, n)) * unscale, at + 8 * TILE)
            for j in range(here):
                i, distance, factor = start + j, distances[j], factors[j]
                k = number_of[i] - first
                if k < 0 or k >= count:
                    continue
                row, at_top = width * k, distance == 0
                rows[row + 1] += ws[i] if at_top else 0.0
                term = ss[i] if at_top else (ws[i] + ss[i]) * factor
                at = row + s_at
                rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], term)
                if moments and factor != 0:  # the distance may be -inf
                    t_term, q_term = ts[i], qs[i]
                    if not at_top:
                        t_term = (t_term + (ws[i] + ss[i]) * distance) * factor
                        q_term = (q_term + ws[i]) * factor * factor
                    at = row + t_at
                    rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], t_term)
                    at = row + q_at
                    rows[at], rows[at + 1] = add_compensated(rows[at], rows[at + 1], q_term)

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
