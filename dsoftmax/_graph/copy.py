"""Copy the graph below an array under new names; the copy may wait for something else.

`dask.graph_manipulation.clone` and ``bind`` are made for this, but leave references to the original
chunks in the graphs of sliced, rechunked, reshaped, delayed and many other arrays: these chunks are
then silently held after all (dask/dask#12455; dask 2026.8).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

import dask.array as da
import numpy as np
from dask.base import clone_key, tokenize
from dask.blockwise import Blockwise, blockwise_token
from dask.graph_manipulation import chunks
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from .dask_private import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_task

Key = Any


def task_layers(x: da.Array) -> dict[str, Layer]:
    """The layers that are computed for x; none if it is in memory.

    Leaves out layers that hold only data (arrays, futures, file handles) or aliases of it, and
    those that x merely waits for, below a checkpoint.
    """
    graph = x.dask
    in_memory = _InMemory(graph)
    found: dict[str, Layer] = {}
    todo = [x.name] if x.name in graph.layers else list(graph.layers)
    while todo:
        name = todo.pop()
        layer = graph.layers[name]
        if name not in found and not _is_barrier(layer) and not in_memory[name]:
            found[name] = layer
            todo.extend(graph.dependencies[name])
    return found


def copy_graph(x: da.Array, seed: str, barrier: Any = None) -> da.Array:
    """x computed by new tasks, whose sources wait for ``barrier``.

    Parameters
    ----------
    x : dask.array.Array
    seed : str
        The names of the copy are derived from this and those of x.
    barrier : dask.delayed.Delayed, optional
        Made by `dask.graph_manipulation.checkpoint`.

    Returns
    -------
    dask.array.Array
        Shares with x only what is in memory. Blockwise layers are copied as such, others task by
        task; a P2P shuffle becomes a second shuffle.
    """
    graph, tasks = x.dask, task_layers(x)
    kept = {name for layer in tasks for name in graph.dependencies[layer]} - tasks.keys()
    copies: dict[str, Layer] = {}
    dependencies: dict[str, set[str]] = {}
    handles: dict[str, Layer] = {}
    if barrier is not None:
        copies |= barrier.dask.layers
        dependencies |= barrier.dask.dependencies
        handles = {name: graph.layers[name] for name in kept if _is_handle(graph.layers[name])}
    copier = _Copier(graph, tasks | handles, seed, None if barrier is None else barrier.key)
    for name, layer in handles.items():
        new = copier.layer_name(name)
        copies[new], dependencies[new] = copier.handle(layer), {name, barrier.key}
    for name, layer in tasks.items():
        new = copier.layer_name(name)
        copies[new], waits = copier.copy(layer)
        dependencies[new] = set(map(copier.layer_name, graph.dependencies[name]))
        if waits and barrier is not None:
            dependencies[new].add(barrier.key)
    while kept:  # what the copies share with x, and all that is below it
        name = kept.pop()
        copies[name], dependencies[name] = graph.layers[name], graph.dependencies[name]
        kept |= dependencies[name] - copies.keys()
    return da.Array(
        HighLevelGraph(copies, dependencies), copier.key(x.name), x.chunks, meta=x._meta
    )


class _Copier:
    """Copies the layers of one graph: renames their keys, and makes the sources wait."""

    def __init__(
        self, graph: HighLevelGraph, layers: dict[str, Layer], seed: str, barrier: str | None
    ) -> None:
        self.layers, self.seed, self.barrier = layers, seed, barrier
        # A lazy layer keeps the tasks that it lists, and sends them to the scheduler: list copies.
        self.listed = {id(layer): copy(layer) for layer in graph.layers.values()}
        names = {key for layer in layers.values() for key in self._names(layer)}
        others = [graph.layers[name] for name in graph.layers.keys() - layers.keys()]
        kept = {key for layer in others for key in self._names(layer)}
        self.keys = _Keys(names | kept)
        self.renamed = {name: self._renamed(name) for name in names - kept}

    def _renamed(self, name: Key) -> str:
        layer = self.layers.get(name)
        if layer is not None and _is_shuffle(layer):
            return layer.name.replace(layer.token, self._token(layer))
        return clone_key(name if isinstance(name, str) else f"key-{tokenize(name)}", self.seed)

    def _names(self, layer: Layer) -> set[Key]:
        if isinstance(layer, Blockwise):
            return {layer.output}
        return {layer.name} if _is_shuffle(layer) else set(map(_name, self.listed[id(layer)]))

    def _token(self, shuffle: Any) -> str:
        return tokenize(shuffle.token, self.seed)

    def layer_name(self, name: str) -> str:
        if name not in self.layers:
            return name
        return self.renamed.get(name) or clone_key(name, self.seed)

    def key(self, key: Key) -> Key:
        """The key in the copy: a new one for copied tasks, the same object for anything else."""
        name = _name(key)
        if name not in self.renamed:
            return key
        return self.renamed[name] if name is key else (self.renamed[name], *key[1:])

    def copy(self, layer: Layer) -> tuple[Layer, bool]:
        """The copy of a layer, and whether it waits for the barrier."""
        if _is_shuffle(layer):
            return self._shuffle(layer)
        if isinstance(layer, Blockwise) and not _has_key_tables(layer):
            return self._blockwise(layer)
        tasks: dict[Key, Any] = {}
        waits = False
        for key, value in self.listed[id(layer)].items():
            new = self.key(key)
            node = convert_legacy_task(key, value, self.keys)
            if new is key or _is_datum(value, self.keys):
                tasks[key] = value  # data keeps its name, as a future must
                if new is not key:
                    tasks[new], waits = self._handed_out(key), True
                continue
            tasks[new] = self._substituted(node, new)
            if self._is_source(node.dependencies):
                tasks[new], waits = self._waiting(new, tasks[new], TaskRef(self.barrier)), True
        return MaterializedLayer(tasks, annotations=layer.annotations), waits

    def handle(self, layer: Layer) -> Layer:
        """Copy a layer of one object that is read from: handed out when the barrier opens.

        The tasks that read it stay as they are, so that Dask still makes z[:, :9] one read.
        """
        (key,) = layer
        return MaterializedLayer(
            {self.key(key): self._handed_out(key)}, annotations=layer.annotations
        )

    def _handed_out(self, key: Key) -> GraphNode:
        new = self.key(key)
        if self.barrier is None:
            return Alias(new, key)
        return Task(new, chunks.bind, TaskRef(key), TaskRef(self.barrier), _data_producer=True)

    def _blockwise(self, layer: Blockwise) -> tuple[Layer, bool]:
        """Copy as Blockwise.clone does, which forgets the references in keyword arguments."""
        name = self.key(layer.output)
        task = self._substituted(layer.task, name)
        indices = [(self._reference(k), index) for k, index in layer.indices]
        references = [k for k, _ in layer.indices if isinstance(k, (str, TaskRef))]
        waits = self._is_source([*references, *layer.task.dependencies])
        if waits:
            placeholder = TaskRef(blockwise_token(len(indices)))
            task = self._waiting(name, layer.task, placeholder)
            indices.append((TaskRef(self.barrier), None))
        new = Blockwise(
            name,
            layer.output_indices,
            task,
            indices,
            {self.key(k): n for k, n in layer.numblocks.items()},
            concatenate=layer.concatenate,
            new_axes=layer.new_axes,
            output_blocks=layer.output_blocks,
            annotations=layer.annotations,
            io_deps=layer.io_deps,
        )
        return new, waits

    def _shuffle(self, original: Any) -> tuple[Layer, bool]:
        layer = copy(original)
        layer.name, layer.token = self.key(original.name), self._token(original)
        layer.name_input = self.key(original.name_input)
        layer._cached_dict = None
        if not self._is_source([original.name_input]):
            return layer, False
        tasks = dict(layer)
        for key, node in tasks.items():
            if layer.name_input in map(_name, node.dependencies):
                tasks[key] = self._waiting(key, node, TaskRef(self.barrier))
        return MaterializedLayer(tasks, annotations=layer.annotations), True

    def _substituted(self, node: GraphNode, key: Key) -> GraphNode:
        if isinstance(node, Alias):  # its `substitute` changes the key only with the target
            return Alias(key, self.key(node.target))
        return node.substitute({k: self.key(k) for k in node.dependencies}, key=key)

    def _reference(self, reference: Any) -> Any:
        """The copy of an input of a Blockwise layer: a layer name, a key or a literal."""
        if isinstance(reference, TaskRef):
            return TaskRef(self.key(reference.key))
        if isinstance(reference, GraphNode):
            return self._substituted(reference, reference.key)
        return self.key(reference) if isinstance(reference, str) else reference

    def _is_source(self, references: Iterable[Any]) -> bool:
        """Whether a task with these references uses no copied task, and so must wait by itself."""
        keys = (getattr(reference, "key", reference) for reference in references)
        return self.barrier is not None and all(self.key(key) is key for key in keys)

    def _waiting(self, key: Key, node: GraphNode, barrier: TaskRef) -> Task:
        return Task(key, chunks.bind, node, barrier, _data_producer=node.data_producer)


class _Keys:
    """The set of all keys with given names, without listing them."""

    def __init__(self, names: Iterable[Key]) -> None:
        self.names = frozenset(names)

    def __contains__(self, key: Key) -> bool:
        return _name(key) in self.names


def _name(key: Key) -> Key:
    return key[0] if isinstance(key, tuple) and key and isinstance(key[0], str) else key


class _InMemory(dict[str, bool]):
    """Maps layer names to whether the layer is data: arrays, futures, handles, aliases of those."""

    def __init__(self, graph: HighLevelGraph) -> None:
        super().__init__()
        self.graph, self.all_keys = graph, _Keys(graph.layers)

    def __missing__(self, name: str) -> bool:
        layer = self.graph.layers[name]
        self[name] = (
            isinstance(layer, MaterializedLayer)
            and len(layer) > 0
            and all(self[other] for other in self.graph.dependencies[name])
            and all(self._is_known(value) for value in layer.values())
        )
        return self[name]

    def _is_known(self, value: Any) -> bool:
        if isinstance(value, np.ndarray) or _is_datum(value, self.all_keys):
            return True
        return isinstance(convert_legacy_task("", value, self.all_keys), Alias)


def _is_datum(value: Any, keys: _Keys) -> bool:
    if isinstance(value, GraphNode):
        return isinstance(value, DataNode)
    if isinstance(value, TaskRef) or getattr(value, "__dask_future__", False):
        return type(value) is not TaskRef  # a Future is a subclass, and stands for a result
    return not isinstance(convert_legacy_task("", value, keys), GraphNode)


def _is_barrier(layer: Layer) -> bool:
    """Whether a layer is the last one of a checkpoint, of legacy tasks or new ones."""
    task = next(iter(layer.values()), None) if isinstance(layer, MaterializedLayer) else None
    func = task[0] if isinstance(task, tuple) and task else getattr(task, "func", None)
    return func is chunks.checkpoint


def _is_handle(layer: Layer) -> bool:
    """Whether a layer is one object that all chunks are read from: a file or a Zarr array."""
    return len(layer) == 1 and isinstance(layer, MaterializedLayer)


def _is_shuffle(layer: Any) -> bool:
    """Whether a layer is distributed's P2P rechunk, which identifies its tasks by a token."""
    return hasattr(layer, "name_input") and hasattr(layer, "token")


def _has_key_tables(layer: Blockwise) -> bool:
    return any(table.produces_keys for table in layer.io_deps.values())
