"""How the states of groups are merged: how many at a time, in runs of chunks, and in parts.

It follows from how many groups there may be. That is known of labels of few values, and of chunks
of known lengths; else it has to be safe: a task holds the groups of a run of chunks, or those of a
part of all labels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask

from ._arguments import check_split_every
from ._graph.tree import SplitEvery, fan_in, slices_in_one_block
from ._group_arguments import Grouping

# States that may be larger have parts: as many as keep one of all groups below PART_BYTES, but
# never fewer or more than these.
LARGE_STATE, PART_BYTES = 1 << 27, 1 << 30
FEWEST, MOST = 8, 64
# The groups of so many chunks are for one task, if each chunk has few or nobody knows.
RUN = 16
# States that may be larger are merged two at a time, so that a task holds three of them, and not
# five. With 10^6 groups that takes 1.18 times as long; where states are small, tasks alone.
_PAIRED = 1 << 24


class Parts(NamedTuple):
    """How groups are parted.

    Attributes
    ----------
    number : int
        Of parts.
    width : int or None
        How many labels each may have, which are places from 0 then; else a hash of a label says its
        part.
    steps : tuple of int
        How many states are merged at a time, and then of these, before they are parted: all of a
        run of neighbouring chunks.
    state_bytes : float
        Of a part of a run, at most; nan where only workers know.
    """

    number: int
    width: int | None
    steps: tuple[int, ...]
    state_bytes: float

    @property
    def run(self) -> int:
        """How many chunks a run has."""
        return math.prod(self.steps)

    @property
    def options(self) -> dict[str, Any]:
        """What functions of `partition` take."""
        return {"number": self.number, "width": self.width}

    def lengths(self, total: int | None) -> tuple[float, ...]:
        """How many of all labels are in each part, nan where only workers know."""
        if total is None or self.width is None:
            return (math.nan,) * self.number
        return tuple(min(self.width, total - i * self.width) for i in range(self.number))


def parts_of(given: Grouping, split_every: SplitEvery, moments: bool = False) -> Parts | None:
    """The parts of groups that there may be too many of for one task; else None."""
    check_split_every(split_every, given.x.ndim, given.function)
    if not given.is_lazy:
        return None
    axis, each = given.axis, group_bytes(moments)
    if slices_in_one_block(given.x, (axis,)):
        return None
    known, total, chunks = _known(given), given.x.shape[axis], given.x.numblocks[axis]
    many = each * (most_groups(given, total) if known is None else known)
    if many <= LARGE_STATE:  # nan is not
        return None
    of_chunk = each * most_groups(given)
    large = of_chunk > LARGE_STATE and not math.isnan(total)
    whole = large or not hasattr(given.x, "blocks")  # as in Dask's array-expression mode
    steps = () if whole else _steps(chunks, limits_of(given, split_every, of_chunk)[axis])
    run = math.prod(steps)
    if known is None and not large:
        count = math.ceil(chunks / run)
        return Parts(count, None, steps, of_chunk * run / count) if steps else None
    count = max(FEWEST, min(math.ceil(many / PART_BYTES), MOST))
    if known is None:
        return Parts(count, None, steps, of_chunk / count)
    # Whole rows of a result with several axes.
    rows = known if given.shape is None else given.shape[0]
    width = math.ceil(rows / count) * (known // rows)
    return Parts(math.ceil(known / width), width, steps, of_chunk * run / count)


def group_bytes(moments: bool) -> int:
    """Of a group in a state: a label, m, w and s; and t and q."""
    return 48 if moments else 32


def _steps(chunks: int, limit: int) -> tuple[int, ...]:
    """How the states of a run are merged, where one merge takes so many; of few chunks not at all.

    There are as many parts as runs, and two tasks for each of both: one that takes a part of a run,
    one that looks it up. In all these are one for each chunk, at most.
    """
    if chunks <= RUN:
        return ()
    run, steps = max(RUN, math.isqrt(2 * chunks - 1) + 1), []
    while run > 1:
        steps.append(min(limit, run))
        run = -(-run // steps[-1])
    return tuple(steps)


def limits_of(given: Grouping, split_every: SplitEvery, state_bytes: float) -> dict[int, int]:
    """How many states of so many bytes one merge takes."""
    said = split_every is not None or dask.config.get("split_every", None) is not None
    if state_bytes > _PAIRED and not said:
        return {given.axis: 2}
    return fan_in(given.x, (given.axis,), split_every, state_bytes)


def _known(given: Grouping) -> int | None:
    """How many labels there are that are places from 0, None if they are something else."""
    if given.shape is not None:
        return math.prod(given.shape)
    (categories, *others) = given.categories
    return len(categories) if categories is not None and not others else None


def most_groups(given: Grouping, length: float | None = None) -> float:
    """How many groups so many elements have at most, or a chunk, nan where only workers know."""
    most = max(given.x.chunks[given.axis]) if length is None else length
    if given.shape is not None:
        return min(most, math.prod(given.shape)) if most == most else math.prod(given.shape)
    known = 1
    for key, categories in zip(given.keys, given.categories, strict=True):
        if categories is not None:
            known *= len(categories)
        elif key.dtype.kind in "biu" and key.dtype.itemsize <= 2:
            known *= 2 if key.dtype.kind == "b" else 256**key.dtype.itemsize
        else:
            return most
    return min(known, most) if most == most else known
