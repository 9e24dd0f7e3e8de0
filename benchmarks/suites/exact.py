"""Exact sums: what they cost beside inexact ones, for numbers of several kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

import dask.array as da
import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite

DTYPES = ("float32", "float64")
SIZE, SMALL, BLOCKS, TURNS = 10**8, 10**5, 16, 7

Random = np.random.Generator
Array = np.ndarray
Kind = Callable[[Random, int], Array]

DATA: dict[str, Kind] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "sd 2": lambda rng, n: 2 * rng.standard_normal(n),
    "sd 5": lambda rng, n: 5 * rng.standard_normal(n),
    "sd 30": lambda rng, n: 30 * rng.standard_normal(n),
    "across a class border": lambda rng, n: 32 + rng.standard_normal(n),
    "two whole classes": lambda rng, n: rng.uniform(-32, 96, n),
    "rising": lambda rng, n: np.linspace(0, 100, n),
    "equal": lambda rng, n: np.full(n, 0.3),
    "10 % -inf": lambda rng, n: np.where(rng.random(n) < 0.1, -np.inf, rng.standard_normal(n)),
}


def made(kind: Kind, n: int, dtype: str) -> Array:
    return kind(np.random.default_rng(0), n).astype(dtype)


COST = {
    "ratio": Column("times inexact", digits=2),
    "exact": Column("exact, ns", digits=2),
    "inexact": Column("inexact, ns", digits=2),
}


def seconds(x: da.Array, exact: bool) -> float:
    import dsoftmax

    start = time.perf_counter()
    dsoftmax.Normalizer.of(x, exact=exact).compute()
    return time.perf_counter() - start


def both(x: da.Array) -> Measures:
    """The nanoseconds per element, and the ratio, of one after the other."""
    pairs = [(seconds(x, True), seconds(x, False)) for _ in range(TURNS)]
    exact, inexact = (1e9 * median(taken) / x.size for taken in zip(*pairs, strict=True))
    return {"ratio": median(a / b for a, b in pairs), "exact": exact, "inexact": inexact}


def cost_sides(name: str, dtype: str, size: int, scope: ExitStack) -> Sides:
    def make() -> Call:
        x = da.from_array(made(DATA[name], size, dtype), chunks=size // BLOCKS)
        both(x)
        return partial(both, x)

    return {"dsoftmax": make}


def costs(quick: bool) -> Iterator[Case]:
    size = SMALL if quick else SIZE
    for dtype in DTYPES:
        for name in DATA:
            sides = partial(cost_sides, name, dtype, size)
            yield Case(f"{dtype}-{name}", f"{dtype}, {name}", sides)


SUITE = Suite("exact", "Exact sums beside inexact ones", costs, COST, rounds=1, seconds=0.0)
