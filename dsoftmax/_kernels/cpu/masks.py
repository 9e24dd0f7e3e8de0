"""Masks in compiled kernels: what is out is written over, on a tile or in a row of the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import inlined, pointer
from .simd import chosen, lanes_in_vector, load, store

uint8 = np.uint8


def masking(working: Any) -> tuple[Callable[..., Any], ...]:
    """`copy_where` and `overwrite` of elements of ``working``.

    An element is out if its byte is 0, of those at ``where`` that are ``step`` bytes apart.  There
    is ``spare`` memory for these bytes in a row, which one instruction loads for a vector.
    """
    item, n = np.dtype(working).itemsize, lanes_in_vector(working)

    @inlined
    def copy_where(
        source: int, target: int, where: int, step: int, size: int, value: Any, spare: int
    ) -> None:
        """Copy elements, and a value for those that are out."""
        if step != 1:
            gather(where, step, size, spare)
            where = spare
        whole = size // n * n
        for i in range(0, whole, n):
            kept = load(source + i * item, working, n)
            store(chosen(where + i, kept, value), target + i * item)
        elements, copies, flags = (
            pointer(source, working),
            pointer(target, working),
            pointer(where, uint8),
        )
        for i in range(whole, size):
            copies[i] = elements[i] if flags[i] else value

    @inlined
    def overwrite(elements: int, where: int, step: int, size: int, value: Any, spare: int) -> None:
        """Write a value over the elements that are out."""
        copy_where(elements, elements, where, step, size, value, spare)

    return copy_where, overwrite


@inlined
def gather(where: int, step: int, size: int, target: int) -> None:
    """Copy bytes that are ``step`` apart to a row."""
    flags, copies = pointer(where, uint8), pointer(target, uint8)
    for i in range(size):
        copies[i] = flags[i * step]


@inlined
def count(where: int, step: int, size: int) -> int:
    """How many elements are in."""
    flags = pointer(where, uint8)
    number = 0
    for i in range(size):
        number += flags[i * step] != 0
    return number
