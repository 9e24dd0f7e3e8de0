"""Choose whether a second pass reads its array again or uses the chunks that were held.

See ``docs/memory.md`` for the rules.
"""

from __future__ import annotations

import math
import random
import sys
from itertools import islice
from typing import Any, Literal, NamedTuple

import dask
import dask.array as da
from dask.blockwise import Blockwise
from dask.highlevelgraph import Layer
from dask.utils import format_bytes, key_split, parse_bytes

from .copy import task_layers
from .dask_private import DataNode, GraphNode
from .dear import dear
from .uses import draws, uses

Axes = tuple[int, ...]
Reread = bool | Literal["auto"]

_FEW_BLOCKS = 4  # a worker holds that many between tasks anyway
_OF_A_DEVICE = 1 / 4  # of its memory, for there are as many results, and chunks on their way
_SCATTERED = 4  # with more tasks per block, a layer moves all blocks to all others
_LOOKED_AT = 16  # tasks inspected per layer
_MOVES = frozenset(
    {"blocks", "broadcast_to", "coarsen", "concatenate", "diag", "from-value", "getitem", "overlap"}
    | {"rechunk-merge", "reshape", "setitem", "shuffle", "stack", "vindex-merge"}
)  # layers of dask.array that move elements and compute nothing


class Choice(NamedTuple):
    """Whether to read again, and the reason, as a clause."""

    again: bool
    why: str


def choose(x: da.Array, axes: Axes, reread: Reread = "auto") -> Choice:
    """Whether a second pass over x reads it again, after the first has reduced ``axes``.

    Depends only on the arguments, the graph of x, Dask's ``array.chunk-size`` and, where chunks are
    CuPy's, on the memory of a device; inspects layers and a few of their tasks, and computes
    nothing.
    """
    if hasattr(x, "expr"):
        return Choice(False, "Dask's array-expression mode has no second read")
    layers = task_layers(x)
    if not layers:
        return Choice(False, "it is in memory")
    if reread != "auto":
        return Choice(reread, f"reread={reread}")
    blocks = math.prod(x.numblocks[axis] for axis in axes)
    if blocks <= _FEW_BLOCKS:
        return Choice(False, f"its slices span no more than {_FEW_BLOCKS} blocks")
    held = x.dtype.itemsize * math.prod(
        sum(c) if axis in axes else max(c) for axis, c in enumerate(x.chunks)
    )
    if held <= parse_bytes(dask.config.get("array.chunk-size")):  # false if it is nan
        return Choice(False, f"all blocks of a slice take {format_bytes(held)}")
    room = _device_bytes(x._meta)
    if room is not None and x.nbytes <= _OF_A_DEVICE * room:
        return Choice(
            False, f"it takes {format_bytes(x.nbytes)} of the {format_bytes(room)} of a device"
        )
    seen: dict[Any, Any] = {}
    for name in layers:
        if why := _objection(name, layers, x, seen):
            return Choice(False, why)
    return Choice(True, f"its {blocks} blocks per slice are only loaded and mapped")


def _device_bytes(meta: Any) -> int | None:
    """The memory of the device that holds an array of CuPy's; None for others."""
    cupy: Any = sys.modules.get("cupy")
    if cupy is None or not isinstance(meta, cupy.ndarray):
        return None
    return int(cupy.cuda.runtime.getDeviceProperties(meta.data.device_id)["totalGlobalMem"])


def _objection(
    name: str, layers: dict[str, Layer], x: da.Array, seen: dict[Any, Any]
) -> str | None:
    """The objection to computing a layer twice; None for loading and elementwise work.

    ``seen`` holds the functions of other layers, and what they use, that raised no objection.
    """
    layer, label = layers[name], key_split(name)
    used = uses(some_tasks(layer), seen)
    if draws(used):
        return f"{label!r} below it draws from a random generator"
    function = dear(used)
    reason = f", as it uses {function}" if function else ""
    costs = f"{label!r} below it may be expensive to compute{reason} (reread=True does so twice)"
    if function:
        return costs
    if isinstance(layer, Blockwise):
        return costs if _is_product(layer) else None
    inputs = [layers[other] for other in x.dask.dependencies[name] if other in layers]
    if not inputs:  # a source
        return None if _independent(layer) else costs
    if len(inputs) == _size(layer) == _size(inputs[0]) == 1:  # a delayed function of another
        return None
    if label not in _MOVES:
        return costs
    few = _SCATTERED * (x.npartitions + sum(map(_size, inputs)))
    if label != "overlap" and _size(layer) > few:
        return f"{label!r} below it moves all blocks to all others"
    return None


def _is_product(layer: Blockwise) -> bool:
    """Whether a layer sums over blocks, or is a matrix product of blocks.

    In elementwise work one array has all axes of the result, and the others broadcast to it. In a
    product the arrays share an axis and none has all: ij, jk -> ijk, which Dask sums over j in
    another layer. In an outer product they share none; it is elementwise work on few numbers.
    """
    arrays = [set(index) for _, index in layer.indices if index is not None]
    axes = set().union(*arrays)
    result = set(layer.output_indices)
    if not axes <= result:
        return True
    shared = sum(map(len, arrays)) > len(axes)
    return shared and not any(result - layer.new_axes.keys() <= array for array in arrays)


def _size(layer: Layer) -> float:
    """The number of tasks, or inf for a layer that would have to list them to count them."""
    known = isinstance(layer, Blockwise) or layer.is_materialized()
    return len(layer) if known else math.inf


def some_tasks(layer: Layer) -> list[Any]:
    """A few tasks of a layer, without materialising it.

    They are sampled from all over it: `dask.optimize` puts different ones into one layer.
    """
    if isinstance(layer, Blockwise):
        return [layer.task, *(k for k, index in layer.indices if index is None)]
    keys = list(layer) if layer.is_materialized() else []
    if len(keys) > _LOOKED_AT:
        keys = random.Random(0).sample(keys, _LOOKED_AT)
    return [layer[key] for key in keys]


def _independent(layer: Layer) -> bool:
    """Whether no task of a layer needs another task of it, judging by the first ones."""
    nodes = [node for node in islice(layer.values(), _LOOKED_AT) if isinstance(node, GraphNode)]
    used = {key for node in nodes for key in node.dependencies}
    return all(isinstance(layer[key], DataNode) for key in used if key in layer)
