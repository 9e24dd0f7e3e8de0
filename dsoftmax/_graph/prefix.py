"""States of blocks become states of all that comes before each block, one after the other.

A chain, not a tree: block k waits for no block after it, so that its result can be computed, and
its chunk freed, as soon as those before it have been read.  A link is a merge of two small states.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import dask.array as da
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from .dask_private import DataNode, Task, TaskRef
from .stage import Stage


def prefixes(merge: Stage, states: da.Array, axis: int, reverse: bool) -> da.Array:
    """What is before each block of ``states`` along an axis: None before the first.

    Parameters
    ----------
    merge : Stage
        Called with the state before a block, or None, and with the state of the block.
    states : dask.array.Array
        Of the blocks, with length 1 along the axis.
    axis : int
    reverse : bool
        Whether the last block is the first.
    """
    if hasattr(states, "expr"):
        return _each_by_itself(merge, states, axis, reverse)
    name = f"{merge.__name__}-{tokenize(states.name, merge, axis, reverse)}"
    tasks = {}
    for index in product(*map(range, states.numblocks)):
        place = index[axis] + (1 if reverse else -1)
        key = (name, *index)
        if not 0 <= place < states.numblocks[axis]:
            tasks[key] = DataNode(key, None)
            continue
        last = (*index[:axis], place, *index[axis + 1 :])
        tasks[key] = Task(key, merge, TaskRef((name, *last)), TaskRef((states.name, *last)))
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[states])
    return da.Array(graph, name, states.chunks, meta=states._meta)


def _each_by_itself(merge: Stage, states: da.Array, axis: int, reverse: bool) -> da.Array:
    """The same of public functions alone: each prefix of all states, since Dask knows no chains.

    For the array-expression mode, which takes no graphs.
    """
    index = tuple(range(states.ndim))
    along = tuple(-1 if i == axis else i for i in index)
    places = da.arange(states.numblocks[axis], chunks=1)
    stage = Stage(merge.__name__, _fold, merge.dtype, merge=merge, reverse=reverse)
    return da.blockwise(
        stage,
        index,
        *(places, (axis,)),
        *(states, along),
        dtype=merge.dtype,
        align_arrays=False,
        concatenate=None,
    )


def _fold(place: Any, states: list[Any], merge: Stage, reverse: bool) -> Any:
    (place,) = place
    before = None
    for state in states[:place:-1] if reverse else states[:place]:
        before = merge(before, state)
    return before
