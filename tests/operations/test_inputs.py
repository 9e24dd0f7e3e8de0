"""What may be given for an array, and what is refused: labels, subclasses, odd blocks."""

from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
import scipy.sparse

import dsoftmax
from dsoftmax import Normalizer, log_softmax, logsumexp, softmax, softmax_topk, topk

from ..compare import assert_allclose, assert_array_equal

pd = pytest.importorskip("pandas", reason="arrays of pandas")
pl = pytest.importorskip("polars", reason="arrays of Polars")
xr = pytest.importorskip("xarray", reason="arrays of xarray")
zarr = pytest.importorskip("zarr", reason="stored arrays")
pytest.importorskip("pyarrow", reason="Dask's data frames")
dd = pytest.importorskip("dask.dataframe", reason="Dask's data frames")

import dsoftmax.dataframe  # noqa: E402
import dsoftmax.xarray  # noqa: E402

X = [0.0, 1.0, 2.0]


class COO:
    """What makes an array one of PyData's sparse ones: Dask imports that library where it is."""

    __module__ = "sparse.numba_backend"
    shape, dtype, ndim, nnz = (3,), np.dtype(float), 1, 2

    def __array_namespace__(self):
        return np


FUNCTIONS = {
    "softmax: x": softmax,
    "log_softmax: x": log_softmax,
    "logsumexp: a": logsumexp,
    "logsumexp: b": lambda b: logsumexp(np.zeros(3), b=b),
    "softmax_topk: x": lambda x: softmax_topk(x, 1, axis=None),
    "topk: x": lambda x: topk(x, 1, axis=None),
    "Normalizer.of: x": Normalizer.of,
    "Normalizer.softmax: x": Normalizer.of(X).softmax,
}
LABELLED = {
    "pandas Series": pd.Series(X),
    "pandas Index": pd.Index(X),
    "pandas DataFrame": pd.DataFrame({"id": [7, 8, 9], "score": X}),
    "polars Series": pl.Series(X),
    "polars DataFrame": pl.DataFrame({"score": X}),
    "polars LazyFrame": pl.LazyFrame({"score": X}),
    "xarray DataArray": xr.DataArray(X, dims="x"),
    "xarray Variable": xr.Variable("x", X),
    "xarray Dataset": xr.Dataset({"score": ("x", X)}),
    "a DataArray of Dask": xr.DataArray(da.from_array(X, chunks=2), dims="x"),
    "a Series of Dask": dd.from_pandas(pd.Series(X), npartitions=2),
    "a DataFrame of Dask": dd.from_pandas(pd.DataFrame({"score": X}), npartitions=2),
}


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return request.param, FUNCTIONS[request.param]


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_not_lost_without_a_word(name, function, lazily):
    what, call = function
    kind = ".*" if name.startswith("a ") else name
    array = r"\.data" if "xarray" in name or "DataArray" in name else r"\.to_numpy\(\)"
    if name in ("a Series of Dask", "a DataFrame of Dask"):
        array = r"\.to_dask_array\(lengths=True\)"
    argument = what.split()[1]
    lost = ", and the result would have no labels" if argument in ("x", "a") else ""
    match = rf"^{what} is of type {kind}, not an array{lost}; pass {argument}{array}"
    with pytest.raises(TypeError, match=match):
        lazily(call, LABELLED[name])


@pytest.mark.parametrize("module", [dsoftmax.xarray, dsoftmax.dataframe])
def test_a_module_that_keeps_labels_is_named_where_it_has_the_function(module):
    x = LABELLED["a DataArray of Dask" if module is dsoftmax.xarray else "a Series of Dask"]
    others = {"choice": (2,), "topk": (2,), "cumulative_logsumexp": (), "gumbel_topk": (2,)}
    for name in module.__all__:
        if name != "expectation":  # which takes more than x
            with pytest.raises(TypeError, match=rf"^{name}: .*, or use {module.__name__}"):
                getattr(dsoftmax, name)(x)
    for name, more in others.items():
        with pytest.raises(TypeError, match=rf"^{name}: x is of type .*, not an array") as caught:
            getattr(dsoftmax, name)(x, *more)
        assert "or use" not in str(caught.value)


def test_a_stored_array_is_not_loaded_whole(function, lazily):
    what, call = function
    stored = zarr.create_array({}, shape=(3,), dtype="f8", chunks=(2,))
    match = rf"^{what} is of type zarr \w+, a stored array, .* pass dask.array.from_array\("
    with pytest.raises(TypeError, match=match):
        lazily(call, stored)
    stored[:] = X
    x = da.from_array(stored)
    assert_allclose(dsoftmax.softmax(x), dsoftmax.softmax(X))


@pytest.mark.parametrize("x", ["x.zarr", Path("x.npy")], ids=str)
def test_a_name_is_not_opened(x, function, lazily):
    what, call = function
    with pytest.raises(TypeError, match=rf"^{what} is .*{x}.*, not an array; open the file first"):
        lazily(call, x)


