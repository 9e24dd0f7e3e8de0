"""Calls of compiled kernels: a plan with the arrays to run it on, over the loops that run here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ..._algebra.dtypes import dtype_name, promoted_name, working_name
from ..._algebra.normalizer import State
from ..modes import REDUCE
from .plan import plan
from .protocol import SCRATCH_BYTES, Work
from .tuning import CACHE_LINE, SHORT_ROW

Array = np.ndarray


class Call:
    """A plan with the arrays to run it on."""

    def __init__(
        self,
        reduced: tuple[bool, ...],
        x: Array,
        b: Array | None = None,
        y: Array | None = None,
        short: int = SHORT_ROW,
    ) -> None:
        arrays = (x, b, y)
        joint = promoted_name(*(dtype_name(a.dtype) for a in (x, b) if a is not None))
        self.shape = x.shape
        self.plan = plan(
            x.shape,
            reduced,
            tuple(None if a is None else a.dtype for a in arrays),
            tuple((0,) * x.ndim if a is None else a.strides for a in arrays),
            np.dtype(working_name(joint)).type,  # type: ignore[arg-type]  # it is hashable
            short,
        )
        self.addresses = tuple(0 if a is None else address_of(a) for a in arrays)
        self.arrays = arrays  # the kernels only see addresses: keep the memory

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Offsets in bytes of x, b and y in each pass of the outer loops."""
        loops = self.plan.outer
        for index in itertools.product(*(range(loop.length) for loop in loops)):
            yield tuple(
                sum(i * loop.strides[k] for i, loop in zip(index, loops, strict=True))
                for k in range(3)
            )

    def reduce(self) -> State:
        """The flat states."""
        size = math.prod(self.shape[axis] for axis in self.plan.order)
        state = State(np.empty(size, self.plan.working), np.empty(size), np.empty(size))
        self.run(REDUCE, state)
        return state

    def run(self, mode: int, state: State | None = None) -> None:
        """Run the kernel over all loops."""
        plan = self.plan
        m, w, s = (0, 0, 0) if state is None else map(address_of, state)
        m_step, sum_step = np.dtype(plan.working).itemsize * plan.states, 8 * plan.states
        scratch = np.empty(SCRATCH_BYTES + CACHE_LINE, np.uint8)
        work = Work.from_buffer_copy(plan.work)
        work.scratch = -(-address_of(scratch) // CACHE_LINE) * CACHE_LINE
        work.mode = mode
        for i, offsets in enumerate(self.offsets()):
            work.x, work.b, work.y = map(sum, zip(self.addresses, offsets, strict=True))
            work.m, work.w, work.s = m + i * m_step, w + i * sum_step, s + i * sum_step
            plan.kernel(work.address)

    def to_block(self, flat: Array) -> Array:
        """A flat state as an array of as many dimensions as the block."""
        order = self.plan.order
        array = flat.reshape([self.shape[axis] for axis in order])
        array = array.transpose(sorted(range(len(order)), key=order.__getitem__))
        return array.reshape([n if i in order else 1 for i, n in enumerate(self.shape)])

    def from_block(self, array: Array) -> Array:
        """The inverse; what the axes of several loops share is repeated."""
        order = self.plan.order
        shape = [n if i in order else 1 for i, n in enumerate(self.shape)]
        array = np.broadcast_to(array, shape)
        others = [i for i in range(array.ndim) if i not in order]
        return np.ascontiguousarray(array.transpose(*order, *others)).reshape(-1)


def address_of(x: Array) -> int:
    """Where the elements of an array begin."""
    return x.__array_interface__["data"][0]
