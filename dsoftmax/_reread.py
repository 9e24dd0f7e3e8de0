"""Reading an array a second time, so that no chunk is held between two passes over it.

In ``exp(x - m) / d`` every chunk of x is needed again after all of them have been reduced.  Dask
computes a task once, and so it holds all of x from the first pass to the second.  A copy of the
graph below x under other names, which waits for (m, d), is read and freed chunk by chunk.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from typing import Any

import dask
import dask.array as da
from dask.base import is_dask_collection, tokenize
from dask.blockwise import Blockwise
from dask.graph_manipulation import checkpoint
from dask.utils import key_split

from ._graph.choose import Axes, Reread, choose, some_tasks
from ._graph.copy import copy_graph, task_layers
from ._graph.uses import draws, uses

_log = logging.getLogger("dsoftmax")


def reread(x: da.Array, after: Any = None) -> da.Array:
    """The same array, to be computed a second time from its sources.

    Dask computes a chunk once and holds it until its last use. If the first and the last use are
    far apart, as when an array is reduced and the result applied to it, reading it a second time
    saves that memory: ``x`` and ``reread(x)`` share no tasks, only what is in memory or on disk
    below them.

    Parameters
    ----------
    x : dask.array.Array
        The array, used once elsewhere, whose copy you use the second time.
    after : dask collection, optional
        What the second use of x waits for, such as ``Normalizer.of(x).d``: no chunk is read again
        before this is computed. Without it Dask may read some chunks early, and hold them.

    Returns
    -------
    dask.array.Array
        The copy, lazy, with the values, chunks and dtype of x. It is x itself if x is in memory
        already (persisted, or made of NumPy arrays), and in Dask's array-expression mode, which has
        no second reading. The same arguments give the same keys, and so share one second reading.

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
    softmax : With ``reread="auto"`` it does this where it pays.

    Notes
    -----
    Everything below x is not just read but computed twice, and must give the same values both
    times. Layers that Dask holds as patterns (`dask.blockwise.Blockwise`) are copied as such;
    others task by task.

    Examples
    --------
    The entropy of a softmax uses x once more, with the probabilities; this reads it only twice:

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
    warn_of_generators(x)
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
    """The array for the pass after ``states``: x, or a copy that is read once these are computed.

    ``function`` is the caller's name, for the message to the logger "dsoftmax".
    """
    return second_reads(function, (x,), x, states, axes, reread)[0]


def second_reads(
    function: str,
    arrays: tuple[da.Array, ...],
    joined: da.Array,
    states: da.Array,
    axes: Axes,
    reread: Reread,
    wait: bool = False,
) -> tuple[da.Array, ...]:
    """The same of several arrays, whose blocks are those of ``joined`` together.

    It is chosen for each alone: a small mask is held beside an array that is read again. Where two
    come of one source, their copies do, too. They ``wait`` for the states by themselves where what
    is next does not.
    """
    if not hasattr(joined, "expr") and _apart(joined, states):
        return arrays
    choices = [choose(x, axes, reread) for x in arrays]
    for x, choice in zip(arrays, choices, strict=True):
        how = "read twice" if choice.again else "held"
        _log.info("%s of %r over axis %s: %s, since %s", function, x, axes, how, choice.why)
        if choice.again:
            warn_of_generators(x)
    if not any(choice.again for choice in choices):
        return arrays
    # A copy that fuses into the next map waits for the states by itself: each slice for its own.
    barrier = None if _fuses(joined) and not wait else checkpoint(states)
    seed = tokenize(joined.name, states.name)
    return tuple(
        copy_graph(x, seed, barrier) if choice.again else x
        for x, choice in zip(arrays, choices, strict=True)
    )


def _fuses(x: da.Array) -> bool:
    """Whether Dask fuses each block of x, and the next map over it, into one task.

    It does if all layers are Blockwise, have as many blocks as x, and are used once.
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
    """Whether x and the states share no task, so that x is read only once anyway."""
    layers = task_layers(x).keys()
    return bool(layers) and layers.isdisjoint(task_layers(states))


def warn_of_generators(x: da.Array, remedy: str = "hold it with reread=False, ") -> None:
    """Warn if a second reading of an array would draw other random numbers."""
    seen: dict[Any, Any] = {}
    for name, layer in task_layers(x).items():
        if draws(uses(some_tasks(layer), seen)):
            warnings.warn(
                f"{key_split(name)!r} draws from a random generator, so that reading its array "
                f"twice gives different values; {remedy}persist it, or seed each block separately, "
                "as dask.array.random does",
                stacklevel=_depth() + 1,
            )
            return


def _depth() -> int:
    """The number of callers in this package: a warning points to the line that called it."""
    frame, depth = sys._getframe(1), 0  # skip_file_prefixes needs Python 3.12
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        frame, depth = frame.f_back, depth + 1
    return depth
