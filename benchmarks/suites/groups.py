"""Softmax within groups: of arrays and of DataFrames, beside pandas and torch."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from ..case import faster, within
from ..layouts import Layout
from ..operation import Operation, normal, suite

LAYOUT = "labels-1e7"


def thousand(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and labels of 1000 groups."""
    return labelled(layout, dtype, 10**3)


def million(layout: Layout, dtype: str) -> tuple[da.Array, ...]:
    """Scores, and labels of a million groups, or fewer if there are fewer scores."""
    return labelled(layout, dtype, 10**6)


def labelled(layout: Layout, dtype: str, groups: int) -> tuple[da.Array, ...]:
    rng = da.random.default_rng(1)
    return (*normal(layout, dtype), rng.integers(groups, size=layout.shape, chunks=layout.chunks))


def softmax(x: Any, by: Any, axis: int) -> Any:
    from dsoftmax import grouped

    return grouped.softmax(x, by)


def softmax_of_columns(x: np.ndarray, by: np.ndarray, axis: int) -> np.ndarray:
    import pandas as pd

    from dsoftmax import dataframe

    scores, labels = (pd.Series(column, copy=False) for column in (x, by))
    return dataframe.softmax(scores, by=labels).to_numpy()


def softmax_of_pandas(x: np.ndarray, by: np.ndarray, axis: int) -> np.ndarray:
    """What people write, of whole columns and without a function that is called for each group."""
    import pandas as pd

    scores = pd.Series(x, copy=False)
    e = np.exp(scores - scores.groupby(by).transform("max"))
    return (e / e.groupby(by).transform("sum")).to_numpy()


def softmax_of_torch(x: Any, by: Any, axis: int) -> Any:
    import torch

    groups = int(by.max()) + 1
    m = torch.full((groups,), -torch.inf, dtype=x.dtype).scatter_reduce(0, by, x, "amax")
    e = (x - m[by]).exp()
    return e / torch.zeros(groups, dtype=x.dtype).index_add(0, by, e)[by]


PEERS = {
    "dsoftmax on pandas": softmax_of_columns,
    "pandas": softmax_of_pandas,
    "torch": softmax_of_torch,
}
OPTIONS: dict[str, Any] = {"peers": PEERS, "writes": True, "layouts": (LAYOUT,)}
OPERATIONS = (
    Operation(
        "softmax in 10^3 groups",
        softmax,
        inputs=thousand,
        targets={("float64", LAYOUT): (faster(2, "pandas"), faster(2, "torch"))},
        **OPTIONS,
    ),
    Operation(
        "softmax in 10^6 groups",
        softmax,
        inputs=million,
        targets={("float64", LAYOUT): (faster(2, "pandas"), within(1.43, "torch"))},
        **OPTIONS,
    ),
)
SUITE = suite("groups", "Within groups", OPERATIONS)
