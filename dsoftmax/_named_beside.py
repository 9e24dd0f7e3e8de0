"""DataArrays beside another one: their data along its axes, if their labels are its own."""

from __future__ import annotations

from typing import Any

import xarray as xr

from ._algebra.dtypes import type_name
from ._arguments import Array


def beside(x: Any, other: Any, function: str, name: str) -> Array:
    """The data of a DataArray, with the axes of x, or of length 1; None as it is."""
    if other is None:
        return None
    if not isinstance(other, xr.DataArray):
        raise TypeError(
            f"{function}: {name} is of type {type_name(other)}; pass a DataArray, whose "
            "dimensions are among those of x"
        )
    more = [dim for dim in other.dims if dim not in x.dims]
    if more:
        raise ValueError(
            f"{function}: {name} has the dimension {more[0]!r}, and x has {x.dims}; broadcast x "
            f"first, as with x.broadcast_like({name})"
        )
    return aligned(x, other, function, name).variable.set_dims(x.dims).data


def aligned(x: Any, other: Any, function: str, name: str) -> Any:
    """A DataArray beside x; xarray's AlignmentError if its labels are not those of x."""
    try:
        return xr.align(x, other, join="exact", copy=False)[1]
    except ValueError as error:  # xarray's names neither of the two
        what = "other labels than x, or another order"
        if dims := [dim for dim in other.dims if _differ(x, other, dim)]:
            m, n = x.sizes[dims[0]], other.sizes[dims[0]]
            what = f"length {n} and x length {m}" if m != n else f"{what},"
            what += f" along {dims[0]!r}"
        raise type(error)(
            f"{function}: {name} has {what}; align them first, as with "
            f"xarray.align(x, {name}), or {name}.reindex_like(x)"
        ) from error


def _differ(x: Any, other: Any, dim: Any) -> bool:
    if x.sizes[dim] != other.sizes[dim]:
        return True
    both = dim in x.indexes and dim in other.indexes
    return both and not x.indexes[dim].equals(other.indexes[dim])
