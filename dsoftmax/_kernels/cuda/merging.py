"""States of the parts of slices, and of the slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import device
from .plan import merge_plan
from .source import FIELDS, MERGE, NUMBERS_OF_FIELDS, Kind, merge_kernel

Array = Any


def empty_states(kind: Kind, like: Array, size: int, working: str) -> tuple[Array, ...]:
    """Flat arrays for as many states."""
    sums = NUMBERS_OF_FIELDS[kind] - 1
    return tuple(device.empty(like, (size,), dtype) for dtype in (working, *("float64",) * sums))


def merged(
    kind: Kind, fields: tuple[Array, ...], slices: int, parts: int, working: str
) -> tuple[Array, ...]:
    """The states of slices from those of their parts, which are one after the other."""
    on = fields[0]
    whole = empty_states(kind, on, slices, working)
    shape = merge_plan(slices, parts)
    call = np.zeros(1, MERGE)
    for name, part, total in zip(FIELDS, fields, whole):  # noqa: B905  # or m, w, s
        call[name], call[f"to_{name}"] = device.address(part), device.address(total)
    call["slices"], call["parts"] = slices, parts
    call["lanes"], call["team"] = shape.lanes, shape.team
    device.launch(merge_kernel(working, kind), on, shape.grid, shape.threads, call)
    return whole
