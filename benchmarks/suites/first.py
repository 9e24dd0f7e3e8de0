"""The first use: import and first calls, each in a fresh process.

What every Dask program does is done before the clock starts: NumPy and Dask are imported, and Dask
has computed something.  The blocks have 10^4 elements: much smaller ones dsoftmax computes without
a compiler.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import array_api_compat  # noqa: F401
import dask.array as da
import numpy as np

from ..case import Call, Case, Column, Measures, Sides, Suite
from ..process import alone

COLUMNS = {
    "import": Column("import, ms", unit=1e-3),
    "first": Column("first call, ms", unit=1e-3),
    "second": Column("second call, ms", unit=1e-3),
    "all": Column("first calls of all functions and dtypes, ms", unit=1e-3),
}
LIBRARIES = {"SciPy on Dask": "scipy.special", "torch": "torch", "JAX": "jax"}


@cache
def jitted(name: str) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.jit(getattr(jax.scipy.special if name == "logsumexp" else jax.nn, name))


def call(library: str, name: str, x: np.ndarray) -> Any:
    if library == "jax":
        return jitted(name)(x).block_until_ready()
    module = import_module(library)
    if library == "torch":
        return getattr(module, name)(module.from_numpy(x), 0)
    return getattr(module, name)(da.from_array(x, chunks=10_000), 0).compute()


def steps(library: str) -> Measures:
    """Seconds of each of `COLUMNS`, in a process that has used none of it."""
    da.ones(8, chunks=4).sum().compute()
    arrays = [np.linspace(0, 1, 20_000, dtype=dtype) for dtype in ("float32", "float64")]
    ticks = [time.perf_counter()]
    import_module(library)
    ticks.append(time.perf_counter())
    for _ in range(2):
        call(library, "softmax", arrays[0])
        ticks.append(time.perf_counter())
    for name in ("softmax", "log_softmax", "logsumexp"):
        for x in arrays:
            call(library, name, x)
    ticks.append(time.perf_counter())
    imported, first, second, rest = np.diff(ticks).tolist()
    return {"import": imported, "first": first, "second": second, "all": first + rest}


def on_a_new_machine() -> Measures:
    with TemporaryDirectory() as empty:
        return alone(steps, "dsoftmax", NUMBA_CACHE_DIR=empty)


def sides(scope: ExitStack) -> Sides:
    def ever_after() -> Call:
        folder = scope.enter_context(TemporaryDirectory())
        alone(steps, "dsoftmax", NUMBA_CACHE_DIR=folder)
        return partial(alone, steps, "dsoftmax", NUMBA_CACHE_DIR=folder)

    def other(library: str) -> Call:
        if find_spec(library.partition(".")[0]) is None:
            raise ModuleNotFoundError(f"No module named {library!r}")
        return partial(alone, steps, library)

    ours = {"dsoftmax on a new machine": lambda: on_a_new_machine, "dsoftmax": ever_after}
    return ours | {name: partial(other, library) for name, library in LIBRARIES.items()}


CASES = [Case("first-use", "", sides)]
SUITE = Suite("first", "The first use", lambda quick: CASES, COLUMNS, rounds=5, seconds=0.0)
