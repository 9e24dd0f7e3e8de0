"""Draws without replacement as an operation: the k largest of x plus Gumbel noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ._algebra.namespace import array_namespace
from ._draw_arguments import check_maxima
from ._kernels import gumbel, topk
from ._kernels.philox import Key
from ._kernels.topk import Top
from ._operation import Array, Axes, Monoid, Operation, Result


def drawn(function: str, k: int, axes: Axes, shape: tuple[int, ...], key: Key) -> Operation:
    """Draws of k elements of each slice of an array of a shape; for choice without their keys."""
    monoid = Monoid(
        "block",
        partial(gumbel.of_block, k=k, shape=shape, key=key),
        partial(topk.merge, axes=axes, k=k),
        slice_bytes=16 * k,
        ordered=True,
    )
    prefix = function.replace("_", "-")
    options: dict[str, Any] = {
        "function": function,
        "k": k,
        "axis": axes[0] if len(axes) == 1 else 0,
    }
    results = (
        Result(
            partial(_finished, of_top=of_top, **options),
            name=f"{prefix}-{name}",
            dtype=dtype,
            length=k,
        )
        for name, (of_top, dtype) in _RESULTS.items()
        if name == "indices" or function != "choice"
    )
    return Operation(function, monoid, tuple(results), arrays=2)


# Called by stages: module-level functions, so that keys are deterministic.


def _finished(top: Top, of_top: Callable[[Top], Array], function: str, k: int, axis: int) -> Array:
    keys = top.values
    if math.prod(keys.shape):
        xp = array_namespace(keys)
        check_maxima(xp.max(keys, axis=axis), function)
        found = int(xp.min(xp.count_nonzero(keys > -math.inf, axis=axis)))
        if found < k:
            name, more = ARGUMENTS[function]
            raise ValueError(
                f"{function}: {name} is {k}, but a slice has only {found} "
                f"element{'s' * (found != 1)} of positive probability; use at most {found}{more}"
            )
    return of_top(top)


def _keys(top: Top) -> Array:
    return top.values


def _indices(top: Top) -> Array:
    return top.indices


def _float(name: str) -> str:
    return "float64"


def _index(name: str) -> str:
    return "int64"


_RESULTS = {"keys": (_keys, _float), "indices": (_indices, _index)}
# What users call the number of draws, and how a hint goes on where it is too large.
ARGUMENTS = {
    "choice": ("size", ", or draw with replacement"),
    "gumbel_topk": ("k", ", or draw with replacement, as choice does"),
}
