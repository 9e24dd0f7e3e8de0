"""Calls of compiled kernels: a plan with the arrays to run it on, over the loops that run here.

Kernels let other threads run, so these loops, and pieces of the kernel's own, are shared out.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator

import numpy as np

from ..._algebra.exact import merged as merged_exactly
from ..._algebra.exact import record_dtype
from ..in_memory import may_compile, may_cut, take_turns
from ..layout import from_block, to_block
from ..modes import LOGARITHM, REDUCE
from . import kernels
from .compiler import compiled
from .merging import merged
from .pieces import ARRAYS
from .plan import Kind, plan
from .protocol import ADDRESSES, SCRATCH_BYTES, WORK, Work
from .tuning import CACHE_LINE, MOST_AT_A_TIME, MOST_PASSES, SHORT_ROW

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
        short: int | None = None,
    ) -> None:
        arrays = (x, b, where, y)
        self.shape = x.shape
        layout = [None if a is None else (a.dtype, a.strides) for a in arrays]
        short = SHORT_ROW if short is None else short
        self.plan = plan(x.shape, reduced, *layout, dtype, kind, short, may_cut(), may_compile())
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
        size, parts = math.prod(self.shape[axis] for axis in self.plan.order), self.plan.parts
        if self.plan.kind == "exact":
            records = np.empty(parts * size, record_dtype(self.plan.working))
            self._run(REDUCE, address_of(records))
            return (merged_exactly(records.reshape(parts, size)).records if parts > 1 else records,)
        sums = {"moments": 4, "values": 3}.get(self.plan.kind, 2)
        m, rest = np.empty(parts * size, self.plan.working), np.empty((sums, parts * size))
        start, distance = address_of(rest), rest.strides[0]
        self._run(REDUCE, address_of(m), *(start + i * distance for i in range(sums)))
        state = (m, *rest)
        if parts > 1:
            by_part = tuple(field.reshape(parts, size) for field in state)
            state = tuple(map(np.ravel, merged(self.plan.kind, by_part, (0,))))
        return state

    def log_sums(self) -> Array | None:
        """Flat log-sum-exps of many short slices in the dtype of x; None of other slices.

        States would take as much memory as x, or more.
        """
        plan, x = self.plan, self.arrays[0]
        assert x is not None
        if not (plan.at_once and plan.work.width and plan.kind == "plain"):
            return None
        if x.dtype != plan.working or any(a is not None for a in self.arrays[1:]):
            return None
        found = np.empty(math.prod(self.shape[axis] for axis in plan.order), x.dtype)
        self._run(REDUCE | LOGARITHM, address_of(found))
        return found

    def run(self, mode: int, m: Array | None = None, d: Array | None = None) -> None:
        """Run the kernel over all loops; m and d, or log d, are of flat states if there are any."""
        if m is None or d is None:
            return self._run(mode)
        return self._run(mode, address_of(m), address_of(d), address_of(d))

    def _run(self, mode: int, *states: int) -> None:
        """Run it with the addresses of m, w, s and the further sums of the kind, of all parts."""
        plan = self.plan
        if not plan.outer and len(plan.pieces) == 1:
            work = Work.from_buffer_copy(plan.work)
            work.scratch, work.mode = scratch_address(), mode
            work.x, work.b, work.where, work.y = self.addresses
            for name, place in zip("mwstq", states):  # noqa: B905  # or m, w, s alone
                setattr(work, name, place)
            plan.kernel(work.address)
            return
        given = np.zeros(len(WORK), np.int64)
        given[: len(ARRAYS) + len(states)] = (*self.addresses, *states)
        given[WORK.mode] = mode
        if not plan.outer:
            self._take_turns(given + plan.pieces)
            return
        passes, first = self.offsets(), 0
        while offsets := list(itertools.islice(passes, MOST_PASSES)):
            moved = np.zeros((len(offsets), 1, len(WORK)), np.int64)
            moved[:, 0, : len(ARRAYS)] = offsets
            before = plan.states * np.arange(first, first + len(offsets))
            moved[:, 0, len(ARRAYS) : ADDRESSES] = np.outer(before, plan.of_state)
            self._take_turns((given + plan.pieces + moved).reshape(-1, len(WORK)))
            first += len(offsets)

    def _take_turns(self, works: Array) -> None:
        """Run it on such records, as many of them at a time as do not keep Ctrl-C waiting."""
        taken, kernel = np.zeros(1, np.int64), compiled(kernels.in_turns)
        records = self.plan.entry, address_of(works), len(works), address_of(taken)
        most = max(1, MOST_AT_A_TIME // self.plan.piece_size)

        def turn() -> bool:
            kernel(*records, scratch_address(), most)
            return bool(taken[0] < len(works))

        take_turns(turn, len(works))

    def to_block(self, flat: Array) -> Array:
        """A flat state as an array of as many dimensions as the block."""
        if self.plan.in_order:
            return flat.reshape(self.plan.kept)
        return to_block(flat, self.shape, self.plan.order)

    def from_block(self, array: Array) -> Array:
        """The inverse; what the axes of several loops share is repeated."""
        kept = self.plan.kept
        array = array if array.shape == kept else np.broadcast_to(array, kept)
        if self.plan.in_order and array.flags.c_contiguous:
            return array.reshape(-1)
        return np.ascontiguousarray(from_block(array, self.plan.order)).reshape(-1)


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
