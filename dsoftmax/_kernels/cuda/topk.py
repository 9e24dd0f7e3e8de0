"""Top-k of CuPy blocks whose slices run along memory, with the normalizer, from one reading.

Short slices are held in registers by teams of a warp's threads; of a long one each thread block
takes a part, and a second kernel merges the parts.  The probabilities of the k best take one more
kernel.  Nothing waits for the device.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for
from ..._algebra.normalizer import State
from ..layout import fits
from ..loops import NO_LOOP, loops_of
from . import block, device
from .device import Properties
from .plan import MAX_GRID
from .source import (
    ITEM,
    MOST_K,
    PIECE,
    TEAMS,
    THREADS,
    TILE_BYTES,
    TOPK,
    TOPK_ADDRESSES,
    TOPK_END,
    TOPK_PARTS,
    TOPK_ROWS_THREADS,
    Kernel,
    topk_kernel,
    topk_rows_kernel,
)
from .switch import topk_tiny_launch

Array = Any

ADDRESSES = len(TOPK_ADDRESSES) + len(TOPK_PARTS)
RESIDENT = 5  # thread blocks that a multiprocessor has at a time: 279 us, and with 4 of them 288
LONGEST_PART = 2**30  # so that what is left of 32 bits counts what is over its ends


class Block(NamedTuple):
    """What a plan depends on."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    axis: int
    dtype: str
    aligned: bool  # whether its address is a multiple of that of a piece


class Plan(NamedTuple):
    """The kernels for a block, and what they are told but for addresses."""

    kernel: Kernel
    grid: tuple[int, int]
    threads: int
    numbers: np.ndarray  # of the call, with zeros for addresses
    rows: int
    parts: int
    kept: tuple[int, ...]  # lengths of the kept axes, as they follow one another in results
    order: tuple[int, ...] | None  # where the block's axes are in results, if anywhere else


def supports(x: Any, k: int) -> bool:
    """Whether x is a block for these kernels, if its slices run along memory."""
    return 0 < abs(k) <= MOST_K and block.supports(x) and dtype_name(x.dtype) in TEAMS


def of_block(
    x: Array, axis: int, k: int, normalized: bool
) -> tuple[Array, Array, State | None] | None:
    """The k best along an axis, best first, where they are, and the state (m, w, s) if asked for.

    k is from 1 to the length of the axis; or it is negative, and the smallest are the best, with
    NaN last.  None if slices do not run along memory, evenly spaced.
    """
    name, address = dtype_name(x.dtype), device.address(x)
    like = Block(x.shape, x.strides, axis, name, not address % PIECE)
    planned = plan(like, k, device.properties(x))
    if planned is None:
        return None
    results = device.empties(x, (*planned.kept, abs(k)), (x.dtype, "int64"))
    if normalized:
        dtypes = (dtypes_for(name).working, "float64", "float64")
        results += device.empties(x, (*planned.kept, 1), dtypes)
    addresses = [address, *map(device.address, results)]
    addresses += [0] * (len(TOPK_ADDRESSES) - len(addresses))
    call = planned.numbers.copy()
    if planned.parts > 1:
        many, words = planned.rows * planned.parts, part_words(abs(k))
        scratch = device.empty(x, (many * sum(words),), "int64")
        first = device.address(scratch)
        addresses += [first + 8 * many * sum(words[:i]) for i in range(len(words))]
    call[: len(addresses)] = addresses
    call = call.view(TOPK)
    device.launch(planned.kernel, x, planned.grid, planned.threads, call)
    if planned.parts > 1:
        device.launch(topk_kernel("merge", name), x, (planned.rows, 1), THREADS, call)
    if planned.order is not None:
        results = [a.transpose(planned.order) for a in results]
    return results[0], results[1], State(*results[2:]) if normalized else None


