"""DataFrames of pandas and Dask: values, index and partitions, kinds of columns, plans, errors."""

import importlib
import pickle
import re
import sys
from decimal import Decimal
from pathlib import Path

import dask
import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, convert_legacy_graph
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas", reason="has DataFrames")
dd = pytest.importorskip("dask.dataframe", reason="has DataFrames in partitions")
pa = pytest.importorskip("pyarrow", reason="has columns of Arrow")

import dsoftmax  # noqa: E402
from dsoftmax import _group_plan, dataframe, grouped  # noqa: E402

from ..strategies import floats  # noqa: E402
from .grouped_data import ROUNDED  # noqa: E402
from .test_grouped_parts import groups_in  # noqa: E402

WORDS = np.array(["", "a", "aa", "b", "ü", "z"], object)
TIMES = pd.date_range("2026-10-25 00:30", periods=6, freq="30min")  # one hour comes twice in Oslo


def chosen(values, k):
    """A column of values, which is missing where k is negative."""
    return pd.Series(pd.array(values)).take(np.maximum(k, 0)).reset_index(drop=True).mask(k < 0)


# Columns of labels, made of integers from -1, which stands for a missing label.
KINDS = {
    "int64": lambda k: pd.Series(np.abs(k)),
    "float64": lambda k: pd.Series(np.where(k < 0, np.nan, k)),
    "objects": lambda k: pd.Series(np.where(k < 0, None, WORDS[k]), dtype=object),
    "decimals": lambda k: pd.Series([Decimal(int(i)) / 3 for i in np.abs(k)]),
    "str": lambda k: pd.Series(np.where(k < 0, None, WORDS[k]), dtype="str"),
    "string": lambda k: pd.Series(np.where(k < 0, None, WORDS[k]), dtype="string"),
    "bool": lambda k: pd.Series(k > 2),
    "category": lambda k: pd.Series(pd.Categorical.from_codes(k, WORDS[::-1])),
    "Int64": lambda k: chosen(np.arange(6), k).astype("Int64"),
    "UInt8": lambda k: chosen(np.arange(6), k).astype("UInt8"),
    "boolean": lambda k: chosen(np.arange(6) > 2, k).astype("boolean"),
    "Float32": lambda k: chosen(np.arange(6) / 2, k).astype("Float32"),
    "dates": lambda k: chosen(TIMES, k),
    "in Oslo": lambda k: chosen(TIMES.tz_localize("UTC").tz_convert("Europe/Oslo"), k),
    "periods": lambda k: chosen(TIMES.to_period("D") + np.arange(6), k),
    "differences": lambda k: chosen(TIMES - TIMES[0], k),
    "int64[pyarrow]": lambda k: chosen(np.arange(6), k).astype("int64[pyarrow]"),
    "Sparse[int]": lambda k: pd.Series(np.abs(k)).astype("Sparse[int]"),
    "double[pyarrow]": lambda k: chosen(np.arange(6) / 2, k).astype("double[pyarrow]"),
    "string[pyarrow]": lambda k: pd.Series(
        np.where(k < 0, None, WORDS[k]), dtype=pd.ArrowDtype(pa.string())
    ),
    "timestamp[pyarrow]": lambda k: chosen(TIMES, k).astype("timestamp[us][pyarrow]"),
}


def softmax(x):
    with np.errstate(all="ignore"):
        e = np.exp(x.to_numpy().astype(np.longdouble) - x.max(skipna=False))
        return e / e.sum()


def logsumexp(x):
    with np.errstate(all="ignore"):
        m = x.max(skipna=False)
        finite = np.isfinite(m)
        return m + np.log(np.exp(x.to_numpy().astype(np.longdouble) - m).sum()) if finite else m


def by_groups(x, keys, function):
    """The values of a function of each group in order, by label or by tuples of these."""
    codes = pd.DataFrame({i: pd.Categorical(key).codes for i, key in enumerate(keys)})
    groups = {}
    for row in range(len(x)):
        if (codes.iloc[row] >= 0).all():
            groups.setdefault(tuple(codes.iloc[row]), []).append(row)
    return [(rows, function(x.iloc[rows])) for _, rows in sorted(groups.items())]


