"""States of many groups in parts, which are merged one by one: by a hash of labels, or in order."""

from __future__ import annotations

from calendar import timegm
from datetime import date, datetime
from itertools import pairwise
from numbers import Number
from typing import Any
from zlib import crc32

import numpy as np

from .._algebra.states import mapped
from .factorize import Labels, find, numbered, numbered_together
from .groups import Groups, Labelled, of_block

Array = np.ndarray

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / the golden ratio (Knuth, TAOCP 3, 6.4)
_HIGH, _HIGHEST = np.uint64(32), np.uint64(48)


def parts_of_block(
    block: Labelled, axis: int, moments: bool = False, number: int = 1, width: int | None = None
) -> tuple[Groups, ...]:
    """The states of the groups of a block, in parts."""
    return split(of_block(block, axis, moments), number, width)


def split(groups: Groups, number: int, width: int | None = None) -> tuple[Groups, ...]:
    """Groups in so many parts: of so many places each, or else by a hash of their labels.

    Equal labels are in the same part, whatever the width or unit of their dtype.
    """
    return tuple(some(groups, places) for places in _places(groups.labels, number, width))


def sought(keys: Labels, number: int, width: int | None = None) -> tuple[Labels, ...]:
    """The labels that there are among others, in the same parts."""
    found = numbered(keys)
    labels = found.labels_of(found.present())
    return tuple(_at(labels, places) for places in _places(labels, number, width))


def found(groups: Groups, labels: Labels) -> Groups:
    """Those of some groups that have labels, which are sorted and differ."""
    places = find(groups.labels, labels)
    return some(groups, places[places >= 0])


def sample(groups: Groups, count: int) -> Labels:
    """About so many of their labels, at even distances."""
    size = len(groups.labels[0])
    return _at(
        groups.labels, np.unique(np.linspace(0, max(size - 1, 0), min(size, count), dtype=int))
    )


def between(*samples: Labels, parts: int) -> Labels:
    """The labels that parts of about the same size begin with, but the first, from samples."""
    labels = tuple(map(np.concatenate, zip(*samples, strict=True)))
    order = np.argsort(numbered(labels).numbers, kind="stable")
    places = np.linspace(0, max(len(order) - 1, 0), parts + 1)[1:-1].astype(int)
    return _at(labels, order[places] if len(order) else order)


def split_at(groups: Groups, begins: Labels, parts: int) -> tuple[Groups, ...]:
    """Groups in so many parts, all of which but the first begin with some labels, in order."""
    own, others = numbered_together([groups.labels, begins]).of_parts
    ends = np.full(parts - 1, len(own))
    ends[: len(others)] = np.searchsorted(own, others)  # of nothing there are no begins
    return tuple(some(groups, places) for places in _between(ends, len(own)))


def some(groups: Groups, places: Array | slice) -> Groups:
    """The groups at some places."""
    return Groups(_at(groups.labels, places), mapped(lambda field: field[places], groups.state))


def _at(labels: Labels, places: Array | slice) -> Labels:
    return tuple(one[places] for one in labels)


def _places(labels: Labels, number: int, width: int | None) -> list[Array] | list[slice]:
    """The places of labels of each part."""
    if width is not None:
        ends = np.searchsorted(labels[0], np.arange(1, number) * width)
        return _between(ends, len(labels[0]))
    part = _part_of(labels, number)
    return np.split(
        np.argsort(part, kind="stable"), np.cumsum(np.bincount(part, minlength=number))[:-1]
    )


def _between(ends: Array, size: int) -> list[slice]:
    return [slice(*pair) for pair in pairwise([0, *ends.tolist(), size])]


def _part_of(labels: Labels, parts: int) -> Array:
    total = np.zeros(len(labels[0]), np.uint64)
    for one in labels:
        total = (total ^ _words(np.asarray(one))) * _ODD
        total ^= total >> _HIGH
    return ((total * _ODD >> _HIGHEST) % np.uint64(parts)).astype(np.uint16)


def _words(labels: Array) -> Array:
    """An integer of 64 bits for each label, the same for labels that are equal."""
    kind = labels.dtype.kind
    if kind in "OT":
        words = map(_word, labels.astype(object).tolist())
        return np.fromiter(words, np.int64, len(labels)).view(np.uint64)
    if kind == "f":
        return (labels.astype(np.float64) + 0.0).view(np.uint64)  # not -0.0, which is equal
    if kind in "US":
        letter = np.uint32 if kind == "U" else np.uint8
        width = max(1, labels.dtype.itemsize // letter().itemsize)
        total = np.zeros(len(labels), np.uint64)
        letters = np.ascontiguousarray(labels).view(letter).reshape(len(labels), width)
        for column in letters.T[::-1]:  # so that zeros after the last letter change nothing
            total = total * _ODD + column
        return total
    if kind == "M" or (kind == "m" and np.datetime_data(labels.dtype)[0] not in "YM"):
        labels = labels.astype(f"{kind}8[s]")
    integers = labels.view(np.int64) if kind in "Mm" else labels.astype(np.int64)
    return integers.view(np.uint64)


def _word(label: Any) -> int:
    """An integer for an object, the same in all processes, unlike the hash of words in Python.

    Objects that are equal have to have the same one: those of a kind that is not known have 0, and
    so are all in one part.
    """
    if isinstance(label, str):
        return crc32(label.encode("utf-8", "surrogatepass"))
    if isinstance(label, bytes):
        return crc32(label)
    if isinstance(label, (Number, np.bool_)):
        return hash(label)
    if isinstance(label, datetime):  # pandas' too, whose nanoseconds do not count
        return timegm(label.utctimetuple())
    return label.toordinal() if isinstance(label, date) else 0
