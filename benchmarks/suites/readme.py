"""The table of the README: from Zarr to Zarr, and to one number, beside SciPy and the usual forms.

Each job has a process of its own, with Dask's threads; it writes what it makes, loaded or lazy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask.array as da
import numpy as np

from .. import machine
from ..case import Case, Column, Measures, Sides, Suite
from ..generated import zarr_array
from ..process import alone, imported

Function = Callable[[da.Array], Any]

CHUNK = 2500  # rows and columns of float32: 25 MB
COLUMNS = {
    "seconds": Column("seconds, best run", of=min),  # what else a machine does only takes longer
    "peak": Column("peak memory, GB", 2, 1e9, max),
}


def softmax_by_hand(x: da.Array) -> da.Array:
    e = da.exp(x - x.max())
    return e / e.sum()


def logsumexp_by_hand(x: da.Array) -> da.Array:
    m = x.max()
    return da.log(da.exp(x - m).sum()) + m


def loaded(name: str, x: da.Array) -> Any:
    """SciPy's function as users have it, which makes a NumPy array of a Dask array."""
    result = imported(f"scipy.special:{name}", x)
    assert isinstance(result, np.ndarray | np.generic), type(result)
    return result


FUNCTIONS: dict[str, dict[str, Function]] = {
    "softmax": {
        "dsoftmax.softmax(x)": partial(imported, "dsoftmax:softmax"),
        "scipy.special.softmax(x), which loads x": partial(loaded, "softmax"),
        "e = da.exp(x - x.max()); e / e.sum()": softmax_by_hand,
    },
    "logsumexp": {
        "dsoftmax.logsumexp(x)": partial(imported, "dsoftmax:logsumexp"),
        "scipy.special.logsumexp(x), which loads x": partial(loaded, "logsumexp"),
        "m = x.max(); da.log(da.exp(x - m).sum()) + m": logsumexp_by_hand,
    },
}


def draw(path: Path, rows: int, columns: int) -> None:
    drawn = da.random.default_rng(0).normal(size=(rows, columns), chunks=CHUNK).astype("f4")
    da.store(drawn, zarr_array(path, drawn.shape, CHUNK), lock=False)


def job(function: Function, folder: Path) -> Measures:
    """What one job took, libraries and kernels being loaded before."""
    small = function(da.ones((400, 400), dtype="f4", chunks=200))
    da.asarray(small).compute()
    x = da.from_zarr(folder / "source")
    target = zarr_array(folder / "target", x.shape, CHUNK)
    start = time.perf_counter()
    y = function(x)
    if y.ndim:
        da.store(y if isinstance(y, da.Array) else da.from_array(y, x.chunks), target, lock=False)
    else:
        float(y)
    return {"seconds": time.perf_counter() - start, "peak": machine.peak_memory()}


def sides(functions: dict[str, Function], rows: int, columns: int, scope: ExitStack) -> Sides:
    folder = Path(scope.enter_context(TemporaryDirectory(prefix="dsoftmax-readme-")))
    alone(draw, folder / "source", rows, columns)
    # SciPy is told to take other arrays than NumPy's by this variable, which nobody has set.
    ready = partial(alone, job, SCIPY_ARRAY_API="")
    return {name: partial(partial, ready, f, folder) for name, f in functions.items()}


def cases(quick: bool) -> list[Case]:
    rows, columns = (1000, 1000) if quick else (20_000, 25_000)
    titles = {"softmax": "softmax, written to Zarr", "logsumexp": "log-sum-exp, one number"}
    return [
        Case(name, titles[name], partial(sides, functions, rows, columns), cores="most")
        for name, functions in FUNCTIONS.items()
    ]


TITLE = "A Zarr array x of 2 GB (20,000 by 25,000 float32) on two cores"
SUITE = Suite("readme", TITLE, cases, COLUMNS, seconds=0.0)
