"""Keys for draws without replacement: those that are skipped are none of the best."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax._kernels import Terms, gumbel, topk
from dsoftmax._kernels.gumbel import Placed
from dsoftmax._kernels.noise import noise

from ..compare import assert_array_equal
from ..strategies import floats

KEY = (20, 26)
DATA = {
    "normal": lambda rng, n: rng.normal(size=n),
    "wide": lambda rng, n: rng.normal(size=n) * 100,
    "equal": lambda rng, n: np.zeros(n),
    "rising": lambda rng, n: np.linspace(0, 300, n),
    "one giant": lambda rng, n: np.where(np.arange(n) == n - 5, 60, rng.normal(size=n)),
    "far": lambda rng, n: rng.normal(size=n) + 1e15,
    "minus infinity": lambda rng, n: np.where(rng.random(n) < 0.9, -np.inf, rng.normal(size=n)),
    "NaN": lambda rng, n: np.where(rng.random(n) < 1e-3, np.nan, rng.normal(size=n)),
    "infinity": lambda rng, n: np.where(rng.random(n) < 1e-3, np.inf, rng.normal(size=n)),
}


def assert_best(block, shape, k):
    """The best of a block that is all of one slice are those of all its keys."""
    axes = tuple(range(len(shape)))
    found = gumbel.of_block(block, axes, k, shape, KEY)
    expected = topk.of_block(gumbel.keys(block, shape, KEY), axes, k, False)
    assert_array_equal(found.values, expected.values)
    assert_array_equal(found.indices, expected.indices)
    assert found.lengths == expected.lengths


@pytest.mark.parametrize("k", [1, 3000, 70_000])
@pytest.mark.parametrize("kind", DATA)
def test_long_slices(kind, k):
    rng = np.random.default_rng(0)
    for n, dtype in ((100, "f8"), (70_000, "f4")):
        x = DATA[kind](rng, n).astype(dtype)
        assert_best(Placed(x, (7,)), (n + 10,), min(k, n))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(floats(), min_size=1, max_size=60), st.integers(1, 60), st.integers(1, 9))
def test_short_panels(elements, k, panel):
    x = np.array(elements)
    where = np.arange(x.size) % 3 > 0
    with patch.multiple(gumbel, PANEL=panel, PENDING=panel):
        assert_best(Placed(x, (3,)), (100,), min(k, x.size))
        assert_best(Placed(Terms(x, where=where), (3,)), (100,), min(k, x.size))


def test_few_elements_pass_the_test():
    bits = gumbel.philox.bits(np.arange(1 << 15), KEY)
    ascending = np.sort(noise(bits))
    for k in (1, 10, 100):
        hit = np.flatnonzero(bits < gumbel._limit(0.0, ascending[-k - 1]))
        assert hit.size <= k + 1  # with the least one itself
        assert set(noise(bits[hit])) >= set(ascending[-k:])


def test_nothing_of_minus_infinity_passes_the_test():
    x = np.full(1000, -np.inf)
    for compiled in (False, True):
        places, bits = gumbel._candidates(x, 5, 3.0, KEY, compiled)
        assert places.size == bits.size == 0
        assert gumbel._candidates(x, 5, -np.inf, KEY, compiled)[0].size == x.size


@pytest.mark.parametrize("starts", [(0, 0, 0), (1, 2, 3)])
@pytest.mark.parametrize("lengths", [(2, 3, 4), (5, 1, 1), (5, 6, 7), (1, 6, 7), (4, 4, 4)])
def test_places_in_the_array(starts, lengths):
    shape = tuple(max(7, a + b) if b < 6 else b for a, b in zip(starts, lengths, strict=True))
    starts = tuple(min(a, n - b) for a, b, n in zip(starts, lengths, shape, strict=True))
    index = np.arange(np.prod(shape)).reshape(shape)
    part = index[tuple(slice(a, a + b) for a, b in zip(starts, lengths, strict=True))]
    found = gumbel.in_array(np.arange(part.size), lengths, starts, shape)
    assert_array_equal(found, part.ravel())
