"""The compiled generator of random bits, Philox4x32-10: the same bits as `..philox`.

A loop of integer arithmetic without a branch, which LLVM makes vectors of.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .memory import pointer

_u64 = np.uint64
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_W0, _W1 = _u64(0x9E3779B9), _u64(0xBB67AE85)
_LOW, _32, _21, _11 = _u64(0xFFFFFFFF), _u64(32), _u64(21), _u64(11)


def random_bits() -> Callable[..., None]:
    """The kernel: 53 bits for each of so many indices, with the two words of a key."""

    def kernel(indices: int, bits: int, size: int, first: int, second: int) -> None:
        counters, results = pointer(indices, _u64), pointer(bits, _u64)
        for i in range(size):
            c0, c1 = counters[i] & _LOW, counters[i] >> _32
            c2 = c3 = _u64(0)
            k0, k1 = _u64(first), _u64(second)
            for _ in range(10):
                p0, p1 = c0 * _M0, c2 * _M1
                c0, c2 = (p1 >> _32) ^ c1 ^ k0, (p0 >> _32) ^ c3 ^ k1
                c1, c3 = p1 & _LOW, p0 & _LOW
                k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
            results[i] = (c1 << _21) | (c0 >> _11)

    return kernel
