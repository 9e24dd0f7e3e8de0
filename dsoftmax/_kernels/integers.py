"""Labels that are integers, or stored as such: booleans, dates and time differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray

# Integers in a range no longer than this, and twice as many as there are labels, are not hashed: a
# table with a row for each takes about the memory of a hash table, and a quarter of the time; half
# of it where the range is twice as long (measured with 625,000 labels).
_FEW = 1024


def is_small(distance: int, count: int) -> bool:
    """Whether a table may have a row for each integer in the range of so many labels."""
    return distance < 2 * count + _FEW


def as_integers(labels: Array) -> tuple[Array, int, int]:
    """Labels as int64 or uint64, the least and the greatest."""
    integers = _stored(labels)
    return integers, int(integers.min()), int(integers.max())


def _stored(labels: Array) -> Array:
    kind, dtype = labels.dtype.kind, labels.dtype
    if kind in "Mm":
        return labels.view(np.int64)
    return labels.astype(np.uint64 if kind == "u" and dtype.itemsize == 8 else np.int64, copy=False)


def range_of(labels: Any, most: int = 0) -> tuple[Array, int] | None:
    """The places from 0 of labels in a small range of integers, and the first; None for others.

    The labels are sorted, differ, and none is missing. There may be as many as ``most``, or as they
    are, in a range that is small.
    """
    found = in_one_range([labels], most)
    if found is None:
        return None
    (integers,), least, _ = found
    return integers - least, least


def in_one_range(parts: Sequence[Any], most: int = 0) -> tuple[list[Array], int, int] | None:
    """Labels of several parts as integers, the least and the greatest, if these are a small range.

    In each part they are sorted, and differ, and none is missing. See `range_of` for ``most``.
    """
    if not _are_alike(parts) or not _is_integer(parts[0].dtype):
        return None
    integers = [_stored(labels) for labels in parts]
    ends = [int(end) for labels in integers if labels.size for end in (labels[0], labels[-1])]
    least, greatest = min(ends, default=0), max(ends, default=0)
    if not ends or least == np.iinfo(np.int64).min:
        return None
    small = is_small(greatest - least, max(most, sum(map(len, integers))))
    return (integers, least, greatest) if small else None


def as_words(parts: Sequence[Any]) -> list[Array] | None:
    """Labels of several parts as int64, uint64 or float64 in their order; None for all others."""
    if not _are_alike(parts) or parts[0].dtype.kind not in "biufMm":
        return None
    if parts[0].dtype.kind == "f":
        wide = parts[0].dtype.itemsize <= 8
        return [labels.astype(np.float64, copy=False) for labels in parts] if wide else None
    return [_stored(labels) for labels in parts]


def integers_of(labels: Any, dtype: Any, missing: int) -> Array | None:
    """Labels as the integers that those of a dtype are stored as; None if they are of others."""
    if not isinstance(labels, np.ndarray) or not _is_integer(labels.dtype):
        return None
    if labels.dtype != dtype and {labels.dtype.kind, dtype.kind} & {"M", "m"}:
        return None
    data = np.ma.getdata(labels).astype(labels.dtype.newbyteorder("="), copy=False)
    integers, mask = _stored(data), np.ma.getmask(labels)
    return integers if mask is np.ma.nomask else np.where(mask, missing, integers)


def _are_alike(parts: Sequence[Any]) -> bool:
    return all(isinstance(a, np.ndarray) and a.dtype == parts[0].dtype for a in parts)


def _is_integer(dtype: Any) -> bool:
    return dtype.kind in "biuMm" and (dtype.kind != "u" or dtype.itemsize < 8)
