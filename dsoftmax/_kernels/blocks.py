"""What blocks are: arrays of any library, masked or not, with weights or without."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device, is_array_api_obj

from .._algebra.dtypes import dtype_name, dtype_of, is_sparse, result_name, supported, type_name
from .._algebra.normalizer import common_namespace

Array = Any


class Weighted(NamedTuple):
    """A block and its weights, which broadcast."""

    a: Array
    b: Array


def as_block(x: Any, ndim: int | None = None) -> Array:
    """A block as an array: lists and numbers become NumPy's, subclasses of NumPy's plain ones.

    Of ``ndim`` dimensions, if that is given.

    Raises
    ------
    TypeError
        For what a block may be in spite of what its array says: objects, sparse matrices.
    ValueError
        If it has another number of dimensions.
    """
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray and not isinstance(x, np.ma.MaskedArray):
            x = np.asarray(x)
    elif isinstance(x, (list, tuple, int, float, complex, np.generic)):
        x = np.asarray(x)
    elif not is_array_api_obj(x) or is_sparse(x):
        hint = "lambda block: block.toarray()" if is_sparse(x) else "numpy.asarray"
        raise TypeError(
            f"a block is a {type_name(x)}, not an array; make arrays of the blocks first, as "
            f"x.map_blocks({hint}) does"
        )
    if not supported(name := dtype_name(x.dtype)):
        raise TypeError(
            f"a block is an array of dtype {name}, which its Dask array does not say; convert the "
            "blocks first, as with x.map_blocks(lambda block: block.astype('float64'))"
        )
    if ndim is not None and x.ndim != ndim:
        raise ValueError(
            f"a block has shape {tuple(x.shape)}, and its Dask array says that it has {ndim} "
            "dimensions; reshape the blocks first, as with x.map_blocks"
        )
    return x


def plain(x: Any, fill: float = -np.inf) -> Array:
    """The data of a block with ``fill`` in place of what is masked: exp(-inf) adds nothing.

    And aligned, as an array is not that came over a network.
    """
    x = as_block(x)
    if isinstance(x, np.ma.MaskedArray):
        masked = x.mask is not np.ma.nomask
        x = np.ma.filled(x.astype(result_name(dtype_name(x.dtype))), fill) if masked else x
        x = np.ma.getdata(x, subok=False)
    return np.require(x, requirements="A") if isinstance(x, np.ndarray) else x


def moved(b: Array, a: Array) -> Array:
    """One number, which is NumPy's at first, as an array of the library and on the device of a."""
    xp = common_namespace(a)
    return xp.full(b.shape, b.item(), dtype=dtype_of(xp, dtype_name(b.dtype)), device=device(a))


def masked_like(x: Array, y: Array) -> Array:
    """y with the mask of x, if x has one."""
    if not isinstance(x, np.ma.MaskedArray):
        return y
    return np.ma.array(y, mask=np.ma.getmask(x).copy())  # a mask is written to as its array is
