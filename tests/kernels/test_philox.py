"""Random bits of Philox4x32-10: the known answers of its authors, on every array library."""

import importlib
import random

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax._kernels import philox
from dsoftmax._kernels.cpu import random_bits

LIBRARIES = (np, array_api_strict, "torch")
FULL, LOW = 0xFFFFFFFF, -(2**63)
# Of Random123 1.14, tests/kat_vectors: counter, key and result.
KNOWN = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


def signed(low, high):
    return np.array([low | high << 32], np.uint64).view(np.int64)


@pytest.fixture(params=LIBRARIES, ids=lambda library: getattr(library, "__name__", library))
def xp(request):
    if isinstance(request.param, str):
        pytest.importorskip(request.param)
        return importlib.import_module(request.param)
    return request.param


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(xp, counter, key, expected):
    first, second = (xp.asarray(signed(*counter[i : i + 2])) for i in (0, 2))
    assert tuple(int(word[0]) for word in philox.words(first, second, key)) == expected


def test_bits_are_those_of_a_high_and_a_low_word(xp):
    index, expected = [0, 1, 2, 3, 4, 2**32 - 1, 2**34, 2**63 - 1], []
    for i in index:
        counter = np.array([i >> 2])
        high, low = (int(philox.words(counter, np.array([j]), (7, 8))[i & 3][0]) for j in (0, LOW))
        expected.append((high << 32 | low) >> 11)
    found = philox.bits(xp.asarray(np.array(index)), (7, 8))
    assert [int(i) for i in found] == expected


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_the_compiled_generator_gives_the_same_bits(size):
    for start, step in ((0, 1), (2**32 - 3, 1), (2**62, 12345), (0, 0)):
        index, key = start + step * np.arange(size), (0xA4093822, 0xFFFFFFFF)
        expected = philox.bits(index, key)
        np.testing.assert_array_equal(random_bits.of_indices(index, key), expected)
        every_second = np.repeat(index, 2)[::2]
        np.testing.assert_array_equal(random_bits.of_indices(every_second, key), expected)


def test_indices_of_32_bits_are_refused():
    with pytest.raises(TypeError, match="count in int64, which int32 is not; with JAX, set jax_en"):
        philox.bits(np.zeros(1, np.int32), (7, 8))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**128 - 1))
def test_the_product_with_a_fraction_is_exact(factor, fraction):
    words = tuple(np.array([fraction >> 32 * i & FULL]) for i in range(4))
    assert int(philox.mul_shift(np.array([factor]), words)[0]) == factor * fraction >> 128


@pytest.mark.parametrize("factor", [0, 1, 2**31, 2**32, 2**63 - 1])
def test_the_product_at_its_ends(xp, factor):
    chosen = random.Random(0)
    for fraction in (0, 2**128 - 1, *(chosen.getrandbits(128) for _ in range(100))):
        words = tuple(xp.asarray([fraction >> 32 * i & FULL], dtype=xp.int64) for i in range(4))
        found = philox.mul_shift(xp.asarray([factor], dtype=xp.int64), words)
        assert int(found[0]) == factor * fraction >> 128
