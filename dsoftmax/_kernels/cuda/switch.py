"""Which kernel takes contiguous rows, by their length: every switch point, and what it was seen by.

Percentages are of the bandwidth of a copy, of 2.5e8 float32 in rows of a length, softmax unless
another result is named: prototypes of these kernels on one H200 with CuPy 14.2 and CUDA 13 in
November 2026.  A piece is 16 bytes, what a thread reads or writes at a time.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from .device import Properties
from .plan import MAX_GRID
from .source import (
    ITEM,
    PIECE,
    THREADS,
    TINY_THREADS,
    Kernel,
    apply_columns_kernel,
    apply_kernel,
    apply_short_kernel,
    columns_kernel,
    long_kernel,
    rows_kernel,
    rows_threads,
    staged_kernel,
    tiny_kernel,
    topk_tiny_kernel,
)


class Launch(NamedTuple):
    """A kernel, how many thread blocks of which size it takes, and bytes of shared memory."""

    kernel: Kernel
    grid: tuple[int, int]
    threads: int
    shared_bytes: int = 0


# A kernel of tiny rows is compiled for their length: 0.5 s that few rows are not worth.
MANY_ROWS = 1 << 14

# The most numbers of a row, in registers of four bytes, that a thread takes whole.  63: 94% (76 by
# teams of 8); 100: 91 (92); 126: 94 (86).  Longer ones leave room for too few threads.
TINY_REGISTERS = 126

# (bytes of a row, rows a thread takes) up to which: 2 float32 8 rows 93%, 4 rows 93 (logsumexp 90,
# 80), 2 rows 82; 3: 4 rows 96; 5: 4 rows 95 (logsumexp 93; 2 rows 78); 10: 2 rows 95 (logsumexp
# 94; 1 row 80); 16: 2 rows 87; 17: 1 row 97; 8: 82, by bank conflicts.
TINY_ROWS = ((8, 8), (20, 4), (64, 2), (8 * TINY_REGISTERS, 1))

# (registers that the numbers of a thread take, thread blocks of 128 on a multiprocessor) up to
# which: 64 registers a thread for 17 numbers, 72 for 33, 96 for 63, 168 for 126.
TINY_BLOCKS = ((20, 8), (34, 7), (40, 6), (64, 5), (80, 4), (TINY_REGISTERS, 3))

# The most of a row that a thread finds by itself: 5 of 100 float32 2.0 ms for 10^7 rows, by teams
# of 8 threads 3.5.  (registers that a row takes, thread blocks of 64 on a multiprocessor) up to
# which: as many as leave no number without a register.
TINY_K = 8
TOPK_TINY_BLOCKS = ((50, 16), (64, 12), (80, 10), (104, 8), (TINY_REGISTERS, 6))

# For results: few pieces and many lanes.  (pieces of a row, team, thread blocks on a
# multiprocessor) up to which: rows of 100 float32 2 pieces x 16 lanes 92%, of 252 2 x 32 93, of
# 333 3 x 32 91, of 504 4 x 32 90 to 94, of 1000 4 x 64 96 (2 x 128 97, 8 x 32 92), of 1001 4 x 64
# 94 (2 x 128 91), of 2016 4 x 128 92, of 4032 4 x 256 92, of 8064 8 x 256 90 (4 x 512 87).  The
# logarithm 4 x 512 91 (8 x 256 89).
FEW_PIECES = (
    (16, 8, 8),
    (32, 16, 8),
    (128, 32, 8),
    (256, 64, 16),
    (512, 128, 8),
    (1024, 256, 4),
)
LONGEST = {"softmax": (2048, 256, 3), "log_softmax": (2048, 512, 2)}

# For states, and the logsumexp that comes of them: many pieces and few lanes.  252: 8 x 8 95%, 333:
# 6 x 16 86 to 89, 504: 8 x 16 94, 1000: 8 x 32 101 (4 x 64 83, 2 x 128 61), 2016: 8 x 64 89 to 93,
# 4032: 8 x 128 95, 8064: 8 x 256 92.
MANY_PIECES = (
    (64, 8, 5),
    (128, 16, 6),
    (256, 32, 6),
    (512, 64, 12),
    (1024, 128, 8),
    (2048, 256, 4),
    (4096, 512, 2),
)

# Results of rows in shared memory, if there are several for each block: (bytes of a row, threads,
# thread blocks on a multiprocessor) up to which.  16,128: 83%, 32,256: 80, 50,000: 74, 57,001: 78;
# read twice 63.
STAGED = ((72 << 10, 256, 3), (1 << 20, 1024, 1))
STAGED_ROWS = 2

# Longer rows are taken by blocks of 256, of which 4 find room on a multiprocessor: one vector by as
# many as do (state of 1e9 0.90 ms, 106% of the copy's rate), a few rows in parts, so that each
# multiprocessor has 8 times as many blocks to do, and many rows by one block each (87 to 93%).
LONG_BLOCKS, LONG_WAVES, LONG_TILE = 4, 8, 4 * THREADS * PIECE

# A state is applied to pieces, of which a thread takes one (102% of a copy).  Of rows of less bytes
# a thread does not look which it has, but finds it by a division; those of less than a piece are
# left to the general kernels.
APPLIED_BYTES = 256

# Columns.  A thread has so many bytes side by side, and rows at once, by so many thread blocks of
# 256 on a multiprocessor, one wave of them: 8 bytes of float32 and 16 rows by 3 blocks 80 to 89% (8
# rows by 4 blocks 74 to 85; 4 bytes 53 to 83; 16 bytes and 4 rows 65 to 87).  A narrow table is
# taken as one that is as wide as a block.  A state is applied by a thread to so many rows, 90 to
# 95%.
COLUMN_BYTES, APPLIED_ROWS = 8, 4
COLUMN_ROWS = {8: (8, 3), 4: (16, 2), 2: (16, 2)}  # by the bytes of an element


@lru_cache(maxsize=256)
def rows_launch(dtype: str, output: str, rows: int, length: int, aligned: bool) -> Launch | None:
    """The kernel for so many rows one after the other; None if they are too long, or of length 1.

    ``aligned`` tells whether the first row begins at a multiple of 16 bytes.
    """
    if length < 2:
        return None
    registers = length * max(1, ITEM[dtype] // 4)
    if registers <= TINY_REGISTERS and rows >= MANY_ROWS:
        return _tiny(dtype, output, rows, length, registers)
    return _registers(dtype, output, rows, length, aligned)


def _tiny(dtype: str, output: str, rows: int, length: int, registers: int) -> Launch | None:
    nbytes = length * ITEM[dtype]
    each = next(each for most, each in TINY_ROWS if nbytes <= most)
    blocks = next(blocks for most, blocks in TINY_BLOCKS if each * registers <= most)
    kernel = tiny_kernel(dtype, output, length, each, blocks * 128 // TINY_THREADS)
    return _launch(kernel, rows, each * TINY_THREADS, TINY_THREADS)


def topk_tiny_launch(dtype: str, given: str, rows: int, length: int, k: int) -> Launch | None:
    """The kernel for the k best of rows one after the other, if there are many and short ones."""
    registers = length * max(1, ITEM[dtype] // 4)
    if not 0 < k <= TINY_K or length < 2 or registers > TINY_REGISTERS or rows < MANY_ROWS:
        return None
    blocks = next(blocks for most, blocks in TOPK_TINY_BLOCKS if registers <= most)
    kernel = topk_tiny_kernel(dtype, given, length, k, blocks)
    return _launch(kernel, rows, TINY_THREADS, TINY_THREADS)


def _registers(dtype: str, output: str, rows: int, length: int, aligned: bool) -> Launch | None:
    each = PIECE // ITEM[dtype]
    beyond = 0 if aligned and length % each == 0 else 2 * (each - 1)  # of rows that begin anywhere
    pieces = (length + beyond) // each
    shapes = MANY_PIECES
    if output in LONGEST:  # of float64 as for states: rows of 100 softmax 93% (78), log 93 (57)
        shapes = (*(MANY_PIECES[:-2] if ITEM[dtype] == 8 else FEW_PIECES), LONGEST[output])
    if pieces > shapes[-1][0]:
        return None
    team, blocks = next(shape for most, *shape in shapes if pieces <= most)
    if ITEM[dtype] == 2 and pieces > 4 * team >= 4 * THREADS:
        blocks = max(1, blocks - 1)  # for 64 numbers of a thread
    kernel = rows_kernel(dtype, output, -(-pieces // team), team, blocks)
    threads = rows_threads(team)
    return _launch(kernel, rows, threads // team, threads)


def staged_launch(
    dtype: str, output: str, rows: int, length: int, device: Properties
) -> Launch | None:
    """The kernel for results of rows in shared memory, of which it keeps some bytes for itself."""
    nbytes = (length * ITEM[dtype] // PIECE + 2) * PIECE
    threads, blocks = next(shape for most, *shape in STAGED if nbytes <= most or most == 1 << 20)
    room = device.shared_bytes // blocks - 2048
    grid = blocks * device.multiprocessors
    if output not in LONGEST or nbytes > room or rows < STAGED_ROWS * grid:
        return None
    return Launch(staged_kernel(dtype, output, threads, blocks), (grid, 1), threads, nbytes)


def long_launch(dtype: str, rows: int, length: int, multiprocessors: int) -> tuple[Launch, int]:
    """The kernel for the states of long rows, and how many blocks share a row."""
    room = LONG_BLOCKS * multiprocessors
    tiles = max(1, length * ITEM[dtype] // LONG_TILE)
    wanted = room if rows == 1 else -(-LONG_WAVES * room // rows)
    parts = min(tiles, wanted) if rows < 2 * room else 1
    return Launch(long_kernel(dtype), (rows * parts, 1), THREADS), parts


def apply_launch(dtype: str, output: str, rows: int, length: int) -> tuple[Launch, int, int] | None:
    """The kernel for results of given states, with the threads and the blocks of a row."""
    if length * ITEM[dtype] < PIECE:
        return None
    if length * ITEM[dtype] < APPLIED_BYTES:
        grid = -(-(rows * length * ITEM[dtype] + PIECE) // (THREADS * PIECE))
        kernel = apply_short_kernel(dtype, output)
        return (Launch(kernel, (grid, 1), THREADS), 0, 0) if grid <= MAX_GRID[0] else None
    pieces = (length + 2 * (PIECE // ITEM[dtype] - 1)) // (PIECE // ITEM[dtype])
    team = min(THREADS, 1 << (pieces - 1).bit_length())
    blocks = -(-pieces // team)
    grid = -(-rows // (THREADS // team)) * blocks
    if grid > MAX_GRID[0]:
        return None
    return Launch(apply_kernel(dtype, output), (grid, 1), THREADS), team, blocks


class Columns(NamedTuple):
    """The launch for columns, and how it cuts them."""

    launch: Launch
    fold: int  # rows of the table that are taken as one
    rows: int  # of these, for one thread block
    parts: int  # of a column, with states of their own


def columns_launch(dtype: str, count: int, length: int, multiprocessors: int) -> Columns | None:
    """The kernel for the states of so many columns; None if it cannot take them."""
    each = max(1, min(COLUMN_BYTES // ITEM[dtype], 2))
    width = THREADS * each
    fold = min(max(1, width // count), length)
    if count * fold % each:
        fold = fold - 1 or 2
    if fold > length:
        return None
    across = -(-count * fold // width)
    wide_rows = max(1, length // fold)
    at_once, room = COLUMN_ROWS[ITEM[dtype]]
    rows = -(-wide_rows // max(1, room * multiprocessors // across))
    rows = -(-rows // at_once) * at_once
    down = -(-wide_rows // rows)
    if across > MAX_GRID[0] or down > MAX_GRID[1]:
        return None
    launch = Launch(columns_kernel(dtype, each, at_once, room), (across, down), THREADS)
    return Columns(launch, fold, rows, down if across == 1 else down * fold)


def apply_columns_launch(dtype: str, output: str, count: int, length: int) -> tuple[Launch, int]:
    """The kernel for results of columns with given states, and the rows taken as one."""
    each = PIECE // ITEM[dtype]
    fold = each // math.gcd(count, each)
    fold *= max(1, THREADS * each // (count * fold))
    across = -(-count * fold // (THREADS * each))
    down = math.ceil(length / (fold * APPLIED_ROWS))
    kernel = apply_columns_kernel(dtype, output, APPLIED_ROWS)
    return Launch(kernel, (across, min(down, MAX_GRID[1])), THREADS), fold


def _launch(kernel: Kernel, rows: int, rows_of_a_block: int, threads: int) -> Launch | None:
    grid = -(-rows // rows_of_a_block)
    return Launch(kernel, (grid, 1), threads) if grid <= MAX_GRID[0] else None
