"""The arrays that operations are measured on: shapes, axes, chunks, and how they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def transposed(x: np.ndarray) -> np.ndarray:
    """A view in which the first axis is the fastest, and the second the slowest."""
    return np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(-1, *range(x.ndim - 1))


def every_second_column(x: np.ndarray) -> np.ndarray:
    """A view of an array that is twice as wide."""
    return np.repeat(x, 2, axis=-1)[..., ::2]


@dataclass(frozen=True)
class Layout:
    """Shape and axis of an array, and into how many blocks it is cut; ``small`` if it is to be."""

    title: str
    shape: tuple[int, ...]
    axis: int
    blocks: tuple[int, ...]
    small: tuple[int, ...] = ()
    lay: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray  # the same in memory otherwise

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        return tuple(n // m for n, m in zip(self.shape, self.blocks, strict=True))


LAYOUTS = {
    "row-1e6": Layout("one row, 10^6", (10**6,), 0, (16,)),
    "row-1e7": Layout("one row, 10^7", (10**7,), 0, (16,)),
    "row-1e8": Layout("one row, 10^8", (10**8,), 0, (16,), (20_000,)),
    "row-5e8": Layout("one row, 5·10^8", (5 * 10**8,), 0, (16,)),
    "labels-1e7": Layout("10^7 with labels", (10**7,), 0, (16,), (32_000,)),
    "long-rows": Layout("rows of 50,000", (2000, 50_000), 1, (16, 1), (32, 1000)),
    "short-rows": Layout("rows of 10", (10**7, 10), 1, (16, 1), (1600, 10)),
    "columns": Layout("columns of 50,000", (50_000, 2000), 0, (1, 16), (1000, 32)),
    "middle-axis": Layout("middle axis of 160", (128, 160, 1000), 1, (16, 1, 1), (16, 40, 50)),
    "attention": Layout("512 rows of 60,000", (512, 60_000), 1, (1, 16), (8, 1600)),
    "tiles": Layout("rows of 10,000 cut in 4", (2000, 10_000), 1, (4, 4), (20, 1000)),
    "images": Layout("three channels of images", (64, 3, 224, 224), 1, (16, 1, 1, 1)),
    "heads": Layout("12 heads, attention to 512", (32, 12, 512, 512), 3, (16, 1, 1, 1)),
    "odd": Layout("(1000, 7, 13), axis of 7", (1000, 7, 13), 1, (8, 1, 1)),
    "fortran": Layout(
        "rows of 2000, Fortran order", (8000, 2000), 1, (16, 1), lay=np.asfortranarray
    ),
    "transposed": Layout(
        "a transposed view, last axis", (100, 200, 500), 2, (4, 4, 1), lay=transposed
    ),
    "every-second": Layout(
        "every second of 20,000 columns", (2000, 10_000), 1, (16, 1), lay=every_second_column
    ),
}