@pytest.mark.parametrize("x", [dask.delayed(X), db.from_sequence(X)], ids=["Delayed", "Bag"])
def test_what_would_be_computed_here(x, function, lazily):
    what, call = function
    with pytest.raises(
        TypeError,
        match=rf"^{what} is of type dask \w+, not an array, and would be comp.*from_delayed",
    ):
        lazily(call, x)


@pytest.mark.parametrize("name", [*LABELLED, "a delayed list"])
@pytest.mark.parametrize("within", [lambda x: [x, x], lambda x: (x,), lambda x: [[x], [1.0]]])
def test_nor_in_lists(name, within, function, lazily):
    what, call = function
    with pytest.raises(
        TypeError, match=rf"^{what} is a (list|tuple) with an item of type .*convert each"
    ):
        lazily(call, within(LABELLED.get(name, dask.delayed(X))))


def test_what_the_error_says_to_pass():
    expected = softmax(X)
    series, frame = LABELLED["pandas Series"], LABELLED["a DataFrame of Dask"]
    assert_array_equal(softmax(series.to_numpy()), expected)
    assert_array_equal(softmax(LABELLED["polars Series"].to_numpy()), expected)
    assert_array_equal(softmax(LABELLED["xarray DataArray"].data), expected)
    assert_allclose(softmax(LABELLED["a DataArray of Dask"].data), expected)
    assert_allclose(softmax(frame.to_dask_array(lengths=True))[:, 0], expected)
    assert_allclose(softmax(frame["score"].values), expected)
    assert_array_equal(softmax([pd.Timedelta(1).value, np.float32(1), 1]), softmax([1, 1, 1]))


@pytest.mark.parametrize(
    "x",
    [scipy.sparse.csr_matrix([X]), scipy.sparse.coo_array([X]), COO()],
    ids=lambda x: type(x).__name__,
)
def test_sparse_arrays(x, function, lazily):
    what, call = function
    kind = rf"\((scipy|sparse) {type(x).__name__}\)"
    blocks = da.from_delayed(dask.delayed(x), x.shape, float, meta=x)
    blocks._meta = x
    for one in (x, blocks):
        with pytest.raises(TypeError, match=rf"^{what} is sparse {kind}, and only dense arrays"):
            lazily(call, one)


@pytest.mark.parametrize(
    "x", [{"a": 1.0}, {1.0, 2.0}, None, object()], ids=lambda x: type(x).__name__
)
def test_what_is_no_array_at_all(x, function):
    what, call = function
    if x is None and what == "logsumexp: b":
        return  # no weights
    with pytest.raises(
        TypeError, match=rf"^{what} is of type {type(x).__name__}, not an array; pass"
    ):
        call(x)


def test_lists_that_are_no_array(function):
    what, call = function
    with pytest.raises(ValueError, match=f"^{what} is a list of parts of different lengths; pad"):
        call([[1.0, 2.0], [3.0]])


class Tagged(np.ndarray):
    """A subclass with an opinion about its shape, as np.matrix has it."""

    def reshape(self, *args, **kwargs):
        raise AssertionError("the subclass was asked")

    astype = reshape


@pytest.mark.parametrize("rows", [2, 2000])  # below and above what is worth a compiler
@pytest.mark.parametrize("cls", [Tagged, np.matrix, np.memmap])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_results_of_subclasses_are_plain_arrays_at_any_size(cls, rows, lazy, tmp_path):
    plain = np.random.default_rng(0).normal(size=(rows, 3))
    if cls is np.memmap:
        plain.tofile(tmp_path / "x")
        x = np.memmap(tmp_path / "x", float, mode="r", shape=plain.shape)
    else:
        x = plain.view(cls)
    if lazy:
        blocks = [da.from_delayed(dask.delayed(x), x.shape, float, meta=x[:0])] * 2
        x, plain = da.concatenate(blocks), np.concatenate([plain] * 2)
    n = Normalizer.of(x, axis=1)
    for result, expected in (
        (softmax(x, axis=1), softmax(plain, axis=1)),
        (log_softmax(x, axis=0), log_softmax(plain, axis=0)),
        (logsumexp(x, axis=1, b=x * 0 + 2), logsumexp(plain, axis=1, b=2.0)),
        (topk(x, 2, axis=1).values, topk(plain, 2, axis=1).values),
        (n.softmax(x), softmax(plain, axis=1)),
        (n.m, plain.max(axis=1, keepdims=True)),
    ):
        if lazy:
            assert type(result._meta) is np.ndarray
        (computed,) = dask.compute(result)
        assert type(computed) is np.ndarray
        assert_allclose(computed, expected, rtol=1e-13)