@pytest.fixture(autouse=True)
def _objects_are_objects():
    """Dask makes strings of all objects in pandas' columns, unless told otherwise."""
    with dask.config.set({"dataframe.convert-string": False}):
        yield


@st.composite
def frames(draw):
    n = draw(st.integers(1, 12))
    x = np.array(draw(st.lists(floats(), min_size=n, max_size=n)))
    k = np.array(draw(st.lists(st.integers(-1, 5), min_size=n, max_size=n)))
    return x, k, draw(st.integers(1, 4))


def check(kind, x, k, npartitions):
    """Against a loop over the groups: values, index, names, divisions and dtypes."""
    df = pd.DataFrame({"u": x, "market": KINDS[kind](k)})
    df.index = pd.Index(np.arange(len(df)) * 3 - 5, name="row")
    expected = np.full(len(df), np.nan, np.longdouble)
    for rows, values in by_groups(df["u"], [df["market"]], softmax):
        expected[rows] = values
    sums = by_groups(df["u"], [df["market"]], logsumexp)
    lazy = dd.from_pandas(df, npartitions=npartitions)
    p = dataframe.softmax(lazy["u"], by=lazy["market"])
    log_sum = dataframe.logsumexp(lazy["u"], by=lazy["market"])
    assert p.divisions == lazy.divisions
    for found in (dataframe.softmax(df["u"], by=df["market"]), p.compute()):
        np.testing.assert_allclose(found, expected, rtol=ROUNDED, atol=1e-320)
        pd.testing.assert_index_equal(found.index, df.index)
        assert found.name == "u"
    for found in (dataframe.logsumexp(df["u"], by=df["market"]), log_sum.compute()):
        np.testing.assert_allclose(found, [value for _, value in sums], rtol=1e-14, atol=1e-15)
        assert found.index.dtype == df["market"].dtype
        assert found.index.tolist() == [df["market"].iloc[rows[0]] for rows, _ in sums]
        assert found.index.name == "market"
    assert log_sum._meta.index.dtype == df["market"].dtype


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind(kind):
    x = np.array([0.5, -1, 2, 0, 1, 700, -700, 3, 0])
    check(kind, x, np.array([0, 2, -1, 1, 0, 5, 5, 2, -1]), 3)


@settings(max_examples=20, deadline=None)
@given(data=frames(), kind=st.sampled_from(sorted(KINDS)))
def test_values_are_those_of_a_loop_over_the_groups(data, kind):
    check(kind, *data)


def two_keys():
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "year": rng.integers(2020, 2023, 50),
            "u": rng.normal(size=50),
            "market": pd.Categorical.from_codes(rng.integers(-1, 3, 50), ["c", "b", "a"]),
            "v": rng.normal(size=50).astype("f4"),
        },
        index=rng.permutation(50),
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_several_columns_and_keys(lazy):
    df = two_keys()
    x = dd.from_pandas(df, npartitions=4, sort=False) if lazy else df
    p = dataframe.softmax(x, by=["market", "year"])
    sums = dataframe.logsumexp(x[["v", "u"]], by=(x["market"], x["year"]))
    p, sums = dask.compute(p, sums)
    groups = by_groups(df["u"], [df["market"], df["year"]], logsumexp)
    labels = [(df["market"].iloc[rows[0]], df["year"].iloc[rows[0]]) for rows, _ in groups]
    assert sums.index.tolist() == labels
    assert sums.index.names == ["market", "year"]
    assert list(sums.columns) == ["v", "u"]
    np.testing.assert_allclose(sums["u"], [value for _, value in groups], rtol=1e-14)
    assert list(p.columns) == ["u", "v"]
    assert (p.dtypes == "f8").all()
    assert p.isna().any(axis=1).equals(df["market"].isna())
    for column in ("u", "v"):
        one = dataframe.softmax(df[column], by=[df["market"], df["year"]])
        assert one.dtype == df[column].dtype
        np.testing.assert_allclose(p[column], one, rtol=1e-6)
        for rows, _ in groups:
            assert p[column].iloc[rows].sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["logsumexp", "entropy", "effective_sample_size"])
