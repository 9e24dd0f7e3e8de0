"""The different labels of an array: hashed where that can be compiled, else sorted."""

from __future__ import annotations

from typing import Any

import numpy as np

from .choose import FEWEST_LABELLED, can_compile
from .cpu import kernels
from .cpu.call import address_of
from .cpu.compiler import CannotCompileError, compiled
from .integers import as_integers

Array = np.ndarray

FEWEST_SLOTS = 1 << 15


class UnorderedError(TypeError):
    """Labels that have no order, or no hash."""


def distinct(labels: Array) -> tuple[Array, Array]:
    """The different labels in order, and which of them each label is."""
    if labels.dtype.kind in "OT":
        return _of_objects(labels)
    hashed = labels.dtype.kind != "f" or labels.dtype.itemsize <= 8
    if hashed and labels.size >= FEWEST_LABELLED and can_compile():
        try:
            return _hashed(labels)
        except CannotCompileError:
            pass
    groups, numbers = np.unique(labels, return_inverse=True)
    return groups, numbers.reshape(-1).astype(np.int64, copy=False)


def _of_objects(labels: Array) -> tuple[Array, Array]:
    """The same of objects, in Python; -1 for those that are missing."""
    objects = labels.astype(object).tolist()
    try:
        different = dict.fromkeys(objects)
        missing = dict.fromkeys(filter(is_missing, different), -1)
        ordered = sorted(different.keys() - missing.keys())
    except TypeError as error:
        raise UnorderedError(*error.args) from None
    places = dict(zip(ordered, range(len(ordered)), strict=True)) | missing
    groups = np.empty(len(ordered), object)
    groups[:] = ordered
    numbers = np.fromiter(map(places.__getitem__, objects), np.int64, len(objects))
    return groups.astype(labels.dtype), numbers


def _hashed(labels: Array) -> tuple[Array, Array]:
    size, plain = labels.size, np.ascontiguousarray(labels)
    if plain.dtype.kind == "f":
        plain = plain.astype(np.float64) + 0.0  # not -0.0, which is equal
    elif plain.dtype.kind in "biu":
        plain = as_integers(plain)[0]
    word = next(w for w in (np.uint64, np.uint32, np.uint8) if not plain.itemsize % w().itemsize)
    words = plain.itemsize // word().itemsize
    kernel = compiled(kernels.group_labels, word)
    numbers, groups = np.empty(size, np.int64), np.empty(1, np.int64)
    count = FEWEST_SLOTS
    while True:
        slots, firsts = np.full(count, -1), np.empty(count // 2, np.int64)
        addresses = (address_of(a) for a in (firsts, numbers, groups))
        kernel(address_of(plain), words, size, address_of(slots), count, *addresses)
        if groups[0] >= 0:
            break
        count *= 8
    different = labels[firsts[: groups[0]]]
    order = np.argsort(different)  # of numbers by vectors, which no stable one is
    if (order[1:] > order[:-1]).all():  # they came in order
        return different, numbers
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return different[order], rank[numbers]


def is_missing(label: Any) -> bool:
    """Whether an object is a label that is missing."""
    try:
        return label is None or type(label).__name__ == "NAType" or bool(label != label)
    except (TypeError, ValueError):  # of an array, which is no label, as will be said
        return False
