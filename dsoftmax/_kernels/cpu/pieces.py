"""How the work of a kernel is cut in pieces: by the array alone, so that results are too.

Pieces of the kept loops have the slices of the whole, and their bits.  Where these are few, slices
are cut as well, and have a state for each part, which are merged.
"""

from __future__ import annotations

from typing import NamedTuple

from .protocol import LANE_BYTES, TILE_BYTES, Work
from .tuning import ENOUGH, MOST_PIECES, PIECE

ARRAYS = ("x", "b", "where", "y")


class Piece(NamedTuple):
    """A part of the loops of a kernel: where it begins, how long its loops are."""

    offsets: tuple[int, ...]  # in bytes, of each of `ARRAYS`
    state: int  # how many states come before its own
    part: int  # of the slices
    number: int  # of rows or planes
    length: int
    width: int


def whole(work: Work) -> tuple[Piece, ...]:
    """All of it as one piece."""
    return (Piece((0,) * len(ARRAYS), 0, 0, work.count, work.length, work.width),)


def cut(work: Work, item: int, side_by_side: bool, times: int) -> tuple[tuple[Piece, ...], int]:
    """The pieces of the loops of a kernel, and into how many parts they cut slices.

    ``item`` is the size of an element of the working dtype, ``side_by_side`` tells columns from
    rows, and the kernel runs so many ``times``.
    """
    width = work.width if side_by_side else 1
    wanted = min(MOST_PIECES, work.count * work.length * width * times // PIECE) // times
    if wanted < 2:
        return whole(work), 1
    # Columns are cut between panels, and rows between tiles.
    panel = LANE_BYTES // item if side_by_side else 1
    run = work.run or 1
    panel = max(panel // run, 1) * run
    tile = 16 if side_by_side else TILE_BYTES // item
    outer = min(work.count, wanted)
    inner = 1 if outer >= ENOUGH else min(-(-width // panel), -(-wanted // outer))
    parts = 1
    if outer * inner * times < ENOUGH:
        parts = min(-(-work.length // tile), max(wanted // (outer * inner), 1))
    pieces = []
    slow, fast, along = ("plane", "step", "row") if side_by_side else ("row", "", "step")
    fast = "run" if work.run else fast
    for first, count in _ranges(work.count, outer, 1):
        for column, columns in _ranges(width, inner, panel):
            for part, (start, length) in enumerate(_ranges(work.length, parts, tile)):
                steps = ((first, slow), (start, along), (column // run, fast))
                offsets = tuple(
                    sum(n * getattr(work, f"{array}_{loop}") for n, loop in steps if loop)
                    for array in ARRAYS
                )
                state = first * width + column
                pieces.append(Piece(offsets, state, part, count, length, columns))
    return tuple(pieces), 1 + max(piece.part for piece in pieces)


def _ranges(length: int, pieces: int, unit: int) -> list[tuple[int, int]]:
    """Where pieces of about equal length begin, at multiples of a unit, and how long they are."""
    step = -(-length // (pieces * unit)) * unit
    return [(start, min(step, length - start)) for start in range(0, length, step)]
