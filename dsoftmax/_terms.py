"""The terms of a sum: an array, or pairs of blocks if there are weights."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from . import _kernels
from ._algebra.dtypes import result_dtype
from ._arguments import (
    Array,
    Axes,
    Axis,
    as_array,
    as_like,
    check_axis,
    check_broadcast,
    check_split_every,
)
from ._graph.alignment import check_blocks, ones, zip_blocks
from ._graph.stage import Stage
from ._graph.tree import SplitEvery


def as_terms(
    function: str, x: Array, axis: Axis, b: Any, split_every: SplitEvery
) -> tuple[Array | _kernels.Weighted, Axes, np.dtype]:
    """The terms, the axes and the dtype of the result, from the user's arguments.

    The terms are an array; if there are weights, a pair of arrays or a Dask array of pairs.
    """
    shape, weights, dtype = x.shape, None, result_dtype(x)
    if b is not None:
        weights = as_array(b, function, "b", complex_ok=True)
        # A Python scalar adapts to the dtype of x, an array promotes it.
        dtype = result_dtype(x, b if type(b) in (bool, int, float, complex) else weights)
        if not isinstance(x, da.Array) and not isinstance(weights, da.Array):
            weights = as_like(weights, x, function)
        shape = check_broadcast(x, weights, function)
    axes = check_axis(axis, shape, function)
    check_split_every(split_every, len(shape), function)
    if weights is None:
        return x, axes, dtype
    if isinstance(x, da.Array) or isinstance(weights, da.Array):
        x, weights = (da.asarray(a)[(None,) * (len(shape) - a.ndim)] for a in (x, weights))
        options: dict[str, Any] = {"function": function, "ndim": len(shape)}
        options["broadcast"] = (ones(x), ones(weights))
        join = Stage(f"{function}-weighted", _weighted, dtype, **options)
        return zip_blocks(join, x, weights), axes, dtype
    return _kernels.Weighted(x, weights), axes, dtype


def _weighted(
    a: Array, b: Array, function: str, ndim: int, broadcast: tuple[Axes, Axes]
) -> _kernels.Weighted:
    pair = _kernels.Weighted(_kernels.as_block(a, ndim), _kernels.as_block(b, ndim))
    shapes = (tuple(pair.a.shape), tuple(pair.b.shape))
    check_blocks(function, dict(zip("ab", zip(shapes, broadcast, strict=True), strict=True)))
    return pair
