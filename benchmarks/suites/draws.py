"""Draws from a softmax, beside NumPy's from a vector of probabilities, and Gumbel noise on Dask."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from ..case import faster
from ..operation import Operation, suite
from ..process import imported

SIZE, K, SEED = 100_000, 1000, 0


def choice(x: Any, axis: int) -> Any:
    return imported("dsoftmax:choice", x, SIZE, axis, rng=SEED)


def gumbel_topk(x: Any, axis: int) -> Any:
    return imported("dsoftmax:gumbel_topk", x, K, axis, rng=SEED)


def numpy_choice(x: Any, axis: int) -> Any:
    return np.random.default_rng(SEED).choice(x.size, SIZE, p=probabilities(x))


def numpy_without(x: Any, axis: int) -> Any:
    return np.random.default_rng(SEED).choice(x.size, K, p=probabilities(x), replace=False)


def probabilities(x: Any) -> Any:
    p = np.exp(x.astype(np.float64) - x.max())
    return p / p.sum()


def gumbel_on_dask(x: da.Array, axis: int) -> tuple[da.Array]:
    noise = da.random.default_rng(SEED).gumbel(size=x.shape, chunks=x.chunks)
    return (da.argtopk(x + noise, K, axis=axis),)


OPTIONS: dict[str, Any] = {"layouts": ("row-1e8",), "dtypes": ("float32",)}
CASE = ("float32", "row-1e8")
OPERATIONS = (
    Operation(
        "choice",
        choice,
        peers={"NumPy": numpy_choice},
        yardsticks=("NumPy",),  # other random numbers
        targets={CASE: (faster(3, "NumPy"),)},
        **OPTIONS,
    ),
    Operation(
        "gumbel_topk",
        gumbel_topk,
        peers={"NumPy": numpy_without, "on Dask": gumbel_on_dask},
        yardsticks=("NumPy", "on Dask"),
        targets={CASE: (faster(3, "on Dask"),)},
        **OPTIONS,
    ),
)
SUITE = suite("draws", "Draws", OPERATIONS)
