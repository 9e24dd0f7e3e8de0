"""Groups whose states are merged in parts, by a hash of their labels."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zlib import crc32

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback

from dsoftmax import _group_plan, grouped
from dsoftmax._group_arguments import grouping
from dsoftmax._kernels import partition
from dsoftmax._kernels.groups import Groups, Labelled, Table, of_block

from .grouped_data import KINDS
from .test_grouped_graphs import names

CEST = timezone(timedelta(hours=2))


@pytest.fixture
def in_parts(monkeypatch):
    """States of any size count as large."""
    monkeypatch.setattr(_group_plan, "LARGE_STATE", 0)


def results(x, by, **options):
    """All functions of the same data."""
    return [
        grouped.softmax(x, by, **options),
        grouped.log_softmax(x, by, **options),
        *(
            dask.compute(function(x, by, **options))[0]
            for function in (grouped.logsumexp, grouped.entropy)
        ),
    ]


def assert_same(found, expected):
    for one, other in zip(dask.compute(*found), expected, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
        for a, b in pairs:
            for values, right in zip(*(v if isinstance(v, tuple) else (v,) for v in (a, b))):  # noqa: B905
                if np.asarray(right).dtype.kind == "f":
                    np.testing.assert_allclose(values, right, rtol=1e-13, atol=1e-14)
                else:
                    np.testing.assert_array_equal(values, right)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_without_parts(kind, in_parts):
    rng = np.random.default_rng(3)
    x, by = rng.normal(size=90), KINDS[kind](rng.integers(0, 6, 90))
    x[::17] = -np.inf
    assert_same(results(da.from_array(x, chunks=(40, 1, 49)), by), results(x, by))


def test_many_groups_columns_and_several_keys(in_parts):
    rng = np.random.default_rng(4)
    x, by = rng.normal(size=(3000, 2)), (rng.integers(0, 700, 3000), rng.integers(0, 3, 3000))
    lazy = da.from_array(x, chunks=(700, 1))
    assert_same(results(lazy, by, axis=0), results(x, by, axis=0))
    assert_same(results(lazy[:, 0], by[0]), results(x[:, 0], by[0]))


def test_tasks_and_no_shuffle(in_parts, lazily):
    x = da.zeros(64 * 10, chunks=10).map_blocks(np.copy)
    found = Counter(names(lazily(grouped.softmax, x, np.arange(640), reread=False)))
    assert not any("shuffle" in name for name in found)
    assert sum(n for name, n in found.items() if "normalizer" in name) == 64
    assert found["grouped-softmax-rescale"] == 64
    parts = _group_plan.FEWEST
    assert found["grouped-softmax-merge-partial"] == 4 * parts
    assert found["grouped-softmax-found"] == 64 * parts
    assert sum(found.values()) <= (2 * parts + 6) * 64 + 6 * parts + 10


def groups_in(block):
    """The numbers of groups of all that a task has made."""
    if isinstance(block, (Groups, Table)):
        yield len(block.labels[0])
    elif isinstance(block, (tuple, list)):
        for one in block:
            yield from groups_in(one)


@pytest.mark.parametrize("expected", [None, range(3000)])
def test_no_task_holds_all_groups(in_parts, expected):
    rng = np.random.default_rng(5)
    x, by = rng.normal(size=12_000), rng.permutation(np.arange(12_000) % 3000)
    lazy, most = da.from_array(x, chunks=500), []
    with Callback(posttask=lambda key, block, *_: most.append(max(groups_in(block), default=0))):
        y = grouped.softmax(lazy, by, expected_groups=expected).compute(scheduler="sync")
        found = grouped.logsumexp(lazy, by, expected_groups=expected)
        dask.compute(found, scheduler="sync")
    assert 300 < max(most) < 700
    np.testing.assert_allclose(y, grouped.softmax(x, by), rtol=1e-13)


@pytest.mark.parametrize("kind", ["int64", "float", "str", "time"])
def test_results_have_a_chunk_for_each_part_and_are_in_order(kind, in_parts, lazily):
    rng = np.random.default_rng(6)
    numbers = rng.permutation(np.arange(900) % 300)
    by = {
        "int64": numbers * 10**12,
        "float": numbers / 2,
        "str": numbers.astype("U4"),
        "time": numbers.astype("M8[s]"),
    }[kind]
    x = rng.normal(size=(900, 4))
    labels, values = lazily(grouped.logsumexp, da.from_array(x, chunks=(200, 2)), by, axis=0)
    assert labels.numblocks == (8,)
    assert values.numblocks == (8, 2)
    assert np.isnan(values.chunks[0]).all()
    lengths = [len(block) for block in dask.compute(*labels.to_delayed())]
    assert max(lengths) < 2 * 300 / 8
    expected = grouped.logsumexp(x, by, axis=0)
    np.testing.assert_array_equal(labels.compute(), expected[0])
    np.testing.assert_allclose(values.compute(), expected[1], rtol=1e-13, atol=1e-14)


def test_expected_groups_have_chunks_that_are_known(in_parts, lazily):
    x, by = np.arange(90.0).reshape(3, 30), (np.arange(30) % 7, np.arange(30) % 4)
    lazy = da.from_array(x, chunks=(2, 10))
    one = lazily(grouped.logsumexp, lazy, by[0], expected_groups=range(20))
    assert one.chunks == ((2, 1), (3, 3, 3, 3, 3, 3, 2))
    both = lazily(grouped.logsumexp, lazy, by, expected_groups=(range(20), range(5)))
    assert both.shape == (3, 20, 5)
    for found, keys, groups in (
        (one, by[0], range(20)),
        (both, by, (range(20), range(5))),
        (grouped.entropy(lazy, by, expected_groups=([6, 2], [3, 9])), by, ([6, 2], [3, 9])),
    ):
        function = grouped.logsumexp if found.shape[-1] > 2 else grouped.entropy
        expected = function(x, keys, expected_groups=groups)
        np.testing.assert_allclose(found.compute(), expected, rtol=1e-13, atol=1e-14)


def test_nothing_but_missing_labels(in_parts):
    x, by = da.zeros(6, chunks=2), np.full(6, np.nan)
    labels, values = dask.compute(*grouped.logsumexp(x, by))
    assert labels.shape == values.shape == (0,)
    assert np.isnan(grouped.softmax(x, by).compute()).all()


def test_the_second_reading_waits_for_the_states(in_parts):
    """Of blocks that are needed to find states, and would be held until these are there."""
    x, by = da.zeros(40, chunks=10).map_blocks(np.copy), da.zeros(40, chunks=10, dtype=int)
    y = grouped.softmax(x, by, reread=True)
    assert any("checkpoint" in layer for layer in y.dask.layers)


def test_parts_are_as_many_as_there_may_be_groups():
    def number(size, chunk, expected=None):
        x = da.zeros(size, chunks=chunk)
        given = grouping("f", x, da.zeros(size, chunks=chunk, dtype=int), 0, expected)
        parts = _group_plan.parts_of(given, None)
        return parts and parts.number

    assert number(10**7, 10**6) is None
    assert number(16 * 10**6, 10**6) is None
    assert number(17 * 10**6, 10**6) == 2
    assert number(10**8, 10**6) == 7
    assert number(10**9, 10**6) == 16
    assert number(10**8, 10**7) == 8
    assert number(10**9, 10**7) == 30
    assert number(10**11, 10**8) == 64
    assert number(10**8, 10**6, np.arange(5 * 10**6)) == 8


def test_what_is_small_has_no_parts(lazily):
    for size, groups, parts in ((4 * 10**6, None, False), (10**7, None, True), (10**8, 5, False)):
        x = da.zeros(size, chunks=size // 20)
        by = da.zeros(size, chunks=size // 20, dtype=int)
        expected = None if groups is None else range(groups)
        found = lazily(grouped.softmax, x, by, expected_groups=expected)
        assert any("softmax-part-" in layer for layer in found.dask.layers) == parts


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_in_one_part_whatever_else_there_is(kind):
    k = np.arange(6)
    part_of = {}
    for some in (k, k[::2], k[3:], k[:0]):
        by = KINDS[kind](some)
        whole = of_block(Labelled(np.zeros(len(by)), (by,)), 0)
        parts = partition.split(whole, 4)
        assert len(parts) == 4
        for number, part in enumerate(parts):
            for label in part.labels[0].tolist():
                assert part_of.setdefault(label, number) == number
        assert sum(len(part.labels[0]) for part in parts) == len(whole.labels[0])


def test_equal_labels_of_other_dtypes_are_in_the_same_part():
    words, days = [f"{i}" for i in range(99)], np.arange(99).astype("M8[D]")
    objects = [1, 2.5, 10**30, Decimal("2.50"), "å", b"a", True]
    for kinds in (
        [np.array(words), np.array(words, "U9"), np.array(words, "U9")],
        [np.array(words, "S"), np.array(words, "S9")],
        [np.array(words, object), np.array(words, "T")],
        [days, days.astype("M8[ns]")],
        [days - days[0], (days - days[0]).astype("m8[ms]")],
        [np.arange(99), np.arange(99, dtype="u1"), np.arange(99, dtype=object)],
        [np.array([date(2000, 1, 1) + timedelta(i) for i in range(99)], object)],
        [
            np.array([datetime(2000, 1, 1, 6, i % 60, tzinfo=UTC) for i in range(99)], object),
            np.array([datetime(2000, 1, 1, 8, i % 60, tzinfo=CEST) for i in range(99)], object),
        ],
        [
            np.array(objects, object),
            np.array([1.0, Decimal("2.5"), 10**30, 2.5, "å", b"a", 1], "O"),
        ],
    ):
        one, *others = (partition._part_of((labels,), 64) for labels in kinds)
        assert len(set(one.tolist())) > len(one) // 4
        for other in others:
            np.testing.assert_array_equal(one, other)


def of_two_dtypes(block, dtypes, block_info):
    return block.astype(dtypes[block_info[0]["chunk-location"][0] % 2])


@pytest.mark.parametrize("dtypes", [("U1", "U5"), ("S1", "S5"), ("M8[D]", "M8[ms]"), ("O", "i8")])
def test_blocks_of_other_dtypes_have_the_same_groups(dtypes, in_parts):
    rng, x = np.random.default_rng(1), np.arange(80.0) % 7
    by = rng.integers(0, 9, 80).astype(np.dtype(dtypes[0]))
    options = {"dtype": by.dtype, "meta": by[:0], "dtypes": dtypes}
    lazy = da.from_array(by, chunks=20).map_blocks(of_two_dtypes, **options)
    assert_same(results(da.from_array(x, chunks=20), lazy), results(x, by))


def test_words_have_the_same_part_in_all_processes():
    words = np.array(["a", "bb", "ccc"], object)
    assert partition._words(words).tolist() == [crc32(b"a"), crc32(b"bb"), crc32(b"ccc")]


def test_labels_are_spread_over_parts():
    words = np.array([f"w{i}" for i in range(8000)])
    for labels in (
        *(np.arange(8000), np.arange(8000) * 1024, np.arange(8000) / 8),
        *(words, words.astype(object), np.arange(8000).astype("M8[h]")),
    ):
        whole = of_block(Labelled(np.zeros(8000), (labels,)), 0)
        sizes = [len(part.labels[0]) for part in partition.split(whole, 8)]
        assert min(sizes) > 800
        assert max(sizes) < 1200
        assert min(len(part.labels[0]) for part in partition.split(whole, 320)) > 0


# Runs of chunks.


@pytest.fixture
def in_runs(monkeypatch):
    """The state of a chunk of five elements is small, and that of all is large."""
    monkeypatch.setattr(_group_plan, "LARGE_STATE", 5 * 48)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bool"])
def test_runs_of_chunks_give_the_same_values(kind, in_runs):
    rng = np.random.default_rng(7)
    x, by = rng.normal(size=98), KINDS[kind](rng.integers(0, 6, 98))
    x[::17] = -np.inf
    lazy, split_every = da.from_array(x, chunks=5), 3 if kind == "int64" else None
    y = grouped.softmax(lazy, by, split_every=split_every)
    assert any("softmax-split-" in layer for layer in y.dask.layers)
    assert_same(results(lazy, by, split_every=split_every), results(x, by))


def test_runs_of_columns_of_several_keys_and_of_expected_groups(in_runs):
    rng = np.random.default_rng(8)
    x, by = rng.normal(size=(100, 2)), (rng.integers(0, 20, 100), rng.integers(0, 3, 100))
    lazy = da.from_array(x, chunks=(5, 1))
    assert_same(results(lazy, by, axis=0), results(x, by, axis=0))
    for groups in (range(30), np.arange(30)[::-1]):
        y = grouped.softmax(lazy, by[0], axis=0, expected_groups=groups)
        assert any("softmax-split-" in layer for layer in y.dask.layers)
        np.testing.assert_allclose(y, grouped.softmax(x, by[0], axis=0), rtol=1e-13)
        found = grouped.logsumexp(lazy, by[0], axis=0, expected_groups=groups)
        expected = grouped.logsumexp(x, by[0], axis=0, expected_groups=groups)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("chunks", [17, 100, 1000])
def test_runs_take_little_more_than_a_task_for_each_chunk(chunks, lazily):
    x = da.zeros((chunks * 10,), chunks=10).map_blocks(np.copy)
    x = x[x == 0]  # of lengths that nobody knows
    found = Counter(names(lazily(grouped.softmax, x, x, reread=True)))
    own = {name: n for name, n in found.items() if name.startswith("grouped")}
    assert found["grouped-softmax-rescale"] == chunks
    assert sum(own.values()) <= 3.8 * chunks
    assert sum(n for name, n in found.items() if "found" in name) <= chunks / 2


@pytest.mark.parametrize("unknown", [False, True])
def test_no_task_holds_the_groups_of_all_runs(unknown, monkeypatch):
    monkeypatch.setattr(_group_plan, "LARGE_STATE", 100 * 32)
    rng = np.random.default_rng(9)
    x, by = rng.normal(size=10_000), rng.permutation(np.arange(10_000) % 5000)
    lazy, labels, most = da.from_array(x, chunks=100), da.from_array(by, chunks=100), []
    if unknown:
        lazy, labels = lazy[lazy > -9], labels[lazy > -9]
    with Callback(posttask=lambda key, block, *_: most.append(max(groups_in(block), default=0))):
        y = grouped.softmax(lazy, labels).compute(scheduler="sync")
        dask.compute(grouped.logsumexp(lazy, labels), scheduler="sync")
    assert 1000 < max(most) <= 1600  # of the 16 chunks of a run
    np.testing.assert_allclose(y, grouped.softmax(x, by), rtol=1e-13)
