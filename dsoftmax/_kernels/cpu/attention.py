"""The kernel of softmax(x) @ v: products of exponentials, made where they are used, with rows of v.

A BLAS has threads of its own, which get in each other's way where several threads of Dask call it,
and takes the exponentials from memory.  Here two rows of x at a time are exponentiated, a tile of
them, and multiplied with the rows of v in the tile, which stay in the cache for all rows of x.  The
sums of a tile are in registers, and those of tiles in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .exp import SCALE, scaled_exp
from .machine_code import target
from .memory import inlined, pointer
from .protocol import ATTENTION_TILE_BYTES
from .simd import lanes_in_vector, load, repeat, store, widen


def products(working: Any) -> Callable[..., None]:
    """The kernel that adds exp(x - m) @ v to what is there, in float64.

    Parameters of the kernel: the address of x, contiguous along its rows, and the bytes from one
    row to the next; the same of v; the address of m of each row, in the working dtype; the address
    of the sums, in float64, contiguous; the number of rows of x and their length; the width of v,
    4 vectors or a multiple of these; and the address of scratch memory.

    Where registers are of 64 bytes sums are of 4 vectors for each row, elsewhere of 2.
    """
    n, item = lanes_in_vector(working), np.dtype(working).itemsize
    unscale, lowest = working(2.0 ** -SCALE[working]), working(-np.inf)
    step, tile_length = n * item, ATTENTION_TILE_BYTES // item

    @inlined
    def exponentials(x: int, m: Any, size: int, at: int) -> None:
        whole = size // n * n
        for i in range(0, whole * item, step):
            store(scaled_exp(load(x + i, working, n) - m) * unscale, at + i)
        if whole < size:
            elements, tail = pointer(x, working), pointer(at, working)
            for i in range(whole, whole + n):
                tail[i] = elements[i] if i < size else lowest
            last = at + whole * item
            store(scaled_exp(load(last, working, n) - m) * unscale, last)

    @inlined
    def add(sums: int, lanes: Any) -> None:
        store(load(sums, np.float64, n) + widen(lanes), sums)

    @inlined
    def by_four(v: int, v_row: int, size: int, at: int, o: int, o_row: int, both: bool) -> None:
        first, second = pointer(at, working), pointer(at + ATTENTION_TILE_BYTES, working)
        zero = repeat(working(0), n)
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
        for k in range(size):
            v0, v1 = load(v, working, n), load(v + step, working, n)
            v2, v3 = load(v + 2 * step, working, n), load(v + 3 * step, working, n)
            e, f = first[k], second[k]
            a0, a1, a2, a3 = a0 + v0 * e, a1 + v1 * e, a2 + v2 * e, a3 + v3 * e
            b0, b1, b2, b3 = b0 + v0 * f, b1 + v1 * f, b2 + v2 * f, b3 + v3 * f
            v += v_row
        add(o, a0), add(o + 8 * n, a1), add(o + 16 * n, a2), add(o + 24 * n, a3)
        if both:
            o += o_row
            add(o, b0), add(o + 8 * n, b1), add(o + 16 * n, b2), add(o + 24 * n, b3)

    @inlined
    def by_two(v: int, v_row: int, size: int, at: int, o: int, o_row: int, both: bool) -> None:
        first, second = pointer(at, working), pointer(at + ATTENTION_TILE_BYTES, working)
        zero = repeat(working(0), n)
        a0 = a1 = b0 = b1 = zero
        for k in range(size):
            v0, v1, e, f = load(v, working, n), load(v + step, working, n), first[k], second[k]
            a0, a1, b0, b1 = a0 + v0 * e, a1 + v1 * e, b0 + v0 * f, b1 + v1 * f
            v += v_row
        add(o, a0), add(o + 8 * n, a1)
        if both:
            add(o + o_row, b0), add(o + o_row + 8 * n, b1)

    wide = "+avx512f" in target().features
    multiply, vectors = (by_four, 4) if wide else (by_two, 2)

    def kernel(
        x: int,
        x_row: int,
        v: int,
        v_row: int,
        maxima: int,
        sums: int,
        rows: int,
        length: int,
        width: int,
        scratch: int,
    ) -> None:
        m_of = pointer(maxima, working)
        for start in range(0, length, tile_length):
            size, values = min(tile_length, length - start), v + start * v_row
            for row in range(0, rows, 2):
                both = row + 1 < rows
                tile = x + row * x_row + start * item
                exponentials(tile, m_of[row], size, scratch)
                if both:
                    exponentials(tile + x_row, m_of[row + 1], size, scratch + ATTENTION_TILE_BYTES)
                for column in range(0, width, vectors * n):
                    at, o = values + column * item, sums + 8 * (row * width + column)
                    multiply(at, v_row, size, scratch, o, 8 * width, both)

    return kernel
