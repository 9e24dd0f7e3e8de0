"""Softmax within groups: what is refused, at the call or by a block."""

import dask
import dask.array as da
import numpy as np
import pytest

from dsoftmax import grouped

pd = pytest.importorskip("pandas", reason="has kinds of labels")


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
        (TypeError, ([1.0], "market"), "by is 'market'; pass the labels themselves, or use"),
        (TypeError, ([1.0], ([1], "year")), r"by\[1\] is 'year'; pass the labels themselves"),
        (TypeError, ([1.0], pd.Series([1])), "by is of type pandas Series, not an array"),
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


def test_more_combinations_than_integers():
    for x in (np.zeros(4), da.zeros(4, chunks=2)):
        with pytest.raises(
            ValueError, match=r"expected_groups has \(3000000, 3000000, 3000000\) l"
        ):
            grouped.softmax(x, ([0] * 4,) * 3, expected_groups=(range(3_000_000),) * 3)


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


@pytest.mark.parametrize("function", [grouped.softmax, grouped.logsumexp])
def test_split_every_of_arrays_in_memory(function):
    with pytest.raises(TypeError, match="split_every is 'a'"):
        function(np.zeros(4), np.array([0, 0, 1, 1]), split_every="a")