def test_expected_groups_are_the_index(lazy, name):
    df = two_keys()
    x = dd.from_pandas(df, npartitions=4, sort=False) if lazy else df
    function, of_arrays = getattr(dataframe, name), getattr(grouped, name)
    values = function(x["u"], x["market"], expected_groups=["z", "a", "c"])
    both = function(x[["u"]], [x["year"], x["market"]], expected_groups=([2022, 1], ["a", "b"]))
    known = function(x["u"], x["market"])
    values, both, known = dask.compute(values, both, known)
    pd.testing.assert_index_equal(values.index, pd.Index(["z", "a", "c"], name="market"))
    assert values["z"] == (-np.inf if name == "logsumexp" else 0)
    assert known.index.tolist() == ["c", "b", "a"]  # in the order of the categories
    assert values[["a", "c"]].tolist() == pytest.approx(known[["a", "c"]].tolist(), rel=1e-14)
    right = pd.MultiIndex.from_product([[2022, 1], ["a", "b"]], names=["year", "market"])
    pd.testing.assert_index_equal(both.index, right)
    keys = (df["year"].to_numpy(), pd.Categorical(df["market"]))
    dense = of_arrays(df["u"].to_numpy(), keys, expected_groups=([2022, 1], ["a", "b"]))
    np.testing.assert_allclose(both["u"], dense.ravel(), rtol=1e-14)


def test_expected_labels_are_sent_once():
    given = pd.DataFrame({"u": np.zeros(400), "g": np.zeros(400, int)})
    frame = dd.from_pandas(given, npartitions=40)
    y = dataframe.softmax(frame["u"], frame["g"], expected_groups=range(20_000))
    tasks = convert_legacy_graph(dict(y.optimize().__dask_graph__()))
    large = [key for key, task in tasks.items() if len(pickle.dumps(task)) > 20_000]
    assert 1 <= len(large) <= 2  # and its copy under the name that partitions have


def test_rows_outside_the_expected_groups_are_nan():
    df = pd.DataFrame({"u": [0.0, 1.0, 2.0], "market": ["a", "b", "a"]})
    for x in (df, dd.from_pandas(df, npartitions=2)):
        p = dataframe.softmax(x["u"], x["market"], expected_groups=["b", "c"])
        np.testing.assert_array_equal(p, [np.nan, 1, np.nan])


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        *(("float32", "f4"), ("int8", "f8"), ("bool", "f8"), ("Sparse[float]", "f8")),
        *(("Float64", "f8"), ("Float32", "f4"), ("Int64", "f8"), ("boolean", "f8")),
        *(("double[pyarrow]", "f8"), ("float[pyarrow]", "f4"), ("int32[pyarrow]", "f8")),
        ("bool[pyarrow]", "f8"),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_scores_of_every_kind(dtype, result, missing):
    """A missing score is NaN: its group has no softmax, and others do not change."""
    x = pd.Series([1, 0, 1, 1, 0], dtype=dtype, index=list("vwxyz"))
    if missing and (x.dtype.kind == "f" or not isinstance(x.dtype, np.dtype)):
        x = x.mask(x.index == "z")
    by = pd.Series([3, 3, 4, 4, 5], index=x.index)
    gone = x.isna().to_numpy()
    expected = np.where(gone, np.nan, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0.5, 0.5, 1])
    lazy = dd.from_pandas(x, npartitions=2), dd.from_pandas(by, npartitions=2)
    for scores, labels in ((x, by), lazy):
        p = dataframe.softmax(scores, by=labels)
        assert p.dtype == result
        np.testing.assert_allclose(p, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(dataframe.logsumexp(x, by)), gone[[0, 2, 4]])


def test_log_softmax_keeps_what_underflows():
    x = pd.Series([1000.0, 1.0, 7.0])
    by = pd.Series([1, 1, 2])
    lazy = [dd.from_pandas(column, npartitions=3) for column in (x, by)]
    for found in (dataframe.log_softmax(x, by), dataframe.log_softmax(*lazy)):
        np.testing.assert_array_equal(found, [0, -999, 0])


def test_frames_without_rows():
    df = two_keys().iloc[:0]
    assert dataframe.softmax(df, by=["market", "year"]).shape == (0, 2)
    assert dataframe.logsumexp(df["u"], df["year"]).empty
    lazy = dd.from_pandas(two_keys(), npartitions=3)
    none = lazy[lazy["u"] > 100]  # partitions without rows
    assert dataframe.softmax(none["u"], none["market"]).compute().empty
    assert dataframe.entropy(none["u"], none["market"]).compute().empty


