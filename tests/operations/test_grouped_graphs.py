"""Softmax within groups: tasks, the fan-in, and chunks of unknown lengths."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Alias, convert_legacy_graph

from dsoftmax import grouped

from .grouped_data import expected_softmax


def names(array):
    """Of the tasks, aliases left out, that Dask makes of an array."""
    (optimized,) = dask.optimize(array)
    tasks = convert_legacy_graph(optimized.__dask_graph__())
    aliases = {name for name, task in tasks.items() if isinstance(task, Alias)}
    return [key[0].rpartition("-")[0] for key in tasks.keys() - aliases if isinstance(key, tuple)]


def test_tasks_per_chunk_and_no_shuffle(lazily):
    n = 64
    x = da.random.default_rng(0).normal(size=n * 10, chunks=10)
    by = da.random.default_rng(1).integers(0, 50, size=n * 10, chunks=10, dtype="i1")
    y = lazily(grouped.softmax, x, by, reread=False)
    assert y.name == lazily(grouped.softmax, x, by, reread=False).name
    found = names(y)
    assert not any("shuffle" in name or "rechunk" in name or "split" in name for name in found)
    assert sum(name == "grouped-softmax-rescale" for name in found) == n
    assert sum("merge" in name for name in found) == n // 16 + 1
    labels, values = lazily(grouped.logsumexp, x, by)
    found = names(values)
    assert sum("normalizer" in name for name in found) == n
    assert sum("merge" in name for name in found) == n // 16 + 1
    assert len(found) <= 3 * n + n // 16 + 2  # with the random blocks of x and by
    assert y.chunks == x.chunks
    assert labels.chunks == values.chunks
    assert np.isnan(values.shape[0])


def test_one_task_for_a_chunk_that_has_all(lazily):
    x = da.zeros((6, 10), chunks=(2, 10))
    y = lazily(grouped.softmax, x, np.arange(10) % 3)
    assert names(y).count("grouped-softmax") == 3
    assert not any("merge" in name for name in names(y))


def test_the_fan_in_follows_from_the_bytes(lazily):
    x = da.zeros(64 * 50_000, chunks=50_000)

    def merges(by, **options):
        return sum("merge" in name for name in names(lazily(grouped.softmax, x, by, **options)))

    many = da.zeros(x.size, chunks=50_000, dtype=int)
    assert merges(many) == 16 + 4 + 1
    assert merges(many.astype("i1")) == merges(many, expected_groups=range(9)) == 4 + 1
    assert merges(many, split_every=64) == 1
    x = da.zeros(16 * 600_000, chunks=600_000)
    many = da.zeros(x.size, chunks=600_000, dtype=int)
    assert merges(many) == 8 + 4 + 2 + 1
    assert merges(many, split_every=4) == 4 + 1
    with dask.config.set(split_every=4):
        assert merges(many) == 4 + 1


@pytest.mark.expressions
def test_expected_labels_of_dask_arrays():
    x, by = np.arange(12.0), np.array(list("abcabcabcabc"))
    lazy, labels = da.from_array(x, chunks=4), ["a", "z", "c"]
    for function in (grouped.softmax, grouped.log_softmax, grouped.logsumexp, grouped.entropy):
        expected = function(x, by, expected_groups=labels)
        for given in (by, da.from_array(by, chunks=4)):
            found = function(lazy, given, expected_groups=labels).compute()
            np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("count", [1000, 5_000_000])  # of which the states are in parts
def test_expected_labels_are_sent_once(count):
    x, by = da.zeros(4000, chunks=100), da.zeros(4000, chunks=100, dtype=int)
    for function in (grouped.softmax, grouped.logsumexp):
        (optimized,) = dask.optimize(function(x, by, expected_groups=range(count)))
        tasks = convert_legacy_graph(optimized.__dask_graph__())
        large = [key for key, task in tasks.items() if len(pickle.dumps(task)) > 8 * count]
        assert len(large) == 1


def test_statistics_share_one_pass(lazily):
    x, by = da.zeros(40, chunks=10), np.arange(40) % 4
    one = lazily(grouped.entropy, x, by, expected_groups=range(4))
    other = lazily(grouped.effective_sample_size, x, by, expected_groups=range(4))
    found = {*one.__dask_graph__(), *other.__dask_graph__()}
    assert sum("moments" in key[0] for key in found if isinstance(key, tuple)) == 4


def test_unknown_chunks_that_agree():
    rng = np.random.default_rng(0)
    x, by = rng.normal(size=90), rng.integers(0, 4, 90)
    kept = x > 0
    a = da.from_array(x, chunks=20)
    mask = a > 0
    unknown, labels = a[mask], da.from_array(by, chunks=20)[mask]
    y = grouped.softmax(unknown, labels)
    assert np.isnan(y.shape[0])
    np.testing.assert_allclose(y.compute(), expected_softmax(x[kept], by[kept]), rtol=1e-14)
    with pytest.raises(
        ValueError, match=r"are unknown and may not agree; call .compute_chunk_sizes"
    ):
        grouped.softmax(unknown, by[kept])
    with pytest.raises(ValueError, match="are unknown and may not agree"):
        grouped.softmax(x[kept], labels)
    wrong = da.from_array(by, chunks=20)[~mask]
    with pytest.raises(ValueError, match="the lengths of their chunks do not agree"):
        grouped.softmax(unknown, wrong).compute()


def test_nothing_is_modified():
    x, by = np.arange(9000.0) % 7, np.arange(9000) % 5
    x.flags.writeable = by.flags.writeable = False
    y = grouped.softmax(da.from_array(x, chunks=5000), by).compute()
    assert not np.shares_memory(y, x)
