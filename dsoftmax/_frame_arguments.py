"""Columns of pandas and Dask, and labels beside them: arguments, errors, and arrays of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce
from operator import getitem
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import pandas as pd

from ._algebra.dtypes import type_name
from ._arguments import Array
from ._group_arguments import Grouping, grouping
from ._group_blocks import checked_order
from ._kernels.distinct import UnorderedError
from ._kernels.factorize import Coded, in_order

Frame = Any  # a Series or DataFrame, of pandas or Dask
Labels = tuple[Any, ...]


class Columns(NamedTuple):
    """Columns of scores, and columns of labels that go with them row by row."""

    function: str
    x: Frame
    keys: Labels

    @property
    def is_lazy(self) -> bool:
        return dask.is_dask_collection(self.x)

    @property
    def meta(self) -> tuple[Frame, Labels]:
        """The scores and the labels without rows, in pandas."""
        if self.is_lazy:
            return self.x._meta, tuple(key._meta for key in self.keys)
        return self.x.iloc[:0], tuple(key.iloc[:0] for key in self.keys)

    @property
    def dtypes(self) -> tuple[Any, ...]:
        """Of the labels."""
        return tuple(key.dtype for key in self.keys)

    def grouping(self, expected: Any) -> Grouping:
        """The arguments of a function on groups: arrays, of unknown lengths if they are Dask's."""
        arrays = partial(as_arrays, dtypes=self.dtypes, function=self.function)
        x, labels = self._lazy(arrays) if self.is_lazy else arrays(self.x, *self.keys)
        keys = tuple(
            Coded(label, dtype.categories) if _is_categorical(dtype) else label
            for label, dtype in zip(labels, self.dtypes, strict=True)
        )
        return grouping(self.function, x, keys if len(keys) > 1 else keys[0], 0, expected)

    def _lazy(self, arrays: Callable[..., tuple[Array, Labels]]) -> tuple[Array, Labels]:
        """Dask arrays, the blocks of all of which come of one task for each partition."""
        parts = self.x.map_partitions(
            arrays, *self.keys, meta=np.empty(0), enforce_metadata=False, token="grouped-columns"
        )
        scores, labels = self.meta
        x, keys = arrays(scores, *labels)
        found = tuple(_blocks(parts, "grouped-by", (1, i), key) for i, key in enumerate(keys))
        return _blocks(parts, "grouped-x", (0,), x), found


def columns(function: str, x: Any, by: Any) -> Columns:
    """The scores and the labels, or errors that say what to do.

    Labels are columns with the index of x, or names of columns of x, which are no scores then.
    """
    if not _is_frame(x):
        raise TypeError(
            f"{function}: x is of type {type_name(x)}; pass a Series or DataFrame of pandas or "
            "Dask (dsoftmax.grouped takes arrays)"
        )
    several = isinstance(by, (list, tuple)) and not _is_column(x, by)
    given = by if several else [by]
    if not given:
        raise ValueError(f"{function}: by is empty; pass labels, or several keys in a list")
    named = [f"by[{i}]" if several else "by" for i in range(len(given))]
    keys = tuple(_known(_as_key(function, x, *one)) for one in zip(given, named, strict=True))
    taken = [key for key in given if _is_column(x, key)]
    if taken:
        x = x[list(dict.fromkeys(name for name in x.columns if name not in taken))]
    _check_scores(function, x)
    return Columns(function, x, keys)


def _is_column(x: Frame, key: Any) -> bool:
    """Whether it is the name of a column."""
    try:
        return x.ndim == 2 and not _is_frame(key) and key in x.columns
    except TypeError:  # as of a list, which has no hash
        return False


def _as_key(function: str, x: Frame, key: Any, name: str) -> Any:
    lazy = dask.is_dask_collection(x)
    if _is_column(x, key):
        if (count := list(x.columns).count(key)) > 1:
            raise ValueError(
                f"{function}: {name} is {key!r}, the name of {count} columns of x; rename them"
            )
        if x._meta[key].ndim > 1 if lazy else x[key].ndim > 1:
            raise ValueError(
                f"{function}: {name} is {key!r}, which several columns of x have as the first part "
                "of their names; give the whole name of one, a tuple"
            )
        return x[key]
    if not _is_frame(key) or key.ndim != 1:
        what = repr(key) if np.isscalar(key) or key is None else f"of type {type_name(key)}"
        if isinstance(key, str):
            what += _what_there_is(x, key)
        if hasattr(key, "to_series"):
            what += f", of which {name}.to_series() makes a Series"
        raise TypeError(
            f"{function}: {name} is {what}; pass a Series with the index of x, or the name of a "
            "column of a DataFrame x, or several of these in a list"
        )
    if lazy != dask.is_dask_collection(key):
        raise TypeError(
            f"{function}: one of x and by is of Dask and the other of pandas; make both columns of "
            "one DataFrame"
        )
    if not lazy:
        _check_index(function, x, key)
        return key
    divisions = x.divisions, key.divisions
    known = x.known_divisions and key.known_divisions
    if x.npartitions != key.npartitions or (known and divisions[0] != divisions[1]):
        raise ValueError(
            f"{function}: x has {x.npartitions} partitions and by {key.npartitions}, or they are "
            "divided elsewhere; make both columns of one DataFrame, as merge does"
        )
    return key


