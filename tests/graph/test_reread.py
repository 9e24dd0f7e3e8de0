"""Every chunk of a stored array is read exactly twice, or once; few are in memory at a time."""

import gc
import logging
import pickle
import threading
import tracemalloc
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import collections_to_expr
from distributed import Client, LocalCluster, wait
from distributed.protocol import serialize, to_serialize
from distributed.utils import nbytes
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax import Normalizer, log_softmax, logsumexp, reread, softmax

DATA = np.random.default_rng(3).normal(size=(12, 8))


class Source:
    """Something to read from, as `dask.array.from_array` takes it, that counts what is read."""

    def __init__(self, data=DATA):
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        rows, columns = np.indices(data.shape)
        self.chunk = rows // 3 * 100 + columns // 4
        self.reads = Counter()
        self.lock = threading.Lock()

    def __getitem__(self, index):
        block = self.data[index].copy()
        if block.size:  # Dask tries sources on nothing
            with self.lock:
                self.reads[self.chunk[index].flat[0]] += 1
        return block

    def array(self, chunks=(3, 4), **options):
        return da.from_array(self, chunks=chunks, **options)

    def times(self, *arrays, **options):
        """How often each chunk is read to compute the arrays."""
        self.reads.clear()
        dask.compute(*arrays, **options)
        return dict(self.reads)


def doubled(times):
    return {chunk: 2 * n for chunk, n in times.items()}


def increment(block):
    return block + 1


def set_item(z):
    z[2:5] = 0
    return z


# Arrays as Dask makes them of a stored one: 48 kinds of graphs.
KINDS = {
    "stored": lambda z: z,
    "map_blocks": lambda z: z.map_blocks(increment),
    "block_id": lambda z: z.map_blocks(lambda b, block_id: b + block_id[0], dtype=z.dtype),
    "elementwise": lambda z: np.exp(z) + 1,
    "used twice": lambda z: np.exp(z) + z,
    "where": lambda z: da.where(z > 0.5, z, 0),
    "transposed": lambda z: z.T,
    "swapaxes": lambda z: da.swapaxes(z, 0, 1),
    "sliced": lambda z: z[1:],
    "one axis more": lambda z: z[None],
    "squeezed": lambda z: z[None].squeeze(),
    "reversed": lambda z: z[::-1],
    "fancy": lambda z: z[[3, 1, 5, 9, 11]],
    "take": lambda z: da.take(z, [0, 7, 3, 5], axis=1),
    "compress": lambda z: da.compress([True] * 11, z[:11], axis=0),
    "boolean": lambda z: z[z > 0],
    "vindex": lambda z: z.vindex[list(range(8)), list(range(8))],
    "shuffled": lambda z: z.shuffle([list(range(0, 12, 2)), list(range(1, 12, 2))], axis=0),
    "rechunked": lambda z: z.rechunk((6, 4)),
    "rechunked finer": lambda z: z.rechunk((1, 8)),
    "rechunked across": lambda z: z.rechunk({0: 1, 1: -1}).rechunk({0: -1, 1: 1}),
    "reshaped": lambda z: z.reshape(-1),
    "blocks": lambda z: z.blocks[1:4],
    "broadcast": lambda z: da.broadcast_to(z, (2, 12, 8)),
    "concatenated": lambda z: da.concatenate([z, z + 1]),
    "stacked": lambda z: da.stack([z, z]),
    "rolled": lambda z: da.roll(z, 2, axis=0),
    "padded": lambda z: da.pad(z, 1),
    "tiled": lambda z: da.tile(z, 2),
    "repeated": lambda z: da.repeat(z, 2, axis=0),
    "inserted": lambda z: da.insert(z, 1, 0, axis=0),
    "set item": set_item,
    "diagonal": lambda z: da.diag(z[:, 0]),
    "coarsened": lambda z: da.coarsen(np.sum, z, {0: 3}),
    "overlapping": lambda z: z.map_overlap(increment, depth=1, boundary="none"),
    "gufunc": lambda z: da.apply_gufunc(np.sort, "(i)->(i)", z.rechunk((3, 8))),
    "reduced": lambda z: z.sum(axis=1),
    "centred": lambda z: z - z.mean(axis=0),
    "lazy argument": lambda z: da.map_blocks(np.add, z, z.mean(), dtype=z.dtype),
    "lazy keyword": lambda z: da.map_blocks(lambda b, m: b - m, z, m=z.mean(), dtype=z.dtype),
    "product": lambda z: z @ z.T,
    "einsum": lambda z: da.einsum("ij,jk->ik", z, z.T),
    "cumulated": lambda z: z.cumsum(axis=0),
    "qr": lambda z: da.linalg.qr(z.rechunk((3, 8)))[0],
    "solved": lambda z: da.linalg.solve(da.eye(12, chunks=6), z.rechunk((6, 8))),
    "percentile": lambda z: da.percentile(z.reshape(-1), [10, 50, 90]),
    "unique": lambda z: da.unique(z),
    "delayed": lambda z: da.concatenate(
        [da.from_delayed(d, (3, 4), dtype=z.dtype) for d in z[:, :4].to_delayed().ravel()]
    ),
    "optimized": lambda z: dask.optimize(z + 1)[0],
}
OF_ONE_BLOCK = {"vindex", "percentile", "unique"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_is_read_again(kind):
    source = Source()
    x = KINDS[kind](source.array(inline_array=True))
    again = reread(x, after=x.sum())
    assert source.times(x, again) == doubled(source.times(x))
    assert_allclose(again, x)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OF_ONE_BLOCK])