# Of Dask: partitions, graphs, and readings.


@pytest.fixture
def parquet(tmp_path):
    """A frame in files, and the same of Dask, whose divisions are not known."""
    df = two_keys().reset_index(drop=True)
    df["market"] = df["market"].astype(object)
    df["other"] = 0.0
    for i in range(5):
        df.iloc[i * 10 : i * 10 + 10].to_parquet(tmp_path / f"part-{i}.parquet")
    return df, dd.read_parquet(tmp_path)


def test_the_result_is_one_more_column_of_a_frame_in_files(parquet):
    df, lazy = parquet
    assert not lazy.known_divisions
    p = dataframe.softmax(lazy["u"], by=lazy["market"])
    with_p = lazy.assign(p=p)
    assert with_p.npartitions == p.npartitions == lazy.npartitions
    graph = list(map(str, with_p.optimize().__dask_graph__()))
    assert not any(word in key for key in graph for word in ("shuffle", "align", "repartition"))
    found = with_p[with_p["p"] > 0.1].compute()
    right = df.assign(p=dataframe.softmax(df["u"], df["market"]))
    right = right[right["p"] > 0.1]
    np.testing.assert_allclose(found["p"], right["p"], rtol=1e-14)
    pd.testing.assert_index_equal(found.index, right.index)


def test_only_the_columns_that_are_asked_for_are_read(parquet):
    _, lazy = parquet
    p = dataframe.softmax(lazy["u"], by=lazy["market"]).simplify()
    (columns,) = {tuple(io.columns) for io in p.expr.find_operations(type(lazy.expr))}
    assert set(columns) == {"u", "market"}


SEEN = []  # the lengths of the partitions that were computed


def seen(part):
    SEEN.append(len(part))
    return part


@pytest.fixture
def counted():
    SEEN.clear()
    df = pd.DataFrame({"u": np.arange(64.0), "market": np.arange(64) % 5})
    return dd.from_pandas(df, npartitions=16).map_partitions(seen, meta=df.iloc[:0])


def test_tasks_and_readings(counted, lazily):
    p = lazily(dataframe.softmax, counted["u"], by=counted["market"])
    assert p._name == dataframe.softmax(counted["u"], by=counted["market"])._name
    graph = p.optimize().__dask_graph__().items()
    names = [str(key) for key, task in graph if not isinstance(task, (Alias, DataNode))]
    assert sum("grouped-softmax-normalizer" in name for name in names) == 16
    assert sum("grouped-softmax-merge" in name for name in names) == 4 + 1
    assert not any("shuffle" in name for name in names)
    assert len(names) == 2 * 16 + 5
    p.compute()
    assert len(SEEN) == 2 * 16
    SEEN.clear()
    sums = lazily(dataframe.logsumexp, counted["u"], by=counted["market"])
    assert sums._name == dataframe.logsumexp(counted["u"], by=counted["market"])._name
    assert sums.npartitions == 1
    sums.compute()
    assert len(SEEN) == 16


@pytest.mark.parametrize("kind", ["numbers", "words", "categories"])
def test_many_partitions_have_no_task_with_all_groups(kind, lazily):
    k = np.random.default_rng(0).permutation(np.arange(1700) % 850)
    df = pd.DataFrame({"u": np.arange(1700.0) / 9, "k": k})
    if kind != "numbers":
        df["k"] = df["k"].map("w{}".format)
    if kind == "categories":
        df["k"] = df["k"].astype("category")
    lazy = dd.from_pandas(df, npartitions=34).clear_divisions()
    p = lazily(dataframe.softmax, lazy["u"], lazy["k"])
    sums = lazily(dataframe.logsumexp, lazy["u"], lazy["k"])
    graph = lazy.assign(p=p).optimize().__dask_graph__()
    assert not any("shuffle" in str(key) for key in graph)
    names = [str(k) for k, task in graph.items() if not isinstance(task, (Alias, DataNode))]
    assert len(names) <= 3.7 * 34
    most = []
    with Callback(posttask=lambda key, block, *_: most.append(max(groups_in(block), default=0))):
        found = lazy.assign(p=p).compute(scheduler="sync")
        statistic = sums.compute(scheduler="sync")
    few = kind == "categories"  # which are known, and few enough for one task
    assert sums.npartitions == (1 if few else 3)
    assert (max(most) == 850) == few
    pd.testing.assert_series_equal(found["u"], df["u"])
    np.testing.assert_allclose(found["p"], dataframe.softmax(df["u"], df["k"]), rtol=1e-13)
    expected = dataframe.logsumexp(df["u"], df["k"])
    pd.testing.assert_series_equal(statistic, expected, check_index_type=False, rtol=1e-13)


