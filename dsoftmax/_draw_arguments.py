"""What all draws have in common: the key of the generator, their number, and errors."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ._algebra.namespace import array_namespace
from ._arguments import Array


def as_key(rng: Any, function: str) -> tuple[int, int]:
    """A key of two words of 32 bits: the same for equal seeds, and a new one for each call of None.

    A Generator is drawn from, so that its next key is another one.

    Raises
    ------
    TypeError, ValueError
        For what `numpy.random.default_rng` does not take.
    """
    words: Any
    try:
        if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
            words = np.random.default_rng(rng).integers(2**32, size=2, dtype=np.uint32)
        else:
            seed = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
            words = seed.generate_state(2, np.uint32)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{function}: rng is {rng!r}; use None, an int from 0, or a SeedSequence or Generator "
            "of numpy.random"
        ) from None
    return int(words[0]), int(words[1])


def as_count(n: Any, function: str, name: str) -> int:
    """A number of draws as an int from 0, or TypeError or ValueError."""
    try:
        if isinstance(n, (bool, np.bool_)):
            raise TypeError
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{function}: {name} is {n!r}; use an int") from None
    if count < 0:
        raise ValueError(f"{function}: {name} is {count}; use an int from 0")
    return count


def check_maxima(m: Array, function: str) -> None:
    """Raise ValueError if a slice with this maximum is no distribution."""
    xp = array_namespace(m)
    if xp.any(m != m):
        raise ValueError(
            f"{function}: x holds NaN, which has no probability; leave it out with where=~isnan(x)"
        )
    if xp.any(m == float("inf")):
        raise ValueError(
            f"{function}: x holds +inf, and a slice with it is no distribution; leave it out with "
            "where=isfinite(x)"
        )
    if xp.any(m == -float("inf")):
        raise ValueError(
            f"{function}: no element of a slice has a positive probability: all are -inf, masked "
            "or left out by where"
        )
