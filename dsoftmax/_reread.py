"""Reading an array a second time, so that no chunk is held between two passes over it.

In ``exp(x - m) / d`` every chunk of x is needed again after all of them have been reduced.  Dask
computes a task once, and so it holds all of x from the first pass to the second.  A copy of the
graph below x under other names, which waits for (m, d), is read and freed chunk by chunk.
"""

from __future__ import annotations

import logging
import math
import random
import sys
import warnings
from collections import Counter
from itertools import islice
from typing import Any, Literal, NamedTuple

import dask
import dask.array as da
from dask._task_spec import DataNode, GraphNode
from dask.base import is_dask_collection, tokenize
from dask.blockwise import Blockwise
from dask.graph_manipulation import checkpoint
from dask.highlevelgraph import Layer
from dask.utils import format_bytes, key_split, parse_bytes

from ._graph.copy import copy_graph, task_layers
from ._graph.dear import dear
from ._graph.uses import draws, uses

Axes = tuple[int, ...]
Reread = bool | Literal["auto"]

_log = logging.getLogger("dsoftmax")

_FEW_BLOCKS = 4  # held by a worker for one task and the next anyway
_SCATTERED = 4  # tasks per block above which a layer moves all blocks to all blocks
_LOOKED_AT = 16  # tasks of a layer
_MOVES = frozenset(
    {"blocks", "broadcast_to", "coarsen", "concatenate", "diag", "from-value", "getitem", "overlap"}
    | {"rechunk-merge", "reshape", "setitem", "shuffle", "stack", "vindex-merge"}
)  # layers of dask.array that move elements and compute nothing


def reread(x: da.Array, after: Any = None) -> da.Array:
    """The same array, to be computed a second time from its sources.

    Dask computes a chunk once and holds it until its last use. Where the first and the last use
    are far apart, as when an array is reduced and the result applied to it, a second reading takes
    the place of that memory: ``x`` and ``reread(x)`` share no task, only what is in memory or on
    disk below them.

    Parameters
    ----------
    x : dask.array.Array
    after : dask collection, optional
        No chunk is read again before this is computed: what the second use of x waits for, as
        ``Normalizer.of(x).d``. Without it Dask may read some chunks early, and hold those.

    Returns
    -------
    dask.array.Array
        Lazy, with the values, chunks and dtype of x. It is x itself if that is in memory already
        (persisted, or made of NumPy arrays), and in Dask's array-expression mode, which has no
        second read. The same arguments give the same keys, and so one second reading.

    Raises
    ------
    TypeError
        If x is not a Dask array, or after not a Dask collection.

    Warns
    -----
    UserWarning
        If a task below x is seen to draw from a random generator that it shares with other tasks:
        the second reading would give other values.

    See Also
    --------
    softmax : With ``reread="auto"`` it does this where it is right.

    Notes
    -----
    Everything below x is done twice, not only the reading, and has to give the same values twice.
    Layers that Dask holds as patterns (`dask.blockwise.Blockwise`) are copied as such; others task
    by task.

    Examples
    --------
    The entropy of a softmax needs x a third time, beside y; this reads it twice:

    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.linspace(-3, 3, 1000, chunks=100)
    >>> n = dsoftmax.Normalizer.of(x)
    >>> again = dsoftmax.reread(x, after=n.d)
    >>> entropy = n.logsumexp() - (n.softmax(again) * again).sum()
    >>> entropy.compute().round(3)
    np.float64(6.098)
    """
    if not isinstance(x, da.Array):
        raise TypeError(
            f"reread: x is of type {type(x).__name__}; pass a Dask array (others are in memory)"
        )
    if after is not None and not is_dask_collection(after):
        raise TypeError(
            f"reread: after is of type {type(after).__name__}; pass a Dask collection, such as "
            "Normalizer.of(x).d"
        )
    choice = choose(x, (), True)
    if not choice.again:
        _log.info("reread of %r: held, since %s", x, choice.why)
        return x
    _warn_of_generators(x)
    barrier = None if after is None else checkpoint(after)
    return copy_graph(x, tokenize(x.name, "reread", barrier), barrier)


def check_reread(reread: Any, function: str) -> Reread:
    """The argument ``reread`` of a function, or Dask's setting ``dsoftmax.reread`` for "auto"."""
    name = "reread"
    if isinstance(reread, str) and reread == "auto":
        setting = dask.config.get("dsoftmax.reread", None)
        if setting is not None:
            name, reread = "Dask's setting dsoftmax.reread", setting
    if not isinstance(reread, bool) and reread != "auto":
        raise ValueError(
            f'{function}: {name} is {reread!r}; use True (read twice), False (hold) or "auto"'
        )
    return reread


