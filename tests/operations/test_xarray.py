"""DataArrays and Datasets: values, what they carry, groups, and the idioms of xarray."""

import importlib
import re
import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest

import dsoftmax

xr = pytest.importorskip("xarray", reason="has DataArrays")
pd = pytest.importorskip("pandas", reason="has kinds of labels")

import dsoftmax.xarray as named  # noqa: E402

DIMS = ("person", "time", "mode")
MAPS = ("softmax", "log_softmax")
REDUCTIONS = ("logsumexp", "entropy", "effective_sample_size")


def make(chunks=None):
    rng = np.random.default_rng(1)
    x = xr.DataArray(
        rng.normal(size=(4, 3, 6)) * 3,
        dims=DIMS,
        coords={
            "person": [10, 11, 12, 13],
            "mode": ["car", "bus", "train", "tram", "bike", "foot"],
            "kind": ("mode", ["road", "public", "public", "public", "own", "own"]),
            "income": ("person", [1.0, 2.0, 3.0, 4.0]),
            "cost": (("person", "mode"), np.ones((4, 6))),
            "city": "Oslo",
        },
        attrs={"units": "utility"},
        name="u",
    )
    x.encoding = {"dtype": "int16", "scale_factor": 0.1}
    if chunks is None:
        return x
    y = x.copy(data=da.from_array(x.values, chunks=chunks))
    y.encoding = x.encoding  # x.chunk() would cut the coordinates, too
    return y


@pytest.fixture(params=[None, (2, 3, 2)], ids=str)
def x(request):
    return make(request.param)


def carries_the_same(y, x):
    """Whether all but the data is that of x, and x is as it was."""
    xr.testing.assert_identical(y.copy(data=x.data), x)
    assert y.encoding == {}
    assert x.encoding["dtype"] == "int16"
    assert y.chunks == x.chunks
    return True


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(
    ("dim", "axis"),
    [
        *(("mode", 2), (["mode"], 2), (("time", "person"), (0, 1)), ({"mode"}, 2)),
        *((None, None), (..., None), ([], ())),
    ],
    ids=str,
)
def test_softmax_is_over_the_named_dimensions(x, lazily, name, dim, axis):
    y = lazily(getattr(named, name), x, dim)
    expected = getattr(dsoftmax, name)(make().values, axis)
    np.testing.assert_allclose(y.values, expected, rtol=1e-13)
    assert carries_the_same(y, x)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", ["mode", ["person"], ("time", "mode"), None, ...], ids=str)
def test_reductions_drop_what_those_of_xarray_drop(x, lazily, name, dim):
    y = lazily(getattr(named, name), x, dim)
    expected = make().reduce(getattr(dsoftmax, name), dim, keep_attrs=True)
    xr.testing.assert_allclose(y, expected, rtol=1e-13)
    like = x.max(dim, keep_attrs=True)
    xr.testing.assert_identical(y.copy(data=like.data), like)
    assert y.chunks == like.chunks


def test_numbers_and_other_dtypes():
    assert named.softmax(xr.DataArray(2.0)).item() == 1
    assert named.softmax(make().astype("f4"), "mode").dtype == "f4"
    assert named.softmax(xr.DataArray([0, 0], dims="i")).values.tolist() == [0.5, 0.5]
    by_number = xr.DataArray([[0.0, 0.0]], dims=(0, 1))  # names may be anything hashable
    assert named.softmax(by_number, 1).values.tolist() == [[0.5, 0.5]]


def test_xarrays_setting_drops_attributes():
    x = make()
    with xr.set_options(keep_attrs=False):
        assert named.softmax(x, "mode").attrs == {}
        assert named.logsumexp(x, "mode").attrs == {}
        assert named.logsumexp(x, by="kind").attrs == {}
        assert named.expectation(x, xr.zeros_like(x), "mode").attrs == {}
    assert x.attrs == {"units": "utility"}


