"""What each command computes of arrays on disk: the function of the package, on the same arrays."""

import warnings

import click
import dask
import dask.array as da
import numpy as np
import pytest
import zarr

import dsoftmax
from dsoftmax.cli.commands import COMMANDS
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.plan import Sources, plan
from dsoftmax.cli.storage import StorageError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 60))
VALUES, V, LABELS = RNG.normal(size=60), RNG.normal(size=(60, 7)), RNG.integers(60, size=40)
MASKS = {"whole": RNG.random((40, 60)) < 0.5, "columns": RNG.random(60) < 0.5}
MASKS["whole"][3] = False  # a slice that is left out
DEFAULTS = {
    "axis": None,
    "keepdims": False,
    "k": 4,
    "size": 9,
    "seed": 5,
    "no_replace": False,
    "method": "multinomial",
    "ignore_label": None,
    "mean": False,
    "reverse": False,
    "include_initial": False,
}


def sources(tmp_path, x=X, beside=None, where=None):
    """Arrays as .npy files, of which the one beside x and the mask may be missing."""
    opened = []
    for name, array in (("x", x), ("beside", beside), ("where", where)):
        if array is not None:
            np.save(tmp_path / f"{name}.npy", array)
        opened.append(None if array is None else open_source(str(tmp_path / f"{name}.npy")))
    return Sources(*opened)


def options_of(key, **given):
    """The options of a command, with defaults for those that are not given."""
    (command,) = (one for one in COMMANDS if one.key == key)
    names = {name.removeprefix("signed-").replace("-", "_") for name in command.options}
    names = {"axis" if name.endswith(("axis", "axes")) else name for name in names} - {
        "where",
        "by",
    }
    defaults = DEFAULTS | ({"axis": -1} if "class-axis" in command.options else {})
    return {name: given.get(name, defaults[name]) for name in names}


def computed(key, arrays, limit=2**12, **given):
    """The results of a command, and the numbers by which it is summarised."""
    planned = plan(key, arrays, limit, options_of(key, **given))
    assert planned.x.npartitions > 1
    return dask.compute(planned.found.results, planned.found.numbers, scheduler="sync")


SINGLE = [
    *((command.key, {}) for command in COMMANDS if command.key != "cumulative-logsumexp"),
    ("softmax", {"axis": (1,)}),
    ("log-softmax", {"axis": (0,)}),
    ("logsumexp", {"axis": (1,), "keepdims": True}),
    ("entropy", {"axis": (0,)}),
    ("expectation", {"axis": (1,)}),
    ("cumulative-logsumexp", {"axis": 1}),
    ("cumulative-logsumexp", {"axis": 0, "reverse": True, "include_initial": True}),
    ("softmax-topk", {"axis": 1}),
    ("topk", {"k": -3}),
    ("choice", {"axis": 1, "no_replace": True}),
    ("choice", {"method": "systematic"}),
    ("gumbel-topk", {"axis": 1}),
]
UNMASKED = ("topk", "cumulative-logsumexp")
CASES = [
    (key, given, mask)
    for key, given in SINGLE
    for mask in ((None,) if key in UNMASKED else (None, "whole", "columns"))
]
BESIDE = {"expectation": VALUES, "cross-entropy": LABELS, "softmax-matmul": V}
RENAMED = {"seed": "rng"}
OF_COMMANDS = {"mean"}  # options that are no arguments of the functions


def expected(key, x, mask, **given):
    """What the function of the package gives for arrays in memory, by names."""
    options = options_of(key, **given).items()
    arguments = {RENAMED.get(n, n): v for n, v in options if n not in OF_COMMANDS}
    if "no_replace" in arguments:
        arguments["replace"] = not arguments.pop("no_replace")
    arrays = (x,) if key not in BESIDE else (x, BESIDE[key])
    where = {} if mask is None else {"where": mask}
    found = getattr(dsoftmax, key.replace("-", "_"))(*arrays, **arguments, **where)
    return found._asdict() if isinstance(found, tuple) else {"": found}


@pytest.mark.parametrize(("key", "given", "mask"), CASES, ids=str)
def test_a_command_gives_what_the_function_gives(tmp_path, key, given, mask):
    where = MASKS.get(mask)
    if key in ("choice", "gumbel-topk") and mask == "whole":
        where = where | (np.arange(40) == 3)[:, None]  # nothing can be drawn of an empty slice
    arrays = sources(tmp_path, X, BESIDE.get(key), where)
    results, _ = computed(key, arrays, **given)
    right = expected(key, X, where, **given)
    if key == "choice":  # which has a name in what is printed
        results = {"": results["indices"]}
    assert results.keys() == right.keys()
    for name, value in right.items():
        np.testing.assert_allclose(results[name], value, rtol=1e-12, atol=1e-14)
        assert results[name].dtype == np.asarray(value).dtype