def probabilities(values: Array, state: State, logarithm: bool) -> Array | None:
    """exp(v - m) / d of the k best of every slice, or its logarithm, in one kernel.

    None unless values and states are as `of_block` gives them for rows in C order.
    """
    if not (block.supports(values) and dtype_name(values.dtype) in TEAMS):
        return None
    arrays = (values, *state)
    if not (all(map(device.is_array, state)) and fits(values, state.m, state.s)):
        return None
    if not all(a.flags.c_contiguous for a in arrays) or state.m.shape != (*values.shape[:-1], 1):
        return None
    y, k = device.empty(values, values.shape, values.dtype), values.shape[-1]
    v, m, w, s = map(device.address, arrays)
    rows = values.size // k
    call = np.array((v, device.address(y), m, w, s, rows, k, logarithm), np.int64).view(TOPK_END)
    grid = (end_blocks(values.size), 1)
    kernel = topk_kernel("end", dtype_name(values.dtype))
    device.launch(kernel, values, grid, THREADS, call)
    return y


def part_words(k: int) -> tuple[int, ...]:
    """The memory that the fields of a part take, in units of eight bytes."""
    return (k, k, 1, 1, 1)


def end_blocks(count: int) -> int:
    """Of threads, for so many probabilities."""
    return min(math.ceil(count / THREADS), MAX_GRID[0])


@lru_cache(maxsize=256)
def plan(x: Block, k: int, on: Properties, given: str = "values") -> Plan | None:
    """The plan for a block, if a slice is one run of memory, and slices are evenly spaced.

    What is given are the "values" of the k best, or their "probabilities".
    """
    item, shape = ITEM[x.dtype], x.shape
    loops = loops_of(shape, tuple(i == x.axis for i in range(len(shape))), (x.strides,))
    along = [loop for loop in loops if loop.reduced]
    kept = [loop for loop in loops if not loop.reduced]
    if len(kept) > 1 or any(loop.strides[0] != item for loop in along):
        return None
    row = kept[0] if kept else NO_LOOP
    rows, length, stride = row.length, shape[x.axis], row.strides[0]
    kernel = _short(length, x.dtype, PIECE // item, x.aligned and not stride % PIECE)
    tiny = None
    if x.aligned and stride == length * item:
        tiny = topk_tiny_launch(x.dtype, given, rows, length, k)
    if tiny is not None:
        kernel, (grid, _), threads = (tiny.kernel, 1), *tiny[1:3]
        parts, portion = 1, length
    elif kernel is not None:
        teams, threads = TOPK_ROWS_THREADS // kernel[1], TOPK_ROWS_THREADS
        parts, portion, grid = 1, length, math.ceil(rows / teams)
    else:
        parts, portion = parts_of(rows, length, TILE_BYTES // item, on)
        grid, threads = rows * parts, THREADS
    if grid > MAX_GRID[0]:
        return None
    numbers = (given == "probabilities", rows, length, stride, abs(k), parts, portion, k < 0)
    axes = [i for i in range(len(shape)) if i != x.axis]
    if sorted(row.axes) != list(row.axes):
        axes.sort(key=lambda i: row.axes.index(i) if i in row.axes else -1)
    order = tuple(int(i) for i in np.argsort([*axes, x.axis]))
    return Plan(
        topk_kernel("part", x.dtype) if kernel is None else kernel[0],
        (grid, 1),
        threads,
        np.array((*(0,) * ADDRESSES, *numbers), np.int64),
        rows,
        parts,
        tuple(shape[i] for i in axes),
        None if order == tuple(range(len(shape))) else order,
    )


def _short(length: int, dtype: str, per_piece: int, aligned: bool) -> tuple[Kernel, int] | None:
    """The kernel for slices that a team of threads holds, and the size of the team."""
    over = 0 if aligned else per_piece - 1  # elements of the first piece before a slice begins
    for team, each in TEAMS[dtype]:
        if length + over <= team * each:
            return topk_rows_kernel(dtype, team, each), team
    return None


def parts_of(rows: int, length: int, tile: int, on: Properties) -> tuple[int, int]:
    """How many parts a slice is taken in, and how long they are: whole tiles but for the last."""
    at_once = RESIDENT * on.multiprocessors
    # With few rows all thread blocks run at once, with more of them in two turns or more.
    parts = (at_once if 4 * rows <= at_once else 2 * at_once) // rows
    parts = max(1, min(parts, length // tile), math.ceil(length / LONGEST_PART))
    portion = math.ceil(length / parts / tile) * tile
    return math.ceil(length / portion), portion