@pytest.mark.parametrize("chunks", [None, (2, 3, 2)])
def test_variables_of_a_dataset_count_over_the_dimensions_that_they_have(chunks, lazily):
    x = make(chunks)
    ds = xr.Dataset(
        {"u": x, "v": x.isel(person=0).drop_vars(["cost", "income", "person"]), "w": x["income"]},
        attrs={"source": "survey"},
    )
    p = lazily(named.softmax, ds, "mode")
    assert p.sizes == ds.sizes
    assert p.attrs == ds.attrs
    assert carries_the_same(p["u"], x)
    for name in ("u", "v"):
        np.testing.assert_allclose(p[name].sum("mode"), 1, rtol=1e-14)
    assert (p["w"] == 1).all()
    sums = lazily(named.logsumexp, ds, ["mode"])
    like = ds.max("mode", keep_attrs=True)
    xr.testing.assert_identical(sums.coords.to_dataset(), like.coords.to_dataset())
    assert sums["u"].dims == ("person", "time")
    xr.testing.assert_identical(sums["w"], ds["w"])
    with pytest.raises(ValueError, match="dim is 'place' and x has dimensions"):
        named.softmax(ds, "place")


# What goes beside x.


@pytest.mark.parametrize("name", [*MAPS, *REDUCTIONS])
def test_masks_go_by_name(x, lazily, name):
    seen = xr.DataArray(np.arange(24).reshape(6, 4) % 3 > 0, dims=("mode", "person"))
    for where in (seen, seen.chunk(mode=2), seen.assign_coords(mode=make()["mode"])):
        y = lazily(getattr(named, name), x, "mode", where=where)
        mask = seen.values.T[:, None, :]
        expected = getattr(dsoftmax, name)(make().values, 2, where=mask)
        np.testing.assert_allclose(y.values, expected, rtol=1e-13)


def test_masks_that_do_not_go_with_x():
    x = make()
    other = xr.DataArray([True] * 6, coords={"mode": list("abcdef")}, dims="mode")
    match = "xarray.softmax: where has other labels than x, or another order, along 'mode'; align"
    with pytest.raises(xr.AlignmentError, match=match):
        named.softmax(x, "mode", where=other)
    match = "xarray.expectation: values has length 2 and x length 6 along 'mode'; align them first"
    with pytest.raises(xr.AlignmentError, match=match):
        named.expectation(x, other[:2].drop_vars("mode").astype(float), "mode")
    with pytest.raises(xr.AlignmentError, match="xarray.logsumexp: by has other labels than x"):
        named.logsumexp(x, by=other)
    with pytest.raises(ValueError, match="where has the dimension 'place', and x has"):
        named.softmax(x, where=xr.DataArray([True], dims="place"))
    with pytest.raises(TypeError, match="where is of type numpy ndarray; pass a DataArray"):
        named.softmax(x, "mode", where=np.ones(6, bool))


def test_expectation(x, lazily):
    mean = lazily(named.expectation, x, "income", ["person", "time"])
    p = named.softmax(make(), ["person", "time"])
    expected = (p * make()["income"]).sum(["person", "time"])
    np.testing.assert_allclose(mean, expected, rtol=1e-13)
    assert mean.dims == ("mode",)
    assert mean.name == "income"
    assert set(mean.coords) == {"mode", "kind", "city"}
    place = xr.DataArray(np.arange(6.0), dims="mode", name="place", attrs={"units": "m"})
    one, two = named.expectation(x, (place, x["income"]), where=x["income"] > 1)
    weights = make().where(make()["income"] > 1, -np.inf)
    np.testing.assert_allclose(one, (named.softmax(weights) * place).sum(), rtol=1e-13)
    assert (one.name, two.name) == ("place", "income")
    assert one.attrs == place.attrs
    with pytest.raises(TypeError, match="values is 'nothing' and x has coordinates"):
        named.expectation(x, "nothing")
    with pytest.raises(TypeError, match="values is of type list; pass a DataArray"):
        named.expectation(x, [1.0, 2.0])
    with pytest.raises(TypeError, match="x is of type xarray Dataset; pass a DataArray"):
        named.expectation(x.to_dataset(), "income")


# Groups.

