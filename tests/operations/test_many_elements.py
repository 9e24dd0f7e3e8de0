"""Draws and running sums of more than 2^31 elements, in one chunk and in several."""

import dask.array as da
import numpy as np
import pytest

import dsoftmax

MANY = 2**31 + 16
LAST = 5  # elements that there are to draw

pytestmark = pytest.mark.huge


def test_draws_of_one_chunk():
    x = np.zeros(MANY, "f4")  # in memory only where it is written to
    x[-LAST:] = 60
    for size, replace in ((LAST, False), (100, True)):
        found = dsoftmax.choice(x, size, replace=replace, rng=0)
        assert set(found.tolist()) == {*range(MANY - LAST, MANY)}


def _with_the_last(block, block_info):
    ((_, stop),) = block_info[0]["array-location"]
    if stop == MANY:
        block = block.copy()
        block[-LAST:] = 60
    return block


def test_draws_of_chunks():
    x = da.zeros(MANY, dtype="f4", chunks=2**26).map_blocks(_with_the_last, dtype="f4")
    found = dsoftmax.choice(x, LAST, replace=False, rng=0)
    assert set(found.compute().tolist()) == {*range(MANY - LAST, MANY)}


def test_running_sums_of_one_chunk():
    y = dsoftmax.cumulative_logsumexp(np.zeros(MANY, "f2"))
    assert y[0] == 0
    assert y[-1] == np.float16(np.log(MANY))
    assert y[2**31 - 1] == np.float16(np.log(2**31))
