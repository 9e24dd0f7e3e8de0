"""What rides on the normalizer: entropies, effective sample sizes, expectations, masks."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from .. import by_hand
from ..case import Target, faster, within
from ..layouts import Layout
from ..operation import DTYPES, Operation, normal, suite

ROW = "row-1e8"
ONE = (ROW, "long-rows")


def entropy_by_hand(x: da.Array, axis: int) -> da.Array:
    p = by_hand.softmax(x, axis)
    return -(p * da.log(p)).sum(axis=axis)


def entropy_of_torch(x: Any, axis: int) -> Any:
    import torch

    return torch.distributions.Categorical(logits=x.movedim(axis, -1)).entropy()


def size_by_hand(x: da.Array, axis: int) -> da.Array:
    return 1 / (by_hand.softmax(x, axis) ** 2).sum(axis=axis)


def together(x: Any, axis: int) -> tuple[Any, Any, Any]:
    import dsoftmax

    n = dsoftmax.Normalizer.of(x, axis, statistics=True)
    return n.logsumexp(), n.entropy(), n.effective_sample_size()


def together_by_hand(x: da.Array, axis: int) -> tuple[Any, Any, Any]:
    return by_hand.logsumexp(x, axis), entropy_by_hand(x, axis), size_by_hand(x, axis)


def two(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores and values."""
    v = da.random.default_rng(1).normal(size=layout.shape, chunks=layout.chunks)
    return (*normal(layout, dtype), v.astype(dtype))


def masked(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and a mask of half of them."""
    flags = da.random.default_rng(1).integers(2, size=layout.shape, chunks=layout.chunks)
    return (*normal(layout, dtype), flags.astype(bool))


def expectation_by_hand(x: da.Array, v: da.Array, axis: int) -> da.Array:
    return (by_hand.softmax(x, axis) * v).sum(axis=axis)


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


def on_the_row(*targets: Target) -> dict[tuple[str, str], tuple[Target, ...]]:
    return {(dtype, ROW): targets for dtype in DTYPES}


OPERATIONS = (
    Operation(
        "statistics",
        together,
        peers={"by hand on Dask": together_by_hand, "logsumexp": "dsoftmax:logsumexp"},
        yardsticks=("logsumexp",),
        layouts=ONE,
        targets=on_the_row(within(1.4, "logsumexp"), faster(5, "by hand on Dask")),
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
        targets=on_the_row(within(1.3, "read both"), faster(3, "by hand on Dask")),
    ),
    Operation(
        "where",
        logsumexp_where,
        peers={"all": logsumexp_of_all, "da.where": logsumexp_filled, "b": logsumexp_weighted},
        yardsticks=("all",),
        layouts=ONE,
        inputs=masked,
        targets=on_the_row(within(1.4, "all"), faster(3, "b")),
    ),
)
SUITE = suite("statistics", "What rides on the normalizer", OPERATIONS)
