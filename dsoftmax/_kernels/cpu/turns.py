"""The compiled loop over the pieces of an array, which threads take in turns.

In Python each thread would need the interpreter's lock between two pieces.  One that waits for it
is woken up when the other begins a piece, which takes as long as the piece, and so waits again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .memory import call, count_up, pointer
from .protocol import RECORD_BYTES, WORK


def in_turns() -> Callable[..., None]:
    """The kernel that runs another one on records of its work.

    Parameters of the kernel: the address of the other one, of the `protocol.Work` records, one
    after the other, and how many there are; the address of the number of those that were taken, by
    any thread; the address of this thread's scratch memory; and how many to take at most.
    """
    scratch_at = WORK.scratch

    def kernel(other: int, works: int, count: int, taken: int, scratch: int, most: int) -> None:
        for _ in range(most):
            i = count_up(taken)
            if i >= count:
                break
            work = works + i * RECORD_BYTES
            pointer(work, np.int64)[scratch_at] = scratch
            call(other, work)

    return kernel
