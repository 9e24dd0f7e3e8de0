"""How many different results there are for the same numbers, with exact sums and without.

An array is permuted, laid out and cut at random, and its log-sum-exp and its softmax are taken of
the parts, again and again: the softmax is permuted back, and the results that differ in any bit are
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pkgutil import resolve_name
from typing import Any

import dask
import dask.array as da
import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite
from ..process import imported
from .exact import DATA, DTYPES, Array, Kind, Random, made

SHORT, LONG = 2000, 10**7
CHUNKINGS, OF_OTHERS, OF_LONG = 100, 25, 2  # for each dtype

OTHERS: dict[str, Kind] = {
    "on class borders": lambda rng, n: 32.0 * rng.integers(-9, 9, n),
    "large": lambda rng, n: 2.0**30 + 64 * rng.integers(-9, 9, n),
    "1 NaN": lambda rng, n: np.where(np.arange(n) == 7, np.nan, rng.standard_normal(n)),
    "1 inf": lambda rng, n: np.where(np.arange(n) == 7, np.inf, rng.standard_normal(n)),
}
LIBRARIES = {  # what takes the log-sum-exp, exponentials, and an array of NumPy
    "SciPy": ("scipy.special:logsumexp", "numpy:exp", "numpy:asarray"),
    "torch": ("torch:logsumexp", "torch:exp", "torch:asarray"),
    "JAX": ("jax.nn:logsumexp", "jax.numpy:exp", "jax.numpy:asarray"),
}
RESULTS = {"results": Column("different results", digits=0)}


def chunks(rng: Random, n: int) -> tuple[int, ...]:
    """Some chunks, of whole twentieths: JAX compiles for each length."""
    cuts = np.sort(rng.choice(np.arange(1, 20), rng.integers(0, 6), replace=False))
    return tuple((np.diff(cuts, prepend=0, append=20) * (n // 20)).tolist())


def laid_out(rng: Random, x: Array) -> Array:
    """The same numbers: one beside the other, every second of an array, or from its end on."""
    layout = rng.integers(3)
    if layout == 1:
        return np.repeat(x, 2)[::2]
    return x[::-1].copy()[::-1] if layout == 2 else x


def normalizer(rng: Random, x: da.Array) -> Any:
    """d, of the tree or of a chain of the parts in any order."""
    import dsoftmax

    if rng.random() < 0.5:
        return dsoftmax.Normalizer.of(x, exact=True).d
    chain = dsoftmax.Normalizer.identity(exact=True)
    parts = np.split(np.asarray(x), np.cumsum(x.chunks[0])[:-1])
    for k in rng.permutation(len(parts)):
        chain = chain.update(parts[k])
    return chain.d


def dsoftmaxes(exact: bool, rng: Random, x: Array, parts: tuple[int, ...]) -> Any:
    import dsoftmax

    first, *others = parts
    lazy = da.from_array(laid_out(rng, x), chunks=((first - 2, 1, 0, 1, *others),))
    options: dict[str, Any] = {"exact": exact, "split_every": int(rng.integers(2, 9))}
    found = [f(lazy, **options) for f in (dsoftmax.softmax, dsoftmax.logsumexp)]
    if exact:
        found.append(normalizer(rng, lazy))
    threads = int(rng.integers(0, 5))
    if threads == 0:
        return dask.compute(*found, scheduler="sync")
    return dask.compute(*found, scheduler="threads", num_workers=threads)


def of_parts(library: str) -> Callable[..., Any]:
    """A library's log-sum-exp of those of parts, and the softmax of each part."""
    logsumexp, exp, asarray = map(resolve_name, LIBRARIES[library])
    if library == "JAX":
        imported("jax:config.update", "jax_enable_x64", True)

    def results(rng: Random, x: Array, parts: tuple[int, ...]) -> Any:
        pieces = [asarray(piece) for piece in np.split(x, np.cumsum(parts)[:-1])]
        sums = [np.asarray(logsumexp(piece, 0)) for piece in pieces]
        whole = logsumexp(asarray(np.array(sums, x.dtype)), 0)
        p = [np.asarray(exp(piece - whole)) for piece in pieces]
        return np.concatenate(p), np.asarray(whole)

    return results


def counted(results: Callable[..., Any], x: Array, times: int) -> Measures:
    rng, found = np.random.default_rng(1), set()
    with np.errstate(invalid="ignore"):
        for _ in range(times):
            order = rng.permutation(x.size)
            p, *others = results(rng, x[order], chunks(rng, x.size))
            back = np.empty_like(p)
            back[order] = p
            bits = [np.asarray(y).tobytes() for y in (back, *others)]
            found.add(tuple(sha256(y).digest() for y in bits))
    return {"results": float(len(found))}


def result_sides(name: str, dtype: str, size: int, times: int, scope: ExitStack) -> Sides:
    x = made((DATA | OTHERS)[name], size, dtype)

    def side(make: Callable[[], Any], times: int) -> Callable[[], Call]:
        return lambda: partial(counted, make(), x, times)

    few = min(times, OF_OTHERS)
    ours = {
        "dsoftmax, exact": side(lambda: partial(dsoftmaxes, True), times),
        "dsoftmax": side(lambda: partial(dsoftmaxes, False), few),
    }
    others = {name: side(partial(of_parts, name), few) for name in LIBRARIES}
    return ours if size > SHORT else ours | others


def results(quick: bool) -> Iterator[Case]:
    size, times, long = (500, 3, SHORT + 500) if quick else (SHORT, CHUNKINGS, LONG)
    for dtype in DTYPES:
        for name in DATA | OTHERS:
            sides = partial(result_sides, name, dtype, size, times)
            yield Case(f"{dtype}-{name}", f"{dtype}, {name}", sides)
        sides = partial(result_sides, "equal", dtype, long, OF_LONG)
        yield Case(f"{dtype}-many equal", f"{dtype}, 10^7 equal", sides)


SUITE = Suite(
    "bits",
    f"How many results {CHUNKINGS} cuts and permutations give (without exact sums: {OF_OTHERS})",
    results,
    RESULTS,
    rounds=1,
    seconds=0.0,
)
