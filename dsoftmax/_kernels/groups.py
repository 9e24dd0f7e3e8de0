"""States of groups: of one block whose elements have labels, merged by label, and applied.

`Groups` has the labels that a block has, sorted, and a state (m, w, s) or moments for each.
Merging is a join of the labels.  Elements without a label take no part, and get NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._algebra import numpy_arrays
from .._algebra.dtypes import dtype_name, working_name
from .._algebra.moments import Moments, scaled
from .._algebra.normalizer import State, log_d, quiet, scaled_rest
from .._algebra.states import mapped
from .choose import SMALL, can_compile
from .cpu import group_calls as on_cpu
from .cpu.compiler import CannotCompileError
from .factorize import Labels, Numbered, find, numbered

Array = np.ndarray


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


def of_block(block: Labelled, axis: int, moments: bool = False) -> Groups:
    """The states of the groups of a block, or their moments."""
    return _of_block(block, axis, numbered(block.keys), moments)


def _of_block(block: Labelled, axis: int, found: Numbered, moments: bool = False) -> Groups:
    rows = _rows(block.x, axis)
    fields = _states(rows.reshape(-1), *_flat(found, rows), moments)
    return _groups(found, fields, rows.shape[1:])


def _groups(found: Numbered, fields: tuple[Array, ...], shape: tuple[int, ...]) -> Groups:
    """Those of the groups that labels are of."""
    m, w, s, *others = (field.reshape(found.size, *shape) for field in fields)
    if m.size:  # what is there has an element at the maximum, or NaN
        present = np.flatnonzero(((w > 0) | np.isnan(s)).reshape(found.size, -1)[:, 0])
    else:
        present = found.present()
    state = Moments(m, w, s, *others) if others else State(m, w, s)
    if len(present) < found.size:
        state = mapped(lambda field: field[present], state)
    return Groups(found.labels_of(present), state)


def merge(*parts: Groups) -> Groups:
    """The states of the union: those of labels that several have are merged."""
    first, *others = parts
    if not others:
        return first
    keys = tuple(np.concatenate(labels) for labels in zip(*(p.labels for p in parts), strict=True))
    found = numbered(keys)
    places = _flat(found, np.empty((len(keys[0]), *first.state.m.shape[1:]), np.uint8))
    states = [mapped(np.ravel, part.state) for part in parts]
    return _groups(found, _merged(states, *places), first.state.m.shape[1:])


def _merged(
    states: list[State] | list[Moments], numbers: Array, first: int, count: int
) -> tuple[Array, ...]:
    """The fields of so many groups, of parts whose groups have numbers, in a row."""
    if len(numbers) >= SMALL and states[0].m.dtype == np.float64 and can_compile():
        try:
            return on_cpu.merged(states, numbers, first, count)
        except CannotCompileError:
            pass
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


def rescale(block: Labelled, groups: Groups, axis: int) -> Array:
    """exp(x - m) / d of the elements of a block; NaN without a label."""
    return _applied(block, numbered(block.keys), groups, axis, logarithm=False)


def log_rescale(block: Labelled, groups: Groups, axis: int) -> Array:
    """(x - m) - log d of the elements of a block; NaN without a label."""
    return _applied(block, numbered(block.keys), groups, axis, logarithm=True)


def whole(block: Labelled, axis: int, logarithm: bool) -> Array:
    """The softmax, or its logarithm, of a block that has all of its groups."""
    found = numbered(block.keys)
    return _applied(block, found, _of_block(block, axis, found), axis, logarithm)


def _applied(block: Labelled, found: Numbered, groups: Groups, axis: int, logarithm: bool) -> Array:
    rows = _rows(block.x, axis)
    if not len(groups.labels[0]):
        return np.full(block.x.shape, np.nan, rows.dtype)
    places = find(groups.labels, found.labels_of(np.arange(found.size)))
    state, unknown = mapped(lambda field: field[places], groups.state), places < 0
    with quiet():
        # A maximum of +inf has no softmax, in the whole group, as in SciPy.
        inverse = np.where(state.m == np.inf, np.nan, 1 / state.d)
        factors = log_d(state) if logarithm else inverse

    def table(field: Array) -> Array:
        """The numbers of each group of the block, after NaN for what is of none."""
        if unknown.any():
            field[unknown] = np.nan
        return np.concatenate((np.full(1, np.nan, field.dtype), field.reshape(-1)))

    numbers, first, _ = _flat(found, rows)
    y = _map(rows.reshape(-1), numbers, first, table(state.m), table(factors), logarithm)
    return numpy_arrays.moveaxis(y.reshape(rows.shape), 0, axis)


def _rows(x: Array, axis: int) -> Array:
    """The block with the axis of the labels first, in a dtype that is computed in."""
    working = np.dtype(working_name(dtype_name(x.dtype)))
    return np.ascontiguousarray(numpy_arrays.moveaxis(x, axis, 0), dtype=working)


def _flat(found: Numbered, rows: Array) -> tuple[Array, int, int]:
    """The numbers, the first and how many, where each column of rows has groups of its own."""
    if rows.ndim == 1:
        return found.numbers, found.first, found.size
    columns, places = math.prod(rows.shape[1:]), found.from_zero[:, None]
    numbers = np.where(places < 0, -1, places * columns + np.arange(columns))
    return numbers.reshape(-1), 0, found.size * columns


def _states(x: Array, numbers: Array, first: int, count: int, moments: bool) -> tuple[Array, ...]:
    """m, w and s of so many groups of the elements of a vector, or also t and q."""
    if _is_for_the_cpu(x):
        try:
            return on_cpu.states(x, numbers, first, count, moments)
        except CannotCompileError:
            pass
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


def _map(x: Array, numbers: Array, first: int, m: Array, factors: Array, logarithm: bool) -> Array:
    """What comes of elements whose groups have m and 1 / d, or log d; the first is for none."""
    if _is_for_the_cpu(x):
        try:
            return on_cpu.mapped(x, numbers, first, m, factors, logarithm)
        except CannotCompileError:
            pass
    places = numbers - first + 1
    places = np.where((places < 0) | (places >= len(m)), 0, places)
    with quiet():
        distance = x - m[places]
        y = distance - factors[places] if logarithm else np.exp(distance) * factors[places]
        return y.astype(x.dtype, copy=False)


def _is_for_the_cpu(x: Array) -> bool:
    return x.size >= SMALL and x.dtype in (np.float32, np.float64) and can_compile()
