"""The compiled kernel that selects the k best of slices, after or without their normalizer.

A block is worked on in segments that stay in the second-level cache: the kernel of `rows` takes
the states of a segment and the maximum of each of its tiles.  The k-th of these maxima bounds the k
best from below, so that only the tiles that reach it are looked at, a run at a time, and the common
element costs nothing.  The k best are a heap with the worst of them at the root: a better element
costs log k.

Both kernels share the heap, and so are one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .memory import add_compensated, call, convert, exp, pointer
from .protocol import LANE_BYTES, MAXIMA_AT, SELECTION, TILE_BYTES, WORK
from .simd import any_not_below, lanes_in_vector
from .simd import load as load_vector

int64, float64 = np.int64, np.float64

ROWS = 8  # of a tile of columns

# In the heap a NaN is an inf with a negative index, and so better than any inf.
NAN_INDEX = int64(-(2**62))
WORST_INDEX = int64(2**62)


def rows(working: Any) -> Callable[..., None]:
    """The kernel for slices of ``working``, float32 or float64, or what loads as these.

    The kernel takes the address of a `protocol.Selection`.

    The state of a slice is where that of its first segment was.
    """
    field, to, item = SELECTION, WORK, np.dtype(working).itemsize
    tile_size = TILE_BYTES // item
    infinity, nan = working(np.inf), working(np.nan)
    epsilon = np.finfo(working).eps
    n = lanes_in_vector(working)

    @njit
    def offer(
        address: int, done: int, size: int, begin: int, values: Any, indices: Any, k: int, run: int
    ) -> None:
        """Replace the worst of the heap by every better element of a tile, from ``done`` on."""
        tile = pointer(address, working)
        for start in range(done, size, run):
            end = min(start + run, size)
            worst = values[0]
            better = False
            for i in range(start, end):
                better |= not (tile[i] <= worst)  # or NaN; of equals the earlier is better
            # Last first: of ascending elements not all are the best so far.
            while better and end - n >= start:
                end -= n
                if any_not_below(load_vector(address + end * item, working, n), values[0]):
                    offer_each(tile, end, end + n, begin, values, indices, k, infinity)
            if better:
                offer_each(tile, start, end, begin, values, indices, k, infinity)

    def kernel(selection: int) -> None:
        given = pointer(selection, int64)
        x, values_array, indices_array = given[field.x], given[field.values], given[field.indices]
        m_array, w_array, s_array = given[field.m], given[field.w], given[field.s]
        count, length, k = given[field.count], given[field.length], given[field.k]
        x_row, x_step = given[field.x_row], given[field.x_step]
        segment, run, together = given[field.segment], given[field.run], given[field.together]
        load, state_of_rows, work = given[field.load], given[field.rows], given[field.work]
        scratch, rows_scratch = given[field.scratch], given[field.rows_scratch]
        work_of_rows = pointer(work, int64)
        ms = pointer(m_array, working)
        maxima = pointer(rows_scratch + MAXIMA_AT, working)
        for start in range(0, length, segment):
            size = min(segment, length - start)
            tiles = (size + tile_size - 1) // tile_size
            states = start // segment * count
            for first in range(0, count, together):
                if state_of_rows:
                    state = states + first
                    work_of_rows[to.x] = x + first * x_row + start * x_step
                    work_of_rows[to.m] = m_array + state * item
                    work_of_rows[to.w] = w_array + state * 8
                    work_of_rows[to.s] = s_array + state * 8
                    work_of_rows[to.count] = min(together, count - first)
                    work_of_rows[to.length] = size
                    call(state_of_rows, work)
                for row in range(first, min(first + together, count)):
                    values = pointer(values_array + row * k * item, working)
                    indices = pointer(indices_array + row * k * 8, int64)
                    m = ms[states + row] if state_of_rows else nan
                    if start >= k and m <= values[0]:
                        continue  # nothing is better, and nothing is NaN
                    tops = part(maxima, (row - first) * tiles)
                    primed = start == 0 and k <= tiles and m == m
                    if primed:
                        primed = prime(tops, tiles, values, indices, k, infinity, epsilon)
                    for begin in range(start, start + size, tile_size):
                        full = primed or begin >= k
                        if full and m == m and tops[(begin - start) // tile_size] <= values[0]:
                            continue
                        source = x + row * x_row + begin * x_step
                        tile_length = min(tile_size, start + size - begin)
                        if load:
                            convert(load, source, scratch, x_step, tile_length)
                            source = scratch
                        tile = pointer(source, working)
                        done = 0
                        if not full:
                            done = offer_first(
                                tile, tile_length, begin, values, indices, k, infinity
                            )
                        offer(source, done, tile_length, begin, values, indices, k, run)
        ws, ss = pointer(w_array, float64), pointer(s_array, float64)
        for row in range(count):
            if state_of_rows:
                merge_segments(ms, ws, ss, row, count, (length + segment - 1) // segment)
            values = pointer(values_array + row * k * item, working)
            finish(values, pointer(indices_array + row * k * 8, int64), k, nan)

    return kernel


def columns(working: Any) -> Callable[..., None]:
    """The kernel for slices side by side, whose elements are compared with a row of thresholds.

    The kernel takes the address of a `protocol.Selection`, of which it needs no states, segments
    and runs.
    """
    field, item = SELECTION, np.dtype(working).itemsize
    lanes = LANE_BYTES // item
    infinity, nan = working(np.inf), working(np.nan)

    def kernel(selection: int) -> None:
        given = pointer(selection, int64)
        x, values_array, indices_array = given[field.x], given[field.values], given[field.indices]
        count, length, k = given[field.count], given[field.length], given[field.k]
        x_row, x_step = given[field.x_row], given[field.x_step]
        load, scratch = given[field.load], given[field.scratch]
        loaded = pointer(scratch, working)
        thresholds = pointer(scratch + ROWS * lanes * item, working)
        for first in range(0, count, lanes):
            width = min(lanes, count - first)
            values = pointer(values_array + first * k * item, working)
            indices = pointer(indices_array + first * k * 8, int64)
            begin = 0
            while begin < length:
                # The rows of a run are all before the heaps are full, or all after.
                end = min(begin + ROWS, k if begin < k else length)
                tile, distance = (
                    pointer(x + first * x_row + begin * x_step, working),
                    x_step // item,
                )
                if load:
                    for i in range(end - begin):
                        source = x + first * x_row + (begin + i) * x_step
                        convert(load, source, scratch + i * lanes * item, x_row, width)
                    tile, distance = loaded, lanes
                if end <= k:
                    for j in range(width):
                        for i in range(end - begin):
                            value, index = ranked(tile[i * distance + j], begin + i, infinity)
                            values[j * k + begin + i], indices[j * k + begin + i] = value, index
                    if end == k:
                        for j in range(width):
                            make_heap(part(values, j * k), part(indices, j * k), k)
                            thresholds[j] = values[j * k]
                elif any_better(tile, distance, end - begin, width, thresholds):
                    for i in range(end - begin - 1, -1, -1):
                        for j in range(width):
                            value = tile[i * distance + j]
                            if not (value < thresholds[j]):
                                heap, places = part(values, j * k), part(indices, j * k)
                                offer_one(value, begin + i, heap, places, k, infinity)
                                thresholds[j] = heap[0]
                begin = end
            for j in range(width):
                finish(part(values, j * k), part(indices, j * k), k, nan)

    return kernel


@njit
def any_better(tile: Any, distance: int, rows: int, width: int, thresholds: Any) -> bool:
    better = False
    for i in range(rows):
        for j in range(width):
            better |= not (tile[i * distance + j] <= thresholds[j])  # or NaN
    return better


@njit
def merge_segments(ms: Any, ws: Any, ss: Any, row: int, count: int, segments: int) -> None:
    """The state of a slice from those of its segments, as `_algebra.merge` does it."""
    m = ms[row]
    for i in range(row + count, row + segments * count, count):
        if ms[i] > m or ms[i] != ms[i]:
            m = ms[i]
    w, s, error = 0.0, 0.0, 0.0
    for i in range(row, row + segments * count, count):
        if ms[i] == m:
            w += ws[i]
            s, error = add_compensated(s, error, ss[i])
        else:
            factor = exp(float64(ms[i]) - float64(m))
            s, error = add_compensated(s, error, (ws[i] + ss[i]) * factor)
    ms[row], ws[row], ss[row] = m, w, s + error


@njit
def prime(
    maxima: Any, tiles: int, values: Any, indices: Any, k: int, infinity: Any, epsilon: Any
) -> bool:
    """Fill the heap with what every one of the k best is better than; whether that is possible.

    The k-th of the maxima of the tiles has k elements that are not worse.
    """
    for i in range(k):
        values[i], indices[i] = maxima[i], WORST_INDEX
    make_heap(values, indices, k)
    for i in range(k, tiles):
        if maxima[i] > values[0]:
            sift(values, indices, 0, k, maxima[i], WORST_INDEX)
    bound = values[0]
    if not -infinity < bound < infinity:
        return False
    for i in range(k):
        values[i] = bound - (abs(bound) + epsilon) * epsilon
    return True


@njit
def offer_first(
    tile: Any, size: int, begin: int, values: Any, indices: Any, k: int, infinity: Any
) -> int:
    """Take what the heap lacks to hold k elements; how many of the tile that are."""
    taken = max(min(k - begin, size), 0)
    for i in range(taken):
        values[begin + i], indices[begin + i] = ranked(tile[i], begin + i, infinity)
    if taken and begin + taken == k:
        make_heap(values, indices, k)
    return taken


@njit
def offer_each(
    tile: Any, start: int, end: int, begin: int, values: Any, indices: Any, k: int, infinity: Any
) -> None:
    for i in range(end - 1, start - 1, -1):
        if not (tile[i] < values[0]):
            offer_one(tile[i], begin + i, values, indices, k, infinity)


@njit
def offer_one(value: Any, index: int, values: Any, indices: Any, k: int, infinity: Any) -> None:
    value, index = ranked(value, index, infinity)
    if worse(values[0], indices[0], value, index):
        sift(values, indices, 0, k, value, index)


@njit
def make_heap(values: Any, indices: Any, k: int) -> None:
    for i in range(k // 2 - 1, -1, -1):
        sift(values, indices, i, k, values[i], indices[i])


@njit
def finish(values: Any, indices: Any, k: int, nan: Any) -> None:
    """Turn the heap into a list, best first."""
    for last in range(k - 1, 0, -1):
        value, index = values[last], indices[last]
        values[last], indices[last] = values[0], indices[0]
        sift(values, indices, 0, last, value, index)
    for i in range(k):
        if indices[i] < 0:
            values[i] = nan
            indices[i] -= NAN_INDEX


@njit
def sift(values: Any, indices: Any, at: int, k: int, value: Any, index: int) -> None:
    """Put an element where it belongs below a place in a heap of k."""
    child = 2 * at + 1
    while child < k:
        other = min(child + 1, k - 1)
        if worse(values[other], indices[other], values[child], indices[child]):
            child = other
        if not worse(values[child], indices[child], value, index):
            break
        values[at], indices[at] = values[child], indices[child]
        at, child = child, 2 * child + 1
    values[at], indices[at] = value, index


@njit
def worse(a: Any, i: int, b: Any, j: int) -> bool:
    # Without a branch: which of two is worse cannot be predicted (measured: 20 % faster).
    return (a < b) | ((a == b) & (i > j))


@njit
def ranked(value: Any, index: int, infinity: Any) -> Any:
    if value != value:
        return infinity, index + NAN_INDEX
    return value, index


@intrinsic
def part(typing_context: Any, elements: Any, offset: Any) -> Any:
    """The elements from one of them on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return elements(elements, types.int64), codegen
