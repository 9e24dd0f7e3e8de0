"""Operations on groups of rows of DataFrames, and their results as columns.

A Dask column is mapped by partition, with the states of the groups as one more argument: pandas
keeps the index, and Dask knows that the result goes with the other columns row by row.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dask
import pandas as pd
from dask.base import tokenize

from ._algebra.dtypes import dtype_name
from ._arguments import Array
from ._frame_arguments import Columns, Frame, Labels, as_arrays
from ._graph.dask_private import for_partitions
from ._graph.tree import SplitEvery
from ._group_blocks import Expected
from ._group_parts import in_order
from ._group_plan import parts_of
from ._groups import (
    Statistic,
    rescaled,
    rescaled_block,
    state_labels,
    state_values,
    states_of,
    tables_of,
)
from ._kernels.groups import Groups
from ._reread import warn_of_generators


def softmax(given: Columns, logarithm: bool, expected: Any, split_every: SplitEvery) -> Frame:
    """The softmax of each column within its groups, or its logarithm, with the index of x."""
    found = given.grouping(expected)
    if not given.is_lazy:
        return _like(given.x, rescaled(found, logarithm, split_every, False))
    tables = tables_of(found, logarithm, split_every)
    warn_of_generators(found.x, remedy="")
    options: dict[str, Any] = {"dtypes": given.dtypes, "logarithm": logarithm}
    options |= {"result": dtype_name(found.dtype)}
    return given.x.map_partitions(
        partial(_rescaled, **options, **found.options),
        *given.keys,
        *(for_partitions([one.to_delayed().item()]) for one in found.beside),
        for_partitions(tables.to_delayed().ravel().tolist()),
        meta=softmax(_empty(given), logarithm, expected, None),
        token=f"{found.key}-rescale",
    )


def statistic(given: Columns, of: Statistic, expected: Any, split_every: SplitEvery) -> Frame:
    """A statistic of the groups of each column; the labels are the index."""
    found = given.grouping(expected)
    scores, keys = given.meta
    summary = partial(
        _summary,
        scores=scores,
        keys=keys,
        categories=found.categories,
        of=of,
        expected=(expected,) if expected is not None and len(keys) == 1 else expected,
        result=dtype_name(found.dtype),
    )
    parts = parts_of(found, split_every, of.moments)
    states = states_of(found, split_every, of.moments, parts)
    if not given.is_lazy:
        return summary(states)
    import dask.dataframe as dd

    if parts:
        states = in_order(found, parts, states)
    meta = statistic(_empty(given), of, expected, None).iloc[:0]
    name = f"{found.key}-{tokenize(states.name, summary)}"
    width = parts and parts.width
    lazy = dask.delayed(summary, pure=True)
    blocks = states.to_delayed().ravel()
    one_by_one = [
        lazy(block, width and slice(i * width, (i + 1) * width), dask_key_name=(name, i))
        for i, block in enumerate(blocks)
    ]
    # Without its check Dask (2026.8) would make tasks that are their own aliases.
    return dd.from_delayed(one_by_one, meta=meta, prefix=found.key)


def _empty(given: Columns) -> Columns:
    """The same in pandas, without rows."""
    return Columns(given.function, *given.meta)


def _like(x: Frame, values: Array, index: Any = None) -> Frame:
    """Values as columns with the names of x, and its index unless there is another."""
    index = x.index if index is None else index
    if x.ndim == 1:
        return pd.Series(values, index=index, name=x.name, copy=False)
    return pd.DataFrame(values, index=index, columns=x.columns, copy=False)


# Of partitions and states.


def _rescaled(x: Frame, *others: Any, dtypes: Labels, **options: Any) -> Frame:
    *keys, table = others
    beside = [one for one in keys if isinstance(one, Expected)]
    keys = keys[: len(keys) - len(beside)]
    block, labels = as_arrays(x, *keys, dtypes=dtypes, function=options["function"])
    return _like(x, rescaled_block(block, *labels, *beside, table, **options))


def _summary(
    states: Groups,
    places: slice | None = None,
    *,
    scores: Frame,
    keys: Labels,
    categories: tuple[Any, ...],
    of: Statistic,
    expected: tuple[Any, ...] | None,
    result: str,
) -> Frame:
    """A statistic of groups as columns; ``scores`` and ``keys`` have names and dtypes.

    Of expected groups only those at some ``places``.
    """
    names = [key.name for key in keys]
    if expected is not None:
        levels = [pd.Index(labels, name=name) for labels, name in zip(expected, names, strict=True)]
        index = pd.MultiIndex.from_product(levels) if len(levels) > 1 else levels[0]
        if places is not None:
            index = index[places]
            states = states._replace(labels=(states.labels[0] - places.start,))
        return _like(scores, state_values(states, 0, of, len(index), result), index)
    found = [state_labels(states, i, one) for i, one in enumerate(categories)]
    levels = [
        pd.Index(labels, dtype=key.dtype, name=key.name)
        for labels, key in zip(found, keys, strict=True)
    ]
    index = pd.MultiIndex.from_arrays(levels) if len(levels) > 1 else levels[0]
    return _like(scores, state_values(states, 0, of, None, result), index)
