"""Labels as numbers: which group each element is of, for labels of any kind, and several at once.

Integers (and what is stored as such: booleans, dates) in a small range are their own numbers.
Others are hashed where that can be compiled, else sorted.  No label is NaN, None, NaT or masked:
these are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from .choose import FEWEST_LABELLED, can_compile
from .cpu import group_calls as on_cpu
from .cpu.compiler import CannotCompileError
from .distinct import distinct, is_missing
from .integers import as_integers, as_words, in_one_range, is_small

Array = np.ndarray
Labels = tuple[Any, ...]  # arrays, or `Coded`
LabelsOf = Callable[[Array], Labels]

KINDS = "biufMmUSOT"  # of the dtypes that labels may have


class Numbered(NamedTuple):
    """The numbers of the groups of some labels, in the order of the labels.

    Attributes
    ----------
    numbers : array of int64
        Of the group of each label. The first of all is ``first``, and there are ``size``; what is
        outside of these is missing. Groups may be counted that no label is of.
    labels_of : callable
        The labels, one array for each key, of the groups with some numbers.
    """

    numbers: Array
    first: int
    size: int
    labels_of: LabelsOf

    @property
    def from_zero(self) -> Array:
        """The numbers from 0 on; -1 is missing."""
        places = self.numbers - self.first
        outside = (places < 0) | (places >= self.size)
        return np.where(outside, -1, places) if outside.any() else places

    def present(self) -> Array:
        """The numbers of the groups that labels are of."""
        places = self.from_zero
        return self.first + np.flatnonzero(np.bincount(places[places >= 0], minlength=self.size))

    def labels(self) -> Labels:
        """Those of all groups."""
        return self.labels_of(self.first + np.arange(self.size))  # the last may be the largest


@dataclass(frozen=True)
class Coded:
    """Labels by their places among some that differ and are in order, instead of an array of them.

    It is what others, such as pandas, have hashed. A negative place is missing.
    """

    codes: Array
    categories: Any

    @property
    def dtype(self) -> Any:
        return self.categories.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    def __getitem__(self, index: Any) -> Coded:
        return Coded(self.codes[index], self.categories)

    def ravel(self) -> Coded:
        return Coded(self.codes.ravel(), self.categories)


def numbered(keys: Labels) -> Numbered:
    """Number labels of one or more keys: vectors of one length, whose masked entries are missing.

    Raises
    ------
    UnorderedError
        For labels that have no order, or no hash.
    """
    return reduce(_paired, map(_of_one, keys))


class Together(NamedTuple):
    """Numbers as of `Numbered`, of labels of several parts, of which none is missing."""

    of_parts: list[Array]
    first: int
    size: int
    labels_of: LabelsOf

    def as_one(self) -> Numbered:
        return Numbered(np.concatenate(self.of_parts), self.first, self.size, self.labels_of)


def numbered_together(parts: Sequence[Labels]) -> Together:
    """Number labels of several parts, in each of which they are sorted and differ."""
    if len(parts[0]) == 1:
        labels = [own for (own,) in parts]
        if ranges := in_one_range(labels):
            integers, least, greatest = ranges
            labels_of = _of_integers(labels[0].dtype, np.int64, 0)
            return Together(integers, least, greatest - least + 1, labels_of)
        if joined := _in_order(labels):
            return joined
    found = numbered(tuple(map(_joined, zip(*parts, strict=True))))
    ends = np.cumsum([len(labels[0]) for labels in parts])[:-1]
    return Together(np.split(found.numbers, ends), *found[1:])


def _in_order(parts: Sequence[Any]) -> Together | None:
    """The same of numbers in many places, which need no hash."""
    words = as_words(parts)
    if words is None or sum(map(len, words)) < FEWEST_LABELLED or not can_compile():
        return None
    try:
        numbers, union = on_cpu.joined(words)
    except CannotCompileError:
        return None
    labels = (
        union.view(parts[0].dtype)
        if parts[0].dtype.kind in "Mm"
        else union.astype(parts[0].dtype, copy=False)
    )
    return Together(
        numbers, 0, len(labels), lambda at: (labels if len(at) == len(labels) else labels[at],)
    )


def find(labels: Labels, sought: Labels) -> Array:
    """The places of labels among others, -1 where there is none; both are sorted and differ."""
    count = len(labels[0])
    if len(labels) > 1:
        both = numbered(tuple(map(_joined, zip(labels, sought, strict=True)))).from_zero
        places = np.full(both.max(initial=-1) + 2, -1)
        places[both[:count]] = np.arange(count)
        return places[both[count:]]
    (own,), (other,) = labels, sought
    if not count:
        return np.full(len(other), -1)
    if {own.dtype.kind, other.dtype.kind} == {"i", "u"}:
        return _find_of_signs(own, other)
    if own.dtype == np.int64 == other.dtype and int(own[-1]) - int(own[0]) == count - 1:
        inside = (other >= own[0]) & (other <= own[-1])  # in a row
        return np.where(inside, other - own[0], -1)
    if own.dtype == other.dtype and (joined := _in_order([own, other])):
        places = np.full(joined.size, -1)
        places[joined.of_parts[0]] = np.arange(count)
        return places[joined.of_parts[1]]
    places = np.minimum(np.searchsorted(own, other), count - 1)
    return np.where(own[places] == other, places, -1)


def _find_of_signs(own: Array, other: Array) -> Array:
    """`find` among signed and unsigned integers, which NumPy would round to float64."""
    below = [int(np.searchsorted(labels, 0)) for labels in (own, other)]
    own, other = (a[n:].astype(np.uint64) for a, n in zip((own, other), below, strict=True))
    places = find((own,), (other,))
    return np.concatenate((np.full(below[1], -1), np.where(places < 0, -1, places + below[0])))


def has_missing(labels: Array) -> bool:
    """Whether one of some labels is missing."""
    if labels.dtype.kind in "OT":
        return any(map(is_missing, labels.astype(object)))
    return _missing_in(labels) is not None


def _missing_in(labels: Array) -> Array | None:
    """Which labels are missing, or None if none is; of objects only those that are masked."""
    data, kind = np.ma.getdata(labels), labels.dtype.kind
    missing = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else None
    if kind in "fMm":
        own = np.isnat(data) if kind in "Mm" else np.isnan(data)
        missing = own if missing is None else own | missing
    return missing if missing is not None and missing.any() else None


def _joined(arrays: tuple[Array, ...]) -> Array:
    return np.concatenate(arrays)


def _of_one(labels: Array | Coded) -> Numbered:
    if isinstance(labels, Coded):
        categories = labels.categories
        return Numbered(labels.codes, 0, len(categories), lambda at: (categories[at],))
    missing = _missing_in(labels)
    labels = np.ma.getdata(labels)
    if not labels.dtype.isnative:
        labels = labels.astype(labels.dtype.newbyteorder("="))
    kept = labels if missing is None else labels[~missing]
    if labels.dtype.kind in "biuMm" and kept.size:
        integers, least, greatest = as_integers(kept)
        if is_small(greatest - least, kept.size):
            return _of_range(labels.dtype, integers, least, greatest, missing)
    groups, numbers = distinct(kept)
    return Numbered(_spread(numbers, missing, -1), 0, len(groups), lambda at: (groups[at],))


def _spread(numbers: Array, missing: Array | None, value: int) -> Array:
    """Numbers of what is not missing, with a value between them."""
    if missing is None:
        return numbers
    full = np.full(len(missing), value, np.int64)
    full[~missing] = numbers
    return full


def _of_range(
    dtype: Any, integers: Array, least: int, greatest: int, missing: Array | None
) -> Numbered:
    wide, count, first = integers.dtype.type, greatest - least + 1, least
    if wide is np.uint64 or (missing is not None and least == np.iinfo(np.int64).min):
        integers, first = (integers - wide(least)).view(np.int64), 0
    labels_of = _of_integers(dtype, wide, least - first)
    return Numbered(_spread(integers, missing, first - 1), first, count, labels_of)


def _of_integers(dtype: Any, wide: Any, distance: int) -> LabelsOf:
    """What gives the labels of a dtype that are stored as integers, at some distance of numbers."""

    def labels_of(numbers: Array) -> Labels:
        labels = numbers.astype(wide, copy=False)
        labels = labels + wide(distance) if distance else labels
        return (labels.view(dtype) if dtype.kind in "Mm" else labels.astype(dtype, copy=False),)

    return labels_of


def _paired(a: Numbered, b: Numbered) -> Numbered:
    """The numbers of pairs, in the order of the first and then of the second."""
    one, other = a.from_zero, b.from_zero
    outside = (one < 0) | (other < 0)
    pairs = np.ma.array(one * b.size + other, mask=outside if outside.any() else False)
    found = _of_one(pairs)

    def labels_of(numbers: Array) -> Labels:
        (pair,) = found.labels_of(numbers)
        return a.labels_of(a.first + pair // b.size) + b.labels_of(b.first + pair % b.size)

    return found._replace(labels_of=labels_of)


def product(shape: tuple[int, ...], keys: Labels) -> Array:
    """One number of the places along several axes, masked where one of them is negative."""
    outside = reduce(np.logical_or, (key < 0 for key in keys))
    number = keys[0]
    for n, key in zip(shape[1:], keys[1:], strict=True):
        number = number * n + key
    return np.ma.array(number, mask=outside) if outside.any() else number


def in_order(labels: Array) -> tuple[Array, Array]:
    """Labels sorted, and where each of them was before."""
    order = np.argsort(labels, kind="stable")
    return labels[order], order


def coded(labels: Array) -> Coded:
    """Labels by their places among those that there are."""
    found = _of_one(labels)
    return Coded(found.from_zero, *found.labels())


def places_of(labels: Array | Coded, expected: tuple[Array, Array]) -> Array:
    """Where each label is among others, which differ and are given `in_order`; -1 if it is not."""
    (ordered, order), found = expected, numbered((labels,))
    places = find((ordered,), found.labels())
    if order.size:
        places = np.where(places < 0, -1, order[places])
    return np.append(places, -1)[found.from_zero]
