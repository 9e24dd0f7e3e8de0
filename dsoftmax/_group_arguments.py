"""An array and labels along one of its axes: arguments, and errors that say what to do."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from ._algebra.dtypes import dtype_name, result_dtype, type_name
from ._arguments import Array, as_any_array, as_array, check_axis
from ._graph.stage import Stage
from ._graph.tree import constant, map_blocks
from ._group_blocks import Expected, as_labelled, check_block, places_among
from ._kernels.factorize import KINDS, has_missing, in_order

_COMPARABLE = ("biuf", "UT", "S", "M", "m")  # kinds of dtypes; objects may be anything


class Grouping(NamedTuple):
    """An array and the labels along one of its axes.

    Attributes
    ----------
    function : str
        Who asks, for errors. The names of tasks are "grouped-", and the last part of it with "-"
        for "_".
    x : array
        NumPy's or Dask's; the keys are Dask's too if it is, with its number of axes and, along the
        axis, its chunks.
    keys : tuple of arrays
    axis : int
        From 0.
    expected : tuple of pairs of arrays, or None
        The expected labels of each key, as from `in_order`.
    categories : tuple
        The labels that the integers of a key stand for, or None.
    """

    function: str
    x: Array
    keys: tuple[Array, ...]
    axis: int
    expected: tuple[tuple[Array, Array], ...] | None
    categories: tuple[Array | None, ...]

    @property
    def key(self) -> str:
        """What the names of its tasks begin with."""
        return "grouped-" + self.function.rpartition(".")[2].replace("_", "-")

    @property
    def is_lazy(self) -> bool:
        return isinstance(self.x, da.Array)

    @property
    def dtype(self) -> Any:
        """Of the results."""
        return np.dtype(result_dtype(self.x))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """How many labels of each key are expected."""
        if self.expected is None:
            return None
        return tuple(len(order) for _, order in self.expected)

    @property
    def options(self) -> dict[str, Any]:
        """What `as_labelled` takes beside blocks."""
        kinds = tuple(key.dtype.kind for key in self.keys)
        return {
            "function": self.function,
            "axis": self.axis,
            "ndim": self.x.ndim,
            "kinds": kinds,
            "expected": None if self._in_the_graph else self.expected,
        }

    @property
    def beside(self) -> tuple[da.Array, ...]:
        """Blocks that stages take after the keys: of a Dask array the expected labels."""
        if self.expected is None or not self._in_the_graph:
            return ()
        return (constant(Expected(self.expected), "grouped-expected"),)

    @property
    def _in_the_graph(self) -> bool:
        """Whether expected labels are a block; Dask's array-expression mode has none of objects."""
        return self.expected is not None and self.is_lazy and hasattr(self.x, "blocks")

    @property
    def labelled(self) -> Any:
        """The array and its labels in one block, or as a Dask array of such blocks."""
        if not self.is_lazy:
            return as_labelled(self.x, *self.keys, **self.options)
        stage = Stage(f"{self.key}-terms", as_labelled, self.x.dtype, **self.options)
        return map_blocks(stage, self.x, *self.keys, *self.beside)


def grouping(function: str, x: Any, by: Any, axis: Any, expected_groups: Any) -> Grouping:
    """The arguments of a function on groups, or errors that say what to do."""
    x = as_array(x, function)
    block = x._meta if isinstance(x, da.Array) else x
    check_block(block, function)
    if axis is None or isinstance(axis, tuple) or x.ndim == 0:
        raise TypeError(
            f"{function}: axis is {axis!r} and x has shape {tuple(x.shape)}; labels go along one "
            "axis, an int"
        )
    (axis,) = check_axis(axis, tuple(x.shape), function)
    several = isinstance(by, tuple)
    if several and not by:
        raise ValueError(f"{function}: by is an empty tuple; pass labels, or a tuple of keys")
    names = [f"by[{i}]" for i in range(len(by))] if several else ["by"]
    given = zip(by if several else (by,), names, strict=True)
    read = [_as_key(key, function, name) for key, name in given]
    keys, categories = (tuple(column) for column in zip(*read, strict=True))
    for key, name in zip(keys, names, strict=True):
        _check_length(function, x, axis, key, name)
    if any(isinstance(a, da.Array) for a in (x, *keys)):
        x, keys = _as_dask(x, axis, keys)
    expected = None
    if expected_groups is not None:
        if several and not (isinstance(expected_groups, tuple) and len(expected_groups) == len(by)):
            raise TypeError(
                f"{function}: expected_groups is of type {type_name(expected_groups)}, and by has "
                f"{len(by)} keys; pass a tuple with the labels of each"
            )
        groups = expected_groups if several else (expected_groups,)
        expected = tuple(
            _as_expected(*one, function) for one in zip(groups, keys, categories, strict=True)
        )
        lengths = tuple(len(order) for _, order in expected)
        if math.prod(lengths) >= 2**63:
            raise ValueError(
                f"{function}: expected_groups has {lengths} labels, with more combinations than "
                "64-bit integers can number; leave it out, or use fewer labels"
            )
    return Grouping(function, x, keys, axis, expected, categories)


