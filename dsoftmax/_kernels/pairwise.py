"""Sums of terms by halves, for any array-API library."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._algebra import numpy_arrays
from .._algebra.normalizer import add

Array = Any
Axes = tuple[int, ...]


def summed(xp: Any, terms: Array, axes: Axes) -> Array:
    """A pairwise sum over each axis in turn; NumPy's terms are overwritten.

    NumPy adds pairwise along the last axis only, other libraries promise nothing: along the first
    axis 10^7 equal terms would lose three digits.
    """
    for axis in axes:
        if xp is numpy_arrays:
            terms = _halved_in_place(terms.swapaxes(0, axis)).swapaxes(0, axis)
        else:
            terms = _halved(xp, terms, axis)
        terms = xp.sum(terms, axis=axis, keepdims=True, dtype=terms.dtype)
    return terms


def _halved(xp: Any, terms: Array, axis: int) -> Array:
    """At most 8 sums along an axis: its second half is added to the first, and so on."""
    before = (slice(None),) * axis
    while (n := terms.shape[axis]) > 8:
        half = n // 2
        halves = (slice(0, half), slice(half, 2 * half))
        total = add(xp, *(terms[(*before, one, ...)] for one in halves))
        if n % 2:
            last = terms[(*before, slice(n - 1, n), ...)]
            total = xp.concat([total, last], axis=axis)
        terms = total
    return terms


def _halved_in_place(terms: Array) -> Array:
    """The same sums along the first axis of a NumPy array, in its own memory."""
    while (n := len(terms)) > 8:
        lower, terms = terms[: n // 2], terms[n // 2 :]  # of an odd number the last one stays
        upper = terms[: n // 2]
        np.add(lower, upper, out=upper)
    return terms
