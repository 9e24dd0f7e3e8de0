"""Threads, processes and distributed give the same results, with the names of the dashboard."""

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from numpy.testing import assert_array_equal

from dsoftmax import Normalizer, log_softmax, logsumexp, softmax

pytestmark = pytest.mark.system


def results(x):
    n = Normalizer.of(x, axis=1)
    return (
        softmax(x, split_every=2),
        log_softmax(x, axis=0),
        softmax(x, axis=1),
        logsumexp(x, axis=0, b=x - 1, keepdims=True),
        *logsumexp(x, axis=(0, 1), return_sign=True),
        n.merge(n).logsumexp(),
    )


@pytest.fixture(scope="module")
def x():
    return da.random.default_rng(5).normal(size=(60, 70), chunks=(20, 14)).astype("f4")


@pytest.fixture(scope="module")
def expected(x):
    return dask.compute(*results(x), scheduler="synchronous")


def assert_identical(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_local_schedulers(scheduler, x, expected):
    assert_identical(dask.compute(*results(x), scheduler=scheduler, num_workers=2), expected)


@pytest.fixture(scope="module", params=[True, False], ids=["processes", "threads"])
def client(request):
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=request.param,
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_distributed(client, x, expected):
    assert_identical(client.gather(client.compute(results(x))), expected)


def test_names_on_the_dashboard(client, x):
    client.compute(softmax(x, split_every=2)).result()
    prefixes = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
    parts = ("normalizer", "merge-partial", "merge-aggregate", "rescale")
    assert {f"softmax-{part}" for part in parts} <= set(prefixes)


def test_a_normalizer_travels(client, x):
    n = Normalizer.of(np.arange(5.0))
    assert client.submit(Normalizer.logsumexp, n).result() == n.logsumexp()
    assert client.submit(lambda n: n, n).result().logsumexp() == n.logsumexp()


def test_a_lazy_normalizer_is_computed_and_held(client, x):
    n = Normalizer.of(x, axis=1)
    expected = n.compute(scheduler="synchronous")
    held = client.persist(n)
    assert client.compute(n).result() == client.compute(held).result() == expected
    with dask.config.set(scheduler=client):
        assert n.compute() == held.compute() == n.persist().compute() == expected
        both, (total,) = dask.compute(held, [held.logsumexp()])
    assert both == expected
    assert_array_equal(total, expected.logsumexp())
