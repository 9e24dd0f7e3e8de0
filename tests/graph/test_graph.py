"""The plan: nothing computes while building, fan-in is bounded, names and counts are as documented.

Classic mode of dask.array; test_array_expr.py runs the results in the other one.
"""

import math
import os
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split

import dsoftmax
from dsoftmax import Normalizer, log_softmax, logsumexp, softmax
from dsoftmax._graph.tree import _integer_root, fan_in

from ..operations import scipys
from .plans import lazy_source, levels, merges, prefixes, tasks

FUNCTIONS = tuple(getattr(dsoftmax, name) for name in scipys.FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("chunks", [2, (2, 6), 6])
def test_nothing_computes_while_building(function, chunks, lazily):
    x = da.random.default_rng(0).normal(size=(6, 6), chunks=chunks)
    y = lazily(function, x, axis=1)
    assert isinstance(y, da.Array)


def test_weights_and_normalizers_are_lazy(lazily):
    x = da.random.default_rng(0).normal(size=(6, 6), chunks=2)
    lazily(logsumexp, x, axis=1, b=x + 1, return_sign=True)
    n = lazily(Normalizer.of, x, axis=0)
    lazily(lambda: (n.m, n.d, n.logsumexp(), n.softmax(x), n.merge(n), repr(n)))


@pytest.mark.parametrize("split_every", [2, 3, 5, 8])
def test_fan_in_is_bounded_and_reached(split_every):
    y = logsumexp(lazy_source(125), split_every=split_every)
    counts = merges(tasks(y))
    assert max(counts) == split_every
    assert levels(y) >= 3
    assert float(y.compute()) == pytest.approx(math.log(375) + 1)


@pytest.mark.parametrize("split_every", [4, 8, 9, 27, 64])
def test_fan_in_over_several_axes(split_every):
    x = da.ones((8, 8, 8), chunks=1)
    y = logsumexp(x, split_every=split_every)
    assert max(merges(tasks(y))) <= max(split_every, 8)  # two along each axis is the least
    assert float(y.compute()) == pytest.approx(math.log(512) + 1)


def test_fan_in_is_shared_by_the_axes_that_have_blocks():
    x = da.ones((64, 3), chunks=(1, 3))
    assert fan_in(x, (0, 1), 16) == {0: 16, 1: 16}
    assert fan_in(da.ones((64, 3), chunks=1), (0, 1), 16) == {0: 4, 1: 4}
    assert fan_in(x, (0,), {0: 5}) == {0: 5}


def test_default_fan_in_depends_on_the_size_of_a_state():
    small = da.ones((64, 100), chunks=(1, 100))
    large = da.ones((64, 100_000), chunks=(1, 100_000))
    assert fan_in(small, (0,)) == {0: 16}
    assert fan_in(large, (0,)) == {0: 4}
    with dask.config.set(split_every=7):
        assert fan_in(small, (0,)) == {0: 7}


def test_split_every_by_axis():
    x = da.ones((9, 8), chunks=1)
    y = logsumexp(x, axis=(0, 1), split_every={0: 3, -1: 2})
    assert max(merges(tasks(y))) == 6


def test_integer_roots():
    assert [_integer_root(n, 3) for n in (2, 7, 8, 26, 27, 63, 64, 65)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert _integer_root(16, 1) == 16


@pytest.mark.parametrize("bad", [1, 0, -3, {0: 1}, {5: 2}])
def test_split_every_has_to_bound_something(bad):
    with pytest.raises(ValueError, match="split_every .*at least 2"):
        softmax(da.ones((4, 4), chunks=1), split_every=bad)


@pytest.mark.parametrize("bad", [2.0, "8", True, {0: None}])
def test_split_every_has_to_be_an_integer(bad):
    with pytest.raises(TypeError, match="split_every is .*at least 2"):
        softmax(da.ones(4, chunks=1), split_every=bad)


@pytest.mark.parametrize(("function", "name"), [(softmax, "softmax"), (log_softmax, "log-softmax")])
def test_names_on_the_dashboard(function, name):
    y = function(lazy_source(40), split_every=4)
    expected = {"normalizer", "merge-partial", "merge-aggregate", "rescale"}
    assert {f"{name}-{part}" for part in expected} <= prefixes(y)
    assert prefixes(y) - {f"{name}-{part}" for part in expected} <= {"source"}


def test_names_of_logsumexp():
    y = logsumexp(lazy_source(40), split_every=4)
    names = prefixes(y)
    assert {"logsumexp-normalizer", "logsumexp-merge-partial"} <= names
    assert all(name.startswith("logsumexp") for name in names)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_task_per_block_that_holds_its_slices(function):
    x = da.ones((12, 5), chunks=(2, 5)) + 1
    graph = tasks(function(x, axis=1))
    assert len(graph) == 6
    # a dropped axis is fused with the reading by another of Dask's optimisations, which joins names
    (name,) = {key_split(key) for key in graph}
    assert name.endswith(function.__name__.replace("_", "-"))


@pytest.mark.parametrize(("blocks", "per_block"), [(100, 1.1), (1000, 1.1)])
def test_tasks_per_chunk_of_logsumexp(blocks, per_block):
    assert len(tasks(logsumexp(lazy_source(blocks)))) <= per_block * blocks


def test_weights_are_read_by_the_task_that_uses_them():
    x = da.ones(40, chunks=2) + 1
    names = prefixes(logsumexp(x, b=x * 2, split_every=20))
    assert names == {"logsumexp-normalizer", "logsumexp-merge-aggregate"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keys_are_deterministic(function):
    x, other = da.ones((4, 4), chunks=2), da.zeros((4, 4), chunks=2)
    assert function(x, axis=0).name == function(x, axis=0).name
    assert set(function(x, axis=0).dask) == set(function(x, axis=0).dask)
    names = {
        function(x, axis=0).name,
        function(x, axis=1).name,
        function(x).name,
        function(other, axis=0).name,
        softmax(x, axis=0).name,
    }
    assert len(names) == 4 + (function is not softmax)


NAMES = r"""
import dask.array as da, dsoftmax
x = da.ones((8, 6), chunks=(2, 3), name="x")
n = dsoftmax.Normalizer.of(x, axis=0, b=da.ones((8, 6), chunks=(2, 3), name="b"))
arrays = [
    *(f(x, axis=a) for f in (dsoftmax.softmax, dsoftmax.log_softmax, dsoftmax.logsumexp)
      for a in (None, 0)),
    dsoftmax.softmax(x + 1, reread=True), dsoftmax.logsumexp(x.rechunk((8, 3)), axis=0),
    *dsoftmax.logsumexp(x, b=2, return_sign=True), dsoftmax.reread(x + 1, after=n.d),
    *dsoftmax.softmax_topk(x, 2, axis=1), *dsoftmax.topk(x, 2, axis=None), n.m, n.d, n.merge(n).s,
    n.logsumexp(), n.softmax(x),
]
print(*(name for y in arrays for name in (y.name, *sorted(y.dask.layers))), sep="\n")
"""


def test_keys_are_the_same_in_every_process():
    names = [
        subprocess.run(
            [sys.executable, "-c", NAMES],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert names[0] == names[1]
    assert len(names[0]) > 100


def test_keys_tell_weights_and_signs_apart():
    x = da.ones(4, chunks=2)
    log, sign = logsumexp(x, b=2, return_sign=True)
    other = logsumexp(x, b=3)
    assert len({log.name, sign.name, other.name, logsumexp(x, b=2).name, logsumexp(x).name}) == 5


def test_a_chunk_is_never_modified():
    x = np.random.default_rng(0).normal(size=100)
    x.flags.writeable = False
    lazy = da.from_array(x, chunks=10)
    for function in FUNCTIONS:
        dask.compute(function(lazy), function(lazy, axis=0))


def test_culling_keeps_what_one_block_needs():
    y = softmax(lazy_source(64), split_every=8).blocks[3]
    rescales = [key for key in tasks(y) if "rescale" in str(key)]
    assert len(rescales) == 1
    np.testing.assert_allclose(y.compute(), np.full(3, 1 / 192))


def test_public_names():
    assert all(hasattr(dsoftmax, name) for name in dsoftmax.__all__)