LABELS = {
    "words": ["road", "public", "public", "public", "own", "own"],
    "numbers": [3, -1, 3, 7, 7, 7],
    "dates": np.array([3, 1, 3, 7, 7, 7], "M8[D]"),
    "in Oslo": pd.DatetimeIndex(np.array([3, 1, 3, 7, 7, 7], "M8[D]"), tz="Europe/Oslo"),
    "categories": pd.Categorical.from_codes([1, 0, 1, 2, 2, 2], ["z", "y", "x"]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_groups_are_those_of_groupby(x, lazily, kind):
    x = x.assign_coords(label=("mode", LABELS[kind]))
    p = lazily(named.softmax, x, by="label")
    values = pd.Series(range(6)).groupby(pd.Series(LABELS[kind]), observed=True).groups
    for places in values.values():
        own = dsoftmax.softmax(make().values[..., list(places)], axis=-1)
        np.testing.assert_allclose(p.values[..., list(places)], own, rtol=1e-13)
    assert p.chunks == x.chunks
    xr.testing.assert_identical(p.copy(data=x.data), x)
    for name in REDUCTIONS:
        sums = lazily(getattr(named, name), x, by="label")
        assert sums.dims == ("person", "time", "label")
        assert sums["label"].values.tolist() == list(values)
        for label, places in values.items():
            own = getattr(dsoftmax, name)(make().values[..., list(places)], axis=-1)
            np.testing.assert_allclose(sums.sel(label=label), own, rtol=1e-13)
        assert set(sums.coords) == {"person", "income", "city", "label"}
        assert (sums.name, sums.attrs) == (x.name, x.attrs)


def test_what_groupby_of_xarray_gives(x):
    sums = named.logsumexp(x, by="kind")
    expected = make().groupby("kind").reduce(dsoftmax.logsumexp, dim="mode")
    xr.testing.assert_allclose(sums, expected.transpose(*sums.dims), rtol=1e-13)
    assert set(sums.coords) == set(expected.coords)


def test_labels_that_are_dask_arrays_missing_or_several(x, lazily):
    labels = xr.DataArray(["a", None, "a", "b", "b", "b"], dims="mode", name="label")
    lazy = labels.chunk(mode=2) if x.chunks else labels
    p = lazily(named.softmax, x, "mode", by=lazy)
    np.testing.assert_array_equal(np.isnan(p.values), np.arange(6) == 1 + np.zeros((4, 3, 6)))
    sums = named.logsumexp(x, by=labels)
    assert sums["label"].values.tolist() == ["a", "b"]
    both = named.logsumexp(x, by=[labels, "kind"])
    assert both.dims == ("person", "time", "label", "kind")
    assert both.sel(label="a", kind="own").values.tolist() == [[-np.inf] * 3] * 4
    np.testing.assert_allclose(both.sel(label="b", kind="public"), make().sel(mode="tram"))
    assert named.logsumexp(x, by=labels.rename(None)).dims[-1] == "group"
    if x.chunks:
        with pytest.raises(TypeError, match=r"by is a Dask array.*x\['label'\].load\(\)"):
            named.entropy(x, by=lazy)


def test_groups_along_the_first_dimension_of_a_dataset(x):
    ds = xr.Dataset({"u": x, "v": x * 2}).assign_coords(home=("person", [0, 1, 0, 1]))
    p, sums = named.softmax(ds, by="home"), named.logsumexp(ds, by="home")
    for name in ds:
        xr.testing.assert_identical(p[name], named.softmax(ds[name], by="home"))
        assert sums[name].dims == ("home", "time", "mode")
        np.testing.assert_allclose(p[name].sum("person"), 2, rtol=1e-13)


# Errors.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": "place"}, ValueError, "softmax: dim is 'place' and x has dimensions .'person', "),
        ({"dim": ["mode", "mode"]}, ValueError, "each once, or None for all"),
        ({"dim": 2}, ValueError, "dim is 2 and x has dimensions"),
        ({"by": "place"}, TypeError, "by is 'place' and x has coordinates"),
        ({"by": np.zeros(6)}, TypeError, "by is of type numpy ndarray and x has coordinates"),
        ({"by": "cost"}, ValueError, "pass labels along one of the dimensions of x"),
        ({"by": ["kind", "income"]}, ValueError, "pass labels along one of the dimensions of x"),
        ({"by": "city"}, ValueError, "pass labels along one of the dimensions of x"),
        ({"by": "kind", "dim": "time"}, ValueError, "dim is 'time', and labels go along 'mode'"),
        ({"by": "kind", "where": make() > 0}, TypeError, "where is given, and by"),
        ({"split_every": 1}, ValueError, "split_every is 1"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        named.softmax(make((2, 3, 2)), **options)


def test_what_is_not_of_xarray():
    with pytest.raises(
        TypeError, match="logsumexp: x is of type numpy ndarray; pass a DataArray or Da"
    ):
        named.logsumexp(np.zeros(3))
    with pytest.raises(TypeError, match="softmax: x has dtype str160"):
        named.softmax(make()["mode"])


def test_without_xarray_an_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    for name in ("_named", "xarray"):
        monkeypatch.delitem(sys.modules, f"dsoftmax.{name}")
        monkeypatch.delattr(dsoftmax, name)
    with pytest.raises(ImportError, match=r"pip install '\.\[xarray\]'"):
        importlib.import_module("dsoftmax.xarray")


# What docs/xarray.md says of xarray's own ways.


def test_apply_ufunc_and_reduce(x):
    expected = named.softmax(make(), "mode")
    core = {"input_core_dims": [["mode"]], "output_core_dims": [["mode"]], "dask": "allowed"}
    p = xr.apply_ufunc(dsoftmax.softmax, x, kwargs={"axis": -1}, **core)
    xr.testing.assert_allclose(p, expected, rtol=1e-13)
    assert p.chunks == x.chunks
    sums = x.reduce(dsoftmax.logsumexp, ["time", "mode"])
    xr.testing.assert_allclose(sums, named.logsumexp(make(), ["time", "mode"]), rtol=1e-13)
    within = x.groupby("kind").map(lambda group: named.softmax(group, "mode"))
    found = within.sel(mode=make()["mode"])
    xr.testing.assert_allclose(found, named.softmax(make(), by="kind"), rtol=1e-13)


def test_the_code_of_the_document():
    text = Path(__file__).parents[2].joinpath("docs/xarray.md").read_text()
    found = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "xarray.md", "exec"), found)
    utility, p, within, nests = (found[name] for name in ("utility", "p", "within", "nests"))
    assert p.chunks == within.chunks == utility.chunks
    np.testing.assert_allclose(within.sum("mode"), 2, rtol=1e-14)
    np.testing.assert_allclose(np.log(np.exp(nests).sum("public")), found["inclusive_value"])
    assert 300 < found["size"] < 1200  # of 2000 / exp(1)
    assert abs(found["mean"] - 1) < 0.15
    assert found["sample"].sizes == {"sample": 1000}
    assert abs(found["sample"].mean() - found["mean"]) < 0.2


def test_map_blocks_and_pipe(lazily):
    x = make((1, 3, 6))  # whole slices in each block
    p = lazily(lambda: x.map_blocks(named.softmax, args=["mode"], template=x))
    xr.testing.assert_allclose(p, named.softmax(make(), "mode"), rtol=1e-13)
    xr.testing.assert_identical(x.pipe(named.softmax, "mode"), named.softmax(x, "mode"))


def test_it_is_read_once_by_all_that_is_asked_together():
    read = []

    def note(block):
        read.append(block)
        return block

    x = make((2, 1, 2))
    x = x.copy(data=da.map_blocks(note, x.data, dtype=float, meta=np.empty((0, 0, 0))))
    dask.compute(named.logsumexp(x, "mode"), named.logsumexp(x.to_dataset(), "mode"))
    assert len(read) == 18


def test_errors_name_the_variable_of_a_dataset():
    data = make().to_dataset(name="utility").assign(word=("mode", list("abcdef")))
    with pytest.raises(TypeError, match="has dtype str") as caught:
        named.softmax(data, "mode")
    (note,) = caught.value.__notes__
    assert note == "This is the variable 'word' of x; x.drop_vars leaves it out."


def test_errors_of_labels():
    data = make().to_dataset(name="utility").assign(wage=("person", [1.0, 2.0, 3.0, 4.0]))
    with pytest.raises(ValueError, match=r"by has dimensions .*'mode'.* and x \('person',\)") as e:
        named.softmax(data, by="kind")
    assert e.value.__notes__ == ["This is the variable 'wage' of x; x.drop_vars leaves it out."]
    with pytest.raises(ValueError, match=r"x.stack\(place=\('person', 'mode'\)\)"):
        named.softmax(make(), by="cost")
    places = make().isel(time=0).stack(place=["person", "mode"])
    sums = named.logsumexp(places, by="cost")
    np.testing.assert_allclose(sums, [dsoftmax.logsumexp(make().isel(time=0).values)])
    kind = make()["kind"]
    for by in (kind.rename("time"), [kind, kind], [kind.rename(None), kind.rename(None)]):
        with pytest.raises(ValueError, match="as is another dimension of the result; give it a"):
            named.logsumexp(make(), by=by)


@pytest.mark.parametrize("labels", [[[1], [2], [1]], [{}, {}, {}], [1, "a", 2]])
@pytest.mark.parametrize("chunks", [None, 1])
def test_labels_without_order_or_hash_are_named(labels, chunks):
    by = np.empty(3, object)
    by[:] = labels
    data = np.zeros(3) if chunks is None else da.zeros(3, chunks=chunks)
    x = xr.DataArray(data, dims="i", coords={"k": ("i", by)})
    for function in (named.softmax, named.logsumexp):
        match = rf"\.{function.__name__}: labels in by have no order, or no hash \(.*; make them of"
        with pytest.raises(TypeError, match=match):
            function(x, by="k").compute()


@pytest.mark.parametrize("name", [*MAPS, *REDUCTIONS])
def test_one_number(name):
    found = getattr(named, name)(xr.Dataset({"a": 3.0, "b": ("i", [3.0, 3.0])}), "i")
    expected = getattr(dsoftmax, name)([3.0])
    assert found["a"].shape == ()
    assert found["a"].item() == np.ravel(expected)[0]


class TestCoordinates:
    """Those that no variable has, and those that are no dimension."""

    def data(self):
        coords = {
            "q": [5, 6],
            "of_q": ("q", [1, 2]),
            "both": (("r", "q"), np.zeros((2, 2))),
            "kind": ("r", [1, 1], {"units": "m"}),
        }
        return xr.Dataset({"a": ("r", [1.0, 2.0])}, coords=coords)

    def test_maps_keep_all(self):
        x = self.data()
        for y in (named.softmax(x, "r"), named.log_softmax(x), named.softmax(x, by="kind")):
            xr.testing.assert_identical(y.coords.to_dataset(), x.coords.to_dataset())

    @pytest.mark.parametrize("dim", ["r", "q", ["r", "q"], None])
    def test_reductions_keep_those_that_xarray_keeps(self, dim):
        x = self.data()
        y, expected = named.logsumexp(x, dim), x.sum(dim)
        xr.testing.assert_identical(y.coords.to_dataset(), expected.coords.to_dataset())

    def test_groups_keep_the_attributes_of_labels(self):
        x = self.data()
        for one in (x, x["a"]):
            y = named.logsumexp(one, by="kind")
            assert y["kind"].attrs == {"units": "m"}
        assert {*named.logsumexp(x, by="kind").coords} == {"kind", "q", "of_q"}

    def test_an_index_that_is_no_dimension(self):
        def labelled(values, labels):
            coords = {"label": ("t", labels)}
            return xr.DataArray(values, dims="t", coords=coords).set_xindex("label")

        x, where = labelled([1.0, 2.0], [1, 2]), labelled([True, True], [1, 3])
        for beside in ({"where": where}, {"by": where}):
            with pytest.raises(xr.AlignmentError, match="has other labels than x, or another"):
                named.softmax(x, **beside)
