"""Top-k as an operation; for softmax_topk, a product with the normalizer, in fused kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from . import _kernels
from ._kernels import Terms
from ._kernels import exact as exactly
from ._kernels import topk as kernel
from ._kernels.topk import Top
from ._operation import Array, Axes, Monoid, Operation, Result


def best(
    function: str,
    k: int,
    axes: Axes = (0,),
    itemsize: int = 8,
    names: tuple[str, ...] = ("values", "indices"),
    exact: bool = False,
) -> Operation:
    """The k best of a slice; for softmax_topk with its normalizer, in one pass over each block.

    ``itemsize`` is that of the elements; ``names`` are the results to return; ``exact`` is whether
    the sums of normalizers are.
    """
    normalized = function == "softmax_topk"
    monoid = Monoid(
        "block",
        partial(kernel.of_block, k=k, normalized=normalized, exact=exact),
        partial(kernel.merge, axes=axes, k=k),
        slice_bytes=(exactly.SLICE_BYTES if exact else 24) + abs(k) * (8 + itemsize),
        ordered=True,
    )
    of_top = _OF_SOFTMAX_TOPK if normalized else _OF_TOPK
    key = function.replace("_", "-")
    results = (
        Result(
            partial(_finished, of_top=of_top[name], function=function, k=k),
            name=f"{key}-{_TASKS.get((function, name), name)}",
            dtype=_index if name == "indices" else _same,
            length=abs(k),
        )
        for name in names
    )
    return Operation(function, monoid, tuple(results), title=_TITLES[function])


# Called by stages: module-level functions, so that keys are deterministic.


def _finished(top: Top, of_top: Callable[[Top], Array], function: str, k: int) -> Array:
    check_length(function, k, math.prod(top.lengths))
    return of_top(top)


def _values(top: Top) -> Array:
    return top.values


def _indices(top: Top) -> Array:
    return top.indices


def _probabilities(top: Top) -> Array:
    if isinstance(top.normalizer, exactly.KINDS):
        return exactly.rescale(_terms(top), top.normalizer)
    y = kernel.probabilities(top, logarithm=False)
    return _kernels.rescale(_terms(top), top.normalizer) if y is None else y


def _log_probabilities(top: Top) -> Array:
    if isinstance(top.normalizer, exactly.KINDS):
        return exactly.log_rescale(_terms(top), top.normalizer)
    y = kernel.probabilities(top, logarithm=True)
    return _kernels.log_rescale(_terms(top), top.normalizer) if y is None else y


def _terms(top: Top) -> Array | Terms:
    return top.values if top.out is None else Terms(top.values, where=~top.out)


def _index(name: str) -> str:
    return "int64"


def _same(name: str) -> str:
    return name


_OF_TOPK = {"values": _values, "indices": _indices}
_OF_SOFTMAX_TOPK = {
    "values": _probabilities,
    "indices": _indices,
    "log_values": _log_probabilities,
}
_TITLES = {
    "softmax_topk": "K largest probabilities of the softmax",
    "topk": "K largest elements",
}
# The tasks that are not named after their result.
_TASKS = {
    ("softmax_topk", "values"): "probabilities",
    ("softmax_topk", "log_values"): "log-probabilities",
}


def check_length(function: str, k: int, length: float, name: str = "k", more: str = "") -> None:
    """Raise ValueError if a slice has fewer elements than asked for; ``more`` ends the hint."""
    if abs(k) > length:  # false for an unknown length, nan: `_finished` checks again
        most = f"-{length} to {length}" if k < 0 else f"at most {length}"
        raise ValueError(
            f"{function}: {name} is {k}, but a slice has length {length}; use {most}{more}"
        )
