"""Every chunk of a stored array is read exactly twice, or once; few are in memory at a time."""

import logging

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax import Normalizer, log_softmax, logsumexp, reread, softmax

from .sources import (
    DATA,
    KINDS,
    MANY,
    OF_ONE_BLOCK,
    Source,
    chunks_in_memory,
    doubled,
    many,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_is_read_again(kind):
    source = Source()
    x = KINDS[kind](source.array(inline_array=True))
    again = reread(x, after=x.sum())
    assert source.times(x, again) == doubled(source.times(x))
    assert_allclose(again, x)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OF_ONE_BLOCK])
def test_softmax_reads_every_kind_of_array_twice_or_once(kind):
    source = Source()
    x = KINDS[kind](source.array())
    once = source.times(x)
    assert source.times(softmax(x, reread=False)) == once
    y = softmax(x, reread=True)
    assert source.times(y) == doubled(once)
    assert_allclose(y, special.softmax(x.compute()), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_again_before_what_it_waits_for(kind):
    source, seen = Source(), []
    x = KINDS[kind](source.array())
    done = x.sum().map_blocks(lambda _: seen.append(source.reads.total()), dtype="f8", meta=0)
    source.times(reread(x, after=done))
    assert seen == [source.reads.total() / 2]


STREAMED = ["stored", "used twice", "sliced"]


@pytest.mark.parametrize("kind", STREAMED)
def test_two_passes_take_no_more_memory_than_one(kind):
    x = KINDS[kind](many(Source(MANY)))
    one = chunks_in_memory(logsumexp(x).compute)
    assert chunks_in_memory(softmax(x, reread=True).sum().compute) < one + 20
    assert chunks_in_memory(softmax(x, reread=False).sum().compute) > 80


def test_from_storage_to_storage_few_chunks_are_in_memory():
    target = np.zeros_like(MANY)
    y = softmax(many(Source(MANY)), reread=True)
    assert chunks_in_memory(lambda: da.store(y, target)) < 15
    assert_allclose(target, special.softmax(MANY), rtol=1e-12)


def test_logsumexp_reads_once_and_holds_nothing():
    source = Source()
    assert set(source.times(logsumexp(source.array())).values()) == {1}
    assert chunks_in_memory(logsumexp(many(Source(MANY))).compute) < 15


# What is in memory is neither copied nor computed again.


def in_memory():
    return {
        "numpy": da.from_array(DATA, chunks=(3, 4)),
        "persisted": Source().array().persist(),
        "one block": da.from_array(DATA),
    }


@pytest.mark.parametrize("kind", in_memory())
def test_arrays_in_memory_are_held(kind):
    x = in_memory()[kind]
    assert reread(x, after=x.sum()) is x
    y = softmax(x, reread=True)
    assert y.dask.layers[x.name] is x.dask.layers[x.name]
    assert len(y.dask.to_dict()) == len(softmax(x, reread=False).dask.to_dict())


def test_persisted_arrays_are_not_read():
    source = Source()
    x = source.array().persist()
    assert source.times(softmax(x), softmax(x + 1, reread=True), logsumexp(x)) == {}


# Several passes in one graph.


def test_several_softmaxes_of_one_array_read_it_once_more_each():
    source = Source()
    x = source.array()
    options = {"reread": True}
    arrays = softmax(x, 0, **options), softmax(x, 1, **options), log_softmax(x, 0, **options)
    assert set(source.times(*arrays).values()) == {4}
    assert_allclose(arrays[0], special.softmax(DATA, 0))
    assert_allclose(arrays[1], special.softmax(DATA, 1))
    assert_allclose(arrays[2], special.log_softmax(DATA, 0))


def test_a_normalizer_and_its_data():
    source = Source()
    x = source.array()
    lazy = Normalizer.of(x)
    part = x[:3]
    assert set(source.times(lazy.softmax(x, reread=True)).values()) == {2}
    assert sorted(source.times(lazy.log_softmax(part, reread=True)).values()) == [1] * 6 + [2] * 2
    again = reread(x, after=lazy.d)
    assert set(source.times(lazy.softmax(again) * again).values()) == {2}
    assert lazy.softmax(again, reread=True).name == lazy.softmax(again).name


def test_a_normalizer_of_other_data_reads_both_once(caplog):
    caplog.set_level(logging.INFO, logger="dsoftmax")
    source, other = Source(), Source()
    x = source.array()
    y = Normalizer.of(other.array() + 1).softmax(x, reread=True)
    computed = Normalizer.of(x).compute().softmax(x, reread=True)
    assert set(source.times(y).values()) == {1}
    assert set(other.reads.values()) == {1}
    assert set(source.times(computed).values()) == {1}
    assert caplog.records == []


def test_only_what_is_asked_for_is_read():
    source = Source()
    y = softmax(source.array(), axis=0, reread=True)
    assert source.times(y[:3, :4]) == {0: 2, 100: 1, 200: 1, 300: 1}
