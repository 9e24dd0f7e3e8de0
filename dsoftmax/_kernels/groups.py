"""States of groups: of one block whose elements have labels, merged by label, and applied.

`Groups` has the labels that a block has, sorted, and a state (m, w, s) or moments for each.
Merging is a join of the labels.  Elements without a label take no part, and get NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._algebra import numpy_arrays
from .._algebra.dtypes import dtypes_for
from .._algebra.moments import Moments, scaled
from .._algebra.normalizer import State, log_d, quiet, scaled_rest
from .._algebra.states import mapped
from .choose import FEWEST_LABELLED, can_compile
from .cpu import group_calls as on_cpu
from .cpu.compiler import CannotCompileError
from .factorize import Labels, Numbered, Together, find, numbered, numbered_together
from .integers import as_integers, integers_of, range_of

Array = np.ndarray


_FEW = 1 << 15  # groups that are worked on together in NumPy


class Labelled(NamedTuple):
    """A block and the labels along one of its axes, of one or more keys."""

    x: Array
    keys: Labels

    def astype(self, dtype: Any) -> Array:
        """Of the block alone: what Dask asks of one that is empty."""
        return self.x.astype(dtype)


class Groups(NamedTuple):
    """The labels that there are, sorted, and the states of their groups.

    The arrays of states have a row for each group, and the shape of the block without the axis of
    the labels.
    """

    labels: Labels
    state: State | Moments


class Table(NamedTuple):
    """What elements are mapped with: m and 1 / d, or log d, of each group.

    Attributes
    ----------
    labels : tuple of arrays
        As of `Groups`.
    rows : array
        Two columns, of which the first row is NaN, for elements of no group.
    first : int or None
        Where labels are integers in a small range, the others are of all in it from this one on, so
        that labels need not be looked up.
    """

    labels: Labels
    rows: Array
    first: int | None


def of_block(block: Labelled, axis: int, moments: bool = False) -> Groups:
    """The states of the groups of a block, or their moments."""
    found, rows = numbered(block.keys), _rows(block.x, axis)
    x, (numbers, first, count) = rows.reshape(-1), _flat(found, rows)
    if _is_for_the_cpu(x):
        try:
            present = on_cpu.states(x, numbers, first, count, moments)
            return _of_present(found, *present, rows.shape[1:])
        except CannotCompileError:
            pass
    return _groups(found, _states(x, numbers, first, count, moments), rows.shape[1:])


def _of_present(
    found: Numbered | Together, numbers: Array, fields: tuple[Array, ...], shape: tuple[int, ...]
) -> Groups:
    """Groups from the numbers of those that there are, which `_flat` made of as many columns."""
    columns = math.prod(shape)
    if columns != 1:
        numbers = found.first + numbers[:: max(columns, 1)] // max(columns, 1)
    fields = tuple(field.reshape(len(numbers), *shape) for field in fields)
    return Groups(found.labels_of(numbers), _state(fields))


def _groups(found: Numbered, fields: tuple[Array, ...], shape: tuple[int, ...]) -> Groups:
    """Those of the groups that labels are of."""
    m, w, s, *others = (field.reshape(found.size, *shape) for field in fields)
    if m.size:  # what is there has an element at the maximum, or NaN
        own = ((w > 0) | np.isnan(s)).reshape(found.size, -1)[:, 0]
        present = found.first + np.flatnonzero(own)
    else:
        present = found.present()
    fields = m, w, s, *others
    if len(present) < found.size:
        fields = tuple(field[present - found.first] for field in fields)
    return Groups(found.labels_of(present), _state(fields))


def _state(fields: tuple[Array, ...]) -> State | Moments:
    return Moments(*fields) if len(fields) > 3 else State(*fields)


def merge(*parts: Groups) -> Groups:
    """The states of the union: those of labels that several have are merged."""
    one, *others = parts
    if not others:
        return one
    found, shape = numbered_together([part.labels for part in parts]), one.state.m.shape[1:]
    numbers, first, count = found.of_parts, found.first, found.size
    if (columns := math.prod(shape)) != 1:
        numbers = [(k - first)[:, None] * columns + np.arange(columns) for k in numbers]
        numbers, first, count = list(map(np.ravel, numbers)), 0, count * columns
    states = [mapped(np.ravel, part.state) for part in parts]
    large = sum(map(len, numbers)) >= FEWEST_LABELLED
    if large and one.state.m.dtype == np.float64 and can_compile():
        try:
            present = on_cpu.merged(states, numbers, first, count)
            return _of_present(found, *present, shape)
        except CannotCompileError:
            pass
    fields = _merged(states, np.concatenate(numbers), first, count)
    return _groups(found.as_one(), fields, shape)


def _merged(
    states: list[State] | list[Moments], numbers: Array, first: int, count: int
) -> tuple[Array, ...]:
    """The fields of so many groups, of parts whose groups have numbers, in a row."""
    state = mapped(lambda *fields: np.concatenate(fields), *states)
    numbers = numbers - first
    top = np.full(count, -np.inf, state.m.dtype)
    with quiet():
        np.maximum.at(top, numbers, state.m)  # propagates NaN
        m = top[numbers]
        terms: tuple[Array, ...]
        if isinstance(state, Moments):
            terms = scaled(np, state, m)
        else:
            terms = np.where(state.m == m, state.w, 0), scaled_rest(np, state, m)
        return top, *(_added(numbers, term, count) for term in terms)


def _added(numbers: Array, terms: Array, count: int) -> Array:
    if terms.dtype == np.float64:
        return np.bincount(numbers, terms, count)
    total = np.zeros(count, terms.dtype)
    np.add.at(total, numbers, terms)
    return total


def table(groups: Groups, logarithm: bool, most: int = 0) -> Table:
    """What the elements of groups are mapped with, to their softmax or its logarithm.

    It may have as many rows as suit ``most`` labels, or those that there are.
    """
    state, labels = groups.state, groups.labels
    count, columns = len(state.m), math.prod(state.m.shape[1:])
    in_range = range_of(labels[0], most) if len(labels) == 1 else None
    places, first = in_range or (None, None)
    size = count if places is None else int(places[-1]) + 1
    rows = np.full((1 + size * columns, 2), np.nan, state.m.dtype)
    own = rows[1:].reshape(size, columns, 2)
    for start in range(0, count, _FEW):  # so that what is between is small
        here = slice(start, start + _FEW)
        part = mapped(lambda field, here=here: field[here], state)
        at = here if places is None else places[here]
        for i, field in enumerate((part.m, _factors(part, logarithm))):
            own[at, :, i] = field.reshape(len(field), columns)
    return Table(labels, rows, first)


def _factors(state: Any, logarithm: bool) -> Array:
    with quiet():
        # A maximum of +inf has no softmax, in the whole group, as in SciPy.
        return log_d(state) if logarithm else np.where(state.m == np.inf, np.nan, 1 / state.d)


def rescale(block: Labelled, table: Table, axis: int, logarithm: bool) -> Array:
    """exp(x - m) / d of the elements of a block, or (x - m) - log d; NaN without a label."""
    x = _rows(block.x, axis)
    found, rows = _looked_up(block.keys, table, math.prod(x.shape[1:]))
    numbers, first, _ = _flat(found, x)
    y = _map(x.reshape(-1), numbers, first, rows, logarithm)
    return numpy_arrays.moveaxis(y.reshape(x.shape), 0, axis)


def _looked_up(keys: Labels, table: Table, columns: int) -> tuple[Numbered, Array]:
    """Labels as numbers, and the rows of a table that these are of, after NaN for no group."""
    if table.first is not None:
        (own,) = table.labels
        integers = integers_of(keys[0], own.dtype, table.first - 1)
        if integers is not None:
            size = (len(table.rows) - 1) // max(columns, 1)
            return Numbered(integers, table.first, size, lambda _: table.labels), table.rows
    found = numbered(keys)
    places = find(table.labels, found.labels())
    if table.first is not None:
        places = np.where(places < 0, -1, as_integers(table.labels[0])[0][places] - table.first)
    index = places[:, None] * columns + np.arange(1, columns + 1)
    index = np.where(places[:, None] < 0, 0, index)
    return found, np.concatenate((table.rows[:1], table.rows[index.reshape(-1)]))


def whole(block: Labelled, axis: int, logarithm: bool) -> Array:
    """The softmax, or its logarithm, of a block that has all of its groups."""
    found, rows = numbered(block.keys), _rows(block.x, axis)
    x, (numbers, first, count) = rows.reshape(-1), _flat(found, rows)
    entries = _entries(x, numbers, first, count, logarithm)
    y = _map(x, numbers, first, entries, logarithm)
    return numpy_arrays.moveaxis(y.reshape(rows.shape), 0, axis)


def _entries(x: Array, numbers: Array, first: int, count: int, logarithm: bool) -> Array:
    """The rows of a table that elements of so many groups are mapped with."""
    entries = np.full((1 + count, 2), np.nan, np.promote_types(x.dtype, np.float64))
    if _is_for_the_cpu(x):
        try:
            at = 1
            for fields in on_cpu.every_state(x, numbers, first, count):
                state, here = State(*fields), slice(at, at := at + len(fields[0]))
                entries[here, 0], entries[here, 1] = state.m, _factors(state, logarithm)
            return entries
        except CannotCompileError:
            pass
    state = State(*_states(x, numbers, first, count, False))
    entries[1:, 0], entries[1:, 1] = state.m, _factors(state, logarithm)
    return entries


def _rows(x: Array, axis: int) -> Array:
    """The block with the axis of the labels first, in a dtype that is computed in."""
    working = np.dtype(dtypes_for(x.dtype).working)
    return np.ascontiguousarray(numpy_arrays.moveaxis(x, axis, 0), dtype=working)


def _flat(found: Numbered, rows: Array) -> tuple[Array, int, int]:
    """The numbers, the first and how many, where each column of rows has groups of its own."""
    if (columns := math.prod(rows.shape[1:])) == 1:
        return found.numbers, found.first, found.size
    places = found.from_zero[:, None]
    numbers = np.where(places < 0, -1, places * columns + np.arange(columns))
    return numbers.reshape(-1), 0, found.size * columns


def _states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> tuple[Array, ...]:
    """m, w and s of so many groups of the elements of a vector, or also t and q."""
    places = numbers - first
    inside = (places >= 0) & (places < count)
    order = np.argsort(places[inside], kind="stable")
    places, x = places[inside][order], x[inside][order]
    dtype = np.promote_types(x.dtype, np.float64)
    state = [np.zeros(count, dtype) for _ in range(5 if moments else 3)]
    m = state[0]
    m.fill(-np.inf)
    if x.size:
        starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
        which, x = places[starts], x.astype(dtype, copy=False)
        m[which] = np.maximum.reduceat(x, starts)
        top = x == m[places]
        with quiet():
            distance = x - m[places]
            e = np.where(top, 0, np.exp(distance))
            terms = (top, e, np.where(e == 0, 0, distance * e), e * e)
            for total, term in zip(state[1:], terms, strict=False):
                total[which] = np.add.reduceat(term, starts, dtype=dtype)
    return tuple(state)


def _map(x: Array, numbers: Array, first: int, rows: Array, logarithm: bool) -> Array:
    """What comes of elements of groups by rows of m and 1 / d, or log d; the first is for none."""
    if _is_for_the_cpu(x):
        try:
            return on_cpu.mapped(x, numbers, first, rows, logarithm)
        except CannotCompileError:
            pass
    places = numbers - first + 1
    m, factors = rows[np.where((places < 0) | (places >= len(rows)), 0, places)].T
    with quiet():
        distance = x - m
        y = distance - factors if logarithm else np.exp(distance) * factors
        return y.astype(x.dtype, copy=False)


def _is_for_the_cpu(x: Array) -> bool:
    return x.size >= FEWEST_LABELLED and x.dtype in (np.float32, np.float64) and can_compile()
