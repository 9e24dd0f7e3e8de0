"""Softmax and top-k of whole arrays that have been seen before: a look-up and the launches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name
from . import device, topk
from .source import MOST_K, PIECE, TEAMS, THREADS, TOPK, TOPK_AT, TOPK_PARTS, topk_kernel

Array = Any

INT64 = np.dtype(np.int64)


class Quick(NamedTuple):
    """The launches for an array, and the memory that they share."""

    runs: tuple[Callable[..., None], ...]  # of x, results and the memory; a merge is the second
    shape: tuple[int, ...]  # of the results
    places: tuple[int, ...]  # where in the memory the fields of parts are
    words: int


def result(x: Any, k: Any, axis: Any) -> tuple[Array, Array] | None:
    """The k largest probabilities of an array and their indices; None for what takes more.

    Among these are arrays that are not CuPy's, and arguments that may be wrong.
    """
    if type(k) is not int or not (axis is None or type(axis) is int) or not device.is_current(x):
        return None
    at = device.address(x)
    known = _known(x.shape, x.strides, x.dtype, at % PIECE, axis, k, x.data.device_id)
    if known is None:
        return None
    p, indices = device.new(known.shape, x.dtype), device.new(known.shape, INT64)
    fields = [at, device.address(p), device.address(indices)]
    if known.words:
        memory = device.new((known.words,), INT64)
        first = device.address(memory)
        fields += [first + place for place in known.places]
    for run in known.runs:
        run(*fields)
    return p, indices


@lru_cache(maxsize=256)
def _known(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    offset: int,
    axis: int | None,
    k: int,
    on: int,
) -> Quick | None:
    ndim, element, item = len(shape), dtype_name(dtype), dtype.itemsize
    if not ndim or 0 in shape or element not in TEAMS or offset % item or not 0 < k <= MOST_K:
        return None
    if axis is None:
        if strides != tuple(item * math.prod(shape[i + 1 :]) for i in range(ndim)):
            return None
        shape, strides, axis, ndim = (math.prod(shape),), (item,), 0, 1
    if not -ndim <= axis < ndim or k > shape[axis]:
        return None
    block = topk.Block(shape, strides, axis % ndim, element, offset == 0)
    plan = topk.plan(block, k, device.properties_of(on), "probabilities")
    if plan is None or plan.order is not None:
        return None
    call = plan.numbers.view(TOPK)
    names: tuple[str, ...] = ("x", "values", "indices")
    launches, words = [(plan.kernel, plan.grid, plan.threads)], []
    if plan.parts > 1:
        launches.append((topk_kernel("merge", element), (plan.rows, 1), THREADS))
        names += TOPK_PARTS
        words = [plan.rows * plan.parts * n for n in topk.part_words(k)]
    at = tuple(TOPK_AT[name] for name in names)
    return Quick(
        tuple(device.prepared(on, *launch, call, at) for launch in launches),
        (*plan.kept, k),
        tuple(8 * sum(words[:i]) for i in range(len(words))),
        sum(words),
    )


forget = _known.cache_clear
