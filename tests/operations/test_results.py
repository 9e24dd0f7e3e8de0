"""TopK and the other named tuples of arrays, and what notebooks show of lazy results."""

import re

import dask
import dask.array as da
import numpy as np
import pytest

import dsoftmax

from ..processes import printed

X = np.random.default_rng(0).normal(size=(6, 8))
FUNCTIONS = {
    "TopK": lambda x: dsoftmax.softmax_topk(x, 3, axis=1),
    "TopKWithLog": lambda x: dsoftmax.softmax_topk(x, 3, axis=1, return_log=True),
    "GumbelTopK": lambda x: dsoftmax.gumbel_topk(x, 3, axis=1, rng=0),
}
every = pytest.mark.parametrize("name", FUNCTIONS)


class Readings:
    """An array that counts how often each of its chunks is read."""

    shape, dtype, ndim = X.shape, X.dtype, X.ndim

    def __init__(self):
        self.count = 0

    def __getitem__(self, index):
        self.count += 1
        return X[index]


def lazy(source=X):
    return da.from_array(source, chunks=(3, 2), meta=X[:0, :0])


@every
def test_compute_gives_all_in_one_reading(name):
    source = Readings()
    result = FUNCTIONS[name](lazy(source)).compute()
    assert source.count == 8
    assert type(result) is getattr(dsoftmax, name)
    for found, expected in zip(result, FUNCTIONS[name](X), strict=True):
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@every
def test_persist_holds_all_in_one_reading(name):
    source = Readings()
    held = FUNCTIONS[name](lazy(source)).persist(scheduler="threads")
    assert source.count == 8
    assert type(held) is getattr(dsoftmax, name)
    assert all(isinstance(array, da.Array) for array in held)
    for found, expected in zip(held.compute(), FUNCTIONS[name](X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert source.count == 8


@every
def test_in_memory_both_give_the_same(name):
    result = FUNCTIONS[name](X)
    for same in (result.compute(), result.persist()):
        assert type(same) is type(result)
        assert all(a is b for a, b in zip(same, result, strict=True))


def test_dask_computes_it_among_others():
    best, total = dask.compute(dsoftmax.softmax_topk(lazy(), 1, axis=None), lazy().sum())
    assert isinstance(best, dsoftmax.TopK)
    assert best.indices.tolist() == [X.argmax()]
    assert total == pytest.approx(X.sum())


@every
def test_notebooks_show_each_array_as_dask_does(name, lazily):
    result = lazily(FUNCTIONS[name], lazy())
    shown = lazily(result._repr_html_)
    assert shown.startswith(f"<strong>{name}</strong><table>")
    for field, array in result._asdict().items():
        assert re.search(rf"<th [^>]*>{field}</th>", shown)
        assert array._repr_html_() in shown
    assert result.compute()._repr_html_() is None  # so that they show the text


@pytest.mark.parametrize("axis", [None, 0])
def test_notebooks_show_a_lazy_normalizer(axis, lazily):
    n = lazily(dsoftmax.Normalizer.of, lazy(), axis)
    shown = lazily(n._repr_html_)
    assert shown.startswith("<strong>Normalizer</strong><table>")
    assert n.m._repr_html_() in shown
    assert n.d._repr_html_() in shown
    assert f">{n.axis}</td>" in shown
    assert n.compute()._repr_html_() is None


@pytest.mark.system
def test_what_notebooks_show_in_the_array_expression_mode():
    """Whose arrays Dask shows as text."""
    program = """
import dask.array as da
import dsoftmax
x = da.ones((4, 6), chunks=3)
for found in (dsoftmax.topk(x, 2, axis=1), dsoftmax.Normalizer.of(x, 1)):
    print(found._repr_html_())
"""
    shown = printed(program, expressions=True)
    assert shown.count("<table>") == 2
    assert "indices" in shown
