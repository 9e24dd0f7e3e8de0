"""The cross-entropy of blocks: their normalizers, and the elements that labels point at.

The state of a part of each slice is `Labelled`: the normalizer (m, w, s) of the part and the
element at the label, if that is in the part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from .._algebra.dtypes import dtype_name, dtype_of, is_complex
from .._algebra.namespace import array_namespace
from .._algebra.normalizer import State, common_namespace, log_d, quiet
from .._algebra.normalizer import merge as merge_normalizers
from .blocks import Terms, unmasked_terms
from .choose import kernels_for

Array = Any

LEFT_OUT = -1  # the label of a slice that is not to count


class Classes(NamedTuple):
    """A block of x, the labels of its slices, of length 1 along the axis, and where it begins.

    The labels are int64, and count from the start of the whole axis. x comes with a mask, or alone.
    """

    x: Array | Terms
    labels: Array
    start: int


class Labelled(NamedTuple):
    """The normalizers of parts of slices, and their elements at the labels; all of one shape.

    ``at`` is 0 where ``found``, a boolean, says that the label is not in the part, or is of a class
    that takes no part. ``counts`` is false where the slice is left out.
    """

    normalizer: State
    at: Array
    found: Array
    counts: Array


def of_block(classes: Classes, axes: tuple[int, ...]) -> Labelled:
    """The state of a block along one axis, which stays with length 1."""
    (axis,) = axes
    x, _, where, _ = unmasked_terms(classes.x)
    if is_complex(name := dtype_name(x.dtype)):
        raise TypeError(
            f"a block has dtype {name}, and its Dask array a real one; pass the real part, as with "
            "x.map_blocks(lambda block: block.real)"
        )
    labels = moved(classes.labels, x)
    xp = common_namespace(x, labels)
    normalizer = kernels_for(x).of_block(x, axes, where=where)
    place = labels - classes.start
    found = (labels != LEFT_OUT) & (place >= 0) & (place < x.shape[axis])
    if x.shape[axis] == 0:
        at = xp.zeros_like(normalizer.m)
    else:
        place = xp.where(found, place, 0)
        if where is not None:
            found = found & xp.take_along_axis(where, place, axis=axis)
        at = xp.take_along_axis(x, place, axis=axis)
        at = xp.where(found, xp.astype(at, normalizer.m.dtype), 0.0)
    return Labelled(normalizer, at, found, labels != LEFT_OUT)


def moved(labels: Array, x: Array) -> Array:
    """Labels of NumPy as an array of the library, and on the device, of a block."""
    if not isinstance(labels, np.ndarray) or isinstance(x, np.ndarray):
        return labels
    return array_namespace(x).asarray(labels, device=device(x))


def merge(*parts: Labelled) -> Labelled:
    """The state of the parts together: a label is in one of them at most."""
    first, *rest = parts
    if not rest:
        return first
    xp, (_, at, found, counts) = array_namespace(first.at), first
    for part in rest:
        at, found = xp.where(part.found, part.at, at), found | part.found
    return Labelled(merge_normalizers(*(part.normalizer for part in parts)), at, found, counts)


def cross_entropy(state: Labelled) -> Array:
    """(m - x) + log d of the element x at the label; 0 where the slice is left out.

    It is inf where the label is in no part: its class takes no part, and has probability 0.
    Not (m + log d) - x: rounding the log-sum-exp to the size of x loses the digits of m - x.
    """
    xp, logarithm = array_namespace(state.at), log_d(state.normalizer)
    with quiet():
        m, at = (xp.astype(a, logarithm.dtype) for a in (state.normalizer.m, state.at))
        value = xp.where(state.found, (m - at) + logarithm, float("inf"))
        return xp.where(state.counts, value, 0.0)


class OutOfRangeError(ValueError):
    """A label that is none: its value, where it is in its block, and how many there are."""

    def __init__(self, label: int, index: tuple[int, ...], count: int) -> None:
        super().__init__(label, index, count)
        self.label, self.index, self.count = label, index, count


def checked(labels: Array, classes: int, ignored: int | None) -> Array:
    """Labels as signed integers, those that are ``ignored`` or masked as `LEFT_OUT`.

    Raises
    ------
    TypeError
        If they are no integers: their dtype.
    OutOfRangeError
        If one is neither in range nor left out.
    """
    masked = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else None
    labels = np.ma.getdata(labels) if masked is not None else labels
    if not (name := dtype_name(labels.dtype)).lstrip("u").startswith("int"):
        raise TypeError(name)
    xp = array_namespace(labels)
    numbers = labels if name in ("int32", "int64") else xp.astype(labels, dtype_of(xp, "int64"))
    # NumPy alone compares all integers right: 2**64 - 1 is not -1, and 300 is no uint8.
    of_numpy = isinstance(labels, np.ndarray)
    exact = labels if of_numpy else numbers
    left_out = xp.zeros_like(exact, dtype=xp.bool) if masked is None else masked
    if ignored is not None and (of_numpy or -(2**63) <= ignored < 2**63):
        left_out = left_out | (exact == ignored)
    wrong = ~left_out & ((exact < 0) | (exact >= classes))
    if xp.any(wrong):
        first = int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), xp.uint8)))
        index = tuple(int(i) for i in np.unravel_index(first, tuple(labels.shape)))
        raise OutOfRangeError(int(labels[index]), index, int(xp.count_nonzero(wrong)))
    return xp.where(left_out, LEFT_OUT, numbers)
