"""How a block is shared out over a device: which threads take which elements.  Plain Python.

A slice is walked by a team of threads, or in parts by several teams where there are too few slices
for all of the device; the states of the parts are merged then.  A thread block holds as many teams
as lanes, for slices side by side.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from ..loops import Axes, Loop, Strides, loops_of
from .device import Properties
from .source import MAX_LOOPS, THREADS

# Thread blocks that a multiprocessor holds at a time, 3 or 4 with the registers that the kernels
# take; and how many of them are wanted, a multiple of both so that all are busy to the end.
RESIDENT, BLOCKS = 4, 12

# A thread is given so many elements if it can be, for it works on up to 16 at a time.
WORTH = 16

# Slices shorter than this along memory are worked on side by side, as if they ran across it, and
# element by element: where single ones end and whole pieces begin would differ between threads.
SHORT = 16

# A reduced loop that runs along memory for so long is a part by itself, so that no index has to be
# taken apart within it.
LONG_RUN = 4096

LINE_BYTES = 128  # of memory that the threads of a warp fetch together
MAX_GRID = (2**31 - 1, 65535)  # kernels go on from block to block where there are more
LEAST_CACHE = 8192  # bytes that a thread block finds again on any device


class Plan(NamedTuple):
    """The loops of a block by what they are to the kernel, and the shape of the grid."""

    kept: list[Loop]
    outer: list[Loop]
    inner: list[Loop]
    order: Axes  # of the kept axes in flat arrays of states
    contiguous: bool  # whether x (and y) run along memory in the inner loop, for long enough
    slices: int
    length: int  # of the inner loops
    portion: int  # how much of that one part takes at most
    portions: int  # of the inner loops
    parts: int  # of a slice: a portion in one step of the outer loops
    lanes: int
    team: int
    members_adjacent: bool
    grid: tuple[int, int]
    cached: bool  # whether a thread block finds its slices in the cache when it reads them again

    @property
    def threads(self) -> int:
        """Of a thread block."""
        return self.lanes * self.team


@lru_cache(maxsize=256)
def plan(
    shape: tuple[int, ...],
    reduced: tuple[bool, ...],
    strides: tuple[Strides, ...],
    items: tuple[int, int],
    device: Properties,
) -> Plan | None:
    """The plan for a block; None if it has more loops than the kernels take.

    Parameters
    ----------
    shape : tuple of int
        Of the block; without zeros.
    reduced : tuple of bool
        Whether an axis is that of a slice.
    strides : tuple of 3 or 4 tuples of int
        Of x, of b (weights or values), of y and of the mask, in bytes; 0 of an absent array.
    items : tuple of 2 ints
        Sizes in bytes of an element of x and of y, 0 if there is no y.
    device : Properties
    """
    loops = loops_of(shape, reduced, strides)
    kept = [loop for loop in loops if not loop.reduced]
    inner = [loop for loop in loops if loop.reduced]
    if max(len(kept), len(inner)) > MAX_LOOPS:
        return None
    slices = math.prod(loop.length for loop in kept)
    outer: list[Loop] = []
    run = bool(inner) and (inner[-1].strides[0], inner[-1].strides[2]) == items
    if run and inner[-1].length >= LONG_RUN:
        outer, inner = inner[:-1], inner[-1:]
    length = math.prod(loop.length for loop in inner)
    along = bool(inner) and loops[-1].reduced
    if along and loops[-1].length < SHORT <= slices:
        along = False
    if along:
        lanes, team = _rows(slices, length)
    else:
        lanes, team = _columns(kept, length, items[0])
    groups = _quotient_up(slices, lanes)
    portion = _portion(length, team, groups * math.prod(loop.length for loop in outer), device)
    portions = _quotient_up(length, portion)
    parts = portions * math.prod(loop.length for loop in outer)
    read_bytes = items[0] + any(map(any, strides[3:]))  # of an element and its mask
    # half of the cache is for what is written
    in_cache = max(LEAST_CACHE, device.l2_bytes // (2 * RESIDENT * device.multiprocessors))
    return Plan(
        kept=kept,
        outer=outer,
        inner=inner,
        order=tuple(axis for loop in kept for axis in loop.axes),
        contiguous=run and len(inner) == 1 and length >= SHORT,
        slices=slices,
        length=length,
        portion=portion,
        portions=portions,
        parts=parts,
        lanes=lanes,
        team=team,
        members_adjacent=along,
        grid=(min(groups, MAX_GRID[0]), min(parts, MAX_GRID[1])),
        cached=parts == 1 and lanes * length * read_bytes <= in_cache,
    )


class MergePlan(NamedTuple):
    """The shape of the grid that merges the states of the parts of slices."""

    lanes: int
    team: int
    grid: tuple[int, int]

    @property
    def threads(self) -> int:
        """Of a thread block."""
        return self.lanes * self.team


def merge_plan(slices: int, parts: int) -> MergePlan:
    """The plan for merging the states of ``parts`` of each slice."""
    team = min(THREADS, _power_of_two(parts))
    lanes = min(THREADS // team, slices)
    return MergePlan(lanes, team, (min(_quotient_up(slices, lanes), MAX_GRID[0]), 1))


def _rows(slices: int, length: int) -> tuple[int, int]:
    """Lanes and team for slices along memory."""
    team = min(THREADS, _power_of_two(max(1, length // WORTH)))
    if slices < THREADS // team:  # threads would be left over
        team = min(_power_of_two(THREADS // slices), _power_of_two(length))
    return min(THREADS // team, slices), team


def _columns(kept: list[Loop], length: int, item: int) -> tuple[int, int]:
    """Lanes and team for slices across memory: the lanes are neighbours, and fetch whole lines."""
    width = kept[-1].length if kept else 1
    fewest = min(width, max(32, LINE_BYTES // item))
    team = min(_power_of_two(max(1, length // WORTH)), _power_of_two(THREADS // fewest))
    most = THREADS // team
    if width <= most:
        return min(most // width * width, math.prod(loop.length for loop in kept)), team
    return _quotient_up(width, _quotient_up(width, most)), team


def _portion(length: int, team: int, groups: int, device: Properties) -> int:
    """How much of a slice a part takes: all of it if there are thread blocks for all of the device.

    Else in equal portions that thread blocks go through in whole strides.
    """
    stride = team * WORTH
    wanted = _quotient_up(BLOCKS * device.multiprocessors, groups)
    parts = max(1, min(wanted, length // (2 * stride)))
    return min(length, _quotient_up(length, parts * stride) * stride)


def _power_of_two(n: int) -> int:
    """The largest that is not larger than n."""
    return 1 << (n.bit_length() - 1)


def _quotient_up(n: int, k: int) -> int:
    """n / k rounded up, in integers: floats have 53 bits."""
    return -(-n // k)
