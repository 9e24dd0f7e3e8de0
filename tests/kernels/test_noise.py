"""Gumbel noise: near the exact one, and the same bits wherever it is computed."""

import array_api_strict
import mpmath
import numpy as np
import pytest

from dsoftmax._kernels import noise, philox
from dsoftmax._kernels.cpu import random_bits
from dsoftmax._kernels.noise import ALL

# Around where -log(1 - v) is sqrt(1/2) times a power of two, the reduced argument jumps.
POWERS = 0.5**0.5 * 2.0 ** np.arange(-52, 6)
JUMPS = (-np.expm1(-POWERS) * ALL).astype(np.int64)[:, None] + np.arange(-3, 4)
ENDS = [0, 1, 2, 3, ALL // 2, ALL - 2, ALL - 1, *2 ** np.arange(53), *(ALL - 2 ** np.arange(53))]
BITS = np.concatenate(
    [ENDS, JUMPS[(JUMPS > 0) & (JUMPS < ALL)], philox.bits(np.arange(9000), (3, 4))]
)
EXPECTED = noise.noise(BITS)


def test_it_is_near_the_exact_one():
    with mpmath.workdps(40):
        for bits, found in zip(BITS[:2000].tolist(), EXPECTED, strict=False):
            v = mpmath.mpf(bits or 0.5) / ALL
            exact = float(-mpmath.log(-mpmath.log(1 - v)))
            assert abs(found - exact) <= 2.0**-52 * (1 + abs(exact))


@pytest.mark.parametrize("library", ["array_api_strict", "torch", "jax"])
def test_other_libraries_have_the_same(library):
    if library == "jax":
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            found = noise.noise(jax.numpy.asarray(BITS))
    else:
        xp = array_api_strict if library == "array_api_strict" else pytest.importorskip(library)
        found = noise.noise(xp.asarray(BITS))
    assert np.array_equal(np.asarray(found), EXPECTED)


@pytest.mark.parametrize("size", [1, 7, BITS.size])
def test_compiled_kernels_have_the_same(size):
    assert np.array_equal(random_bits.noise(BITS[-size:]), EXPECTED[-size:])
    assert np.array_equal(random_bits.noise(BITS[::-1][:size]), EXPECTED[::-1][:size])
