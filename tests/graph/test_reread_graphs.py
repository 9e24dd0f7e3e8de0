"""The graph of a second reading: names, tasks, bytes, settings of Dask, what is waited for."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import collections_to_expr
from distributed.protocol import serialize, to_serialize
from distributed.utils import nbytes
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax import Normalizer, logsumexp, reread, softmax

from .sources import DATA, KINDS, LARGE, MANY, Source, chunks_in_memory, increment, many, virtual


def test_names_are_deterministic_and_their_own():
    x = LARGE[1:]
    assert softmax(x, reread=True).name == softmax(x, reread=True).name
    assert reread(x).name == reread(x).name
    names = [reread(x), reread(x, after=x.sum()), reread(x, after=x.max()), reread(reread(x)), x]
    assert len({array.name for array in names}) == 5
    assert {array.name.split("-")[0] for array in names} == {"getitem"}


def tasks(y):
    (optimized,) = dask.optimize(y)
    return len(optimized.dask.to_dict())


@pytest.mark.parametrize("kind", ["stored", "elementwise", "used twice"])
def test_tasks_per_chunk(kind):
    x = KINDS[kind](virtual(1000, chunks=1))
    assert tasks(softmax(x, reread=True)) <= 2.2 * 1000
    assert tasks(logsumexp(x)) <= 1.3 * 1000


@pytest.mark.parametrize(
    ("made", "once", "twice"),
    [
        (lambda z: z[1:], 2.1, 5.1),
        (lambda z: z.rechunk(6), 4.2, 8.2),
        (lambda z: z.map_overlap(increment, depth=1, boundary="none"), 7.1, 15.1),
    ],
    ids=["sliced", "rechunked", "overlapping"],
)
def test_tasks_per_chunk_where_graphs_are_lists(made, once, twice):
    x = made(virtual(3000, chunks=3))
    assert tasks(logsumexp(x)) <= once * x.npartitions
    assert tasks(softmax(x, reread=True)) <= twice * x.npartitions


def sent(y):
    """How many bytes go to a scheduler for it."""
    _, frames = serialize(to_serialize(collections_to_expr([y])), on_error="raise")
    return sum(map(nbytes, frames))


@pytest.mark.parametrize(
    ("kind", "once", "twice"),
    [("stored", 20, 30), ("sliced", 60, 200), ("overlapping", 250, 1000)],
)
def test_bytes_to_send_per_chunk(kind, once, twice):
    x = KINDS[kind](virtual(10**4, chunks=10))
    assert sent(logsumexp(x)) <= once * x.npartitions
    assert sent(softmax(x, reread=True)) <= twice * x.npartitions


def test_a_graph_is_sent_in_few_bytes():
    y = softmax(np.exp(virtual(10**5, chunks=10)), reread=True)
    assert len(pickle.dumps(y.dask)) < 40 * 10**4


def test_each_slice_waits_for_its_own_normalizer_only():
    x = virtual(1000, 1000, chunks=(100, 10))
    y = softmax(x, axis=1, reread=True)
    assert not any("checkpoint" in name for name in y.dask.layers)
    assert any("checkpoint" in name for name in softmax(x[1:], 1, reread=True).dask.layers)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimization.fuse.active": False},
        {"optimization.annotations.fuse": False},
        {"annotations": {"priority": 1}},
        {"split_every": 2},
    ],
)
def test_settings_of_dask(settings):
    source = Source()
    x = source.array() + 1
    with dask.config.set(settings):
        y = softmax(x, reread=True)
        assert set(source.times(y).values()) == {2}
    assert_allclose(y, special.softmax(DATA))


def test_annotated_layers_wait_too():
    with dask.annotate(retries=3, name="mine"):
        x = many(Source(MANY))
    y = softmax(x, reread=True)
    assert y.dask.layers[y.name].annotations is None
    assert sum(layer.annotations is not None for layer in y.dask.layers.values()) == 4
    assert chunks_in_memory(y.sum().compute) < 30


def test_optimized_and_persisted_results():
    source = Source()
    y = softmax(source.array(), reread=True)
    assert set(source.times(dask.optimize(y)[0]).values()) == {2}
    assert_allclose(y.persist(), special.softmax(DATA))


def test_a_task_called_checkpoint_is_a_task():
    source = Source()

    def checkpoint(block):
        return block

    x = source.array().map_blocks(checkpoint)
    assert set(source.times(softmax(x, reread=True)).values()) == {2}


def test_graphs_of_legacy_tasks_and_odd_keys():
    source = Source()
    graph = {("part", i): (source.__getitem__, slice(3 * i, 3 * i + 3)) for i in range(4)}
    graph |= {("x", i, 0): (np.add, ("part", i), 1) for i in range(3)}
    graph |= {7: (np.negative, ("part", 3)), ("x", 3, 0): 7, ("x", 4, 0): ("x", 2, 0)}
    graph |= {("x", 5, 0): np.ones((3, 8)), ("x", 6, 0): (sum, [("part", 0), ("part", 1)])}
    x = da.Array(graph, "x", chunks=((3,) * 7, (8,)), dtype="f8")
    expected = special.softmax(x.compute())
    y = softmax(x, reread=True)
    assert set(source.times(y).values()) == {2}
    assert_allclose(y, expected)


@pytest.mark.parametrize("kind", ["sliced", "elementwise", "rechunked", "overlapping", "delayed"])
def test_the_copied_graph_is_consistent(kind):
    x = KINDS[kind](virtual(12, 8, chunks=(3, 4)))
    reread(x, after=x.sum()).dask.validate()


@pytest.mark.parametrize("x", [np.ones(3), [1, 2], dask.delayed(3)])
def test_reread_takes_dask_arrays(x):
    with pytest.raises(TypeError, match=f"^reread: x is of type {type(x).__name__}; pass a Dask"):
        reread(x)


def test_reread_waits_for_dask_collections():
    with pytest.raises(TypeError, match="^reread: after is of type Normalizer; pass a Dask coll"):
        reread(LARGE, after=Normalizer.of([1.0]))


def test_reread_waits_for_a_lazy_normalizer():
    x = virtual(12, 8, chunks=(3, 4))
    n = Normalizer.of(x, axis=0)
    again = reread(x, after=n)
    again.dask.validate()
    assert set(n.__dask_layers__()) <= set(again.dask.layers)
