"""The thresholds of the compiled kernels, `dsoftmax._kernels.cpu.tuning`: the evidence for each.

Every case is an array near a threshold, computed both ways: as it is below, and as it is above.  A
threshold is right where one way stops being the faster one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..case import Call, Case, Sides, Suite
from ..operation import DTYPES

SIZE = 1 << 19  # elements of most arrays: in the second- and third-level caches
ALWAYS, NEVER = 0, 10**12
OF_THREADS = ("LARGE", "LARGE_ROWS", "PIECE")
CALLS = 10  # for one setting of a threshold, which takes the plan of the array anew


@contextmanager
def tuned(**values: int) -> Iterator[None]:
    """Thresholds of other values, wherever they are used."""
    from dsoftmax._kernels.cpu import plan, quick

    def forget() -> None:
        plan.plan.cache_clear()
        quick.forget()

    loaded = {name.removeprefix("dsoftmax._kernels."): m for name, m in sys.modules.items()}
    modules = [m for name, m in loaded.items() if name.startswith(("cpu.", "in_memory", "topk"))]
    places = [(m, name) for m in modules for name in values if hasattr(m, name)]
    before = [getattr(module, name) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, values[name])
        forget()
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)
        forget()


class Near(NamedTuple):
    """A function of an array near a threshold; the ways are values of thresholds, by title."""

    threshold: str
    function: str  # of dsoftmax; "given" for the softmax of which (m, d) are known
    shape: tuple[int, ...]
    axis: int
    ways: dict[str, dict[str, int]]

    def case(self, dtype: str) -> Case:
        on_all = self.threshold in OF_THREADS
        return Case(
            f"{self.threshold}-{self.function}-{dtype}-{'x'.join(map(str, self.shape))}",
            f"{self.function} {dtype}, shape {self.shape}, axis {self.axis}",
            partial(self.sides, dtype),
            elements=CALLS * math.prod(self.shape),
            cores="most" if on_all else "one",
            heading=f"{self.threshold}",
        )

    def sides(self, dtype: str, scope: ExitStack) -> Sides:
        return {f"dsoftmax {way}": partial(self.make, dtype, way) for way in self.ways}

    def make(self, dtype: str, way: str) -> Call:
        import dsoftmax

        rng = np.random.default_rng(0)
        x = rng.standard_normal(self.shape, dtype=np.dtype(dtype).type)
        values = self.ways[way]
        if self.function == "given":
            return partial(repeated, dsoftmax.Normalizer.of(x, self.axis).softmax, x, values=values)
        return partial(repeated, getattr(dsoftmax, self.function), x, self.axis, values=values)


class NearInGroups(NamedTuple):
    """The same of a vector in so many groups; the function is one of `grouped`, or merge."""

    threshold: str
    function: str
    size: int
    groups: int
    ways: dict[str, dict[str, int]]

    def case(self, dtype: str) -> Case:
        return Case(
            f"{self.threshold}-{self.function}-{dtype}-{self.size}-{self.groups}",
            f"{self.function} {dtype}, {self.size} in {self.groups} groups",
            partial(self.sides, dtype),
            elements=CALLS * self.size,
            cores="one",
            heading=f"{self.threshold}",
        )

    def sides(self, dtype: str, scope: ExitStack) -> Sides:
        return {f"dsoftmax {way}": partial(self.make, dtype, way) for way in self.ways}

    def make(self, dtype: str, way: str) -> Call:
        from dsoftmax import grouped
        from dsoftmax._kernels import groups

        rng, values = np.random.default_rng(0), self.ways[way]
        x = rng.standard_normal(self.size, dtype=np.dtype(dtype).type)
        by = rng.integers(self.groups, size=self.size)
        if self.function != "merge":
            return partial(repeated, getattr(grouped, self.function), x, by, values=values)
        parts = zip(np.split(x, 4), np.split(by, 4), strict=True)
        states = [groups.of_block(groups.Labelled(part, (labels,)), 0) for part, labels in parts]
        return lambda: repeated(groups.merge, *states, values=values)[1].m


def repeated(function: Callable[..., Any], *arguments: Any, values: dict[str, int]) -> Any:
    with tuned(**values):
        for _ in range(CALLS - 1):
            function(*arguments)
        return function(*arguments)


def alternatives(name: str, always: str, never: str) -> dict[str, dict[str, int]]:
    return {always: {name: ALWAYS}, never: {name: NEVER}}


def near(quick: bool) -> Iterator[Near]:
    some = 1 if quick else None
    shape: tuple[int, ...]
    rows, size = "row by row", 1 << 12 if quick else SIZE
    for length in (8, 12, 16, 24, 32, 48)[:some]:
        shape = (size // length, length)
        for threshold, function in (
            ("SHORT_ROW", "softmax"),
            ("SHORT_ROW", "logsumexp"),
            ("SHORT_GIVEN", "given"),
        ):
            ways = alternatives(threshold, rows, "side by side")
            yield Near(threshold, function, shape, 1, ways)
    for columns in (2, 3, 4, 6, 8, 12)[:some]:
        for function in ("softmax", "logsumexp"):
            shape = (2, size // 2 // columns, columns)
            ways = alternatives("FEW", "side by side", "one by one")
            yield Near("FEW", function, shape, 1, ways)
            shape = (size // 8 // columns, 8, columns)
            ways = alternatives("RUN", "in runs", "one of all planes")
            yield Near("RUN", function, shape, 1, ways)
    for columns in (2, 4, 8, 15)[:some]:
        for power in (17, 19, 20, 22)[:some]:
            shape = (2**power // columns, columns)
            ways = {"folded": {"LONG": 1}, "as it is": {"LONG": NEVER}}
            for function in ("softmax", "logsumexp"):
                yield Near("LONG", function, shape, 0, ways)


def near_threads(quick: bool) -> Iterator[Near]:
    some = 1 if quick else None
    for power in (16, 17, 18, 19, 20)[:some]:
        pieces = {"LARGE": ALWAYS, "PIECE": 2**power // 4}  # as the smallest array that is cut
        ways = {"on all cores": pieces, "on one": {"LARGE": NEVER}}
        for function in ("softmax", "logsumexp"):
            yield Near("LARGE", function, (2**power // 8, 8), 1, ways)
    for power in (18, 19, 20, 21, 22)[:some]:
        ways = alternatives("LARGE_ROWS", "on all cores", "on one")
        for function in ("softmax", "logsumexp"):
            yield Near("LARGE_ROWS", function, (2**power,), 0, ways)
    for power in (20, 22, 24)[:some]:
        ways = {f"in pieces of 2^{n}": {"PIECE": 2**n} for n in (14, 15, 16, 17)}
        for function in ("softmax", "logsumexp"):
            yield Near("PIECE", function, (2**power,), 0, ways)


def near_in_groups(quick: bool) -> Iterator[NearInGroups]:
    some, shift = (1, 8) if quick else (None, 0)
    for power in (8, 10, 11, 12, 13, 14)[:some]:
        ways = alternatives("FEWEST_LABELLED", "compiled", "in NumPy")
        for function in ("softmax", "logsumexp", "merge"):
            yield NearInGroups("FEWEST_LABELLED", function, 1 << power, 1 << power - 3, ways)
    tables = {f"{rows} rows": {"NEAR": rows} for rows in (1 << 12, 1 << 13, 1 << 14, 1 << 15)}
    for power in (13, 14, 15, 16, 18)[:some]:
        ways = tables | {"all rows": {"NEAR": NEVER}}
        yield NearInGroups("NEAR", "logsumexp", SIZE >> shift, 1 << power - shift, ways)
    ways = {f"{parts} parts": {"MOST_PARTS": parts} for parts in (1 << 6, 1 << 8, 1 << 10)}
    yield NearInGroups("MOST_PARTS", "logsumexp", 1 << 22 - shift, 1 << 23 - shift, ways)
    ways = {f"{rows} rows": {"MERGED": rows} for rows in (1 << 8, 1 << 10, 1 << 12, 1 << 14)}
    yield NearInGroups("MERGED", "merge", SIZE >> shift, 1 << 18 - shift, ways)


def cases(quick: bool) -> list[Case]:
    every: list[Near | NearInGroups] = [*near(quick), *near_threads(quick), *near_in_groups(quick)]
    found = sorted(every, key=lambda one: one.threshold)  # a table for each
    return [one.case(dtype) for one in found for dtype in DTYPES]


SUITE = Suite("thresholds", "Thresholds", cases, seconds=0.5)