def second_read(function: str, x: da.Array, states: da.Array, axes: Axes, reread: Reread) -> Any:
    """What the pass after ``states`` reads: x, or a copy that is read once the states are there.

    ``function`` names who asks, in the report that goes to the logger "dsoftmax".
    """
    if not hasattr(x, "expr") and _apart(x, states):
        return x
    choice = choose(x, axes, reread)
    how = "read twice" if choice.again else "held"
    _log.info("%s of %r over axis %s: %s, since %s", function, x, axes, how, choice.why)
    if not choice.again:
        return x
    _warn_of_generators(x)
    # A copy that fuses into the next map waits for the states by itself: each slice for its own.
    barrier = None if _fuses(x) else checkpoint(states)
    return copy_graph(x, tokenize(x.name, states.name), barrier)


class Choice(NamedTuple):
    """Whether to read again, and the reason as half a sentence."""

    again: bool
    why: str


def choose(x: da.Array, axes: Axes, reread: Reread = "auto") -> Choice:
    """Whether a second pass over x reads it again, when the first has reduced ``axes``.

    Depends on the arguments, on what x is made of and on Dask's ``array.chunk-size`` only; looks
    at layers and at a few of their tasks, and computes nothing.
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
    if held <= parse_bytes(dask.config.get("array.chunk-size")):  # not so if it is nan
        return Choice(False, f"all blocks of a slice take {format_bytes(held)}")
    seen: dict[Any, Any] = {}
    for name in layers:
        if why := _objection(name, layers, x, seen):
            return Choice(False, why)
    return Choice(True, f"its {blocks} blocks a slice are loaded and mapped, no more")


def _objection(
    name: str, layers: dict[str, Layer], x: da.Array, seen: dict[Any, Any]
) -> str | None:
    """What speaks against computing a layer twice, or None for loading and elementwise work.

    ``seen`` are the functions of other layers, and what they use, that nothing speaks against.
    """
    layer, label = layers[name], key_split(name)
    used = uses(_some_tasks(layer), seen)
    if draws(used):
        return f"{label!r} below it draws from a random generator"
    function = dear(used)
    reason = f", for it uses {function}" if function else ""
    costs = f"{label!r} below it may be dear to compute{reason} (reread=True does so twice)"
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

    Of elementwise work one array has all axes of the result, and the others are broadcast to it.
    The arrays of a product share an axis, and none has all: ij, jk -> ijk, which Dask sums over j
    in another layer.  Those of an outer product share none; it is elementwise work on few numbers.
    """
    arrays = [set(index) for _, index in layer.indices if index is not None]
    axes = set().union(*arrays)
    result = set(layer.output_indices)
    if not axes <= result:
        return True
    shared = sum(map(len, arrays)) > len(axes)
    return shared and not any(result - layer.new_axes.keys() <= array for array in arrays)


def _size(layer: Layer) -> float:
    """The number of tasks, but not of a layer that would list them all to know."""
    known = isinstance(layer, Blockwise) or layer.is_materialized()
    return len(layer) if known else math.inf


def _fuses(x: da.Array) -> bool:
    """Whether Dask makes one task of each block of x and of what is mapped over it next.

    It does where all layers are Blockwise, have the blocks of x and are used once.
    """
    layers = task_layers(x).values()
    if not all(isinstance(layer, Blockwise) for layer in layers):
        return False
    uses = Counter(k for layer in layers for k, index in layer.indices if index is not None)
    return all(
        len(layer) == x.npartitions
        and uses[layer.output] == (layer.output != x.name)
        and (layer.annotations or {}) == dask.get_annotations()
        for layer in layers
    )


def _apart(x: da.Array, states: da.Array) -> bool:
    """Whether no task is in the way of both, so that x is read once."""
    layers = task_layers(x).keys()
    return bool(layers) and layers.isdisjoint(task_layers(states))


def _some_tasks(layer: Layer) -> list[Any]:
    """A few tasks of a layer, without materialising it.

    They are from all over it: `dask.optimize` puts different ones into one layer.
    """
    if isinstance(layer, Blockwise):
        return [layer.task, *(k for k, index in layer.indices if index is None)]
    keys = list(layer) if layer.is_materialized() else []
    if len(keys) > _LOOKED_AT:
        keys = random.Random(0).sample(keys, _LOOKED_AT)
    return [layer[key] for key in keys]


def _independent(layer: Layer) -> bool:
    """Whether the tasks of a layer, going by the first ones, need no other task of it."""
    nodes = [node for node in islice(layer.values(), _LOOKED_AT) if isinstance(node, GraphNode)]
    used = {key for node in nodes for key in node.dependencies}
    return all(isinstance(layer[key], DataNode) for key in used if key in layer)


def _warn_of_generators(x: da.Array) -> None:
    seen: dict[Any, Any] = {}
    for name, layer in task_layers(x).items():
        if draws(uses(_some_tasks(layer), seen)):
            warnings.warn(
                f"{key_split(name)!r} draws from a random generator, so that reading its array "
                "twice gives other values; hold it with reread=False, persist it, or seed each "
                "block by itself as dask.array.random does",
                stacklevel=_depth() + 1,
            )
            return


def _depth() -> int:
    """How many callers are of this package: a warning is about the line that called it."""
    frame, depth = sys._getframe(1), 0  # the argument skip_file_prefixes is of Python 3.12
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        frame, depth = frame.f_back, depth + 1
    return depth
