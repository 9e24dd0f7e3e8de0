"""DataArrays and Datasets: names of dimensions as axes, and results with the names again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dask
import numpy as np
import xarray as xr

from . import _groups
from ._algebra.dtypes import type_name
from ._arguments import Array
from ._group_arguments import grouping
from ._named_beside import aligned, beside
from ._statistics import expectation

Named = Any  # a DataArray or Dataset
Dims = Any  # a name, several in a list or tuple, or None for all


def mapped(
    function: Callable[..., Array],
    of_groups: Callable[..., Array],
    x: Named,
    dim: Dims,
    by: Any,
    where: Any,
    **options: Any,
) -> Named:
    """An array function that keeps the shape; ``of_groups`` is that of `dsoftmax.grouped`."""
    name = _name(function)

    def whole(one: Any, axes: tuple[int, ...]) -> Any:
        mask = beside(one, where, name, "where")
        return _like(one, function(one.data, axes, where=mask, **options))

    by = _coordinates(x, by)

    def within(one: Any, _: Any) -> Any:
        axis, keys = _labels(one, dim, by, where, name)
        return _like(one, of_groups(one.data, _as_arrays(keys), axis=axis, **options))

    return _over(x, dim, name, whole, ()) if by is None else _over(x, None, name, within, ())


def reduced(
    function: Callable[..., Array],
    of_groups: Callable[..., Array],
    x: Named,
    dim: Dims,
    by: Any,
    where: Any,
    **options: Any,
) -> Named:
    """An array function that gives a number for each slice, or for each group of one."""
    name = _name(function)

    def whole(one: Any, axes: tuple[int, ...]) -> Any:
        mask = beside(one, where, name, "where")
        return _reduce(one, axes, lambda data, axis: function(data, axis, where=mask, **options))

    by = _coordinates(x, by)

    def within(one: Any, _: Any) -> Any:
        axis, keys = _labels(one, dim, by, where, name)
        return _of_groups(one, axis, keys, name, of_groups, **options)

    if by is None:
        return _over(x, dim, name, whole, None)
    keys = by if isinstance(by, (list, tuple)) else [by]
    along = [dim for key in keys for dim in getattr(key, "dims", ())]
    return _over(x, None, name, within, along)


def expectations(
    x: Any, values: tuple[Any, ...], dim: Dims, where: Any, split_every: Any
) -> tuple[Any, ...]:
    """The mean of each of some values, which are DataArrays or names of coordinates."""
    name = "xarray.expectation"
    if not isinstance(x, xr.DataArray):
        raise TypeError(
            f"{name}: x is of type {type_name(x)}; pass a DataArray of xarray (of a Dataset, a "
            "variable)"
        )
    for one in values:
        if isinstance(one, str) and one not in x.coords:
            raise TypeError(
                f"{name}: values is {one!r} and x has coordinates {tuple(x.coords)}; pass the name "
                "of one, or a DataArray"
            )
    given = [x[one] if isinstance(one, str) else one for one in values]
    data = tuple(beside(x, one, name, "values") for one in given)
    axes = x.get_axis_num(_names(x, dim, name))
    mask = beside(x, where, name, "where")
    means = expectation(x.data, data, axes, where=mask, split_every=split_every)
    found = []
    for one, mean in zip(given, means, strict=True):
        y = _reduce(x, axes, lambda _, axis, mean=mean: mean).rename(one.name)
        y.attrs = dict(one.attrs) if _keeps_attrs() else {}
        found.append(y)
    return tuple(found)


def _over(
    x: Named,
    dim: Dims,
    function: str,
    call: Callable[[Any, tuple[int, ...]], Any],
    gone: Iterable[Any] | None,
) -> Named:
    """Call with x and the axes that ``dim`` names, or with each variable of a Dataset.

    As in xarray's own functions, a variable is reduced over those of the dimensions that it has,
    and a Dataset keeps the coordinates that no variable has, but for those of dimensions that are
    ``gone``: by default those that ``dim`` names.
    """
    if not isinstance(x, (xr.DataArray, xr.Dataset)):
        raise TypeError(
            f"{function}: x is of type {type_name(x)}; pass a DataArray or Dataset of xarray"
        )
    names = _names(x, dim, function)
    if isinstance(x, xr.DataArray):
        return call(x, x.get_axis_num(names))

    def of_variable(one: Any) -> Any:
        try:
            return call(one, one.get_axis_num([dim for dim in names if dim in one.dims]))
        except (TypeError, ValueError) as error:
            error.add_note(f"This is the variable {one.name!r} of x; x.drop_vars leaves it out.")
            raise

    y = x.map(of_variable, keep_attrs=_keeps_attrs())
    without = set(names if gone is None else gone)
    kept = {
        key: coord
        for key, coord in x.coords.items()
        if key not in y.coords and key not in y.dims and not without & set(coord.dims)
    }
    return y.assign_coords(kept) if kept else y


def _reduce(x: Any, axes: tuple[int, ...], call: Callable[..., Array]) -> Any:
    """A function of the data and ``axis``, as xarray reduces: with no coordinate of the axes."""
    # Over no axes SciPy, and so dsoftmax, makes a vector of a number.
    one = x.ndim == 0
    return x.reduce(
        lambda data, axis: call(data, axis=None if one else axis),
        axis=axes,
        keep_attrs=_keeps_attrs(),
    )


def _name(function: Callable[..., Array]) -> str:
    return f"xarray.{function.__name__}"


def _names(x: Named, dim: Dims, function: str) -> list[Any]:
    """The dimensions that are meant."""
    if dim is None or dim is ...:
        return list(x.dims)
    names = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dim)
    missing = [name for name in names if name not in x.dims]
    if missing or len(set(names)) < len(names):
        raise ValueError(
            f"{function}: dim is {dim!r} and x has dimensions {tuple(x.dims)}; name one of these, "
            "several in a list, each once, or None for all"
        )
    return names


def _keeps_attrs() -> bool:
    """Whether results have the attributes of x: unless xarray is told otherwise."""
    return xr.get_options()["keep_attrs"] is not False


def _like(x: Any, data: Array) -> Any:
    """The data with the names, coordinates and attributes of x."""
    y = x.copy(deep=False, data=data)
    y.encoding = {}  # x may be packed as integers in its file, which does not suit the data
    if not _keeps_attrs():
        y.attrs = {}
    return y


# Groups.


def _coordinates(x: Any, by: Any) -> Any:
    """Labels with the coordinates of x in place of their names, where it has these.

    A variable of a Dataset has only those along its own dimensions.
    """
    keys = by if isinstance(by, (list, tuple)) else [by]
    coords = getattr(x, "coords", ())
    found = [x[key] if isinstance(key, str) and key in coords else key for key in keys]
    return found if isinstance(by, (list, tuple)) else found[0]


def _labels(x: Any, dim: Dims, by: Any, where: Any, function: str) -> tuple[int, list[Any]]:
    """The axis that labels go along, and the coordinates that these are."""
    if where is not None:
        raise TypeError(
            f"{function}: where is given, and by; leave elements out by a label that is missing, "
            "as with by.where(where)"
        )
    keys = []
    for key in by if isinstance(by, (list, tuple)) else [by]:
        if not isinstance(key, xr.DataArray):
            what = repr(key) if isinstance(key, str) else f"of type {type_name(key)}"
            raise TypeError(
                f"{function}: by is {what} and x has coordinates {tuple(x.coords)}; pass the name "
                "of one, or a DataArray, or several of these in a list"
            )
        keys.append(aligned(x, key, function, "by") if set(key.dims) <= set(x.dims) else key)
    dims = {key.dims for key in keys}
    if len(dims) != 1 or len(keys[0].dims) != 1 or keys[0].dims[0] not in x.dims:
        more = next((key.dims for key in keys if len(key.dims) > 1), None)
        raise ValueError(
            f"{function}: by has dimensions {[key.dims for key in keys]} and x {x.dims}; pass "
            "labels along one of the dimensions of x"
            + (f", or make one of several, as with x.stack(place={more})" if more else "")
        )
    (along,) = keys[0].dims
    if dim is not None and _names(x, dim, function) != [along]:
        raise ValueError(
            f"{function}: dim is {dim!r}, and labels go along {along!r}; leave dim out"
        )
    return x.get_axis_num(along), keys


def _as_arrays(keys: list[Any]) -> Any:
    """Labels as the functions of `grouped` take them."""
    found = []
    for key in keys:
        data = key.data
        if not isinstance(data, np.ndarray) and not dask.is_dask_collection(data):
            index = key.to_index()  # they are of a dtype of pandas
            data = index if hasattr(index, "codes") else np.asarray(index, dtype=object)
        found.append(data)
    return tuple(found) if len(found) > 1 else found[0]


def _of_groups(
    x: Any,
    axis: int,
    keys: list[Any],
    function: str,
    of_groups: Callable[..., Array],
    **options: Any,
) -> Any:
    """A statistic of each group, whose labels are a coordinate in place of the axis."""
    names = [key.name or "group" for key in keys]
    if any(dask.is_dask_collection(key.data) for key in keys):
        raise TypeError(
            f"{function}: by is a Dask array, and the labels in it become a coordinate of the "
            f"result; load them first, as with x[{names[0]!r}].load()"
        )
    others = [dim for dim in x.dims if dim != x.dims[axis]]
    if again := [name for i, name in enumerate(names) if name in names[:i] + others]:
        raise ValueError(
            f"{function}: by is named {again[0]!r}, as is another dimension of the result; give "
            "it a name of its own, as with by.rename('group')"
        )
    by, nothing = _as_arrays(keys), np.zeros(keys[0].size)
    several = by if len(keys) > 1 else (by,)
    found = [grouping(function, nothing, key, 0, None) for key in several]
    labels = tuple(_groups.reduced(one, _groups.LOGSUMEXP, None)[0] for one in found)
    expected = labels if len(keys) > 1 else labels[0]
    values = of_groups(x.data, by, axis=axis, expected_groups=expected, **options)
    coords = x.coords.to_dataset().drop_dims(x.dims[axis], errors="ignore").coords
    dims = (*x.dims[:axis], *names, *x.dims[axis + 1 :])
    attrs = x.attrs if _keeps_attrs() else None
    y = xr.DataArray(values, coords, dims, attrs=attrs)
    y.name = x.name  # given above, None would be taken for the name of the Dask array
    own = {name: (name, one, key.attrs) for name, one, key in zip(names, labels, keys, strict=True)}
    return y.assign_coords(own)
