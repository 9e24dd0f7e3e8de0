"""Nothing that is returned shares memory with what was given: neither arrays nor their masks."""

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest

from dsoftmax import Normalizer, log_softmax, logsumexp, softmax, softmax_topk, topk

RNG = np.random.default_rng(0)
FUNCTIONS = {
    "softmax": lambda x, b: softmax(x, axis=1),
    "softmax of elements": lambda x, b: softmax(x, axis=()),
    "log_softmax": lambda x, b: log_softmax(x, axis=0),
    "logsumexp": lambda x, b: logsumexp(x, axis=1, b=b, return_sign=True),
    "logsumexp of elements": lambda x, b: logsumexp(x, axis=()),
    "softmax_topk": lambda x, b: softmax_topk(x, 2, axis=1, return_log=True),
    "softmax_topk of all": lambda x, b: softmax_topk(x, x.shape[1], axis=1),
    "topk": lambda x, b: (*topk(x, 2, axis=0), *topk(x, x.shape[1], axis=1)),
    "topk, smallest": lambda x, b: (*topk(x, -2, axis=0), *topk(x, -x.shape[1], axis=1)),
    "Normalizer": lambda x, b: fields(Normalizer.of(x, axis=1)),
    "Normalizer of elements": lambda x, b: fields(Normalizer.of(x, axis=())),
    "Normalizer of all": lambda x, b: fields(Normalizer.of(x, b=b)),
    "Normalizer.softmax": lambda x, b: Normalizer.of(x, 1).softmax(x),
    "Normalizer.log_softmax": lambda x, b: Normalizer.of(x, 1, b).log_softmax(x),
    "Normalizer.merge": lambda x, b: fields(Normalizer.of(x, ()).merge(Normalizer.of(x, ()))),
}
KINDS = {
    "small": RNG.normal(size=(6, 4)),
    "large": RNG.normal(size=(6, 3000)),
    "float32": RNG.normal(size=(6, 4)).astype("f4"),
    "integers": np.arange(24).reshape(6, 4),
    "masked": np.ma.masked_greater(RNG.normal(size=(6, 4)), 0.5),
    "large, masked": np.ma.masked_greater(RNG.normal(size=(6, 3000)), 0.5),
    "without a mask": np.ma.array(RNG.normal(size=(6, 4))),
}
LAZY = {
    "in memory": lambda x: x,
    "Dask": lambda x: da.from_array(x, chunks=(3, -1)),
    "one chunk": lambda x: da.from_array(x, chunks=-1),
    "persisted": lambda x: da.from_array(x, chunks=(4, x.shape[1] // 2)).persist(),
}


def fields(n):
    return n.m, n.w, n.s, n.d, *n.logsumexp(return_sign=True), n.logsumexp(keepdims=True)


def parts(x):
    """The data and the mask, as they are now."""
    return np.ma.getdata(x).copy(), np.ma.getmaskarray(x).copy()


def overwrite(result):
    """Write to the data and to the mask wherever that is allowed."""
    if isinstance(result, np.ndarray) and result.flags.writeable:
        if isinstance(result, np.ma.MaskedArray):
            result[result.mask] = 0  # which unmasks
            result[...] = np.ma.masked
        result[...] = 77


@pytest.mark.parametrize("lazy", LAZY)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_may_be_written_to(name, kind, lazy):
    if "topk" in name and isinstance(KINDS[kind], np.ma.MaskedArray):
        name = "softmax_topk"  # topk itself takes no masked arrays
    x, b = KINDS[kind].copy(), np.ones(KINDS[kind].shape)
    given = LAZY[lazy](x)
    before = parts(x), parts(b), parts(dask.compute(given)[0])
    results = FUNCTIONS[name](given, b)
    results = dask.compute(*results if isinstance(results, tuple) else (results,))
    for result in results:
        assert not np.shares_memory(np.ma.getdata(result), np.ma.getdata(x))
        overwrite(result)
    after = parts(x), parts(b), parts(dask.compute(given)[0])
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)


def test_results_of_scalars():
    x = np.array(3.0)
    for function in (softmax, log_softmax, logsumexp, lambda x: Normalizer.of(x).m):
        overwrite(np.asarray(function(x)))
    assert x == 3


@pytest.mark.parametrize("axis", [None, 0, ()])
@pytest.mark.parametrize("chunks", [None, 2, 6])
def test_a_normalizer_is_not_changed_by_what_it_gives(axis, chunks):
    x = KINDS["small"]
    n = Normalizer.of(x if chunks is None else da.from_array(x, chunks=chunks), axis=axis)
    held = n.persist()
    before = held.compute()
    for result in dask.compute(*fields(held), held.softmax(x), held.merge(held).m):
        overwrite(result)
    assert held.compute() == before


@pytest.mark.parametrize("axis", [None, 0, ()])
def test_nor_is_one_of_another_library(axis):
    n = Normalizer.of(array_api_strict.asarray(KINDS["small"]), axis=axis)
    before = Normalizer.of(array_api_strict.asarray(KINDS["small"]), axis=axis)
    for result in fields(n):
        result[...] = 77.0
    assert n == before


def test_a_mask_stays_as_it_was():
    m = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    p = softmax(m)
    p[p.mask] = 0
    assert m.mask.tolist() == [False, True, False]
