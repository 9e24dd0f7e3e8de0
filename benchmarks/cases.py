"""What is measured (function, dtype, layout), and the targets that the results are held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Layout:
    """Shape, axis and chunks, with the functions that are measured on it.

    ``functions`` are measured on the largest number of cores asked for, ``fewer_cores`` on every
    smaller number: the whole table at each would take too long.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    axis: int
    chunks: tuple[int, ...]
    functions: tuple[str, ...] = FUNCTIONS
    fewer_cores: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """Of the whole array."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Case:
    """One function of one array."""

    function: str
    dtype: str
    layout: Layout

    @property
    def name(self) -> str:
        """As ``softmax-float32-row-1e8``: what ``--only`` selects by."""
        return f"{self.function}-{self.dtype}-{self.layout.name}"


LAYOUTS = (
    Layout("row-1e6", "one row, 10^6", (10**6,), 0, (62_500,), fewer_cores=FUNCTIONS),
    Layout("row-1e7", "one row, 10^7", (10**7,), 0, (625_000,), fewer_cores=FUNCTIONS),
    Layout(
        "row-1e8",
        "one row, 10^8",
        (10**8,),
        0,
        (6_250_000,),
        fewer_cores=("softmax", "logsumexp"),
    ),
    Layout(
        "row-5e8",
        "one row, 5·10^8",
        (5 * 10**8,),
        0,
        (31_250_000,),
        functions=("softmax", "logsumexp"),
    ),
    Layout(
        "long-rows",
        "rows of 50,000",
        (2000, 50_000),
        1,
        (125, 50_000),
        fewer_cores=("softmax",),
    ),
    Layout("short-rows", "rows of 10", (10**7, 10), 1, (625_000, 10)),
    Layout("columns", "columns of 50,000", (50_000, 2000), 0, (50_000, 125)),
    Layout("middle-axis", "middle axis of 160", (128, 160, 1000), 1, (8, 160, 1000)),
    Layout("tiles", "rows of 10,000 cut in 4", (2000, 10_000), 1, (500, 2500)),
)

# The same kinds, as small as they can be and still have every stage of the graph.
QUICK_LAYOUTS = (
    Layout("row", "one row", (20_000,), 0, (5000,), fewer_cores=("softmax",)),
    Layout("long-rows", "long rows", (20, 1000), 1, (5, 1000), functions=("softmax",)),
    Layout("short-rows", "short rows", (2000, 10), 1, (500, 10), functions=("logsumexp",)),
    Layout("columns", "columns", (1000, 20), 0, (1000, 5), functions=("log_softmax",)),
    Layout("middle-axis", "middle axis", (4, 50, 100), 1, (1, 50, 100), functions=("softmax",)),
    Layout("tiles", "rows cut in 4", (20, 1000), 1, (10, 250), functions=("logsumexp",)),
)


def select(quick: bool, most_cores: bool, only: tuple[str, ...] = ()) -> list[Case]:
    """The cases of a run whose name contains one of ``only``; those of one array are neighbours."""
    cases = (
        Case(function, dtype, layout)
        for layout in (QUICK_LAYOUTS if quick else LAYOUTS)
        for dtype in DTYPES
        for function in (layout.functions if most_cores else layout.fewer_cores)
    )
    return [case for case in cases if not only or any(text in case.name for text in only)]


class Target(NamedTuple):
    """``factor`` times faster than the best of the peers, or at most ``factor`` times the floor."""

    factor: float
    than: tuple[str, ...]

    @property
    def is_floor(self) -> bool:
        """Whether it limits the time from above."""
        return self.than == ("floor",)


_DASK = ("scipy-dask", "by-hand")
_LIBRARIES = ("torch", "jax", "scipy-dask")

_TARGETS = {
    ("softmax", "float32", "row-1e8"): (Target(2.5, _DASK), Target(1.5, ("floor",))),
    ("softmax", "float64", "row-1e8"): (Target(3, _DASK), Target(1.5, ("floor",))),
    ("logsumexp", "float32", "row-1e8"): (
        Target(10, ("scipy-dask",)),
        Target(4, ("by-hand",)),
        Target(5, ("torch",)),
        Target(2, ("floor",)),
    ),
    ("logsumexp", "float64", "row-1e8"): (
        Target(10, ("scipy-dask",)),
        Target(4, ("by-hand",)),
        Target(5, ("torch",)),
    ),
} | {
    ("softmax", dtype, layout): (Target(2, _LIBRARIES),)
    for dtype in DTYPES
    for layout in ("long-rows", "short-rows", "columns")
}


def targets(function: str, dtype: str, layout: str, elements: int) -> tuple[Target, ...]:
    """What a case has to reach on the most cores; nothing for most, and for small arrays."""
    return _TARGETS.get((function, dtype, layout), ()) if elements >= 10**8 else ()
