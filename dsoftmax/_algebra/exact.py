"""Exact sums of exponentials: a state that does not depend on the order of anything.

The exponential of x is taken as E(t) exp(a), where the *anchor* a is the multiple of 64 that is
nearest to x (the larger one of two) and t = x - a, which is exact: E is a function of x alone.
Elements with one anchor are a *class*.  Their E(t) lie between exp(-32) and exp(32), and so their
sum is an integer of fixed unit, kept in limbs; sums of integers are exact in any order.

The state of a slice is its maximum m, the number w of elements equal to it and the sum of their E;
and of the rest the sums of the highest two classes that have any.  What is in lower ones is less
than n exp(-64) of the rest, and is left out.  Which elements count is a matter of the data alone,
so that states merge to that of the whole, to the bit: in the union, the highest two classes of
the rest are among the highest two of each part, or the maximum of a part.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import to_device

from .dtypes import dtype_of, dtypes_for
from .normalizer import quiet

Array = np.ndarray

SPACING = 64.0  # of anchors

# A sum has LIMBS integers of 64 bits, the lowest first; those of limb j are multiples of
# 2**(RADIX * j - LOWEST).  E(t) < 2**47, and the last bit of a float64 E(t) is at least 2**-99.
LIMBS, RADIX, LOWEST = 5, 43, 124
CLASSES = 2  # of the rest


FIELDS = ("m", "w", "top", "anchor", "rest")


class Exact(NamedTuple):
    """The states of some slices, as one array of records; reduced axes are kept with length 1.

    The fields of a record are ``m`` (of the working dtype), ``w``, ``top``, the sum of the elements
    at the maximum in limbs, and ``anchor`` and ``rest``, of the classes below: descending, and
    -inf where there is none.
    """

    records: Array

    @property
    def m(self) -> Array:
        """The maxima."""
        return self.records["m"]


@cache
def record_dtype(working: Any) -> np.dtype:
    """The dtype of the records of float32 or float64: the same places in memory."""
    maximum: list[Any] = [("m", np.float64)]
    if working is np.float32:
        maximum = [("m", np.float32), ("unused", np.int32)]
    sums = [
        ("w", np.int64),
        ("top", np.int64, (LIMBS,)),
        ("anchor", np.float64, (CLASSES,)),
        ("rest", np.int64, (CLASSES, LIMBS)),
    ]
    return np.dtype([*maximum, *sums])


class OnDevice(
    namedtuple(
        "OnDevice",
        "m number top0 top1 top2 top3 top4 anchor0 anchor1 "
        "rest0 rest1 rest2 rest3 rest4 rest5 rest6 rest7 rest8 rest9",
    )
):
    """The same on a device, where arrays have no records: one array for each of their words.

    All but m are of int64, anchors by their bits; ``number`` is w.
    """

    __slots__ = ()

    @property
    def records(self) -> Array:
        """A copy in NumPy's memory, for which the device is waited for."""
        m, *words = (to_device(word, "cpu") for word in self)
        records = np.zeros(m.shape, record_dtype(m.dtype.type))
        records["m"] = m
        _words(records)[..., 1:] = np.stack(words, axis=-1)
        return records


KINDS = (Exact, OnDevice)


def words_of(state: Exact) -> tuple[Array, Array]:
    """m, and all other words, of which there are as many as the first axis has."""
    records = np.ascontiguousarray(state.records)
    return records["m"].copy(), np.moveaxis(_words(records)[..., 1:], -1, 0).copy()


def _words(records: Array) -> Array:
    """Contiguous records as words of 64 bits, with an axis for them."""
    return records.reshape(-1).view(np.int64).reshape(*records.shape, SLICE_BYTES // 8)


SLICE_BYTES = record_dtype(np.float64).itemsize
PLACES = {  # of the fields of a record, in bytes
    name: place for name, (_, place, *_) in (record_dtype(np.float64).fields or {}).items()
}


def identity(shape: tuple[int, ...], dtype_name: str) -> Exact:
    """The states of empty slices, for inputs of dtype ``dtype_name``."""
    records = np.zeros(shape, record_dtype(dtype_of(np, dtypes_for(dtype_name).working).type))
    records["m"] = records["anchor"] = -np.inf
    return Exact(records)


def as_dtype(state: Exact, dtype_name: str) -> Exact:
    """The states as they are for inputs of dtype ``dtype_name``."""
    kind = record_dtype(dtype_of(np, dtypes_for(dtype_name).working).type)
    if state.records.dtype == kind:
        return state
    records = np.zeros(state.records.shape, kind)
    for name in FIELDS:
        records[name] = state.records[name]
    return Exact(records)


def merge(*states: Exact) -> Exact:
    """The state of the union of the slices."""
    if len(states) == 1:
        return states[0]
    wide = max((state.records.dtype for state in states), key=lambda kind: kind["m"].itemsize)
    name = wide["m"].name
    return merged(np.stack([as_dtype(state, name).records for state in states]))


def merged(records: Array) -> Exact:
    """The states along the first axis as one."""
    m = records["m"].max(axis=0) + 0.0  # propagates NaN; which of 0 and -0 depends on the order
    at_top = records["m"] == m
    found = np.zeros(m.shape, records.dtype)
    found["m"] = m
    found["w"] = np.where(at_top, records["w"], 0).sum(axis=0)
    found["top"] = np.where(at_top[..., None], records["top"], 0).sum(axis=0)
    # What was at a lower maximum joins the rest.
    own = np.where(at_top, -np.inf, anchor_of(records["m"].astype(np.float64)))
    anchors = np.concatenate([own[..., None], records["anchor"]], axis=-1)
    anchors[:, ~np.isfinite(m)] = -np.inf
    limbs = np.concatenate([records["top"][..., None, :], records["rest"]], axis=-2)
    for k in range(CLASSES):
        highest = anchors.max(axis=(0, -1))
        chosen = (anchors == highest[..., None]) & (anchors > -np.inf)
        found["anchor"][..., k] = highest
        found["rest"][..., k, :] = np.where(chosen[..., None], limbs, 0).sum(axis=(0, -2))
        anchors = np.where(chosen, -np.inf, anchors)
    _carry(found["top"])
    _carry(found["rest"])
    return Exact(found)


def anchor_of(x: Array) -> Array:
    """The anchor of each number: that of an infinity is itself."""
    with quiet():
        below = np.floor(x / SPACING)
        return SPACING * (below + (x - SPACING * below >= SPACING / 2))


def _carry(limbs: Array) -> None:
    """Make all limbs but the highest numbers from 0 up to 2**RADIX, in place."""
    for j in range(LIMBS - 1):
        over = limbs[..., j] >> RADIX
        limbs[..., j] -= over << RADIX
        limbs[..., j + 1] += over