@pytest.mark.parametrize("rows", [2, 2000])
def test_masked_arrays_of_subclasses_are_plain_masked_arrays(rows):
    data = np.random.default_rng(0).normal(size=(rows, 3))
    x = np.ma.array(data.view(Tagged), mask=data > 1)
    y = softmax(x, axis=1)
    assert type(y) is np.ma.MaskedArray
    assert type(y.data) is np.ndarray
    assert_allclose(y.filled(0), softmax(np.ma.array(data, mask=data > 1), axis=1).filled(0))


def of_blocks(block, shape, meta=None):
    """A Dask array whose two blocks are what its meta does not say."""
    block = da.from_delayed(dask.delayed(block), shape, float, meta=meta)
    return da.concatenate([block, block])


@pytest.mark.parametrize("block", [[1.0, 2.0], (1, 2), np.array([1, 2], "i2"), np.array([1, 2])])
def test_blocks_that_can_be_arrays(block):
    x, plain = of_blocks(block, (2,)), np.array([1.0, 2, 1, 2])
    whole = da.from_delayed(dask.delayed([1.0, 2.0]), (2,), float)
    assert_allclose(logsumexp(whole), np.logaddexp(1, 2))
    assert_allclose(softmax(whole), softmax([1.0, 2.0]))
    assert_allclose(logsumexp(x), logsumexp(plain))
    assert_allclose(logsumexp(x, b=x), logsumexp(plain, b=plain))
    for y, expected in ((softmax(x), softmax(plain)), (log_softmax(x), log_softmax(plain))):
        assert y.compute().dtype == y.dtype == np.float64
        assert_allclose(y, expected)
    n = Normalizer.of(x)
    assert_allclose(n.softmax(x), softmax(plain))
    assert_array_equal(softmax_topk(x, 2).indices, [1, 3])
    assert topk(x, 1).values.compute().dtype == np.float64


def test_blocks_of_another_width_than_announced():
    x = of_blocks(np.array([1.0, 2.0], "f4"), (2,))
    for y in (softmax(x), log_softmax(x), softmax_topk(x, 2).values, logsumexp(x)):
        assert y.compute().dtype == y.dtype == np.float64
    whole = da.from_delayed(dask.delayed(np.ones(2, "f4")), (2,), float)
    assert softmax(whole).compute().dtype == np.float64


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.array([1.0, None]), "a block is an array of dtype object.*astype"),
        (["a", "b"], "a block is an array of dtype str"),
        ({"a": 1}, "a block is of type dict, not an array; make arrays"),
        (pd.Series([1.0, 2.0]), "a block is of type pandas Series, not an array"),
        (scipy.sparse.coo_array([1.0, 2.0]), r"a block is of type scipy coo_array.*toarray\(\)"),
        (COO(), r"a block is of type sparse COO.*toarray\(\)"),
    ],
)
def test_blocks_that_cannot(block, message, function):
    what, call = function
    x = of_blocks(block, (2,), meta=np.empty(0))
    result = logsumexp(np.zeros(4), b=x) if what == "logsumexp: b" else call(x)
    result = result.d if isinstance(result, Normalizer) else result
    with pytest.raises(TypeError, match=message):
        dask.compute(result)


def test_numbers_of_another_kind_than_announced_are_not_cast():
    x = da.from_array([1, 2, 3, 4], chunks=2)
    quarters = x.map_blocks(lambda block: block / 4, dtype=int)
    with pytest.raises(TypeError, match=r"has dtype float64, but its Dask array has int64; give"):
        dask.compute(*topk(quarters, 2))
    assert_allclose(softmax(quarters), softmax(np.arange(1, 5) / 4))
    turned = x.map_blocks(lambda block: block * 1j, dtype=float, meta=np.empty(0))
    for function in (softmax, log_softmax, logsumexp):
        with pytest.raises(TypeError, match="has dtype complex128, but its Dask array has float64"):
            function(turned).compute()


@pytest.mark.parametrize("k", [2, -2])
def test_masked_blocks_that_were_not_announced(k):
    block = np.ma.array([1.0, 2.0], mask=[0, 1])
    x = of_blocks(block, (2,), meta=np.empty(0))
    with pytest.raises(TypeError, match="topk: a block is masked; fill it"):
        dask.compute(*topk(x, k))
    assert softmax(x).compute().mask.tolist() == [False, True, False, True]
    assert_allclose(logsumexp(x), np.log(2 * np.e))


@pytest.mark.parametrize("block", [1.0, np.ones((2, 2)), np.float32(1)])
@pytest.mark.parametrize("what", list(FUNCTIONS)[:-1])  # the last takes any dimensions
def test_blocks_of_another_number_of_dimensions(block, what):
    call = FUNCTIONS[what]
    x = of_blocks(block, (2,), meta=np.empty(0))
    result = logsumexp(np.zeros(4), b=x) if what == "logsumexp: b" else call(x)
    result = result.d if isinstance(result, Normalizer) else result
    with pytest.raises(ValueError, match=r"a block has shape \(.*\), and .* it has 1 dimensions"):
        dask.compute(result)
