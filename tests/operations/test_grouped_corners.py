"""Softmax within groups in corners: one column, and labels at the ends of their dtypes or mixed."""

import datetime

import dask.array as da
import numpy as np
import pytest

import dsoftmax
from dsoftmax import _group_plan, grouped
from dsoftmax._kernels.choose import FEWEST_LABELLED
from dsoftmax._kernels.factorize import find

pd = pytest.importorskip("pandas", reason="has kinds of labels")

LARGEST = np.iinfo(np.int64).max
REDUCTIONS = (grouped.logsumexp, grouped.entropy, grouped.effective_sample_size)


@pytest.mark.parametrize("n", [30, FEWEST_LABELLED])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
class TestOneColumn:
    """Labels that do not begin with 0, of a block with a single column and of a vector."""

    def data(self, n, dtype):
        return np.random.default_rng(0).normal(size=n).astype(dtype), 2000 + np.arange(n) % 3

    def test_maps(self, n, dtype):
        x, by = self.data(n, dtype)
        for function in (grouped.softmax, grouped.log_softmax):
            expected = function(x, by)
            np.testing.assert_array_equal(function(x[:, None], by, axis=0)[:, 0], expected)
            np.testing.assert_array_equal(function(x[None], by, axis=1)[0], expected)
            lazy = da.from_array(np.stack([x] * 3, 1), chunks=(n // 2, 2))
            y = function(lazy, by, axis=0).compute()
            np.testing.assert_allclose(y, np.stack([expected] * 3, 1), rtol=1e-5)

    @pytest.mark.parametrize("function", REDUCTIONS)
    def test_reductions(self, n, dtype, function):
        x, by = self.data(n, dtype)
        labels, expected = function(x, by)
        assert labels.tolist() == [2000, 2001, 2002]
        for axis, block in ((0, x[:, None]), (1, x[None])):
            found, values = function(block, by, axis=axis)
            assert found.tolist() == labels.tolist()
            np.testing.assert_array_equal(values, np.expand_dims(expected, 1 - axis))
            places = function(block, by, axis=axis, expected_groups=[2002, 7, 2000])
            kept = np.take(places, [2, 0], axis)
            np.testing.assert_array_equal(kept, np.take(values, [0, 2], axis))
        lazy = da.from_array(np.stack([x] * 3, 1), chunks=(n // 2, 2))
        found, values = function(lazy, by, axis=0)
        assert found.compute().tolist() == labels.tolist()
        np.testing.assert_allclose(values.compute(), np.stack([expected] * 3, 1), rtol=1e-5)


@pytest.mark.parametrize("spread", [1, 20, 10**6])
def test_integers_of_other_byte_order_and_width_in_parts(monkeypatch, spread):
    monkeypatch.setattr(_group_plan, "LARGE_STATE", 0)
    rng = np.random.default_rng(0)
    x, by = rng.normal(size=300), rng.integers(0, 40, 300) * spread
    for labels in (by.astype(">i4"), by.astype("i4"), by.astype(">i8"), by.astype("u4")):
        lazy = da.from_array(x, chunks=100), da.from_array(labels, chunks=100)
        np.testing.assert_allclose(
            grouped.softmax(*lazy).compute(), grouped.softmax(x, by), rtol=1e-14
        )


@pytest.mark.parametrize("dtype", ["i8", "M8[ns]", "m8[s]"])
def test_the_largest_integers_as_labels(dtype):
    by = np.array([LARGEST, LARGEST, LARGEST, 1, 2, LARGEST]).astype(dtype)
    x = np.arange(6.0)
    expected = np.ones(6)
    expected[[0, 1, 2, 5]] = dsoftmax.softmax(x[[0, 1, 2, 5]])
    for chunks in (6, 3, (3, 2, 1)):
        lazy = grouped.softmax(da.from_array(x, chunks=(chunks,)), by)
        np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-14)
    least = np.array([LARGEST - 1, LARGEST]).astype(dtype)
    values = grouped.logsumexp([0.0, 1, 2], by[[0, 1, 2]], expected_groups=least)
    np.testing.assert_allclose(values, [-np.inf, dsoftmax.logsumexp([0.0, 1, 2])])


def test_signed_and_unsigned_labels_are_compared_as_integers():
    ids = 2**62 + np.array([1, 2, 1, 3])
    x = np.arange(4.0)
    expected = grouped.logsumexp(x, ids)[1].tolist()
    for own, other in (("u8", "i8"), ("i8", "u8"), ("u8", "u8")):
        labels = 2**62 + np.array([1, 2, 3]).astype(other)
        found = grouped.logsumexp(x, ids.astype(own), expected_groups=labels)
        assert found.tolist() == expected
    found = grouped.logsumexp(x, ids.astype("u8"), expected_groups=[-1, -(2**62) - 3, 2**62 + 2])
    assert found.tolist() == [-np.inf, -np.inf, expected[1]]
    signed, unsigned = np.array([-5, -1, 0, 7]), np.array([0, 7, 2**63 + 7], "u8")
    assert find((signed,), (unsigned,)).tolist() == [2, 3, -1]
    assert find((unsigned,), (signed,)).tolist() == [-1, -1, 0, 1]


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_what_is_missing_in_a_list_of_words(nothing):
    labels, values = grouped.logsumexp([0.0, 1, 2, 3], ["a", nothing, "a", "b"])
    assert labels.tolist() == ["a", "b"]
    np.testing.assert_allclose(values, [np.logaddexp(0, 2), 3])
    with pytest.raises(ValueError, match="expected_groups has a label that is missing"):
        grouped.logsumexp([0.0], ["a"], expected_groups=["a", nothing])


def test_a_number_in_a_list_of_words_is_none():
    with pytest.raises(TypeError, match="labels in by have no order, or no hash"):
        grouped.logsumexp([0.0, 1], [1, "a"])


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_expected_dates_of_python_and_pandas(unit):
    days = np.array(["2020-01-01", "2020-01-02"], f"M8[{unit}]")
    expected = [
        [pd.Timestamp("2020-01-02"), pd.Timestamp("2020-01-03")],
        [datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)],
        [datetime.datetime(2020, 1, 2), pd.Timestamp("2020-01-03")],
    ]
    for groups in expected:
        found = grouped.logsumexp([0.0, 1], days, expected_groups=groups)
        assert found.tolist() == [1, -np.inf]
    seconds = np.array([1, 2], "m8[s]").astype(f"m8[{unit}]")
    for one in (pd.Timedelta(2, "s"), datetime.timedelta(seconds=2)):
        assert grouped.logsumexp([0.0, 1], seconds, expected_groups=[one]).tolist() == [1]


def test_words_of_both_dtypes():
    words = np.array(["a", "b", "a", "c"])
    both = words, words.astype(np.dtypes.StringDType())
    expected = [3, np.logaddexp(0, 2)]
    for by in both:
        for groups in (["c", "a"], *(one[[3, 0]] for one in both)):
            found = grouped.logsumexp([0.0, 1, 2, 3], by, expected_groups=groups)
            np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_two_keys_beside_an_axis_of_unknown_chunks(axis):
    rng = np.random.default_rng(0)
    x, kept = rng.normal(size=(4, 6)), np.array([True, True, False, True])
    lazy = da.from_array(x, chunks=(2, 3))[da.from_array(kept, chunks=2)]
    by = ([0, 1, 0, 1, 2, 2], list("abbaab"))
    options = {"axis": axis, "expected_groups": ([2, 0], ["b", "a", "c"])}
    if axis == 0:
        lazy = lazy.T
    found = grouped.logsumexp(lazy, by, **options)
    right = grouped.logsumexp(x[kept].T if axis == 0 else x[kept], by, **options)
    assert found.ndim == right.ndim == 3
    np.testing.assert_allclose(found.compute(), right)


def test_categories_without_order():
    by = pd.Categorical([1, "a", 1])
    with pytest.raises(TypeError, match="labels in the categories of by have no order"):
        grouped.logsumexp([0.0, 1, 2], by, expected_groups=[1])
