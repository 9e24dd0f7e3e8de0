"""How arrays on disk are cut into chunks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.storage import default_limit, plan_chunks

from .files import MIB


@pytest.mark.parametrize(
    ("shape", "grain", "order", "limit", "expected"),
    [
        ((), (), (), 100, ()),
        ((1000,), (), (), 800, (100,)),
        ((1000,), (), (), 808, (100,)),  # ten equal ones, not nine of 101 and a rest
        ((1000,), (300,), (0,), 800, (300,)),  # no less than a grain
        ((1000,), (300,), (0,), 4800, (600,)),
        ((10, 10), (), (), 80 * 4, (4, 10)),
        ((10, 10), (), (0, 1), 80 * 4, (10, 4)),
        ((10, 10), (4, 4), (0, 1), 8 * 40, (8, 4)),
        ((10, 10), (4, 4), (0, 1), 8 * 90, (10, 8)),
        ((0, 3), (), (), 100, (1, 3)),
    ],
)
def test_planned_chunks(shape, grain, order, limit, expected):
    assert plan_chunks(shape, 8, limit, grain, order) == expected


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=3),
    st.integers(1, 100_000),
    st.randoms(use_true_random=False),
)
def test_planned_chunks_are_whole_grains_within_the_limit(axes, limit, random):
    shape, grain = (tuple(n) for n in zip(*axes, strict=True))
    order = random.sample(range(len(shape)), len(shape))
    chunks = plan_chunks(shape, 8, limit, grain, order)
    smallest = 8 * math.prod(map(min, shape, grain))
    assert 8 * math.prod(chunks) <= max(limit, smallest)
    assert all(c == n or c % g == 0 for c, n, g in zip(chunks, shape, grain, strict=True))


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((100 * MIB,), (0,), 50 * MIB),  # the sixteenth part
        ((1000 * MIB,), (0,), 128 * MIB),  # no more than asked for
        ((1000,), (0,), MIB),  # no less than 1 MiB
        ((8, 4 * MIB), (1,), 32 * MIB),  # whole slices
        ((8, 4 * MIB), (0, 1), 16 * MIB),
        ((2, 16 * MIB), (1,), 16 * MIB),  # too few whole slices
        ((64, 64 * MIB), (1,), 128 * MIB),  # too large ones
    ],
)
def test_default_limit(shape, axes, expected):
    nearest = tuple(range(len(shape)))[::-1]
    source = NpyFile("", shape, np.dtype("f8"), (1,) * len(shape), nearest)
    assert default_limit(source, axes, 128 * MIB) == expected
