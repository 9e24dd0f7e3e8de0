"""The kernel of integer weights: those of `..weights`, to the last bit.

A loop of plain arithmetic, which LLVM makes vectors of; no product is fused with a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ..weights import LOG2_E, LOWEST, ROUND, exp_of
from .memory import pointer, reinterpret

_INTEGER = 2.0**52  # from here on all float64 are integers


def integer_weights(element: Any) -> Callable[..., None]:
    """The kernel for the weights of pieces of a vector, and their sums.

    Parameters of the kernel: the address of the vector; addresses of where pieces begin in it and
    of their lengths; addresses of m, in float64, and k of each; how many pieces there are; the
    address for the weights, or 0 if only sums are asked for, and how far those of one piece are
    from those of the next, in elements; the address for the sums.
    """
    float64, int64, item = np.float64, np.int64, np.dtype(element).itemsize

    def kernel(
        x: int,
        begins: int,
        lengths: int,
        maxima: int,
        exponents: int,
        count: int,
        weights: int,
        row: int,
        sums: int,
    ) -> None:
        begin_of, length_of = pointer(begins, int64), pointer(lengths, int64)
        m_of, k_of = pointer(maxima, float64), pointer(exponents, int64)
        sum_of = pointer(sums, int64)
        for j in range(count):
            elements = pointer(x + begin_of[j] * item, element)
            results = pointer(weights + 8 * row * j, int64)
            m, k, total = m_of[j], k_of[j], int64(0)
            if weights:
                for i in range(length_of[j]):
                    weight = _weight(float64(elements[i]) - m, k)
                    results[i] = weight
                    total += weight
            else:
                for i in range(length_of[j]):
                    total += _weight(float64(elements[i]) - m, k)
            sum_of[j] = total

    return kernel


_exp_of = njit(inline="always")(exp_of)


@njit(inline="always")
def _weight(t: float, k: int) -> Any:
    t = t if t > LOWEST else LOWEST
    shifted = t * LOG2_E + ROUND
    n = shifted - ROUND
    exp = _exp_of(t, n)
    bits = (reinterpret(shifted, np.int64) + k + 1023) << 52
    scaled = exp * reinterpret(bits, np.float64)
    rounded = (scaled + _INTEGER) - _INTEGER
    return np.int64(rounded if scaled < _INTEGER else scaled)
