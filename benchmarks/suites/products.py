"""Running sums, products with a matrix, and cross-entropy."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from .. import by_hand
from ..case import faster
from ..layouts import Layout
from ..operation import Operation, normal, suite


def running_by_hand(x: da.Array, axis: int) -> da.Array:
    return da.reductions.cumreduction(
        np.logaddexp.accumulate, np.logaddexp, -np.inf, x, axis=axis, dtype=x.dtype
    )


def with_matrix(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and a matrix of 64 columns for the last axis."""
    shape = (layout.shape[-1], 64)
    v = da.random.default_rng(1).normal(size=shape, chunks=(layout.chunks[-1], 64))
    return (*normal(layout, dtype), v.astype(dtype))


def product(x: Any, v: Any, axis: int) -> Any:
    import dsoftmax

    return dsoftmax.softmax_matmul(x, v)


def product_by_hand(x: da.Array, v: da.Array, axis: int) -> da.Array:
    e = da.exp(x - x.max(axis=-1, keepdims=True))
    return (e @ v) / e.sum(axis=-1, keepdims=True)


def product_of_softmax(x: da.Array, v: da.Array, axis: int) -> da.Array:
    import dsoftmax

    return dsoftmax.softmax(x, -1) @ v


def product_of_torch(x: Any, v: Any, axis: int) -> Any:
    return x.softmax(-1) @ v


def with_labels(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and a label for each slice along the last axis."""
    rows = layout.shape[:-1]
    options = {"size": rows, "chunks": layout.chunks[:-1]}
    return (*normal(layout, dtype), da.random.default_rng(1).integers(layout.shape[-1], **options))


def cross_entropy_by_hand(x: da.Array, labels: da.Array, axis: int) -> da.Array:
    own = da.where(da.arange(x.shape[-1]) == labels[..., None], x, 0).sum(axis=-1)
    return by_hand.logsumexp(x, -1) - own


def cross_entropy_of_torch(x: Any, labels: Any, axis: int) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(x, labels, reduction="none")


OPERATIONS = (
    Operation(
        "cumulative_logsumexp",
        "dsoftmax:cumulative_logsumexp",
        writes=True,
        peers={"by hand on Dask": running_by_hand, "torch": "torch:logcumsumexp"},
        layouts=("row-1e8", "long-rows"),
        targets={("float64", "row-1e8"): (faster(1.8, "by hand on Dask"), faster(1, "torch"))},
    ),
    Operation(
        "softmax_matmul",
        product,
        peers={
            "by hand on Dask": product_by_hand,
            "softmax": product_of_softmax,
            "torch": product_of_torch,
        },
        layouts=("long-rows", "attention"),
        inputs=with_matrix,
        targets={
            ("float32", "attention"): (
                faster(2, "by hand on Dask"),
                faster(1, "softmax"),
                faster(1, "torch"),
            )
        },
    ),
    Operation(
        "cross_entropy",
        "dsoftmax:cross_entropy",
        peers={"by hand on Dask": cross_entropy_by_hand, "torch": cross_entropy_of_torch},
        layouts=("long-rows",),
        inputs=with_labels,
    ),
)
SUITE = suite("products", "Running sums, products with a matrix, and cross-entropy", OPERATIONS)
