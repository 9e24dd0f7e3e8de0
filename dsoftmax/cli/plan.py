"""What a command computes of its arrays, lazily: how they are read, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
import dask
import dask.array as da
import numpy as np
from dask.utils import parse_bytes

from .._algebra.dtypes import dtype_name, is_complex, supported
from .._arguments import Axes, check_axis
from .._kernels.factorize import KINDS
from .._terms import check_broadcast
from .functions import Arrays, Found, Function, function_of
from .storage import StorageError, StoredArray, default_limit, plan_chunks
from .words import in_words


class Sources(NamedTuple):
    """The arrays that a command reads: SRC, another one, and a mask."""

    x: StoredArray
    beside: StoredArray | None = None
    where: StoredArray | None = None

    @property
    def given(self) -> tuple[StoredArray, ...]:
        """Those that there are."""
        return tuple(array for array in self if array is not None)


@dataclass(frozen=True)
class Plan:
    """The array that is read, and what is computed of it.

    Attributes
    ----------
    x : dask.array.Array
    axes : tuple of int, optional
        Of a slice; None where the array is flattened.
    found : Found
    extremes : tuple of dask.array.Array
        The least and the greatest of the numbers, without NaN, and how many are NaN; just the
        number if there is one, and empty if there is none.
    dropped : tuple of int
        Axes of x that the results do not have.
    """

    x: da.Array
    axes: Axes | None
    found: Found
    extremes: tuple[da.Array, ...]
    dropped: Axes = ()

    @property
    def is_known(self) -> bool:
        """Whether the shapes of the results are known: not how many groups there are."""
        return not any(math.isnan(y.size) for y in self.found.results.values())


def plan(key: str, sources: Sources, limit: int | None, options: dict[str, Any]) -> Plan:
    """What the command ``key`` computes, in chunks of at most ``limit`` bytes.

    Raises
    ------
    click.UsageError
        If the options do not fit the arrays, or the arrays each other.
    StorageError
        If an array has a dtype that the function does not take.
    """
    source, function = sources.x, function_of(key, bool(options.get("by")))
    _check_dtypes(function, sources)
    if sources.where is not None:
        _check_mask(sources.where, source)
    axis = function.axis if options.get("axis") is None else options["axis"]
    flat = function.flat and axis is None
    name = key.replace("-", "_")
    try:
        shape = source.shape
        if function.broadcasts:
            shape = check_broadcast(name, {"SRC": source, "VALUES": sources.beside})
        axes = check_axis(axis, shape, name)
        more = len(shape) - source.ndim
        own = tuple(i - more for i in axes if i >= more)  # axes of SRC
        if limit is None:
            most = parse_bytes(dask.config.get("array.chunk-size"))
            limit = default_limit(source, own, most)
        order = sorted(source.nearest, key=lambda axis: axis not in own)
        chunks = plan_chunks(source.shape, source.dtype.itemsize, limit, source.grain, order)
        x = source.read(chunks)
        beside = _read_beside(sources.beside, x, _axes_beside(key, function, sources, own), limit)
        where = _read_beside(sources.where, x, _right_aligned(sources.where, source), limit)
        arrays = Arrays(x, beside, {} if where is None else {"where": where})
        found = function.find(name, arrays, None if flat else axes, options)
    except (TypeError, ValueError) as error:
        raise click.UsageError(in_words(key, str(error)) or str(error)) from error
    found = found._replace(results={n: _merged(y, x, limit) for n, y in found.results.items()})
    (y, *_) = found.results.values()
    # The last axis of a product is that of the other factor.
    reduced = y.ndim < len(shape) or key == "softmax-matmul" or math.isnan(y.size)
    planned = Plan(x, None if flat else axes, found, (), own if reduced else ())
    return planned if math.isnan(y.size) else _summarized(planned)


def settled(planned: Plan, values: list[np.ndarray]) -> Plan:
    """The plan once the results whose lengths nobody knew are computed."""
    arrays = (da.from_array(_of_fixed_width(y), chunks=-1) for y in values)
    results = dict(zip(planned.found.results, arrays, strict=True))
    found = planned.found._replace(results=results, numbers=results["values"])
    return _summarized(dataclasses.replace(planned, found=found))


def _of_fixed_width(y: np.ndarray) -> np.ndarray:
    """Strings of any length, as Zarr has them, in a dtype that .npy files have; others as are."""
    if y.dtype.kind not in "OT":
        return y
    return np.array(y.tolist()) if y.size else y.astype(str)


def _summarized(planned: Plan) -> Plan:
    numbers = planned.found.numbers
    extremes = () if numbers is None else _extremes(numbers)
    return dataclasses.replace(planned, extremes=extremes)


def _check_dtypes(function: Function, sources: Sources) -> None:
    for source, what in zip(sources, ("number", function.beside, "bool"), strict=True):
        if source is None:
            continue
        name = dtype_name(source.dtype)
        wanted = {
            "number": supported(name) and not is_complex(name),
            "integer": source.dtype.kind in "iu",
            "bool": source.dtype.kind == "b",
            "label": source.dtype.kind in KINDS,
        }
        if not wanted[what]:
            hint = {
                "number": "convert it to a real float, integer or bool",
                "integer": "convert the labels to integers, the indices of the classes",
                "bool": "--where takes booleans, such as mask != 0",
                "label": "--by takes integers, strings, dates or other labels that have an order",
            }
            raise StorageError(f"{source.path} has dtype {source.dtype}; {hint[what]}")


def _check_mask(where: StoredArray, x: StoredArray) -> None:
    try:
        fits = np.broadcast_shapes(where.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise click.UsageError(
            f"{where.path} has shape {where.shape}, which does not broadcast to the shape "
            f"{x.shape} of SRC"
        )


def _right_aligned(source: StoredArray | None, x: StoredArray) -> dict[int, int]:
    """The axes of an array that broadcasts, and which of x they are."""
    more = 0 if source is None else x.ndim - source.ndim
    return {i: i + more for i in range(max(-more, 0), x.ndim - more)} if source else {}


def _axes_beside(key: str, function: Function, sources: Sources, axes: Axes) -> dict[int, int]:
    """The axes of the array beside x, and which of x they are."""
    x, beside = sources.x, sources.beside
    if function.beside == "label":
        return dict(enumerate(axes[: min(1, beside.ndim)])) if beside is not None else {}
    if beside is not None and key == "cross-entropy":
        return dict(enumerate([i for i in range(x.ndim) if i not in axes][: beside.ndim]))
    if beside is not None and key == "softmax-matmul":
        row = max(beside.ndim - 2, 0)
        pairs = {i: i - row + x.ndim - 2 for i in range(row)} | {row: x.ndim - 1}
        return {i: j for i, j in pairs.items() if i < beside.ndim and j >= 0}
    return _right_aligned(beside, x)


def _read_beside(
    source: StoredArray | None, x: da.Array, axes: dict[int, int], limit: int
) -> da.Array | None:
    """An array cut as x along the axes that they share."""
    if source is None:
        return None
    alike = {i: x.chunksize[j] for i, j in axes.items() if source.shape[i] == x.shape[j]}
    grain = tuple(alike.get(i, n) for i, n in enumerate(source.grain))
    if others := [i for i in source.nearest if i not in alike]:
        chunks = plan_chunks(source.shape, source.dtype.itemsize, limit, grain, others)
        return source.read(chunks)
    return source.read(tuple(max(1, n) for n in grain))


def _merged(result: da.Array, x: da.Array, limit: int) -> da.Array:
    """A result of other chunks than its source in chunks as large."""
    if result.chunks == x.chunks or math.isnan(result.size):
        return result
    return result.rechunk(plan_chunks(result.shape, result.dtype.itemsize, limit))


def _extremes(numbers: da.Array) -> tuple[da.Array, ...]:
    if numbers.size < 2:
        return (numbers.min(),) if numbers.size else ()
    if numbers.dtype.kind in "biu":
        return numbers.min(), numbers.max(), (numbers != numbers).sum()
    nan, infinity = da.isnan(numbers), numbers.dtype.type(np.inf)
    least, greatest = da.where(nan, infinity, numbers), da.where(nan, -infinity, numbers)
    return least.min(), greatest.max(), nan.sum()