def test_softmax_reads_every_kind_of_array_twice_or_once(kind):
    source = Source()
    x = KINDS[kind](source.array())
    once = source.times(x)
    assert source.times(softmax(x, reread=False)) == once
    y = softmax(x, reread=True)
    assert source.times(y) == doubled(once)
    assert_allclose(y, special.softmax(x.compute()), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_again_before_what_it_waits_for(kind):
    source, seen = Source(), []
    x = KINDS[kind](source.array())
    done = x.sum().map_blocks(lambda _: seen.append(source.reads.total()), dtype="f8", meta=0)
    source.times(reread(x, after=done))
    assert seen == [source.reads.total() / 2]


# Memory, in chunks.

MANY = np.random.default_rng(4).normal(size=(300, 20000))  # 80 chunks of 600 kB
STREAMED = ["stored", "used twice", "sliced"]


def many(source):
    return source.array(chunks=(75, 1000))


def chunks_in_memory(compute):
    """The most memory that is used at a time beyond what was before."""
    gc.collect()
    tracemalloc.start()
    with dask.config.set(scheduler="threads", num_workers=2):
        compute()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (75 * 1000 * 8)


@pytest.mark.parametrize("kind", STREAMED)
def test_two_passes_take_no_more_memory_than_one(kind):
    x = KINDS[kind](many(Source(MANY)))
    one = chunks_in_memory(logsumexp(x).compute)
    assert chunks_in_memory(softmax(x, reread=True).sum().compute) < one + 20
    assert chunks_in_memory(softmax(x, reread=False).sum().compute) > 80


def test_from_storage_to_storage_few_chunks_are_in_memory():
    target = np.zeros_like(MANY)
    y = softmax(many(Source(MANY)), reread=True)
    assert chunks_in_memory(lambda: da.store(y, target)) < 15
    assert_allclose(target, special.softmax(MANY), rtol=1e-12)


def test_logsumexp_reads_once_and_holds_nothing():
    source = Source()
    assert set(source.times(logsumexp(source.array())).values()) == {1}
    assert chunks_in_memory(logsumexp(many(Source(MANY))).compute) < 15


# What is in memory is neither copied nor computed again.


def in_memory():
    return {
        "numpy": da.from_array(DATA, chunks=(3, 4)),
        "persisted": Source().array().persist(),
        "one block": da.from_array(DATA),
    }


@pytest.mark.parametrize("kind", in_memory())
def test_arrays_in_memory_are_held(kind):
    x = in_memory()[kind]
    assert reread(x, after=x.sum()) is x
    y = softmax(x, reread=True)
    assert y.dask.layers[x.name] is x.dask.layers[x.name]
    assert len(y.dask.to_dict()) == len(softmax(x, reread=False).dask.to_dict())


def test_persisted_arrays_are_not_read():
    source = Source()
    x = source.array().persist()
    assert source.times(softmax(x), softmax(x + 1, reread=True), logsumexp(x)) == {}


class Virtual:
    """As large as one likes, and never read."""

    dtype = np.dtype("f4")

    def __init__(self, *shape):
        self.shape, self.ndim = shape, len(shape)

    def __getitem__(self, index):
        raise AssertionError(f"read {index} while the graph was built")


def virtual(*shape, chunks):
    return da.from_array(Virtual(*shape), chunks=chunks, meta=np.empty((0,) * len(shape), "f4"))


LARGE = virtual(10**5, 10**4, chunks=(10**4, 10**3))


# Several passes in one graph.


def test_several_softmaxes_of_one_array_read_it_once_more_each():
    source = Source()
    x = source.array()
    options = {"reread": True}
    arrays = softmax(x, 0, **options), softmax(x, 1, **options), log_softmax(x, 0, **options)
    assert set(source.times(*arrays).values()) == {4}
    assert_allclose(arrays[0], special.softmax(DATA, 0))
    assert_allclose(arrays[1], special.softmax(DATA, 1))
    assert_allclose(arrays[2], special.log_softmax(DATA, 0))


def test_a_normalizer_and_its_data():
    source = Source()
    x = source.array()
    lazy = Normalizer.of(x)
    part = x[:3]
    assert set(source.times(lazy.softmax(x, reread=True)).values()) == {2}
    assert sorted(source.times(lazy.log_softmax(part, reread=True)).values()) == [1] * 6 + [2] * 2
    again = reread(x, after=lazy.d)
    assert set(source.times(lazy.softmax(again) * again).values()) == {2}
    assert lazy.softmax(again, reread=True).name == lazy.softmax(again).name


def test_a_normalizer_of_other_data_reads_both_once(caplog):
    caplog.set_level(logging.INFO, logger="dsoftmax")
    source, other = Source(), Source()
    x = source.array()
    y = Normalizer.of(other.array() + 1).softmax(x, reread=True)
    computed = Normalizer.of(x).compute().softmax(x, reread=True)
    assert set(source.times(y).values()) == {1}
    assert set(other.reads.values()) == {1}
    assert set(source.times(computed).values()) == {1}
    assert caplog.records == []


def test_only_what_is_asked_for_is_read():
    source = Source()
    y = softmax(source.array(), axis=0, reread=True)
    assert source.times(y[:3, :4]) == {0: 2, 100: 1, 200: 1, 300: 1}


# Names, tasks and settings of Dask.


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


# Processes.


class File(Source):
    """A source that notes reads in a file, for all processes."""

    def __init__(self, path, data=DATA):
        super().__init__(data)
        self.path = path
        del self.reads, self.lock  # a lock stays where it is made

    def __getitem__(self, index):
        block = self.data[index].copy()
        if block.size:
            with open(self.path, "ab") as file:
                file.write(b"%d\n" % self.chunk[index].flat[0])
        return block

    def times(self, *arrays, **options):
        self.path.write_bytes(b"")
        dask.compute(*arrays, **options)
        return dict(Counter(map(int, self.path.read_text().split())))


@pytest.fixture
def file(tmp_path):
    return File(tmp_path / "reads")


EACH = [row + column for row in (0, 100, 200, 300) for column in (0, 1)]  # of 8 chunks


def test_local_processes(file):
    x = file.array()
    options = {"scheduler": "processes", "num_workers": 2}
    assert file.times(logsumexp(x), softmax(x, reread=True), **options) == dict.fromkeys(EACH, 2)


@pytest.mark.parametrize("kind", ["stored", "used twice", "sliced", "rechunked", "overlapping"])
def test_threads(kind):
    source = Source()
    x = KINDS[kind](source.array())
    options = {"scheduler": "threads", "num_workers": 4}
    once = dict.fromkeys(EACH, 1)
    assert source.times(logsumexp(x), **options) == once
    assert source.times(softmax(x, reread=False), **options) == once
    assert source.times(softmax(x, reread=True), **options) == doubled(once)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_distributed(client, file):
    x = file.array()
    assert file.times(logsumexp(x), scheduler=client) == dict.fromkeys(EACH, 1)
    assert file.times(softmax(x, reread=False), scheduler=client) == dict.fromkeys(EACH, 1)
    assert file.times(softmax(x, reread=True), scheduler=client) == dict.fromkeys(EACH, 2)
    assert file.times(softmax(x[1:], reread=True), scheduler=client) == dict.fromkeys(EACH, 2)
    y = softmax(x.rechunk((12, 1)), axis=(0, 1), reread=True)
    assert_allclose(y.compute(scheduler=client), special.softmax(DATA), rtol=1e-12)


def test_shuffles_are_done_twice(client, file):
    x = file.array()
    shuffled = x.rechunk((12, 1), method="p2p")
    expected = special.softmax(DATA)
    with client.as_current():
        assert_allclose(softmax(shuffled, reread=True).compute(), expected, rtol=1e-12)
        assert file.times(softmax(shuffled, reread=True)) == dict.fromkeys(EACH, 2)
        assert_allclose(reread(shuffled)[:, :2].compute(), DATA[:, :2])


def test_shuffles_of_persisted_chunks_read_nothing(client, file):
    with client.as_current():
        x = file.array().persist()
        wait(x)
        shuffled = x.rechunk((12, 2), method="p2p")
        assert file.times(softmax(shuffled, reread=True)) == {}


def test_futures_are_held(client, file):
    with client.as_current():
        x = file.array().persist()
        wait(x)
        assert reread(x) is x
        assert file.times(softmax(x), softmax(x + 1, reread=True)) == {}


# Arrays of futures: `from_delayed` has each one and another name for it in one layer.
FUTURES = {
    "delayed": lambda parts: parts[0],
    "concatenated": da.concatenate,
    "some of them": lambda parts: da.concatenate(parts).blocks[1:],
    "stacked": da.stack,
    "mapped": lambda parts: da.concatenate(parts).map_blocks(increment),
    "sliced": lambda parts: da.concatenate(parts)[1:],
    "with stored ones": lambda parts: da.concatenate([*parts, np.exp(da.ones((3, 8)))]),
}


def futures(client):
    blocks = client.scatter([DATA[i : i + 3] for i in range(0, 12, 3)], hash=False)
    return [da.from_delayed(block, (3, 8), dtype="f8") for block in blocks]


@pytest.mark.parametrize("kind", FUTURES)
def test_arrays_of_futures(client, kind):
    with client.as_current():
        x = FUTURES[kind](futures(client))
        expected = special.softmax(x.compute())
        assert_allclose(softmax(x, reread=True).compute(), expected, rtol=1e-12)
        assert_allclose(reread(x, after=x.sum()).compute(), x.compute())


@pytest.mark.parametrize("kind", ["delayed", "concatenated", "some of them"])
def test_arrays_of_futures_are_in_memory(client, kind):
    with client.as_current():
        x = FUTURES[kind](futures(client))
        assert reread(x, after=x.sum()) is x
        assert softmax(x, reread=True).name == softmax(x, reread=False).name


def test_futures_beside_tasks_in_one_layer(client, file):
    with client.as_current():
        (known,) = client.scatter([DATA[:3]], hash=False)
        graph = {"known": known, ("x", 0, 0): "known"}
        graph |= {("x", i, 0): (file.__getitem__, slice(3 * i, 3 * i + 3)) for i in (1, 2, 3)}
        x = da.Array(graph, "x", chunks=((3,) * 4, (8,)), dtype="f8")
        assert file.times(softmax(x, reread=True)) == dict.fromkeys((100, 200, 300), 2)
        assert_allclose(softmax(x, reread=True).compute(), special.softmax(DATA), rtol=1e-12)
