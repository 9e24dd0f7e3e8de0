"""Softmax within groups: values against a loop over groups, plans, unknown chunks and errors."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Alias, convert_legacy_graph
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dsoftmax
from dsoftmax import grouped
from dsoftmax._kernels import distinct as label_kernels
from dsoftmax._kernels import groups as group_kernels
from dsoftmax._kernels.cpu import group_calls
from dsoftmax._kernels.cpu.compiler import CannotCompileError

from .. import oracle
from ..strategies import chunkings, floats

pd = pytest.importorskip("pandas", reason="has kinds of labels")

# x - m is 745 at most where its exponential is not 0, and its rounding is an error of that.
ROUNDED = 745 * 2**-53 + 1e-15

# Labels of every kind, made of small integers whose order they keep.
KINDS = {
    "int64": lambda k: k - 2,
    "far": lambda k: k * 10**15,
    "uint64": lambda k: k.astype("u8") + np.uint64(2**63),
    "int8": lambda k: k.astype("i1"),
    "bool": lambda k: k > 2,
    "float": lambda k: k / 4 - 0.5,
    "float32": lambda k: k.astype("f4"),
    "str": lambda k: np.array(["", "a", "aa", "b", "ü", "z"])[k],
    "long str": lambda k: np.array(["0", "1" * 9, "2", "3", "4", "5"])[k],
    "bytes": lambda k: np.array([b"", b"a", b"aa", b"b", b"c", b"z"])[k],
    "objects": lambda k: np.array(["", "a", "aa", "b", "ü", "z"], object)[k],
    "string": lambda k: np.array(["", "a", "aa", "b", "ü", "z"], np.dtypes.StringDType())[k],
    "date": lambda k: k.astype("M8[D]"),
    "time": lambda k: (k * 10**12).astype("M8[ns]"),
    "difference": lambda k: k.astype("m8[s]"),
    "swapped": lambda k: k.astype(">i4"),
}


def slices(x, *keys):
    """The labels and places of each group, in the order of the labels."""
    places = {}
    for i, label in enumerate(zip(*(key.tolist() for key in keys), strict=True)):
        places.setdefault(label, []).append(i)
    return [(label, places[label]) for label in sorted(places)]


def expected_softmax(x, *keys):
    """In longdouble, group by group."""
    y = np.full(x.shape, np.nan, np.longdouble)
    with np.errstate(all="ignore"):
        for _, places in slices(x, *keys):
            own = x[places].astype(np.longdouble)
            e = np.exp(own - own.max())
            y[places] = e / e.sum()
    return y


def expected_logsumexp(x, *keys):
    values = []
    with np.errstate(all="ignore"):
        for _, places in slices(x, *keys):
            own = x[places].astype(np.longdouble)
            m = own.max()
            finite = np.isfinite(m)
            values.append(m + np.log(np.exp(own - m).sum()) if finite else m)
    return np.array(values, np.longdouble)


def beside_infinity(x, by):
    """Of the elements of groups without softmax, which have +inf and not NaN beside them."""
    found = np.zeros(x.shape, bool)
    for _, places in slices(x, by):
        found[places] = (x[places].max() == np.inf) & (x[places] != np.inf)
    return found[np.isnan(expected_softmax(x, by))]


@st.composite
def labelled(draw):
    """Scores, numbers of groups below 6, and chunks."""
    n = draw(st.integers(1, 12))
    x = np.array(draw(st.lists(floats(), min_size=n, max_size=n)))
    k = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)))
    return x, k, draw(chunkings((n,)))


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


# Graphs.


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


# Errors.


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (ValueError, ([1.0, 2.0], [1]), "by has length 1 and x has length 2 along axis 0"),
        (ValueError, ([1.0, 2.0], ([1, 2], [1])), r"by\[1\] has length 1 and x has length 2"),
        (ValueError, ([1.0, 2.0], [[1, 2]]), r"by has shape \(1, 2\); pass one label for each"),
        (ValueError, ([1.0], 3), r"by has shape \(\)"),
        (ValueError, ([1.0], ()), "by is an empty tuple"),
        (TypeError, (3.0, 3), "x has shape (); labels go along one axis"),
        (TypeError, ([1.0], [1j]), "by has dtype complex128, which has no order"),
        (TypeError, ([1.0], np.zeros(1, "V3")), "by has dtype"),
        (TypeError, ([1.0], pd.Series([1])), "by is a pandas Series, not an array"),
        (TypeError, ([1j], [1]), "x has dtype complex128"),
        (TypeError, (["a"], [1]), "x has dtype <?"),
        (TypeError, (np.ma.array([1.0], mask=[1]), [1]), r"x is masked; pass x.filled\(-inf\)"),
        (TypeError, ([1.0, 2.0], np.array([1, "a"], object)), "labels in by have no order, or no"),
        (TypeError, ([1.0], np.array([[], 1], object)[:1]), "no hash .*; make them of one kind"),
    ],
)
def test_errors_of_arguments(error, arguments, text):
    for function in (grouped.softmax, grouped.log_softmax, grouped.logsumexp, grouped.entropy):
        with pytest.raises(error, match=text.replace("()", r"\(\)") if "()" in text else text):
            function(*arguments)


@pytest.mark.parametrize("labels", [[[1], [2], [1]], [{}, {}, {}], [1, "a", 2]])
@pytest.mark.parametrize("function", ["softmax", "logsumexp"])
def test_labels_without_order_or_hash_are_named(labels, function):
    by = np.empty(3, object)
    by[:] = labels
    match = rf"^grouped\.{function}: labels in {{}} have no order, or no hash \(.*\); make them"
    for x in (np.zeros(3), da.zeros(3, chunks=3), da.zeros(3, chunks=1)):
        with pytest.raises(TypeError, match=match.format("by") + ".*, as with by.astype"):
            dask.compute(getattr(grouped, function)(x, by))
        with pytest.raises(TypeError, match=match.format(r"by(\[1\])?")):  # parts have one kind
            dask.compute(getattr(grouped, function)(x, ([1, 2, 1], by)))
    many = np.resize(by, 90)
    x, many = da.zeros(90, chunks=1), da.from_array(many, chunks=1)
    with pytest.raises(TypeError, match=match.format("by")):  # in a run of chunks, or in parts
        dask.compute(getattr(grouped, function)(x[x == 0], many[x == 0]))


def test_labels_that_cannot_equal_the_expected_ones():
    with pytest.raises(TypeError, match="softmax: no label in by can equal those of expected_gro"):
        grouped.softmax([1.0, 2.0], np.array(["a", "b"], object), expected_groups=[1, 2])


@pytest.mark.parametrize(
    ("error", "options", "text"),
    [
        (ValueError, {"axis": 1}, "axis 1 is out of bounds for array of dimension 1"),
        (TypeError, {"axis": None}, "axis is None .*; labels go along one axis, an int"),
        (TypeError, {"axis": 0.5}, "axis is 0.5; use"),
        (TypeError, {"axis": (0,)}, r"axis is \(0,\)"),
        (ValueError, {"expected_groups": [1, 2, 1]}, "expected_groups has 1 twice"),
        (ValueError, {"expected_groups": np.array([2, 2], object)}, "expected_groups has 2 twice"),
        (ValueError, {"expected_groups": [1, np.nan]}, "expected_groups has a label that is miss"),
        (ValueError, {"expected_groups": [[1]]}, r"expected_groups has shape \(1, 1\)"),
        (TypeError, {"expected_groups": ["1"]}, "expected_groups has dtype <U1, which no label in"),
        (TypeError, {"expected_groups": da.zeros(2)}, "expected_groups is a Dask array"),
        (TypeError, {"expected_groups": np.array([1, "a"], object)}, "expected_groups have no ord"),
    ],
)
def test_errors_of_options(lazily, error, options, text):
    for x in ([1.0, 2.0], da.ones(2, chunks=1)):
        for function in (grouped.softmax, grouped.logsumexp):
            with pytest.raises(error, match=rf"^grouped\.\w+: .*{text}"):
                lazily(function, x, [1, 2], **options)


def test_errors_of_several_keys_and_of_lazy_arguments(lazily):
    keys, x = ([1, 2], [1, 2]), da.ones(2, chunks=1)
    with pytest.raises(TypeError, match="by has 2 keys; pass a tuple with the labels of each"):
        lazily(grouped.softmax, x, keys, expected_groups=[1, 2])
    with pytest.raises(ValueError, match=r"split_every is 1; use an int of at least 2"):
        lazily(grouped.logsumexp, x, [1, 2], split_every=1)
    with pytest.raises(ValueError, match=r"reread is 2; use True"):
        lazily(grouped.softmax, x, [1, 2], reread=2)
    with pytest.raises(ValueError, match="by has length 3 and x has length 2"):
        lazily(grouped.softmax, x, da.ones(3, chunks=1))


def test_blocks_that_are_not_what_their_array_says():
    by = da.zeros(4, chunks=2, dtype=int)
    text = by.map_blocks(lambda block: block.astype(str), dtype=int, meta=np.empty(0, int))
    with pytest.raises(TypeError, match="a block of by has dtype <U21, which its Dask array does"):
        grouped.softmax(da.ones(4, chunks=2), text).compute()
    masked = da.ones(4, chunks=2).map_blocks(np.ma.asarray, meta=np.empty(0))
    with pytest.raises(TypeError, match="x is masked"):
        grouped.softmax(masked, by).compute()


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