def _what_there_is(x: Frame, name: str) -> str:
    """What x has in place of a column of some name."""
    if x.ndim == 1:
        return ", but x is a Series and has no columns"
    if name in x._meta.index.names if dask.is_dask_collection(x) else name in x.index.names:
        return ", a level of the index of x, of which x.reset_index() makes a column"
    return f", and x has the columns {', '.join(map(repr, x.columns[:20]))}"


def _is_frame(x: Any) -> bool:
    if dask.is_dask_collection(x):
        x = getattr(x, "_meta", None)
    return isinstance(x, (pd.Series, pd.DataFrame))


def _known(key: Any) -> Any:
    """Labels, as what they stand for if Dask does not know the categories that they are of."""
    unknown = _is_categorical(key.dtype) and not getattr(key.cat, "known", True)
    return key.astype(object) if unknown else key


def _check_index(function: str, x: Frame, key: Any) -> None:
    if not x.index.equals(key.index):
        raise ValueError(
            f"{function}: by has another index than x; take both from the same rows, as "
            "frame = frame[frame.u > 0] before frame['u'] and frame['market'] does"
        )


def _check_scores(function: str, x: Frame) -> None:
    if x.ndim == 2 and not len(x.columns):
        raise ValueError(f"{function}: x has no columns of scores; pass some beside those of by")
    names = [x.name] if x.ndim == 1 else x.columns
    for name, dtype in zip(names, _dtypes(x), strict=True):
        if dtype.kind not in "biuf":
            raise TypeError(
                f"{function}: the column {name!r} of x has dtype {dtype}, which has no "
                "exponential; leave it out, or convert it, as with .astype('float64')"
            )


def _dtypes(x: Frame) -> Iterable[Any]:
    return [x.dtype] if x.ndim == 1 else x.dtypes


# Of partitions, and of columns in memory.


def as_arrays(x: Frame, *keys: Any, dtypes: Labels, function: str) -> tuple[Array, Labels]:
    """Columns as NumPy arrays; ``dtypes`` are those that labels are announced to have."""
    for key in keys:
        _check_index(function, x, key)
    names = ["by"] if len(keys) == 1 else [f"by[{i}]" for i in range(len(keys))]
    labels = []
    for key, dtype, name in zip(keys, dtypes, names, strict=True):
        with checked_order(function, name):
            labels.append(_as_labels(key, dtype, function))
    if x.ndim == 1:
        return _as_scores(x), tuple(labels)
    scores = [_as_scores(x.iloc[:, i]) for i in range(x.shape[1])]
    return np.stack(scores, axis=1), tuple(labels)


def _as_scores(column: Any) -> Array:
    """Numbers, of which those that are missing are NaN."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return column.to_numpy()
    floating = dtype.kind == "f" and getattr(dtype, "numpy_dtype", None)
    return column.to_numpy(dtype=floating or np.float64, na_value=np.nan)


def _as_labels(key: Any, announced: Any, function: str) -> Any:
    """Labels as an array, the codes of categories, or `Coded`; those that are missing as there."""
    dtype = key.dtype
    if _is_categorical(announced):
        if dtype != announced:
            raise TypeError(
                f"{function}: a partition of by has other categories than its Dask column says "
                f"({dtype}); call .cat.as_unknown() and .cat.as_known() on it"
            )
        codes = key.astype(announced).cat.codes.to_numpy()  # where these are in another order
        return np.ma.array(codes, mask=codes < 0)
    if dtype.kind == "f":
        return _as_scores(key)
    if isinstance(dtype, (np.dtype, pd.SparseDtype)) and dtype.kind != "O":
        return key.to_numpy()
    if dtype.kind in "biu":
        missing = key.isna().to_numpy()
        nothing = dtype.numpy_dtype.type(0).item()  # Arrow takes no 0 for False
        values = key.to_numpy(dtype=dtype.numpy_dtype, na_value=nothing)
        return np.ma.array(values, mask=missing) if missing.any() else values
    return _hashed(key)


def _hashed(key: Any) -> Coded:
    """Words and other objects by their places in order: pandas hashes them fast."""
    try:
        codes, different = pd.factorize(key)
        labels, order = in_order(different.to_numpy(dtype=object))
    except (TypeError, NotImplementedError) as error:  # the latter is Arrow's
        raise UnorderedError(*error.args) from None
    places = np.full(len(order) + 1, -1)
    places[order] = np.arange(len(order))
    return Coded(places[codes], labels)


def _is_categorical(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype)


def _blocks(parts: da.Array, name: str, place: tuple[int, ...], meta: Array) -> da.Array:
    """A Dask array of what is at some place in the pairs that ``parts`` has as blocks."""
    width = {axis: meta.shape[axis] for axis in range(1, len(meta.shape))}
    index = range(len(meta.shape))
    options: dict[str, Any] = {"dtype": meta.dtype, "meta": np.empty([0] * len(index), meta.dtype)}
    options |= {"new_axes": width, "align_arrays": False, "token": name}
    return da.blockwise(partial(_at, place=place), index, parts, (0,), **options)


def _at(part: Any, place: tuple[int, ...]) -> Any:
    return reduce(getitem, place, part)
