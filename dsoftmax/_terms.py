"""What operations run over: an array, or with weights, masks or values several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from array_api_compat import device

from . import _kernels
from ._algebra.dtypes import (
    dtype_name,
    dtype_of,
    dtypes_for,
    promoted_name,
    result_dtype,
)
from ._algebra.namespace import array_namespace
from ._arguments import (
    Array,
    Axes,
    Axis,
    as_any_array,
    as_array,
    check_axis,
    check_beside_dask,
    check_same_library,
    check_split_every,
)
from ._graph.alignment import aligned, check_blocks, cut_as, ones, zip_blocks
from ._graph.stage import Stage
from ._graph.tree import SplitEvery
from ._kernels import Terms


class Joined(NamedTuple):
    """Dask arrays side by side, cut alike, and the stage that makes `Terms` of their blocks."""

    stage: Stage
    arrays: tuple[da.Array, ...]

    @property
    def blocks(self) -> da.Array:
        """One array, whose blocks are terms."""
        return zip_blocks(self.stage, *self.arrays)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of all together, nan where it is not known."""
        return tuple(self.blocks.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of each."""
        return int(self.arrays[0].ndim)


def as_terms(
    function: str,
    x: Array,
    axis: Axis,
    split_every: SplitEvery,
    *,
    b: Any = None,
    where: Any = None,
    values: tuple[Array, ...] = (),
    name: str = "x",
    prefix: str = "",
) -> tuple[Array | Terms | Joined, Axes, np.dtype]:
    """What operations take, the axes and the dtype of the result, from the user's arguments.

    The terms are x, which users call ``name``, where there is nothing beside it. ``prefix`` begins
    the names of tasks that join blocks, if not the name of the function.
    """
    weights, dtype = None, result_dtype(x)
    if b is None and where is None and not values:
        axes = check_axis(axis, x.shape, function)
        check_split_every(split_every, x.ndim, function)
        return x, axes, dtype
    if b is not None:
        weights = as_array(b, function, "b", complex_ok=True)
        # A Python scalar adapts to the dtype of x, an array promotes it.
        dtype = result_dtype(x, b if type(b) in (bool, int, float, complex) else weights)
    mask = None if where is None else as_mask(where, function)
    terms = Terms(x, weights, mask, values)
    lazy = any(isinstance(a, da.Array) for a in terms.arrays)
    if not lazy:
        terms = terms.of(a if a is x else as_like(a, x, function) for a in terms.arrays)
    names = _names(name, terms)
    named = dict(zip(names.arrays, terms.arrays, strict=True))
    check_beside_dask(function, named)
    shape = check_broadcast(function, named)
    axes = check_axis(axis, shape, function)
    check_split_every(split_every, len(shape), function)
    if not lazy:
        return terms.of(_with_axes(a, len(shape)) for a in terms.arrays), axes, dtype
    arrays = aligned(*(_with_axes(_as_dask(a, terms.arrays), len(shape)) for a in terms.arrays))
    kind = promoted_name(dtype_name(dtype), *(dtype_name(v.dtype) for v in values))
    kind = dtypes_for(kind).result
    return _beside(prefix or function, names, arrays, dtype_of(np, kind)), axes, dtype


def as_joined(
    function: str,
    terms: Array | Terms | Joined,
    other: Array,
    axes: Mapping[int, int],
    dtype: np.dtype,
) -> Joined:
    """Terms of `as_terms` as Dask arrays, for an operation that takes another array beside them.

    Those in memory are cut along ``axes`` as the other one is along those that they map to.
    """
    if isinstance(terms, Joined):
        return terms
    terms = terms if isinstance(terms, Terms) else Terms(terms)
    lazy = isinstance(terms.x, da.Array)
    arrays = tuple(cut_as(a, other, {} if lazy else axes) for a in terms.arrays)
    return _beside(function, _names("x", terms), arrays, dtype)


def _beside(function: str, names: Terms, arrays: tuple[da.Array, ...], dtype: np.dtype) -> Joined:
    """Dask arrays that are cut alike, as terms."""
    options: dict[str, Any] = {"function": function, "names": names, "masks": True}
    options |= {"ndim": arrays[0].ndim, "broadcast": tuple(map(ones, arrays))}
    return Joined(Stage(f"{function.replace('_', '-')}-terms", _joined, dtype, **options), arrays)


def _as_dask(a: Array, others: tuple[Array, ...]) -> da.Array:
    """An array as Dask's: of one in memory, in the chunks of another of its shape."""
    if isinstance(a, da.Array):
        return a
    alike = (b for b in others if isinstance(b, da.Array) and b.shape == a.shape)
    like = next(alike, None)
    return da.asarray(a) if like is None else da.from_array(a, chunks=like.chunks)


def _with_axes(a: Array, ndim: int) -> Array:
    return a[(*(None,) * (ndim - a.ndim), ...)] if a.ndim < ndim else a


def _names(name: str, terms: Terms) -> Terms:
    """What users call the terms that there are."""
    b = None if terms.b is None else "b"
    where = None if terms.where is None else "where"
    count = len(terms.values)
    values = ("values",) * count if count < 2 else tuple(f"values[{k}]" for k in range(count))
    return Terms(name, b, where, values)


def _joined(
    *blocks: Array, function: str, ndim: int, names: Terms, broadcast: tuple[Axes, ...]
) -> Terms:
    terms = names.of(_kernels.as_block(block, ndim) for block in blocks)
    shapes = zip((tuple(block.shape) for block in terms.arrays), broadcast, strict=True)
    check_blocks(function, dict(zip(names.arrays, shapes, strict=True)))
    return terms


def as_mask(where: Any, function: str) -> Array:
    """A mask as an array of booleans, or a TypeError."""
    array = as_any_array(where, function, "where")
    if (name := dtype_name(array.dtype)) != "bool":
        raise TypeError(
            f"{function}: where has dtype {name}; pass a mask of booleans, as where != 0 is"
        )
    return array


def as_like(b: Array, a: Array, function: str) -> Array:
    """An array b in memory as one of the library, and on the device, of a: weights, a mask.

    Raises
    ------
    TypeError
        If b is not of NumPy, and of another library than a.
    """
    xp = array_namespace(a)
    if not isinstance(b, np.ndarray) or xp is array_namespace(b):
        check_same_library(function, a, b)
        return b
    if b.dtype == np.bool_:
        return xp.asarray(np.ma.filled(b, False), device=device(a))
    # In floats that all of both are exact in: not every library lets integers meet them.
    name = dtypes_for(promoted_name(dtype_name(a.dtype), dtype_name(b.dtype))).working
    return xp.asarray(np.ma.filled(b, 0).astype(name, copy=False), device=device(a))


def check_broadcast(function: str, arrays: Mapping[str, Array]) -> tuple[Any, ...]:
    """The common shape of some arrays, by their names, or ValueError.

    Unknown lengths (nan, of Dask arrays) broadcast with 1, with nothing, and with another unknown
    length of the same number of blocks.
    """
    first, *others = arrays.values()
    if all(isinstance(a, np.ndarray) and a.shape == first.shape for a in others):
        return tuple(first.shape)  # as it is known
    shape: list[Any] = []
    for i in range(-max(a.ndim for a in arrays.values()), 0):
        longer = {k: a for k, a in arrays.items() if i >= -a.ndim and a.shape[i] != 1}
        name, *names = longer or [""]
        shape.append(longer[name].shape[i] if longer else 1)
        for other in names:
            _check_lengths(function, i, (name, longer[name]), (other, longer[other]))
    return tuple(shape)


def _check_lengths(function: str, i: int, a: tuple[str, Array], b: tuple[str, Array]) -> None:
    (name, x), (other, y) = a, b
    m, n = x.shape[i], y.shape[i]
    if m == n or (math.isnan(m) and math.isnan(n) and x.numblocks[i] == y.numblocks[i]):
        return
    if math.isnan(m) or math.isnan(n):
        raise ValueError(
            f"{function}: the chunk sizes of {name}, of shape {x.shape}, or {other}, of shape "
            f"{y.shape}, are unknown and may not agree; call .compute_chunk_sizes() on the one "
            "with nan"
        )
    raise ValueError(
        f"{function}: {other} of shape {tuple(y.shape)} does not broadcast with {name} of shape "
        f"{tuple(x.shape)}; give one for each element, or axes of length 1"
    )
