"""Random bits that belong to places: Philox4x32-10, a function of a key and a counter.

The generator of Salmon, Moraes, Dror and Shaw (2011, "Parallel random numbers: as easy as 1, 2, 3",
doi:10.1145/2063384.2063405) has no state: the bits of counter i are computed from i alone.  With
the index of an element as its counter, the element has the same bits whatever the chunks.

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
    """53 random bits, as int64, for each index: two of its words, less the lowest bits."""
    xp = array_namespace(index)
    if not xp.isdtype(index.dtype, xp.int64):
        raise TypeError(
            f"random draws count in int64, which {index.dtype} is not; with JAX, set jax_enable_x64"
        )
    zero = xp.zeros((1,) * index.ndim, dtype=xp.int64, device=device(index))
    low, high, _, _ = words(index, zero, key)
    return (high << 21) | (low >> 11)


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
