"""Calls of the compiled kernel of integer weights."""

from __future__ import annotations

import numpy as np

from . import kernels
from .call import address_of
from .compiler import compiled

Array = np.ndarray


def weights(x: Array, pieces: tuple[Array, ...], width: int) -> tuple[Array, Array]:
    """The weights of pieces of a vector, in the rows of a matrix so wide, and their sums.

    The pieces are where they begin, their lengths, and m and k of each. Of width 0 only the sums.
    """
    kernel, count = compiled(kernels.integer_weights, x.dtype.type), len(pieces[0])
    found, sums = np.zeros((count, width), np.int64), np.empty(count, np.int64)
    fields = [np.ascontiguousarray(field) for field in pieces]
    at = address_of(found) if width else 0
    kernel(address_of(x), *map(address_of, fields), count, at, width, address_of(sums))
    return found, sums