def lse(**options):
    return dsoftmax.logsumexp(X, **options)


@pytest.mark.parametrize(
    ("key", "given", "numbers"),
    [
        ("softmax", {"axis": (1,)}, lse(axis=1)),
        ("softmax-matmul", {}, lse(axis=1)),
        ("cumulative-logsumexp", {"axis": 1}, lse(axis=1, keepdims=True)),
        ("cumulative-logsumexp", {"axis": 0, "reverse": True}, lse(axis=0, keepdims=True)),
        (
            "cumulative-logsumexp",
            {"axis": 0, "reverse": True, "include_initial": True},
            lse(axis=0, keepdims=True),
        ),
        ("topk", {"axis": 1, "k": -2}, X.min(axis=1, keepdims=True)),
    ],
)
def test_the_numbers_of_a_summary(tmp_path, key, given, numbers):
    _, found = computed(key, sources(tmp_path, X, BESIDE.get(key)), **given)
    np.testing.assert_allclose(found, numbers, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
@pytest.mark.parametrize("key", ["softmax", "log-softmax"])
def test_a_mask_keeps_the_dtype_and_hides_what_is_out(tmp_path, dtype, key):
    x, mask = X.round(1).astype(dtype), MASKS["whole"]
    if dtype != "i4":
        x[~mask] = np.nan
        x[0, ~mask[0]] = np.inf
    results, _ = computed(key, sources(tmp_path, x, None, mask), limit=2**10, axis=(1,))
    right = getattr(dsoftmax, key.replace("-", "_"))(x, axis=1, where=mask)
    np.testing.assert_allclose(results[""], right, rtol=1e-6 if dtype != "f2" else 1e-3)
    assert results[""].dtype == right.dtype


@pytest.mark.parametrize("key", ["softmax", "expectation", "cross-entropy", "softmax-matmul"])
def test_each_chunk_of_each_array_is_read_once_in_each_pass(tmp_path, monkeypatch, key):
    read, original = [], NpyFile.__getitem__

    def noted(file, index):
        read.append((file.path.rpartition("/")[2], index))
        return original(file, index)

    monkeypatch.setattr(NpyFile, "__getitem__", noted)
    arrays = sources(tmp_path, X, BESIDE.get(key), MASKS["whole"])
    options = options_of(key, axis=-1 if key == "cross-entropy" else (1,))
    planned = plan(key, arrays, 2**11, options)
    assert read == []
    dask.compute(planned.found.results, planned.extremes, scheduler="sync")
    assert planned.x.numblocks[1] == 1 or planned.x.npartitions > 9
    passes = 2 if key == "softmax" and planned.x.numblocks[1] > 1 else 1
    assert sum(name == "x.npy" for name, _ in read) == passes * planned.x.npartitions


def test_values_of_more_axes_than_the_source(tmp_path):
    values = RNG.normal(size=(3, 40, 60))
    arrays = sources(tmp_path, X, values)
    for axis in (None, (-1,), (0, 2)):
        results, _ = computed("expectation", arrays, axis=axis)
        right = dsoftmax.expectation(X, values, axis)
        np.testing.assert_allclose(results[""], right, rtol=1e-12)


def test_a_product_of_more_axes(tmp_path):
    x, v = RNG.normal(size=(2, 3, 8, 10)), RNG.normal(size=(3, 10, 4))
    results, _ = computed("softmax-matmul", sources(tmp_path, x, v), limit=2**9)
    np.testing.assert_allclose(results[""], dsoftmax.softmax_matmul(x, v), rtol=1e-12)
    results, _ = computed("softmax-matmul", sources(tmp_path, x, v[0, :, 0]), limit=2**9)
    np.testing.assert_allclose(results[""], dsoftmax.softmax_matmul(x, v[0, :, 0]), rtol=1e-12)


def test_zarr_arrays_beside_a_zarr_array(tmp_path):
    names = {"dimension_names": ["a", "b"]}
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(7, 11), **names)
    zarr.create_array(tmp_path / "v.zarr", data=V, chunks=(13, 2))
    zarr.create_array(tmp_path / "m.zarr", data=MASKS["columns"], chunks=(9,))
    arrays = Sources(*(open_source(str(tmp_path / f"{name}.zarr")) for name in "xvm"))
    planned = plan("softmax-matmul", arrays, 2**11, {})
    y = planned.found.results[""].compute(scheduler="sync")
    np.testing.assert_allclose(y, dsoftmax.softmax_matmul(X, V, where=MASKS["columns"]))
    assert planned.dropped == (1,)  # the axis "b" is not one of the product


