"""Steps on a tile of a row, with no memory but the tile: LLVM inlines them into the kernel.

The end of a row seldom is the end of a vector, and nothing beyond it may be read or written.  So
the last vector of a tile overlaps with the one before it, if there is one; what is reduced has
-inf in the lanes of it that were there already.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .exp import HIGH, SCALE, scaled_exp
from .masks import masking
from .memory import add_compensated, convert, copy, exp, inlined, pointer, prefetch
from .simd import (
    VECTOR_BYTES,
    count_equal,
    from_lane,
    greater,
    lanes_in_vector,
    largest,
    load,
    repeat,
    store,
    total,
    where_equal,
    widen,
)

float64 = np.float64


def reductions(working: Any) -> tuple[Callable[..., Any], ...]:
    """`maximum_of`, `sum_below`, `sum_of_rest` and `weighted_sums_of` tiles of ``working``.

    A tile is given by the addresses of its first vector and of the end of its whole ones, and by
    its last vector.
    """
    n = lanes_in_vector(working)
    infinity, one, zero = working(np.inf), working(1), working(0)
    weights_bytes = 8 * n
    add = addition(working)

    @inlined
    def maximum_of(tile: int, end: int, last: Any) -> Any:
        """The maximum; NaN is passed over, and gets into the sum."""
        top = greater(last, repeat(-infinity, n))
        for at in range(tile, end, VECTOR_BYTES):
            top = greater(load(at, working, n), top)
        return largest(top)

    @inlined
    def sum_below(tile: int, end: int, last: Any, reference: Any, ahead: int) -> Any:
        """The sum of the scaled exponentials of x - reference, if that is small, and the maximum.

        Prefetches what is so many bytes ahead: the hardware fetches too little while exponentials
        are computed.
        """
        top = repeat(-infinity, n)
        s = error = repeat(0.0, n)
        for at in range(tile, end, VECTOR_BYTES):
            prefetch(at + ahead)
            x = load(at, working, n)
            top = greater(x, top)
            s, error = add(s, error, widen(scaled_exp(x - reference)))
        top = greater(last, top)
        s, error = add(s, error, widen(scaled_exp(last - reference)))
        return total(s + error), largest(top)

    @inlined
    def sum_of_rest(tile: int, end: int, last: Any, m: Any, reference: Any, ahead: int) -> Any:
        """The same sum without the elements that are m, and the number of those."""
        s = widen(scaled_exp(where_equal(last, m, -infinity, last - reference)))
        error = repeat(0.0, n)
        number = count_equal(last, m)
        for at in range(tile, end, VECTOR_BYTES):
            prefetch(at + ahead)
            x = load(at, working, n)
            number += count_equal(x, m)
            e = scaled_exp(where_equal(x, m, -infinity, x - reference))
            s, error = add(s, error, widen(e))
        return total(s + error), number

    @inlined
    def weighted_sums_of(tile: int, end: int, weights: int, m: Any, reference: Any) -> Any:
        """The weighted sums over the elements that are not m, and over those that are.

        Of a tile on scratch memory, where its last vector and the weights are filled.
        """
        # Weights at +inf count as infinite: both signs of them give NaN.
        value = infinity if m == infinity else one
        s = s_error = w = w_error = repeat(0.0, n)
        for at in range(tile, end + VECTOR_BYTES, VECTOR_BYTES):
            x, b = load(at, working, n), load(weights, float64, n)
            e = scaled_exp(where_equal(x, m, -infinity, x - reference))
            s, s_error = add_compensated(s, s_error, widen(e) * b)
            e = where_equal(x, m, value, repeat(zero, n))
            w, w_error = add_compensated(w, w_error, widen(e) * b)
            weights += weights_bytes
        return total(s + s_error), total(w), total(w_error)

    return maximum_of, sum_below, sum_of_rest, weighted_sums_of


def tiles(working: Any, masked: bool) -> tuple[Callable[..., Any], ...]:
    """`fetch` and `vectors_of`: where the elements of a tile are, and how vectors cover them."""
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)
    copy_where, overwrite = masking(working)

    @inlined
    def fetch(
        codec: int,
        source: int,
        step: int,
        size: int,
        where: int,
        where_step: int,
        nothing: Any,
        scratch: int,
        spare: int,
    ) -> int:
        """The address of the elements: their own, or that of the scratch memory.

        ``nothing`` stands for those that are out.
        """
        if codec:
            convert(codec, source, scratch, step, size)
            if masked:
                overwrite(scratch, where, where_step, size, nothing, spare)
        elif masked:
            copy_where(source, scratch, where, where_step, size, nothing, spare)
        return scratch if codec or masked else source

    @inlined
    def vectors_of(tile: int, size: int, padded: bool, nothing: Any, scratch: int) -> Any:
        """The addresses of the first vector and of the end of the whole ones, and the last one.

        The last one has the elements that are left and then ``nothing``, which is written to the
        scratch memory; or if it is not padded ``nothing`` and then these, read where they are.
        """
        whole = (size - 1) // n * n  # and from 1 to n elements in the last vector
        if padded and size - whole < n and tile != scratch:
            copy(tile, scratch, size, working)
            tile = scratch
        end = tile + whole * item
        if padded and size - whole < n:
            filled = pointer(end, working)
            for i in range(size - whole, n):
                filled[i] = nothing
            last = load(end, working, n)
        else:
            last = load(tile + (size - n) * item, working, n)
            last = from_lane(n - (size - whole), last, nothing)
        return tile, end, last

    return fetch, vectors_of


def addition(working: Any) -> Callable[..., Any]:
    """How exponentials of ``working`` are added to (sum, error) within a tile.

    A float64 has so many more digits than a float32 that a tile of these needs no care.
    """

    @inlined
    def add_plainly(s: Any, error: Any, term: Any) -> Any:
        return s + term, error

    return add_plainly if working is np.float32 else add_compensated


@inlined
def closed_lanes(total: Any, error: Any) -> Any:
    """As `memory.closed`, in each lane."""
    return total + where_equal(error, error, error, 0.0)


def maps(working: Any) -> tuple[Callable[..., Any], ...]:
    """`write_logarithms` and `write_exponentials` of so many elements of ``working``."""
    n = lanes_in_vector(working)
    infinity, high = working(np.inf), HIGH[working]
    unscale = working(2.0 ** -SCALE[working])
    item = np.dtype(working).itemsize

    @inlined
    def write_logarithms(source: int, target: int, size: int, m: Any, logarithm: Any) -> None:
        elements, results = pointer(source, working), pointer(target, working)
        for i in range(size):
            results[i] = (elements[i] - m) - logarithm

    @inlined
    def write_exponentials(
        source: int, target: int, size: int, spare: int, m: Any, factor: Any, ahead: int
    ) -> None:
        """exp(x - m) times a factor; ``spare`` has room for a vector."""
        t = top = repeat(-infinity, n)
        end = (size - n) * item
        for at in range(0, end, VECTOR_BYTES):
            prefetch(ahead + at)
            t = load(source + at, working, n) - m
            top = greater(t, top)
            store(scaled_exp(t) * unscale * factor, target + at)
        if end < 0:
            store(repeat(m, n), spare)
            copy(source, spare, size, working)
            t = load(spare, working, n) - m
            store(scaled_exp(t) * unscale * factor, spare)
            copy(spare, target, size, working)
        else:
            t = load(source + end, working, n) - m
            store(scaled_exp(t) * unscale * factor, target + end)
        top = greater(t, top)
        if largest(top) > high:  # x is not of the slice that m is of
            elements, results = pointer(source, working), pointer(target, working)
            for i in range(size):
                if elements[i] - m > high:
                    results[i] = working(exp(float64(elements[i] - m))) * factor

    return write_logarithms, write_exponentials


def keeping(working: Any) -> tuple[Callable[..., Any], ...]:
    """`sum_and_keep` and `write_kept`: the softmax of a tile, of exponentials computed once."""
    n, item = lanes_in_vector(working), np.dtype(working).itemsize
    unscale, zero = working(2.0 ** -SCALE[working]), working(0)
    add = addition(working)

    @inlined
    def sum_and_keep(
        tile: int, end: int, last: Any, m: Any, ahead: int, last_at: int, kept: int
    ) -> Any:
        """As `sum_of_rest` with m for a reference; scaled exponentials are written to ``kept``.

        The last vector, which begins at ``last_at``, may have -inf for what the one before it has
        too, and is written before it.
        """
        e = scaled_exp(last - m)
        store(e, kept + last_at - tile)
        s, error = widen(where_equal(last, m, zero, e)), repeat(0.0, n)
        number = count_equal(last, m)
        for at in range(tile, end, VECTOR_BYTES):
            prefetch(at + ahead)
            x = load(at, working, n)
            number += count_equal(x, m)
            e = scaled_exp(x - m)
            store(e, kept + at - tile)
            s, error = add(s, error, widen(where_equal(x, m, zero, e)))
        return total(s + error), number

    @inlined
    def write_kept(kept: int, target: int, size: int, spare: int, factor: Any) -> None:
        """So many of them times a factor; they fill a vector, if there are fewer."""
        end = (size - n) * item
        for at in range(0, end, VECTOR_BYTES):
            store(load(kept + at, working, n) * unscale * factor, target + at)
        if end < 0:
            store(load(kept, working, n) * unscale * factor, spare)
            copy(spare, target, size, working)
        else:
            store(load(kept + end, working, n) * unscale * factor, target + end)

    return sum_and_keep, write_kept


@inlined
def absorb_special_weights(tile: Any, weights: Any, size: int, infinity: Any) -> None:
    """Turn weights of 0, inf and NaN into values of x, so that all that remain are finite.

    0 exp(x) is nothing whatever x is; +-inf is +-exp(inf), or NaN with x = -inf; NaN is NaN.
    """
    special = False
    for i in range(size):
        weight = abs(weights[i])
        special |= not ((weight > 0) & (weight < math.inf))
    for i in range(size if special else 0):
        weight = weights[i]
        if weight == 0:
            tile[i] = -infinity
        elif math.isinf(weight):
            tile[i] = infinity if tile[i] > -infinity else infinity - infinity
            weights[i] = math.copysign(1.0, weight)
        elif weight != weight:
            tile[i] = infinity - infinity
            weights[i] = 1.0
