"""The thresholds of the compiled kernels, `dsoftmax._kernels.cpu.tuning`: the evidence for each.

A threshold is right where one way to compute an array near it stops being the faster one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

from ..case import Call, Case, Suite
from ..near import ALWAYS, NEVER, Near, Ways, alternatives
from ..operation import DTYPES

SIZE = 1 << 19  # elements of most arrays: in the second- and third-level caches
OF_THREADS = ("LARGE", "LARGE_ROWS", "PIECE")
BOTH = ("softmax", "logsumexp")


def drawn(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.dtype(dtype).type)


def of_array(function: str, shape: tuple[int, ...], axis: int, dtype: str) -> Call:
    """A function of dsoftmax; "given" is the softmax of which (m, d) are known."""
    import dsoftmax

    x = drawn(shape, dtype)
    if function == "given":
        return partial(dsoftmax.Normalizer.of(x, axis).softmax, x)
    return partial(getattr(dsoftmax, function), x, axis)


def of_groups(function: str, size: int, groups: int, dtype: str) -> Call:
    """A function of `dsoftmax.grouped`, or the merge of the states of four parts."""
    from dsoftmax import grouped
    from dsoftmax._kernels import groups as kernels

    x, by = drawn((size,), dtype), np.random.default_rng(1).integers(groups, size=size)
    if function != "merge":
        return partial(getattr(grouped, function), x, by)
    parts = zip(np.split(x, 4), np.split(by, 4), strict=True)
    states = [kernels.of_block(kernels.Labelled(part, (labels,)), 0) for part, labels in parts]
    return lambda: kernels.merge(*states)[1].m


def in_array(threshold: str, function: str, shape: tuple[int, ...], axis: int, ways: Ways) -> Near:
    size, title = "x".join(map(str, shape)), f"shape {shape}, axis {axis}"
    make = partial(of_array, function, shape, axis)
    cores: Literal["most", "one"] = "most" if threshold in OF_THREADS else "one"
    return Near(threshold, function, size, title, math.prod(shape), ways, make, cores)


def in_groups(threshold: str, function: str, size: int, groups: int, ways: Ways) -> Near:
    title = f"{size} in {groups} groups"
    make = partial(of_groups, function, size, groups)
    return Near(threshold, function, f"{size}-{groups}", title, size, ways, make)


def near(quick: bool) -> Iterator[Near]:
    some, size = (1, 1 << 12) if quick else (None, SIZE)
    for length in (8, 12, 16, 24, 32, 48)[:some]:
        for threshold, functions in (("SHORT_ROW", BOTH), ("SHORT_GIVEN", ("given",))):
            ways = alternatives(threshold, "row by row", "side by side")
            for function in functions:
                yield in_array(threshold, function, (size // length, length), 1, ways)
    for columns, function in product((2, 3, 4, 6, 8, 12)[:some], BOTH):
        ways = alternatives("FEW", "side by side", "one by one")
        yield in_array("FEW", function, (2, size // 2 // columns, columns), 1, ways)
        ways = alternatives("RUN", "in runs", "one of all planes")
        yield in_array("RUN", function, (size // 8 // columns, 8, columns), 1, ways)
    for columns, power in product((2, 4, 8, 15)[:some], (17, 19, 20, 22)[:some]):
        ways = {"folded": {"LONG": 1}, "as it is": {"LONG": NEVER}}
        for function in BOTH:
            yield in_array("LONG", function, (2**power // columns, columns), 0, ways)


def near_threads(quick: bool) -> Iterator[Near]:
    some = 1 if quick else None
    for power, function in product((16, 17, 18, 19, 20)[:some], BOTH):
        pieces = {"LARGE": ALWAYS, "PIECE": 2**power // 4}  # as the smallest array that is cut
        ways = {"on all cores": pieces, "on one": {"LARGE": NEVER}}
        yield in_array("LARGE", function, (2**power // 8, 8), 1, ways)
    for power, function in product((18, 19, 20, 21, 22)[:some], BOTH):
        ways = alternatives("LARGE_ROWS", "on all cores", "on one")
        yield in_array("LARGE_ROWS", function, (2**power,), 0, ways)
    for power, function in product((20, 22, 24)[:some], BOTH):
        ways = {f"in pieces of 2^{n}": {"PIECE": 2**n} for n in (14, 15, 16, 17)}
        yield in_array("PIECE", function, (2**power,), 0, ways)


def near_in_groups(quick: bool) -> Iterator[Near]:
    some, shift = (1, 8) if quick else (None, 0)
    for power in (8, 10, 11, 12, 13, 14)[:some]:
        ways = alternatives("FEWEST_LABELLED", "compiled", "in NumPy")
        for function in ("softmax", "logsumexp", "merge"):
            yield in_groups("FEWEST_LABELLED", function, 1 << power, 1 << power - 3, ways)
    tables = {f"{rows} rows": {"NEAR": rows} for rows in (1 << 12, 1 << 13, 1 << 14, 1 << 15)}
    for power in (13, 14, 15, 16, 18)[:some]:
        ways = tables | {"all rows": {"NEAR": NEVER}}
        yield in_groups("NEAR", "logsumexp", SIZE >> shift, 1 << power - shift, ways)
    ways = {f"{parts} parts": {"MOST_PARTS": parts} for parts in (1 << 6, 1 << 8, 1 << 10)}
    yield in_groups("MOST_PARTS", "logsumexp", 1 << 22 - shift, 1 << 23 - shift, ways)
    ways = {f"{rows} rows": {"MERGED": rows} for rows in (1 << 8, 1 << 10, 1 << 12, 1 << 14)}
    yield in_groups("MERGED", "merge", SIZE >> shift, 1 << 18 - shift, ways)


def cases(quick: bool) -> list[Case]:
    every = [*near(quick), *near_threads(quick), *near_in_groups(quick)]
    found = sorted(every, key=lambda one: one.threshold)  # a table for each
    return [one.case(dtype) for one in found for dtype in DTYPES]


SUITE = Suite("thresholds", "Thresholds", cases, seconds=0.5)
