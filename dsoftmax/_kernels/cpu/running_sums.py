"""The compiled kernel for running log-sum-exps: a slice at a time, and of each a tile at a time.

The exponentials of a tile and its logarithms are taken in vectors.  The sum between them is one
number after another, with compensation (Knuth's TwoSum): each step waits for the last one, which
takes as long as the exponentials do.

Sums are scaled by exp(-reference).  As in `rows` the reference follows the running maximum when
that has risen by more than 1: so no element that comes early underflows because of a larger one
that comes late, and the sums are at least 1, of which there is a logarithm.  Most tiles have one
reference; in others there is one for each element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .exp import SCALE, scaled_exp
from .log import add_log
from .memory import add_compensated, convert, copy, exp, inlined, pointer
from .protocol import RUNNING
from .simd import (
    VECTOR_BYTES,
    greater,
    lanes_in_vector,
    largest,
    load,
    narrow,
    repeat,
    store,
    where_equal,
)

int64, float64 = np.int64, np.float64

# All that a tile needs is 20 KiB, and stays in the first-level cache.
TILE = 512


def running_sums(working: Any) -> Callable[..., None]:
    """The kernel for results of ``working``, float32 or float64, computed in float64.

    The kernel takes the address of a `protocol.Running`.
    """
    field = RUNNING
    n = lanes_in_vector(float64)
    item = np.dtype(working).itemsize
    infinity = float64(np.inf)
    factor = float64(2.0 ** -SCALE[float64])

    @inlined
    def exponentials(tile: int, target: int, size: int, reference: float) -> float:
        """Those of x - reference, and the maximum of x; NaN is passed over."""
        top = repeat(-infinity, n)
        for at in range(0, 8 * size, VECTOR_BYTES):
            x = load(tile + at, float64, n)
            top = greater(x, top)
            store(scaled_exp(x - reference) * factor, target + at)
        return largest(top)

    @inlined
    def follow(tile: int, target: int, references: int, size: int, reference: float) -> None:
        """The references of all elements, and the exponentials relative to them."""
        elements, followed = pointer(tile, float64), pointer(references, float64)
        for i in range(size):
            if elements[i] > reference + 1:
                reference = elements[i]
            followed[i] = reference
        for at in range(0, 8 * size, VECTOR_BYTES):
            x = load(tile + at, float64, n) - load(references + at, float64, n)
            store(scaled_exp(x) * factor, target + at)

    @inlined
    def add_up(sums: int, errors: int, size: int, d: float, lost: float) -> Any:
        """Running sums in place of the terms."""
        terms, rest = pointer(sums, float64), pointer(errors, float64)
        for i in range(size):
            d, lost = add_compensated(d, lost, terms[i])
            terms[i], rest[i] = d, lost
        return d, lost

    @inlined
    def add_up_scaled(
        tile: int,
        references: int,
        sums: int,
        errors: int,
        size: int,
        reference: float,
        d: float,
        lost: float,
    ) -> Any:
        """The same, where the reference changes."""
        elements, followed = pointer(tile, float64), pointer(references, float64)
        terms, rest = pointer(sums, float64), pointer(errors, float64)
        for i in range(size):
            if followed[i] != reference:
                scale = 0.0 if reference == -infinity else exp(reference - followed[i])
                d, lost = d * scale, lost * scale  # NaN stays
                reference = followed[i]
            if abs(reference) == infinity:
                # Of these the logarithm is the reference itself, unless there is a NaN.
                bad = elements[i] != elements[i] or d != d
                d, lost = np.nan if bad else 1.0, 0.0
            else:
                d, lost = add_compensated(d, lost, terms[i])
            terms[i], rest[i] = d, lost
        return reference, d, lost

    def kernel(record: int) -> None:
        given = pointer(record, int64)
        length, x_step, y_step = given[field.length], given[field.x_step], given[field.y_step]
        load_x, store_y = given[field.load], given[field.store]
        ms, ds = pointer(given[field.m], float64), pointer(given[field.d], float64)
        losts = pointer(given[field.lost], float64)
        scratch, room = given[field.scratch], 8 * TILE
        sums, errors = scratch + room, scratch + 2 * room
        references, results = scratch + 3 * room, scratch + 4 * room
        for start in range(0, length, TILE):
            size = min(TILE, length - start)
            padded = (size + n - 1) // n * n
            for row in range(given[field.count]):
                source = given[field.x] + row * given[field.x_row] + start * x_step
                target = given[field.y] + row * given[field.y_row] + start * y_step
                reference, total, lost = ms[row], ds[row], losts[row]
                tile = source
                if load_x != 0:
                    convert(load_x, source, scratch, x_step, size)
                    tile = scratch
                elif padded > size:
                    copy(source, scratch, size, float64)
                    tile = scratch
                if padded > size:
                    elements = pointer(scratch, float64)
                    for i in range(size, padded):
                        elements[i] = -infinity
                steady = abs(reference) < infinity
                if steady:
                    top = exponentials(tile, sums, padded, reference)
                    steady = top <= reference + 1
                if steady:
                    total, lost = add_up(sums, errors, size, total, lost)
                else:
                    follow(tile, sums, references, padded, reference)
                    reference, total, lost = add_up_scaled(
                        tile, references, sums, errors, size, reference, total, lost
                    )
                ms[row], ds[row], losts[row] = reference, total, lost
                direct = store_y == 0 and padded == size
                out = target if direct else results
                for i in range(0, padded, n):
                    m, d = repeat(reference, n), load(sums + 8 * i, float64, n)
                    if not steady:
                        m = load(references + 8 * i, float64, n)
                    y = add_log(m, d, load(errors + 8 * i, float64, n))
                    if not steady:  # infinite references have sums of 1 or NaN
                        y = where_equal(m * 0.0, 0.0, y, m + (d - 1.0))
                    store(narrow(y, working), out + item * i)
                if store_y != 0:
                    convert(store_y, results, target, y_step, size)
                elif not direct:
                    copy(results, target, size, working)

    return kernel
