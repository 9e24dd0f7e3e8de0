"""Kernels of groups: labels to numbers, maxima and sums of each group, and the map of its elements.

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
from .memory import add_compensated, exp, pointer
from .protocol import GROUP_MOMENTS, GROUP_STATE
from .protocol import GROUP_TILE as TILE
from .simd import lanes_in_vector, load, store

_LANES = lanes_in_vector(np.float64)

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
                value = float64(elements[i])
                if value > rows[width * k]:
                    rows[width * k] = value
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
                    row, e, distance = width * k, exponentials[i], distances[i]
                    if distance > 0:
                        rows[row + 1] += 1.0
                    else:
                        s = row + s_at
                        rows[s], rows[s + 1] = add_compensated(rows[s], rows[s + 1], e)
                        if moments and e != 0:  # the distance may be -inf
                            t, q = row + t_at, row + q_at
                            rows[t], rows[t + 1] = add_compensated(
                                rows[t], rows[t + 1], distance * e
                            )
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


def merge(moments: bool) -> Callable[..., None]:
    """The kernel that merges states of groups into a table, as `_algebra` does, in three steps.

    Parameters of the kernel: the step, 0 for the maxima and 1 for the sums, each of one part after
    the other, and 2 to finish; addresses of m, w, s, t and q of a part, the last two of moments
    only; the address of the numbers of its groups, and ``first``, as above; how many states there
    are; the address of the table and how many rows it has.
    """
    width, sums = (GROUP_MOMENTS, (2, 4, 6)) if moments else (GROUP_STATE, (2,))
    s_at, t_at, q_at = sums[0], sums[-2:][0], sums[-1]

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
    ) -> None:
        ms, ws, ss = pointer(m, np.float64), pointer(w, np.float64), pointer(s, np.float64)
        ts, qs = pointer(t, np.float64), pointer(q, np.float64)
        number_of, rows = pointer(numbers, np.int64), pointer(table, np.float64)
        for i in range(size):
            k = number_of[i] - first
            if k < 0 or k >= count:
                continue
            row = width * k
            if step == 0:
                if ms[i] > rows[row] or ms[i] != ms[i]:
                    rows[row] = ms[i]
                continue
            distance, factor = 0.0, 1.0
            term, at_top = ss[i], ms[i] == rows[row]
            if at_top:
                rows[row + 1] += ws[i]
            else:
                distance = ms[i] - rows[row]
                factor = exp(distance)
                term = (ws[i] + ss[i]) * factor
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
        if step == 2:
            for row in range(0, width * count, width):
                rows[row + s_at] += rows[row + s_at + 1]
                if moments:
                    rows[row + t_at] += rows[row + t_at + 1]
                    rows[row + q_at] += rows[row + q_at + 1]

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
