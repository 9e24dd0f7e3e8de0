"""Random bits that belong to places: Philox4x32-10, a function of a key and a counter.

The generator of Salmon, Moraes, Dror and Shaw (2011, "Parallel random numbers: as easy as 1, 2, 3",
doi:10.1145/2063384.2063405) has no state: the bits of counter i are computed from i alone.  With
a counter that follows from the index of an element, the element has the same bits whatever the
chunks.

All 32-bit words are kept in int64, the one wide integer of which every array library has products:
these wrap around, and shifts keep the sign, which the masks take away.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from .._algebra.namespace import array_namespace

Array = Any
Key = tuple[int, int]  # two words of 32 bits
Words = tuple[Array, Array, Array, Array]

LOW = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10

LOW_BITS = 21  # of 53, that are of the low word
_LOW_WORDS = -(2**63)  # beside their counters, where draws with replacement have 1 and more


def words(first: Array, second: Array | int, key: Key) -> Words:
    """The four words of 32 bits of counters, whose 128 bits are two integers of 64 bits.

    ``first`` and ``second`` are int64 and broadcast; the result is int64, too.
    """
    c0, c1 = first & LOW, (first >> 32) & LOW
    c2, c3 = second & LOW, (second >> 32) & LOW
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = ((p1 >> 32) & LOW) ^ c1 ^ k0, ((p0 >> 32) & LOW) ^ c3 ^ k1
        c1, c3 = p1 & LOW, p0 & LOW
        k0, k1 = (k0 + _WEYL[0]) & LOW, (k1 + _WEYL[1]) & LOW
    return c0, c1, c2, c3


def bits(index: Array, key: Key) -> Array:
    """53 random bits, as int64, for each index: those of its high word, then of its low word.

    Four indices share a counter, which has a word for each of them: for the high words, which alone
    tell of most elements that they are not drawn, and with the highest bit set for the low words.
    """
    return joined(high_words(index, key), low_words(index, key))


def high_words(index: Array, key: Key) -> Array:
    """The upper 32 of the bits of each index, as int64."""
    return _words_of(index, 0, key)


def low_words(index: Array, key: Key) -> Array:
    """The word of each index whose upper 21 bits are the lower ones of its 53."""
    return _words_of(index, _LOW_WORDS, key)


def joined(high: Array, low: Array) -> Array:
    """The 53 bits of two words."""
    return (high << LOW_BITS) | (low >> 32 - LOW_BITS)


def _words_of(index: Array, second: int, key: Key) -> Array:
    xp = array_namespace(index)
    if not xp.isdtype(index.dtype, xp.int64):
        raise TypeError(
            f"random draws count in int64, which {index.dtype} is not; with JAX, set jax_enable_x64"
        )
    beside = xp.full((1,) * index.ndim, second, dtype=xp.int64, device=device(index))
    c0, c1, c2, c3 = words(index >> 2, beside, key)
    odd, upper = index & 1 > 0, index & 2 > 0
    return xp.where(upper, xp.where(odd, c3, c2), xp.where(odd, c1, c0))


def mul_shift(factor: Array, random: Words) -> Array:
    """floor(factor * u), for u = 0.c3c2c1c0 in base 2**32 and factors from 0 to 2**63 - 1.

    Exactly so, in the arithmetic of words on paper: u has 128 bits, and the factor its 63.
    """
    low, high = factor & LOW, factor >> 32
    c0, c1 = low * 0, low * 0
    for word in random:
        p0, p1 = word * low, word * high
        c0 = (p0 & LOW) + c0
        c1 = ((p0 >> 32) & LOW) + (p1 & LOW) + c1 + (c0 >> 32)
        c0, c1 = c1 & LOW, ((p1 >> 32) & LOW) + (c1 >> 32)
    return c0 | (c1 << 32)
