"""The definition of an operation: the state of a slice, how states merge, and the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._algebra.dtypes import result_name

Array = Any
State = Any
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Monoid:
    """The state kept for a slice; states of its parts merge, in any grouping, to that of the whole.

    Attributes
    ----------
    name : str
        Suffix of the names of the tasks that map blocks to states, as in ``softmax-normalizer``.
    of_block : callable
        ``of_block(block, axes) -> state``: the states of the slices of a block along ``axes``;
        their arrays keep these axes, with length 1. Blocks may be empty or masked.
    merge : callable
        ``merge(*states) -> state``, of one or more states; total and associative. Called with
        ``axis=`` too if the monoid is ordered.
    slice_bytes : int
        The size of the state of one slice; it decides how many states a task merges.
    ordered : bool
        Whether states merge only in the order of their parts along the axis.
    finish : callable, optional
        ``finish(state) -> state``: makes of the state of the whole what a second map takes.

    Notes
    -----
    The functions are sent to workers: use module-level functions, or `functools.partial` of these,
    so that task keys are deterministic.
    """

    name: str
    of_block: Callable[..., State]
    merge: Callable[..., State]
    slice_bytes: int
    ordered: bool = False
    finish: Callable[[State], State] | None = None

    def __mul__(self, other: Monoid) -> Monoid:
        """The monoid of pairs of both states, computed in one pass.

        It has the name of the first, and no ``finish``.
        """
        return Monoid(
            self.name,
            partial(_of_block_by_both, one=self.of_block, other=other.of_block),
            partial(_merged_by_both, one=self, other=other),
            self.slice_bytes + other.slice_bytes,
            self.ordered or other.ordered,
        )


@dataclass(frozen=True)
class Result:
    """An array computed from the states: one number per slice, or ``length`` of them.

    Attributes
    ----------
    of_state : callable
        ``of_state(state) -> array``, of the shape of the state.
    name : str
        The name of its tasks, if an operation has several results.
    dtype : callable, optional
        Gives the name of its dtype from that of the input; by default floats keep theirs, and all
        other dtypes give float64.
    length : int, optional
        The length of the result along the reduced axis, if that is not 1.
    """

    of_state: Callable[[State], Array]
    name: str = ""
    dtype: Callable[[str], str] = result_name
    length: int | None = None


@dataclass(frozen=True)
class Operation:
    """A computation on every slice of an array: it gives results, or an array of the same shape.

    Attributes
    ----------
    name : str
        Its name for users; its task names have "-" for "_".
    monoid : Monoid
    results : tuple of Result
        What a reduction gives.
    rescale : callable, optional
        ``rescale(block, state) -> block``: the second map.
    whole : callable, optional
        ``whole(block, axes) -> block``: the same for a block of whole slices; or, for an operation
        with one result, this result with ``axes`` kept.
    title : str, optional
        What it gives, in words that the help of its command contains.
    states : str, optional
        The prefix of the names of the tasks that make and merge states, if not the name of the
        operation: operations with the same prefix and monoid share the states of an array.
    arrays : int, optional
        How many arrays it takes; with more than one, a block is a named tuple of their blocks.
    """

    name: str
    monoid: Monoid
    results: tuple[Result, ...] = ()
    rescale: Callable[[Array, State], Array] | None = None
    whole: Callable[[Array, Axes], Array] | None = None
    title: str = ""
    states: str = ""
    arrays: int = 1

    @property
    def key(self) -> str:
        """The prefix of its task names."""
        return self.name.replace("_", "-")


@dataclass(frozen=True)
class Scan:
    """A computation on each element and all elements before it along an axis.

    Attributes
    ----------
    name : str
        Its name for users; the names of its tasks have "-" for "_".
    monoid : Monoid
        The state kept of a block.
    after : callable
        ``after(before, state)``: what is kept of all blocks up to one, from what is kept of those
        before it (None at the beginning) and the state of that one.
    running : callable
        ``running(block, before, axis, reverse, include_initial) -> block``: the second map, of a
        block and what is kept of those before it.
    """

    name: str
    monoid: Monoid
    after: Callable[[Any, State], Any]
    running: Callable[..., Array]

    @property
    def key(self) -> str:
        """What the names of its tasks begin with."""
        return self.name.replace("_", "-")


def _of_block_by_both(
    x: Array, axes: Axes, one: Callable[..., State], other: Callable[..., State]
) -> State:
    return one(x, axes), other(x, axes)


def _merged_by_both(*parts: State, one: Monoid, other: Monoid, axis: int | None = None) -> State:
    pairs = zip((one, other), zip(*parts, strict=True), strict=True)
    return tuple(
        monoid.merge(*states, axis=axis) if monoid.ordered else monoid.merge(*states)
        for monoid, states in pairs
    )
