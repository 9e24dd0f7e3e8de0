"""The kernels of groups: compiled ones and portable ones, and tables of labels."""

import numpy as np
import pytest

from dsoftmax import grouped
from dsoftmax._kernels import distinct as label_kernels
from dsoftmax._kernels import groups as group_kernels
from dsoftmax._kernels.cpu import group_calls
from dsoftmax._kernels.cpu.compiler import CannotCompileError

from .grouped_data import KINDS


def test_the_portable_path_gives_the_same(monkeypatch):
    rng = np.random.default_rng(8)
    x, k = rng.normal(size=9000), rng.integers(0, 6, 9000)
    compiled = {kind: grouped.softmax(x, make(k)) for kind, make in KINDS.items()}
    moments = grouped.entropy(x, k, expected_groups=range(6))

    def fails(*args):
        raise CannotCompileError

    for module, name in (
        (group_kernels.on_cpu, "states"),
        (group_kernels.on_cpu, "mapped"),
        (group_kernels.on_cpu, "merged"),
        (label_kernels, "compiled"),
    ):
        monkeypatch.setattr(module, name, fails)
    for kind, make in KINDS.items():
        np.testing.assert_allclose(grouped.softmax(x, make(k)), compiled[kind], rtol=1e-14)
    np.testing.assert_allclose(grouped.entropy(x, k, expected_groups=range(6)), moments, rtol=1e-14)


@pytest.mark.parametrize("moments", [False, True])
def test_compiled_merges_are_those_of_the_algebra(monkeypatch, moments):
    rng = np.random.default_rng(6)
    parts = []
    for scale in (1, 30, 900):
        x, by = rng.normal(size=6000) * scale, rng.integers(0, 3000, 6000)
        x[rng.integers(0, 6000, 90)] = rng.choice([np.inf, -np.inf, np.nan, -1e308], 90)
        x[by == 5] = -np.inf
        parts.append(group_kernels.of_block(group_kernels.Labelled(x, (by,)), 0, moments))
    merged = group_kernels.merge(*parts)
    monkeypatch.setattr(group_kernels, "can_compile", lambda: False)
    expected = group_kernels.merge(*parts)
    np.testing.assert_array_equal(merged.labels, expected.labels)
    for field, right in zip(merged.state, expected.state, strict=True):
        np.testing.assert_allclose(field, right, rtol=1e-14)


@pytest.mark.parametrize("moments", [False, True])
def test_groups_are_worked_on_a_few_at_a_time(monkeypatch, moments):
    rng = np.random.default_rng(7)
    parts = []
    for labels in (rng.integers(-50, 900, 6000), rng.integers(0, 10**6, 6000) * 10**9):
        x = rng.normal(size=(len(labels), 1)) * 100
        x[::500] = rng.choice([np.nan, np.inf, -np.inf], (12, 1))
        parts += [group_kernels.Labelled(x[:, 0], (labels,)), group_kernels.Labelled(x, (labels,))]

    def found():
        for part in parts:
            yield group_kernels.whole(part, 0, logarithm=moments)
            halves = (
                group_kernels.Labelled(part.x[half], (part.keys[0][half],))
                for half in (slice(0, 5000), slice(500, None))
            )
            states = [group_kernels.of_block(half, 0, moments) for half in halves]
            merged = group_kernels.merge(*states)
            for one in (*states, merged):
                yield from (one.labels[0], *one.state)
            table = group_kernels.table(merged, moments)
            yield group_kernels.rescale(part, table, 0, moments)

    expected = list(found())
    for name in ("NEAR", "MERGED"):
        monkeypatch.setattr(group_calls, name, 16)
    for most in (1 << 8, 8):  # what is scattered has fewer parts, and so more rows at a time
        monkeypatch.setattr(group_calls, "MOST_PARTS", most)
        for one, other in zip(found(), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_labels_of_other_units_and_kinds_are_looked_up():
    x = np.arange(6.0)
    days = np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-01", "2026-01-05", "2026-01-02"])
    days = days.astype("M8[D]")
    table = group_kernels.table(
        group_kernels.of_block(group_kernels.Labelled(x, (days,)), 0), logarithm=False
    )
    expected = grouped.softmax(x, days)
    for same in (days, days.astype("M8[s]"), days.astype(">M8[D]")):
        found = group_kernels.rescale(group_kernels.Labelled(x, (same,)), table, 0, logarithm=False)
        np.testing.assert_allclose(found, expected, rtol=1e-15)
    numbers = np.array([5, 6, 7, 5, 9, 6], "i8")
    table = group_kernels.table(
        group_kernels.of_block(group_kernels.Labelled(x, (numbers,)), 0), logarithm=False
    )
    for dtype in ("i2", ">i4", "u1", "u8", "f4"):
        labels = group_kernels.Labelled(x, (numbers.astype(dtype),))
        found = group_kernels.rescale(labels, table, 0, logarithm=False)
        np.testing.assert_allclose(found, grouped.softmax(x, numbers), rtol=1e-15)
    masked = np.ma.array(numbers, mask=[0, 0, 1, 0, 0, 0])
    found = group_kernels.rescale(group_kernels.Labelled(x, (masked,)), table, 0, logarithm=False)
    assert np.isnan(found).tolist() == masked.mask.tolist()