def _as_key(by: Any, function: str, name: str) -> tuple[Array, Array | None]:
    """Labels as a vector, and the categories that they stand for if they are pandas' codes."""
    if isinstance(by, (str, bytes)):
        raise TypeError(
            f"{function}: {name} is {by!r}; pass the labels themselves, or use dsoftmax.dataframe "
            "for columns and dsoftmax.xarray for coordinates, which take names"
        )
    categories = None
    if hasattr(by, "codes") and hasattr(by, "categories"):
        categories = np.asarray(by.categories)
        by = by.codes
        if not isinstance(by, da.Array):  # whose blocks have their missing ones masked
            codes = np.asarray(by)
            by = np.ma.array(codes, mask=codes < 0) if (codes < 0).any() else codes
    key = as_any_array(_as_labels(by), function, name)
    if not isinstance(key, (np.ndarray, da.Array)):
        raise TypeError(
            f"{function}: {name} is of type {type_name(by)}; pass labels of NumPy or Dask, as "
            f"numpy.asarray({name})"
        )
    if key.ndim != 1:
        raise ValueError(
            f"{function}: {name} has shape {tuple(key.shape)}; pass one label for each place along "
            "axis (several keys are a tuple of arrays)"
        )
    if key.dtype.kind not in KINDS or dtype_name(key.dtype) == "bfloat16":
        raise TypeError(
            f"{function}: {name} has dtype {key.dtype}, which has no order; pass integers, "
            "strings, dates or booleans"
        )
    return key, categories


def _as_labels(given: Any) -> Any:
    """A list of labels as an array; NumPy would make words of others beside words: NaN, numbers."""
    if not isinstance(given, (list, tuple)):
        return given
    labels = np.asarray(given)
    words = labels.dtype.kind in "US" and labels.ndim == 1
    if words and not all(isinstance(one, (str, bytes)) for one in given):
        labels = np.empty(len(given), object)
        labels[:] = given
    return labels


def _as_dates(objects: Array, kind: str) -> Array:
    """Dates or time differences of Python and pandas as NumPy's, if they are all such."""
    names = {"M": "to_datetime64", "m": "to_timedelta64"}
    own = [getattr(one, names[kind])() if hasattr(one, names[kind]) else one for one in objects]
    try:
        aware = any(getattr(one, "tzinfo", None) is not None for one in objects)
        return objects if aware else np.array(own, dtype=f"{kind}8")
    except (TypeError, ValueError):
        return objects


def _check_length(function: str, x: Array, axis: int, key: Array, name: str) -> None:
    n, m = x.shape[axis], key.shape[0]
    if n == m:
        return
    if not (math.isnan(n) or math.isnan(m)):
        raise ValueError(
            f"{function}: {name} has length {m} and x has length {n} along axis {axis}; give one "
            "label for each"
        )
    lazy = isinstance(x, da.Array) and isinstance(key, da.Array)
    if not (lazy and math.isnan(n) and math.isnan(m) and x.numblocks[axis] == key.numblocks[0]):
        raise ValueError(
            f"{function}: the chunk sizes of x, of shape {tuple(x.shape)}, or {name}, of shape "
            f"{tuple(key.shape)}, are unknown and may not agree; call .compute_chunk_sizes() on "
            "the one with nan"
        )


def _as_dask(x: Array, axis: int, keys: tuple[Array, ...]) -> tuple[da.Array, tuple[da.Array, ...]]:
    """x and the keys as Dask arrays of as many axes, cut alike."""
    if not isinstance(x, da.Array):
        along = next(key.chunks[0] for key in keys if isinstance(key, da.Array))
        x = da.from_array(x, chunks=tuple(along if i == axis else -1 for i in range(x.ndim)))
    along, place = x.chunks[axis], tuple(slice(None) if i == axis else None for i in range(x.ndim))
    cut = []
    for key in keys:
        if not isinstance(key, da.Array):
            key = da.from_array(key, chunks=(along,))
        elif key.chunks[0] != along and not math.isnan(key.shape[0]):
            key = key.rechunk((along,))
        cut.append(key if x.ndim == 1 else key[place])
    return x, tuple(cut)


def _as_expected(
    expected: Any, key: Array, categories: Array | None, function: str
) -> tuple[Array, Array]:
    own = (key if categories is None else categories).dtype
    labels = _expected_labels(expected, own, function)
    kinds = (labels.dtype.kind, own.kind)
    comparable = "O" in kinds or any(set(kinds) <= set(family) for family in _COMPARABLE)
    if not comparable and labels.size and key.size:
        raise TypeError(
            f"{function}: expected_groups has dtype {labels.dtype}, which no label in by of dtype "
            f"{own} can equal; convert one of them"
        )
    ordered, order = _in_order(labels, function, "expected_groups")
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    if again.size:
        raise ValueError(
            f"{function}: expected_groups has {ordered[again].tolist()[0]!r} twice; name each "
            "group once"
        )
    if categories is None:
        return ordered, order
    known = _in_order(categories, function, "the categories of by")
    codes = places_among(labels, known, function)
    return in_order(np.where(codes < 0, -2 - np.arange(len(codes)), codes))


def _expected_labels(expected: Any, own: Any, function: str) -> Array:
    """Expected labels as a vector, of the dtype of labels if that is of the same kind of things."""
    if isinstance(expected, da.Array):
        raise TypeError(
            f"{function}: expected_groups is a Dask array, which would be computed here; pass "
            "its values, as expected_groups.compute() gives"
        )
    labels = np.asarray(_as_labels(expected))
    if labels.ndim != 1:
        raise ValueError(
            f"{function}: expected_groups has shape {labels.shape}; pass a list of labels"
        )
    if labels.dtype.kind == "O" and own.kind in "Mm":
        labels = _as_dates(labels, own.kind)
    if has_missing(labels):
        raise ValueError(
            f"{function}: expected_groups has a label that is missing (NaN, None or NaT), whose "
            "elements are of no group; leave it out"
        )
    if {labels.dtype.kind, own.kind} == {"U", "T"}:
        labels = labels.astype(own) if own.kind == "T" else np.array(labels.tolist(), dtype=str)
    return labels


def _in_order(labels: Array, function: str, name: str) -> tuple[Array, Array]:
    try:
        return in_order(labels)
    except TypeError as error:
        raise TypeError(
            f"{function}: labels in {name} have no order ({error}); make them of one kind"
        ) from None
