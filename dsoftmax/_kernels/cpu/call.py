"""Calls of compiled kernels: a plan with the arrays to run it on, over the loops that run here."""

from __future__ import annotations

import itertools
import math
import operator
import threading
from collections.abc import Iterator

import numpy as np

from ..._algebra.exact import record_dtype
from ..layout import from_block, to_block
from ..modes import REDUCE
from .plan import ARRAYS, Kind, plan
from .protocol import SCRATCH_BYTES, Work
from .tuning import CACHE_LINE, SHORT_ROW

Array = np.ndarray


class Call:
    """A plan with the arrays to run it on."""

    def __init__(
        self,
        reduced: tuple[bool, ...],
        x: Array,
        *,
        b: Array | None = None,
        where: Array | None = None,
        y: Array | None = None,
        kind: Kind = "plain",
        dtype: str | None = None,
        short: int = SHORT_ROW,
    ) -> None:
        arrays = (x, b, where, y)
        self.shape = x.shape
        layout = [None if a is None else (a.dtype, a.strides) for a in arrays]
        self.plan = plan(x.shape, reduced, *layout, dtype, kind, short)
        self.addresses = [0 if a is None else address_of(a) for a in arrays]
        self.arrays = arrays  # the kernels only see addresses: keep the memory

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Offsets in bytes of the arrays in each pass of the outer loops."""
        loops = self.plan.outer
        if not loops:
            yield (0,) * len(ARRAYS)
            return
        for index in itertools.product(*(range(loop.length) for loop in loops)):
            yield tuple(
                sum(i * loop.strides[k] for i, loop in zip(index, loops, strict=True))
                for k in range(len(ARRAYS))
            )

    def reduce(self) -> tuple[Array, ...]:
        """The flat states: m, w, s, and the further sums of the kind; or exact ones."""
        size = math.prod(self.shape[axis] for axis in self.plan.order)
        if self.plan.kind == "exact":
            records = np.empty(size, record_dtype(self.plan.working))
            self.run(REDUCE, records)
            return (records,)
        sums = {"moments": 4, "values": 3}.get(self.plan.kind, 2)
        state = (np.empty(size, self.plan.working), *(np.empty(size) for _ in range(sums)))
        self.run(REDUCE, *state)
        return state

    def run(self, mode: int, *state: Array) -> None:
        """Run the kernel over all loops; the state is m, w, s and the further sums of the kind."""
        plan = self.plan
        work = Work.from_buffer_copy(plan.work)
        work.scratch = scratch_address()
        work.mode = mode
        fields = [(name, address_of(a), a.itemsize) for name, a in zip("mwstq", state)]  # noqa: B905
        for i, offsets in enumerate(self.offsets()):
            work.x, work.b, work.where, work.y = map(operator.add, self.addresses, offsets)
            for name, start, item in fields:
                setattr(work, name, start + i * item * plan.states)
            plan.kernel(work.address)

    def to_block(self, flat: Array) -> Array:
        """A flat state as an array of as many dimensions as the block."""
        return to_block(flat, self.shape, self.plan.order)

    def from_block(self, array: Array) -> Array:
        """The inverse; what the axes of several loops share is repeated."""
        order = self.plan.order
        shape = [n if i in order else 1 for i, n in enumerate(self.shape)]
        array = np.broadcast_to(array, shape)
        return np.ascontiguousarray(from_block(array, order)).reshape(-1)


def address_of(x: Array) -> int:
    """Where the elements of an array begin."""
    return x.__array_interface__["data"][0]


class _Scratch(threading.local):
    """Scratch memory for the kernels of one thread, which come one after the other."""

    def __init__(self) -> None:
        self.memory = np.empty(2 * SCRATCH_BYTES + CACHE_LINE, np.uint8)
        self.address = -(-address_of(self.memory) // CACHE_LINE) * CACHE_LINE


_scratch = _Scratch()


def scratch_address() -> int:
    """Where 2 * SCRATCH_BYTES are that this thread may use, at a line of the cache."""
    return _scratch.address