def test_many_categories_are_in_parts(monkeypatch):
    monkeypatch.setattr(_group_plan, "LARGE_STATE", 32)
    df = pd.DataFrame({"u": np.arange(90.0) % 8, "k": np.arange(90) % 30})
    lazy = dd.from_pandas(df.astype({"k": "category"}), npartitions=18)
    p = dataframe.softmax(lazy["u"], lazy["k"]).compute()
    np.testing.assert_allclose(p, dataframe.softmax(df["u"], df["k"]), rtol=1e-13)
    for expected in (None, np.arange(40)[::-1]):
        sums = dataframe.logsumexp(lazy["u"], lazy["k"], expected_groups=expected)
        assert sums.npartitions == 8
        whole = dataframe.logsumexp(df["u"], df["k"], expected_groups=expected)
        found = sums.compute()
        assert found.index.tolist() == whole.index.tolist()
        np.testing.assert_allclose(found, whole, rtol=1e-13)


def test_what_is_persisted_is_computed_once(counted):
    kept = counted.persist()
    dataframe.softmax(kept["u"], by=kept["market"]).compute()
    assert len(SEEN) == 16


def test_categories_that_dask_does_not_know():
    df = two_keys()
    lazy = dd.from_pandas(df, npartitions=3, sort=False)
    lazy["market"] = lazy["market"].cat.as_unknown()
    p, sums = dask.compute(
        *(f(lazy["u"], lazy["market"]) for f in (dataframe.softmax, dataframe.logsumexp))
    )
    np.testing.assert_allclose(p, dataframe.softmax(df["u"], df["market"]), rtol=1e-14)
    assert sums.index.tolist() == ["a", "b", "c"]


def other_categories(part):
    return part.assign(market=part["market"].cat.set_categories(["a", "b", "d"]))


def reordered(part):
    return part.assign(market=part["market"].cat.reorder_categories(["a", "b", "c"]))


def test_categories_of_partitions():
    df = two_keys()
    lazy = dd.from_pandas(df, npartitions=3, sort=False)
    other = lazy.map_partitions(reordered, meta=df.iloc[:0])
    p = dataframe.softmax(other["u"], other["market"]).compute()
    np.testing.assert_allclose(p, dataframe.softmax(df["u"], df["market"]), rtol=1e-14)
    other = lazy.map_partitions(other_categories, meta=df.iloc[:0])
    with pytest.raises(TypeError, match="has other categories than its Dask column says"):
        dataframe.softmax(other["u"], other["market"]).compute()


def noisy(part):
    return part + np.random.default_rng().normal(size=len(part))


def test_a_random_generator_below_is_warned_of():
    lazy = dd.from_pandas(two_keys()[["u", "year"]], npartitions=3)
    noise = lazy["u"].map_partitions(noisy, meta=lazy["u"]._meta)
    with pytest.warns(UserWarning, match="different values; persist it, or seed") as warned:
        dataframe.softmax(noise, lazy["year"])
    assert warned[0].filename == __file__


# Errors.