@pytest.mark.parametrize(
    ("key", "arrays", "message"),
    [
        ("softmax", {"where": np.ones(60, int)}, r"where\.npy has dtype int64; --where takes bool"),
        ("expectation", {"beside": X + 0j}, r"beside\.npy has dtype complex128; convert it"),
        ("cross-entropy", {"beside": LABELS + 0.0}, r"has dtype float64; convert the labels"),
        ("logsumexp", {"x": X + 0j}, r"x\.npy has dtype complex128; convert it to a real float"),
    ],
)
def test_refused_dtypes(tmp_path, key, arrays, message):
    with pytest.raises(StorageError, match=message):
        plan(key, sources(tmp_path, **arrays), None, options_of(key))


@pytest.mark.parametrize(
    ("key", "given", "arrays", "message"),
    [
        (
            "softmax",
            {},
            {"where": MASKS["whole"][:, :9]},
            r"where\.npy has shape \(40, 9\), which does not broadcast to the shape \(40, 60\) of",
        ),
        ("softmax", {}, {"where": np.ones((2, 40, 60), "?")}, r"\(2, 40, 60\), which does not"),
        ("expectation", {}, {"beside": VALUES[:9]}, r"VALUES of shape \(9,\) does not broadcast"),
        (
            "cross-entropy",
            {"axis": 0},
            {"beside": LABELS},
            r"LABELS have shape \(40,\), and SRC with",
        ),
        ("cross-entropy", {"axis": -1}, {"beside": LABELS[:, None]}, "pass one label for each"),
        ("softmax-matmul", {}, {"beside": V.T}, r"V of shape \(7, 60\) do not fit"),
        ("softmax-matmul", {}, {"beside": V, "x": np.ones(())}, "SRC is a scalar"),
        ("cumulative-logsumexp", {}, {}, "SRC has 2 dimensions"),
        (
            "choice",
            {"no_replace": True, "size": 2401},
            {},
            "--size is 2401, but a slice has length",
        ),
        ("choice", {"no_replace": True, "method": "stratified"}, {}, "a way to draw with replac"),
        ("gumbel-topk", {"k": 61, "axis": 1}, {}, "--k is 61, but a slice has length 60"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(tmp_path, key, given, arrays, message):
    with pytest.raises(click.UsageError, match=message):
        plan(key, sources(tmp_path, **arrays), None, options_of(key, **given))


def test_the_mean_of_nothing(tmp_path):
    arrays = sources(tmp_path, X, np.full(len(X), -100), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results, _ = computed("cross-entropy", arrays, axis=-1, ignore_label=-100, mean=True)
    assert np.isnan(results[""])


def test_the_mean_over_float32_slices_is_of_float64(tmp_path):
    arrays = sources(tmp_path, X.astype("f4"), LABELS)
    results, numbers = computed("cross-entropy", arrays, axis=-1, mean=True)
    lazy = da.from_array(X.astype("f4"))
    right = dsoftmax.cross_entropy(lazy, LABELS).compute().astype("f8").mean()
    np.testing.assert_allclose(results[""], right, rtol=1e-14)
    assert (results[""].dtype, numbers) == ("f8", results[""])


def test_labels_that_are_left_out(tmp_path):
    labels = np.where(LABELS % 2, LABELS, -100)
    arrays = sources(tmp_path, X, labels)
    results, _ = computed("cross-entropy", arrays, axis=-1, ignore_label=-100)
    right = dsoftmax.cross_entropy(X, labels, ignore_label=-100)
    np.testing.assert_allclose(results[""], right, rtol=1e-12)
    results, _ = computed("cross-entropy", arrays, axis=-1, ignore_label=-100, mean=True)
    np.testing.assert_allclose(results[""], right[labels != -100].mean(), rtol=1e-12)
    planned = plan("cross-entropy", arrays, None, options_of("cross-entropy", axis=-1))
    with pytest.raises(ValueError, match="a label is -100 at"):
        planned.found.results[""].compute(scheduler="sync")
