"""What the first use costs: import and first calls, each in a fresh process.

The imports that every Dask program has (NumPy, Dask) are done before the clock starts, and Dask
has computed something, so that what is measured is the library's own share.  The blocks have 10^4
elements: much smaller ones dsoftmax computes without a compiler.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from .worker import environment

STEPS = ("import", "first call", "second call", "first calls of all functions and dtypes")

_SCRIPT = """
import json, sys, time
from benchmarks.machine import pin
pin(int(sys.argv[1]))
import array_api_compat, numpy, dask.array
dask.array.ones(8, chunks=4).sum().compute()
arrays = {dtype: numpy.linspace(0, 1, 20000, dtype=dtype) for dtype in ("float32", "float64")}
chunked = {dtype: dask.array.from_array(a, chunks=10000) for dtype, a in arrays.items()}
ticks = [time.perf_counter()]
tick = lambda: ticks.append(time.perf_counter())
IMPORT
tick()
call("softmax", "float32")
tick()
call("softmax", "float32")
tick()
for name in ("softmax", "log_softmax", "logsumexp"):
    for dtype in arrays:
        call(name, dtype)
tick()
seconds = numpy.diff(ticks).tolist()
json.dump([*seconds[:3], seconds[1] + seconds[3]], sys.stdout)
"""

_IMPORTS = {
    "dsoftmax": """
import dsoftmax
def call(name, dtype): getattr(dsoftmax, name)(chunked[dtype], 0).compute()
""",
    "scipy-dask": """
import scipy.special
def call(name, dtype): getattr(scipy.special, name)(chunked[dtype], 0).compute()
""",
    "torch": """
import torch
def call(name, dtype): getattr(torch, name)(torch.from_numpy(arrays[dtype]), 0)
""",
    "jax": """
import jax
from jax.scipy.special import logsumexp
jax.config.update("jax_enable_x64", True)
functions = {"softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax, "logsumexp": logsumexp}
jitted = {name: jax.jit(function) for name, function in functions.items()}
def call(name, dtype): jitted[name](arrays[dtype]).block_until_ready()
""",
}


def measure(peers: list[str], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each of `STEPS`; a round starts one process of each, in turn.

    dsoftmax is there twice: with an empty cache of compiled code, as on a new machine, and with
    the one that this has filled, as ever after.
    """
    sides: list[tuple[str, str]] = []
    for peer in (name for name in _IMPORTS if name in peers):
        caches = ("empty", "filled") if peer == "dsoftmax" else ("",)
        sides += [(peer, cache) for cache in caches]
    samples: dict[tuple[str, str], list[list[float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache_folder:
            for side in sides:
                samples[side].append(_fresh(side[0], threads, cache_folder))
    return [
        {
            "peer": peer,
            "cache": cache,
            "seconds": dict(zip(STEPS, zip(*samples[peer, cache], strict=True), strict=True)),
        }
        for peer, cache in sides
    ]


def _fresh(peer: str, threads: int, cache_folder: str) -> list[float]:
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT.replace("IMPORT", _IMPORTS[peer]), str(threads)],
        env=environment(threads) | {"NUMBA_CACHE_DIR": cache_folder},
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(process.stdout)