@pytest.mark.parametrize(
    ("x", "by", "error", "message"),
    [
        ([1.0], [1], TypeError, "softmax: x is of type list; pass a Series or DataFrame of pandas"),
        ("u", np.zeros(50), TypeError, "by is of type numpy ndarray; pass a Series with the in"),
        (
            "u",
            "market",
            TypeError,
            "by is 'market', but x is a Series and has no columns; pass a Series",
        ),
        (["u"], "nowhere", TypeError, "by is 'nowhere', and x has the columns 'u'; pass a"),
        ("u", [1, 2], TypeError, r"by\[0\] is 1; pass a Series"),
        ("u", two_keys().index, TypeError, r"pandas \w*Index, of which by.to_series\(\) makes"),
        ("u", [], ValueError, "by is empty; pass labels, or several keys in a list"),
        (["year"], "year", ValueError, "x has no columns of scores"),
        (["u", "market"], "u", TypeError, "column 'market' of x has dtype category, which has no"),
        ("u", two_keys()["year"].sort_index(), ValueError, "by has another index than x"),
        ("u", two_keys()["year"].iloc[:9], ValueError, "by has another index than x"),
    ],
)
def test_errors(x, by, error, message):
    df = two_keys()
    with pytest.raises(error, match=message):
        dataframe.softmax(df[x] if isinstance(x, str) or x[0] != 1.0 else x, by)


UNORDERED = {
    "lists": [[1], [2], [1]],
    "dicts": [{"a": 1}, {}, {}],
    "numbers and words": [1, "a", 2],
    "Arrow's lists": pd.array([[1], [2], [1]], pd.ArrowDtype(pa.list_(pa.int64()))),
}


@pytest.mark.parametrize("kind", UNORDERED)
def test_labels_without_order_or_hash_are_named(kind):
    df = pd.DataFrame({"u": [0.0, 1.0, 2.0], "v": [1, 2, 1]})
    df["k"] = pd.Series(UNORDERED[kind], dtype=None if "Arrow" in kind else object)
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = dd.from_pandas(df, npartitions=3)
    for x in (df, lazy):
        for by, name in ((["k"], "by"), (["v", "k"], r"by(\[1\])?")):  # partitions have one kind
            match = (
                rf"^dataframe\.softmax: labels in {name} have no order, or no hash .*; make them"
            )
            with pytest.raises(TypeError, match=match):
                dask.compute(dataframe.softmax(x[["u", *by]], by))


def test_columns_may_have_any_name_and_scores_the_same():
    df = pd.DataFrame({0: [0.0, 1.0, 2.0], 1: [1, 1, 2], ("a", "b"): [1, 2, 1]})
    for key, scores in ((1, [0, ("a", "b")]), (("a", "b"), [0, 1]), ([1, ("a", "b")], [0])):
        by = [df[name] for name in key] if isinstance(key, list) else df[key]
        expected = dataframe.softmax(df[scores], by)
        for found in (
            dataframe.softmax(df, key),
            dataframe.softmax(dd.from_pandas(df, npartitions=2), key).compute(),
        ):
            pd.testing.assert_frame_equal(found, expected)
    twice = pd.DataFrame([[0.0, 1.0, 2]], columns=["u", "u", "k"])
    assert dataframe.softmax(twice, "k").to_numpy().tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match="by is 'u', the name of 2 columns of x; rename them"):
        dataframe.softmax(twice, "u")


def test_errors_of_expected_groups():
    df = two_keys()
    with pytest.raises(ValueError, match="expected_groups has 'a' twice"):
        dataframe.logsumexp(df["u"], df["market"], expected_groups=["a", "a"])
    with pytest.raises(TypeError, match="pass a tuple with the labels of each"):
        dataframe.logsumexp(df["u"], [df["market"], df["year"]], expected_groups=["a", "b"])


def test_errors_of_dask(lazily):
    df = two_keys().sort_index()
    lazy = dd.from_pandas(df, npartitions=3)
    with pytest.raises(TypeError, match="one of x and by is of Dask and the other of pandas"):
        dataframe.softmax(lazy["u"], df["year"])
    with pytest.raises(ValueError, match="x has 3 partitions and by 2, or they are divided"):
        lazily(dataframe.softmax, lazy["u"], lazy["year"].repartition(npartitions=2))
    with pytest.raises(ValueError, match="split_every is 1"):
        dataframe.softmax(lazy["u"], lazy["year"], split_every=1)
    turned = lazy["year"].map_partitions(lambda part: part[::-1], meta=lazy["year"]._meta)
    with pytest.raises(ValueError, match="by has another index than x"):
        dataframe.softmax(lazy["u"], turned).compute()


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")  # in Dask's to_parquet
def test_the_code_of_the_document(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = Path(__file__).parents[2].joinpath("docs/dataframes.md").read_text()
    found = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "dataframes.md", "exec"), found)
    df = found["frame"]
    right = dataframe.softmax(df["u"], by=df["market"])
    stored = pd.read_parquet("probabilities")
    np.testing.assert_allclose(stored["p"], right, rtol=1e-14)
    assert stored.index.tolist() == df.index.tolist()
    assert found["inclusive_value"].compute().index.tolist() == ["a", "b"]
    assert list(found["both"].columns) == ["u", "v"]


