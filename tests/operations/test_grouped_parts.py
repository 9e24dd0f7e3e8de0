"""Groups whose states are merged in parts, by a hash of their labels."""

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest

from dsoftmax import _groups, grouped
from dsoftmax._kernels import partition
from dsoftmax._kernels.groups import Labelled, of_block

from .test_grouped import KINDS, names


@pytest.fixture
def in_parts(monkeypatch):
    """States of any size count as large."""
    monkeypatch.setattr(_groups, "_LARGE_STATE", 0)


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
    parts = _groups._PARTS
    assert found["grouped-softmax-merge-partial"] == 4 * parts
    assert sum(found.values()) <= (parts + 6) * 64 + 5 * parts + 10


def test_what_is_small_has_no_parts(lazily):
    for size, groups, parts in ((10**7, None, False), (10**8, None, True), (10**8, 5, False)):
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


def test_labels_are_spread_over_parts():
    for labels in (np.arange(8000), np.arange(8000) * 1024, np.arange(8000) / 8):
        whole = of_block(Labelled(np.zeros(8000), (labels,)), 0)
        sizes = [len(part.labels[0]) for part in partition.split(whole, 8)]
        assert min(sizes) > 800
        assert max(sizes) < 1200
