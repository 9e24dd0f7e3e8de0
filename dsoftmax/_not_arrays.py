"""What is no array, though NumPy would make one of it, and how to come to one.

Labels would be lost, lazy objects computed, files loaded whole, and masks dropped.
"""

from __future__ import annotations

import os
from typing import Any

import dask
import dask.array as da
import numpy as np
from array_api_compat import is_array_api_obj

from ._algebra.dtypes import is_sparse, type_name

_NUMPY = ".to_numpy() (of a DataFrame, that of its score columns only)"
_ARRAY_OF = {  # by the library of what has labels, how to come to the array in it
    "xarray": ".data",
    "dask": ".to_dask_array(lengths=True)",
    "pandas": _NUMPY,
}
_OF_FRAMES = ", or use dsoftmax.dataframe, which computes within groups of rows"
_INSTEAD = {"xarray": ", or use dsoftmax.xarray, which keeps labels"}  # of x, in these functions:
_OF_LABELLED = {"softmax", "log_softmax", "logsumexp", "entropy", "effective_sample_size"}


def check_is_array(x: Any, function: str, name: str) -> None:
    """Raise TypeError for what has labels, is lazy but of no Dask array, stored, or sparse."""
    if is_labelled(x):
        library = type_name(x).split()[0]
        known = name in ("x", "a") and function in _OF_LABELLED
        instead = _INSTEAD.get(library, _OF_FRAMES) if known and library in _ARRAY_OF else ""
        lost = ", and the result would have no labels" if name in ("x", "a") else ""
        raise TypeError(
            f"{function}: {name} is of type {type_name(x)}, not an array{lost}; pass "
            f"{name}{_ARRAY_OF.get(library, _NUMPY)}{instead}"
        )
    if isinstance(x, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{function}: {name} is {x!r}, not an array; open the file first, as with "
            "dask.array.from_zarr or numpy.load"
        )
    if dask.is_dask_collection(x) and not isinstance(x, da.Array):
        raise TypeError(
            f"{function}: {name} is of type {type_name(x)}, not an array, and would be computed "
            f"here; pass a Dask array: dask.array.from_delayed({name}, shape, dtype) for a delayed "
            "object, .to_dask_array(lengths=True) for a dask.dataframe"
        )
    if _is_stored(x):
        raise TypeError(
            f"{function}: {name} is of type {type_name(x)}, a stored array, which would be loaded "
            f"whole; pass dask.array.from_array({name}), or {name}[...] for an array in memory"
        )
    block = x._meta if isinstance(x, da.Array) else x
    if is_sparse(block):
        raise TypeError(
            f"{function}: {name} is sparse ({type_name(block)}), and only dense arrays are taken; "
            f"pass {name}.toarray(), {name}.todense() or, if the blocks are sparse, "
            f"{name}.map_blocks(lambda block: block.toarray())"
        )


def check_items(x: Any, function: str, name: str) -> None:
    """Raise TypeError if a list holds, at any depth, objects that NumPy would not simply copy."""
    kind = "list" if isinstance(x, list) else "tuple"
    for item in set(map(type, x)):
        if issubclass(item, (int, float, complex, str, np.generic)):
            continue
        if issubclass(item, da.Array):
            raise TypeError(
                f"{function}: {name} is a {kind} of Dask arrays, which would be computed here; "
                f"join them, e.g. with dask.array.stack({name})"
            )
        if issubclass(item, np.ma.MaskedArray):
            raise TypeError(
                f"{function}: {name} is a {kind} of masked arrays, whose masks would be lost; join "
                f"them, e.g. with numpy.ma.stack({name})"
            )
        if issubclass(item, (list, tuple)):
            for inner in x:
                if isinstance(inner, item):
                    check_items(inner, function, name)
            continue
        one = next(one for one in x if type(one) is item)
        if is_labelled(one) or dask.is_dask_collection(one):
            raise TypeError(
                f"{function}: {name} is a {kind} with an item of type {type_name(one)}, which "
                "would be computed here, or lose its labels; convert each to an array "
                "(.to_numpy(), .data, .to_dask_array(lengths=True) or dask.array.from_delayed) and "
                "stack these"
            )


def is_labelled(x: Any) -> bool:
    """Whether x is labelled, as the objects of pandas, polars, xarray and dask.dataframe are.

    Judged by its attributes, since these libraries are imported only if the data come from them.
    """
    if isinstance(x, (np.ndarray, np.generic, da.Array, int, float, complex, str)):
        return False
    # Series, frames, columns and DataArrays; lazy frames; Datasets.
    kinds = ("to_numpy", "__dataframe__", "collect_schema", "data_vars", "divisions")
    return any(hasattr(type(x), kind) for kind in kinds)


def _is_stored(x: Any) -> bool:
    """Whether x is an array in a file or store, as of zarr and h5py, by its attributes."""
    return all(hasattr(x, name) for name in ("shape", "dtype", "chunks", "__getitem__")) and not (
        isinstance(x, (np.ndarray, da.Array)) or is_array_api_obj(x)
    )
