"""What rides on the normalizer: statistics, masks, running sums, products, cross-entropy."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from ..case import faster, within
from ..operation import Layout, Operation, normal, suite

ROW = "row-1e8"
ONE = (ROW, "long-rows")


def softmax_by_hand(x: da.Array, axis: int) -> da.Array:
    e = da.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def entropy_by_hand(x: da.Array, axis: int) -> da.Array:
    p = softmax_by_hand(x, axis)
    return -(p * da.log(p)).sum(axis=axis)


def entropy_of_torch(x: Any, axis: int) -> Any:
    import torch

    return torch.distributions.Categorical(logits=x.movedim(axis, -1)).entropy()


def size_by_hand(x: da.Array, axis: int) -> da.Array:
    return 1 / (softmax_by_hand(x, axis) ** 2).sum(axis=axis)


def together(x: Any, axis: int) -> tuple[Any, Any, Any]:
    import dsoftmax

    n = dsoftmax.Normalizer.of(x, axis, statistics=True)
    return n.logsumexp(), n.entropy(), n.effective_sample_size()


def together_by_hand(x: da.Array, axis: int) -> tuple[Any, Any, Any]:
    m = x.max(axis=axis, keepdims=True)
    log_sum = da.log(da.exp(x - m).sum(axis=axis)) + m.squeeze(axis)
    return log_sum, entropy_by_hand(x, axis), size_by_hand(x, axis)


def two(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores and values."""
    v = da.random.default_rng(1).normal(size=layout.shape, chunks=layout.chunks)
    return (*normal(layout, dtype), v.astype(dtype))


def masked(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and a mask of half of them."""
    flags = da.random.default_rng(1).integers(2, size=layout.shape, chunks=layout.chunks)
    return (*normal(layout, dtype), flags.astype(bool))


def expectation_by_hand(x: da.Array, v: da.Array, axis: int) -> da.Array:
    return (softmax_by_hand(x, axis) * v).sum(axis=axis)


def expectation_of_softmax(x: da.Array, v: da.Array, axis: int) -> da.Array:
    import dsoftmax

    return (dsoftmax.softmax(x, axis) * v).sum(axis=axis)


def read_both(x: da.Array, v: da.Array, axis: int) -> tuple[Any, Any]:
    return x.max(), v.max()


def logsumexp_where(x: Any, where: Any, axis: int) -> Any:
    import dsoftmax

    return dsoftmax.logsumexp(x, axis, where=where)


def logsumexp_weighted(x: Any, where: Any, axis: int) -> Any:
    import dsoftmax

    return dsoftmax.logsumexp(x, axis, b=where)


def logsumexp_of_all(x: Any, where: Any, axis: int) -> Any:
    import dsoftmax

    return dsoftmax.logsumexp(x, axis)


def logsumexp_filled(x: da.Array, where: da.Array, axis: int) -> da.Array:
    import dsoftmax

    return dsoftmax.logsumexp(da.where(where, x, np.array(-np.inf, x.dtype)), axis)


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
    m = x.max(axis=-1, keepdims=True)
    log_sum = da.log(da.exp(x - m).sum(axis=-1)) + m[..., 0]
    return log_sum - da.where(da.arange(x.shape[-1]) == labels[..., None], x, 0).sum(axis=-1)


def cross_entropy_of_torch(x: Any, labels: Any, axis: int) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(x, labels, reduction="none")


OPERATIONS = (
    Operation(
        "statistics",
        together,
        peers={"by hand on Dask": together_by_hand, "logsumexp": "dsoftmax:logsumexp"},
        yardsticks=("logsumexp",),
        layouts=ONE,
        targets={
            (dtype, ROW): (within(1.4, "logsumexp"), faster(5, "by hand on Dask"))
            for dtype in ("float32", "float64")
        },
    ),
    Operation(
        "entropy",
        "dsoftmax:entropy",
        peers={"by hand on Dask": entropy_by_hand, "torch": entropy_of_torch},
        layouts=ONE,
    ),
    Operation(
        "effective_sample_size",
        "dsoftmax:effective_sample_size",
        peers={"by hand on Dask": size_by_hand},
        layouts=ONE,
    ),
    Operation(
        "expectation",
        "dsoftmax:expectation",
        peers={
            "read both": read_both,
            "softmax": expectation_of_softmax,
            "by hand on Dask": expectation_by_hand,
        },
        yardsticks=("read both",),
        layouts=ONE,
        inputs=two,
        targets={
            (dtype, ROW): (within(1.3, "read both"), faster(3, "by hand on Dask"))
            for dtype in ("float32", "float64")
        },
    ),
    Operation(
        "where",
        logsumexp_where,
        peers={"all": logsumexp_of_all, "da.where": logsumexp_filled, "b": logsumexp_weighted},
        yardsticks=("all",),
        layouts=ONE,
        inputs=masked,
        targets={
            (dtype, ROW): (within(1.4, "all"), faster(3, "b")) for dtype in ("float32", "float64")
        },
    ),
    Operation(
        "cumulative_logsumexp",
        "dsoftmax:cumulative_logsumexp",
        writes=True,
        peers={"by hand on Dask": running_by_hand, "torch": "torch:logcumsumexp"},
        layouts=ONE,
        targets={("float64", ROW): (faster(1.8, "by hand on Dask"), faster(1, "torch"))},
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
SUITE = suite("statistics", "What rides on the normalizer", OPERATIONS)
