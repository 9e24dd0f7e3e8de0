"""What the graph of an array runs: its tasks, their names, the merges of a tree."""

import dask
import dask.array as da
import numpy as np
from dask._task_spec import Alias
from dask.utils import key_split


def lazy_source(blocks, size=3):
    """An array that is read block by block, as from storage."""
    return da.map_blocks(
        lambda block_info: np.ones(size),
        chunks=((size,) * blocks,),
        dtype=float,
        meta=np.empty(0),
        name="source",
    )


def tasks(*arrays):
    """What the optimised graph of some arrays runs: {key: task}."""
    merged = {}
    for array in dask.optimize(*arrays):
        merged.update(array.__dask_graph__())
    return {key: task for key, task in merged.items() if not isinstance(task, Alias)}


def prefixes(*arrays):
    return {key_split(key) for key in tasks(*arrays)}


def merges(graph):
    """How many states each merge takes."""
    return [len(t.dependencies) for key, t in graph.items() if "-merge" in key_split(key)]


def levels(y):
    """How many layers of merges the unoptimised graph has."""
    return sum("-merge" in name for name in y.dask.layers)
