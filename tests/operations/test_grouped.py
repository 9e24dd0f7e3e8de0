"""Softmax within groups: values against a loop over the groups."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dsoftmax
from dsoftmax import grouped

from .. import oracle
from .grouped_data import (
    KINDS,
    ROUNDED,
    beside_infinity,
    expected_logsumexp,
    expected_softmax,
    labelled,
    slices,
)

pd = pytest.importorskip("pandas", reason="has kinds of labels")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=labelled(), lazy=st.tuples(st.booleans(), st.booleans()))
@example(data=(np.array([np.inf, 1, np.nan, 2]), np.array([0, 1, 2, 1]), ((2, 2),)), lazy=(1, 0))
@example(data=(np.array([-np.inf, 1.0]), np.array([0, 0]), ((1, 1),)), lazy=(1, 1))
def test_values_are_those_of_a_loop_over_the_groups(kind, data, lazy):
    x, k, chunks = data
    by = KINDS[kind](k)
    a = da.from_array(x, chunks=chunks) if lazy[0] else x
    b = da.from_array(by, chunks=max(1, len(by) // 2)) if lazy[1] else by
    y, expected = grouped.softmax(a, b), expected_softmax(x, by)
    log_y, (labels, values) = grouped.log_softmax(a, b), grouped.logsumexp(a, b)
    if any(lazy):
        assert y.chunks == (a.chunks if lazy[0] else b.chunks)
        y, log_y, labels, values = dask.compute(y, log_y, labels, values)
    np.testing.assert_allclose(y, expected, rtol=ROUNDED, atol=1e-320)
    # Beside +inf all else has the logarithm -inf, as in SciPy, and no probability.
    np.testing.assert_array_equal(log_y[np.isnan(expected)] == -np.inf, beside_infinity(x, by))
    known = ~np.isnan(expected)
    np.testing.assert_allclose(np.exp(log_y[known]), expected[known], rtol=1e-12, atol=1e-300)
    assert labels.tolist() == [label for (label,), _ in slices(x, by)]
    assert labels.dtype == (np.dtype("i4") if kind == "swapped" else by.dtype)
    np.testing.assert_allclose(values, expected_logsumexp(x, by), rtol=1e-14, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(data=labelled(), other=st.integers(1, 4), split_every=st.integers(2, 4))
def test_several_keys_make_groups_of_their_combinations(data, other, split_every):
    x, k, chunks = data
    keys = (KINDS["str"](k), np.arange(len(k)) % other)
    a = da.from_array(x, chunks=chunks)
    y = grouped.softmax(a, keys, split_every=split_every).compute()
    np.testing.assert_allclose(y, expected_softmax(x, *keys), rtol=ROUNDED, atol=1e-320)
    labels, values = dask.compute(*grouped.logsumexp(a, keys))
    assert list(zip(*(one.tolist() for one in labels), strict=True)) == [
        s for s, _ in slices(x, *keys)
    ]
    np.testing.assert_allclose(values, expected_logsumexp(x, *keys), rtol=1e-14, atol=1e-15)
    expected = ([*"zb", "a"], [3, 1, 0, 2])
    dense = grouped.logsumexp(a, keys, expected_groups=expected).compute()
    assert dense.shape == (3, 4)
    found = dict(zip([s for s, _ in slices(x, *keys)], values, strict=True))
    right = [[found.get((one, two), -np.inf) for two in expected[1]] for one in expected[0]]
    np.testing.assert_array_equal(dense, right)


def test_three_keys_that_are_far_apart():
    rng = np.random.default_rng(2)
    keys = tuple(rng.integers(0, 20, 500) * 10**15 for _ in range(3))
    x = rng.normal(size=500)
    y = grouped.softmax(da.from_array(x, chunks=70), keys).compute()
    np.testing.assert_allclose(y, expected_softmax(x, *keys), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4", "bool", "g"])
@pytest.mark.parametrize("kind", KINDS)
def test_large_blocks_take_compiled_kernels_with_the_same_values(kind, dtype):
    rng = np.random.default_rng(5)
    x = (rng.normal(size=9000) * 3).astype(dtype)
    by = KINDS[kind](rng.integers(0, 6, 9000))
    y, expected = grouped.softmax(x, by), expected_softmax(x.astype("g"), by)
    assert y.dtype == (x.dtype if x.dtype.kind == "f" else "f8")
    # The rounding of x - m, which is 25 at most, is an error of the exponential.
    eps = max(float(np.finfo(y.dtype).eps), 2e-19)
    np.testing.assert_allclose(y, expected, rtol=30 * eps, atol=6e-8 * (dtype == "f2"))


def test_errors_are_a_few_ulps_of_the_truth_whatever_the_chunks():
    rng = np.random.default_rng(3)
    x, by = rng.normal(size=4_500) * 8, rng.integers(0, 3, 4_500)
    truth = [oracle.softmax(x[by == k]) for k in range(3)]
    sums = [oracle.logsumexp(x[by == k]) for k in range(3)]
    for chunks in (4_500, 2_000, 300):
        a = da.from_array(x, chunks=chunks)
        y, (_, values) = dask.compute(grouped.softmax(a, by), grouped.logsumexp(a, by))
        for k in range(3):
            spread = np.ptp(x[by == k])  # the rounding of x - m
            assert oracle.relative_error(y[by == k], truth[k]) < (4 + spread) * oracle.EPS
        assert oracle.relative_error(values, sums) < 2 * oracle.EPS


def test_long_sums_are_compensated():
    n = 10**6
    values = grouped.logsumexp(np.full(n, 0.1), np.zeros(n, int), expected_groups=[0])
    assert values == pytest.approx(0.1 + np.log(n), rel=1e-15)
    x = np.append(np.full(n, -1 / 3), 0.0)
    (value,) = grouped.logsumexp(x, np.zeros(n + 1, int), expected_groups=[0])
    assert (
        oracle.relative_error([value], [oracle.mpmath.log(1 + n * oracle.mpmath.exp(-1 / 3))])
        < 4e-16
    )


@pytest.mark.parametrize("size", [60, 9000])
@pytest.mark.parametrize("bad", [np.inf, np.nan, -np.inf])
def test_a_bad_group_touches_no_other(size, bad):
    rng = np.random.default_rng(1)
    x, by = rng.normal(size=size), np.arange(size) % 5
    good = by != 3
    expected = grouped.softmax(x[good], by[good])
    x[3::5] = -np.inf if bad == -np.inf else x[3::5]
    x[8] = bad
    for a in (x, da.from_array(x, chunks=size // 3)):
        y, (_, values) = dask.compute(grouped.softmax(a, by), grouped.logsumexp(a, by))
        np.testing.assert_array_max_ulp(y[good], expected, 4)
        assert np.isnan(y[~good]).all()
        assert np.isfinite(values[[0, 1, 2, 4]]).all()
        np.testing.assert_equal(values[3], bad)
        logs = np.asarray(grouped.log_softmax(a, by))
        assert np.isfinite(logs[good]).all()
        if bad == np.inf:
            assert np.isnan(logs[8])
            assert (logs[3:8:5] == -np.inf).all()


@pytest.mark.parametrize("size", [6, 9000])
@pytest.mark.parametrize(
    "missing", [np.nan, None, pd.NA, pd.NaT, "masked", "categorical", "NaT", "string"]
)
def test_missing_labels_give_nan_as_in_pandas(size, missing):
    k = np.arange(size) % 3
    gone = k == 1
    if missing is pd.NA:
        by = np.where(gone, missing, k.astype(object))
    elif missing == "masked":
        by = np.ma.array(k, mask=gone)
    elif missing == "categorical":
        by = pd.Categorical.from_codes(np.where(gone, -1, k), ["a", "b", "c"])
    elif missing == "NaT":
        by = np.where(gone, np.datetime64("NaT"), k.astype("M8[s]"))
    elif missing == "string":
        by = np.array(["x", "y", "z"], np.dtypes.StringDType(na_object=None))[k]
        by[gone] = None
    elif missing is np.nan:
        by = np.where(gone, np.nan, k)
    else:
        by = k.astype(object)
        by[gone] = missing
    x = np.linspace(-1, 1, size)
    expected = grouped.softmax(x, k)
    expected[gone] = np.nan
    pandas = pd.Series(x).groupby(pd.Series(np.where(gone, None, k)))
    np.testing.assert_array_equal(np.isnan(pandas.transform("max")), gone)
    for a in (x, da.from_array(x, chunks=size // 2)):
        np.testing.assert_array_max_ulp(
            np.asarray(grouped.softmax(a, by))[~gone], expected[~gone], 4
        )
        assert np.isnan(np.asarray(grouped.softmax(a, by))[gone]).all()
        labels, _ = dask.compute(*grouped.logsumexp(a, by))
        assert len(labels) == 2


def test_all_labels_may_be_missing_and_x_may_be_empty():
    assert np.isnan(grouped.softmax([1.0, 2.0], [np.nan, np.nan])).all()
    labels, values = grouped.logsumexp([1.0], np.array([None]))
    assert len(labels) == len(values) == 0
    assert grouped.softmax(np.empty(0), np.empty(0, int)).shape == (0,)
    labels, values = dask.compute(*grouped.logsumexp(da.empty(0), np.empty(0, "U3")))
    assert labels.dtype == "U3"
    assert len(values) == 0
    assert grouped.logsumexp([], [], expected_groups=["a"]).tolist() == [-np.inf]
    assert grouped.softmax(np.empty((2, 0)), [0, 1], axis=0).shape == (2, 0)
    assert grouped.logsumexp(np.empty((2, 0)), [4, 4], axis=0)[1].shape == (1, 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bool"])
@pytest.mark.parametrize("lazy", [False, True])
def test_expected_groups_are_in_their_order_and_others_do_not_count(kind, lazy):
    k = np.array([0, 4, 4, 2, 3, 0])
    x, by = np.arange(6.0), KINDS[kind](k)
    a = da.from_array(x, chunks=2) if lazy else x
    expected = KINDS[kind](np.array([4, 5, 0]))
    values = np.asarray(grouped.logsumexp(a, by, expected_groups=expected))
    assert values.tolist() == [np.logaddexp(1, 2), -np.inf, np.logaddexp(0, 5)]
    y = np.asarray(grouped.softmax(a, by, expected_groups=expected))
    assert np.isnan(y).tolist() == [False, False, False, True, True, False]
    np.testing.assert_allclose(y[[1, 2]], dsoftmax.softmax(x[[1, 2]]))


def test_categoricals_have_the_order_of_their_categories():
    by = pd.Categorical(["lo", "hi", None, "lo"], categories=["lo", "mid", "hi"], ordered=True)
    x = da.from_array([1.0, 2.0, 3.0, 4.0], chunks=3)
    labels, values = dask.compute(*grouped.logsumexp(x, by))
    assert labels.tolist() == ["lo", "hi"]
    np.testing.assert_allclose(values, [np.logaddexp(1, 4), 2])
    values = grouped.logsumexp(x, by, expected_groups=["other", "hi", "mid"]).compute()
    assert values.tolist() == [-np.inf, 2, -np.inf]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_labels_go_along_one_axis_of_many(axis):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(6, 7, 8))
    by = rng.integers(0, 3, x.shape[axis])
    expected = np.apply_along_axis(lambda row: expected_softmax(row, by), axis, x)
    sums = np.apply_along_axis(lambda row: expected_logsumexp(row, by), axis, x)
    for a in (x, da.from_array(x, chunks=(4, 3, 5)), da.from_array(x, chunks=(6, 7, 5))):
        y = grouped.softmax(a, by, axis=axis)
        np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-14)
        labels, values = dask.compute(*grouped.logsumexp(a, by, axis=axis))
        assert labels.tolist() == np.unique(by).tolist()
        np.testing.assert_allclose(values, sums, rtol=1e-14, atol=1e-15)
        dense = grouped.logsumexp(a, (by, by), axis=axis, expected_groups=([2, 9], [0, 2]))
        assert np.shape(dense) == (*x.shape[: axis % 3], 2, 2, *x.shape[axis % 3 + 1 :])
        both = np.moveaxis(np.asarray(dense), (axis % 3, axis % 3 + 1), (0, 1))
        np.testing.assert_allclose(
            both[0, 1], np.moveaxis(sums, axis, 0)[2], rtol=1e-14, atol=1e-15
        )
        assert (both[1] == -np.inf).all()
        assert (both[0, 0] == -np.inf).all()


@settings(max_examples=30, deadline=None)
@given(data=labelled(), repeat=st.sampled_from([1, 500]))
@example(data=(np.array([0.0, -40.0, 0.0]), np.array([0, 0, 1]), ((1, 2),)), repeat=1)
def test_entropy_and_effective_sample_size_are_those_of_each_group(data, repeat):
    x, k, (chunks,) = data
    x, k = np.repeat(x, repeat), np.repeat(k, repeat)
    a = da.from_array(x, chunks=(tuple(n * repeat for n in chunks),))
    for function in ("entropy", "effective_sample_size"):
        labels, values = dask.compute(*getattr(grouped, function)(a, k))
        whole = getattr(dsoftmax, function)
        expected = [whole(x[k == label]) for label in labels]
        # NumPy's exponentials are rounded to subnormal numbers, compiled ones are not.
        least = 746 * x.size * np.finfo(float).smallest_subnormal
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=least)
        dense = getattr(grouped, function)(x, k, expected_groups=[9, labels[0]])
        np.testing.assert_allclose(dense, [0, expected[0]], rtol=1e-12, atol=least)


def test_many_groups_are_hashed_in_tables_that_grow():
    rng = np.random.default_rng(9)
    k = rng.integers(0, 60_000, 200_000)
    far, text = k * 10**10, k.astype("U8")
    x = rng.normal(size=k.size)
    expected = grouped.softmax(x, k)
    np.testing.assert_array_equal(grouped.softmax(x, far), expected)
    np.testing.assert_array_equal(grouped.softmax(x, text), expected)
    labels, values = grouped.logsumexp(x, text)
    assert np.array_equal(labels, np.unique(text))
    assert np.array_equal(grouped.logsumexp(x, far)[0], np.unique(far))
    lazy = dask.compute(*grouped.logsumexp(da.from_array(x, chunks=30_000), text))
    assert np.array_equal(lazy[0], labels)
    np.testing.assert_allclose(lazy[1], values, rtol=1e-14, atol=1e-15)


def test_minus_zero_is_zero():
    for size in (2, 5000):
        by = np.where(np.arange(size) % 2, -0.0, 0.0)
        assert len(grouped.logsumexp(np.zeros(size), by)[0]) == 1