def test_arrays_of_polars():
    pl = pytest.importorskip("polars", reason="has DataFrames of its own")
    df = pl.DataFrame({"u": [0.0, 1.0, 0.0], "market": ["b", "a", "b"]})
    p = pl.Series("p", grouped.softmax(df["u"].to_numpy(), df["market"].to_numpy()))
    assert p.to_list() == [0.5, 1, 0.5]


def test_without_pandas_an_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for name in ("_frame_arguments", "_frames", "dataframe"):
        monkeypatch.delitem(sys.modules, f"dsoftmax.{name}")
        monkeypatch.delattr(dsoftmax, name)
    with pytest.raises(ImportError, match=r"pip install '\.\[dataframe\]'"):
        importlib.import_module("dsoftmax.dataframe")


# Corners.


def test_a_statistic_of_dask_is_a_column_like_any_other():
    df = pd.DataFrame({"g": list("abac"), "h": [1, 2, 1, 1], "u": [0.0, 1, 2, 3]})
    lazy = dd.from_pandas(df, npartitions=2)

    def nested(frame):
        inner = dataframe.logsumexp(frame[["g", "h", "u"]], by=["g", "h"]).reset_index()
        return dataframe.logsumexp(inner[["h", "u"]], by="h")

    pd.testing.assert_frame_equal(nested(lazy).compute(), nested(df))
    for function in (dataframe.logsumexp, dataframe.entropy, dataframe.effective_sample_size):
        found, right = (function(frame["u"], frame["g"]) for frame in (lazy, df))
        np.testing.assert_array_equal(found.to_dask_array().compute(), right)
        np.testing.assert_array_equal(found.values.compute(), right)


@pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]", "int64[pyarrow]", "Int64"])
def test_labels_that_are_missing_in_nullable_columns(dtype):
    by = pd.Series([1, None, 0, 1]).astype("Int64").astype(dtype)
    u = pd.Series([0.0, 1, 2, 3])
    expected = [1 / (1 + np.exp(3)), np.nan, 1, 1 / (1 + np.exp(-3))]
    np.testing.assert_allclose(dataframe.softmax(u, by), expected)
    frame = dd.from_pandas(pd.DataFrame({"u": u, "by": by}), npartitions=2)
    np.testing.assert_allclose(dataframe.softmax(frame["u"], frame["by"]).compute(), expected)


def test_the_first_part_of_the_names_of_several_columns():
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")])
    df = pd.DataFrame(np.zeros((2, 3)), columns=columns)
    with pytest.raises(ValueError, match="by is 'a', which several columns of x have as"):
        dataframe.softmax(df, by="a")
    with pytest.raises(ValueError, match="by is 'a', which several columns of x have as"):
        dataframe.softmax(dd.from_pandas(df, npartitions=1), by="a")
    assert dataframe.softmax(df, by=("b", "x")).shape == (2, 2)


@pytest.mark.parametrize("lazy", [False, True])
def test_names_that_are_of_no_column(lazy):
    df = pd.DataFrame({"market": [1, 2], "u": [0.0, 1.0]})
    levels = df.set_index("market")
    if lazy:
        df, levels = (dd.from_pandas(frame, npartitions=1) for frame in (df, levels))
    with pytest.raises(TypeError, match="by is 'markt', and x has the columns 'market', 'u'; pass"):
        dataframe.softmax(df, by="markt")
    with pytest.raises(TypeError, match=r"by is 'market', a level of the index .*x.reset_index"):
        dataframe.softmax(levels, by="market")
    assert dataframe.softmax(levels.reset_index(), by="market").shape[1] == 1
