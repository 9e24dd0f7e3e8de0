"""Softmax and top-k of whole arrays that have been seen before: a look-up and the launches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name
from . import device, topk
from .source import MOST_K, PIECE, TEAMS, THREADS, TOPK, TOPK_AT, TOPK_END, TOPK_PARTS, topk_kernel

Array = Any

STATE = ("w", "s", "m")  # of eight bytes for each row, though m may have fewer
INDICES, INT64 = "indices", np.dtype(np.int64)


class Quick(NamedTuple):
    """The launches for an array, and the memory that they share."""

    best: tuple[Callable[..., None], ...]  # of x, the indices and the memory; a merge is the second
    end: Callable[..., None]
    places: tuple[int, ...]  # where in the memory the fields of a call are
    shape: tuple[int, ...]  # of the results
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
    memory = device.new((known.words,), INT64)
    first = device.address(memory)
    fields = [first + place for place in known.places]
    for run in known.best:
        run(at, device.address(indices), *fields)
    known.end(device.address(p), *fields[:4])
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
    plan = topk.plan(block, k, device.properties_of(on))
    if plan is None or plan.order is not None:
        return None
    rows, many = plan.rows, plan.rows * plan.parts * (plan.parts > 1)
    words = [rows] * 3 + [math.ceil(rows * k * item / 8)]
    names = [*STATE, "values"]
    if many:
        names += TOPK_PARTS
        words += [many * n for n in topk.part_words(k)]
    places = tuple(8 * sum(words[:i]) for i in range(len(words)))
    call = plan.numbers.view(TOPK)
    at = tuple(TOPK_AT[name] for name in ("x", INDICES, *names))
    best = [device.prepared(on, plan.kernel, plan.grid, plan.threads, call, at)]
    if many:
        merge = topk_kernel("merge", element)
        best.append(device.prepared(on, merge, (rows, 1), THREADS, call, at))
    end = np.zeros(1, TOPK_END)
    end["rows"], end["k"] = rows, k
    fields = tuple(list(TOPK_END.names or ()).index(name) for name in ("y", *names[:4]))
    grid = (topk.end_blocks(rows * k), 1)
    return Quick(
        tuple(best),
        device.prepared(on, topk_kernel("end", element), grid, THREADS, end, fields),
        places,
        (*plan.kept, k),
        sum(words),
    )


forget = _known.cache_clear
