"""Chunks are read exactly twice, or once, under every scheduler; futures are held."""

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax import logsumexp, reread, softmax

from .sources import DATA, EACH, KINDS, File, Source, doubled, increment

pytestmark = pytest.mark.system


@pytest.fixture
def file(tmp_path):
    return File(tmp_path / "reads")


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
