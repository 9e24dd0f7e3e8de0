"""States of many groups in parts, by a hash of their labels, which are merged one by one."""

from __future__ import annotations

import numpy as np

from .._algebra.states import mapped
from .factorize import Labels
from .groups import Groups, Labelled, of_block

Array = np.ndarray

KINDS = "biufMmUS"  # of labels that have a hash here; others are all in the first part
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / the golden ratio (Knuth, TAOCP 3, 6.4)
_HIGH, _HIGHEST = np.uint64(32), np.uint64(56)


def parts_of_block(
    block: Labelled, axis: int, moments: bool = False, parts: int = 1
) -> tuple[Groups, ...]:
    """The states of the groups of a block, in parts."""
    return split(of_block(block, axis, moments), parts)


def split(groups: Groups, parts: int) -> tuple[Groups, ...]:
    """Groups in so many parts; equal labels of one dtype are in the same one."""
    part = _part_of(groups.labels, parts)
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(1, parts))
    return tuple(_some(groups, places) for places in np.split(order, edges))


def _some(groups: Groups, places: Array) -> Groups:
    labels = tuple(labels[places] for labels in groups.labels)
    return Groups(labels, mapped(lambda field: field[places], groups.state))


def _part_of(labels: Labels, parts: int) -> Array:
    total = np.zeros(len(labels[0]), np.uint64)
    for one in labels:
        for word in _words(np.asarray(one)):
            total = (total ^ word) * _ODD
            total ^= total >> _HIGH
    return ((total * _ODD >> _HIGHEST) % np.uint64(parts)).astype(np.uint8)


def _words(labels: Array) -> list[Array]:
    """Labels as integers of 64 bits, one or more of each."""
    kind = labels.dtype.kind
    if kind not in KINDS:
        return []
    if kind == "f":
        return [(labels.astype(np.float64) + 0.0).view(np.uint64)]  # not -0.0, which is equal
    if kind in "US":
        word = np.uint32 if kind == "U" else np.uint8
        width = max(1, labels.dtype.itemsize // word().itemsize)
        words = np.ascontiguousarray(labels).view(word).reshape(len(labels), width)
        return [column.astype(np.uint64) for column in words.T]
    integers = labels.view(np.int64) if kind in "Mm" else labels.astype(np.int64)
    return [integers.view(np.uint64)]
