"""What blocks are: arrays of any library, masked or not, with weights or without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device, is_array_api_obj

from .._algebra.dtypes import dtype_name, dtype_of, dtypes_for, is_sparse, supported, type_name
from .._algebra.normalizer import common_namespace

Array = Any


class Terms(NamedTuple):
    """An array and what goes with it, element by element; all have as many axes, and broadcast.

    Blocks are such, and arrays whose blocks are joined to such.

    Attributes
    ----------
    x : array
    b : array, optional
        Weights.
    where : array of bool, optional
        Which elements take part.
    values : tuple of arrays
        What is averaged.
    """

    x: Array
    b: Array | None = None
    where: Array | None = None
    values: tuple[Array, ...] = ()

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that there are, x first."""
        return tuple([a for a in (self.x, self.b, self.where, *self.values) if a is not None])

    def of(self, arrays: Iterable[Array]) -> Terms:
        """The same terms of other arrays, in the order of ``arrays``."""
        rest = iter(arrays)
        x, b, where = [None if a is None else next(rest) for a in self[:3]]
        return Terms(x, b, where, tuple(rest))

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of all together."""
        lengths = zip(*(a.shape for a in self.arrays), strict=True)
        return tuple(next((n for n in along if n != 1), 1) for along in lengths)

    @property
    def ndim(self) -> int:
        """The number of axes of each."""
        return int(self.x.ndim)


def as_block(x: Any, ndim: int | None = None) -> Array:
    """A block as an array: lists and numbers become NumPy's, subclasses of NumPy's plain ones.

    Of ``ndim`` dimensions, if that is given. `Terms` have been made of such, and stay.

    Raises
    ------
    TypeError
        For what a block may be in spite of what its array says: objects, sparse matrices.
    ValueError
        If it has another number of dimensions.
    """
    if isinstance(x, Terms):
        return x
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray and not isinstance(x, np.ma.MaskedArray):
            x = np.asarray(x)
    elif isinstance(x, (list, tuple, int, float, complex, np.generic)):
        x = np.asarray(x)
    elif not is_array_api_obj(x) or is_sparse(x):
        hint = "lambda block: block.toarray()" if is_sparse(x) else "numpy.asarray"
        raise TypeError(
            f"a block is of type {type_name(x)}, not an array; make arrays of the blocks first, as "
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
        mask, x = x.mask, np.ma.getdata(x, subok=False)
        if mask is not np.ma.nomask:
            x = x.astype(dtypes_for(x.dtype).result)
            x[mask] = fill
    return x.copy("A") if isinstance(x, np.ndarray) and not x.flags.aligned else x


def laid_out(x: Array | Terms) -> Terms:
    """The terms of a block as plain arrays of one shape and one library.

    Masked entries of x are -inf, of weights 0; of a mask, and of x beside one, they are out.

    Raises
    ------
    TypeError
        If a mask is not boolean, or values are masked.
    """
    if not isinstance(x, Terms):
        return Terms(plain(x))
    data = plain(x.x)
    b = None if x.b is None else plain(x.b, fill=0)
    where = None if x.where is None else _mask(x.where)
    if where is not None and isinstance(x.x, np.ma.MaskedArray):
        where = where & ~np.ma.getmaskarray(x.x)
    terms = Terms(data, b, where, tuple(map(_unmasked, x.values)))
    arrays = terms.arrays
    if len(arrays) == 1:
        return terms
    here = [moved(a, data) for a in arrays]
    return terms.of(common_namespace(*here).broadcast_arrays(*here))


def unmasked_terms(x: Array | Terms) -> Terms:
    """The terms of a block, of which masked entries of x take no part."""
    terms = x if isinstance(x, Terms) else Terms(x)
    if terms.where is None and np.ma.is_masked(terms.x):
        terms = terms._replace(where=~np.ma.getmaskarray(terms.x))
    return laid_out(terms)


def is_masked_alone(x: Array | Terms) -> bool:
    """Whether elements of a block are masked that are not out by a mask beside it anyway."""
    terms = x if isinstance(x, Terms) else Terms(x)
    return terms.where is None and bool(np.ma.is_masked(terms.x))


def _mask(where: Array) -> Array:
    if (name := dtype_name(where.dtype)) != "bool":
        raise TypeError(
            f"a block of where is of dtype {name}, which its Dask array does not say; make masks "
            "of the blocks first, as with where.map_blocks(lambda block: block != 0)"
        )
    return np.ma.filled(where, False) if isinstance(where, np.ma.MaskedArray) else where


def _unmasked(values: Array) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(
            "expectation: a block of values is masked; fill it, and leave those elements out with "
            "where=, if they are to take no part"
        )
    return plain(values)


def moved(b: Array, a: Array) -> Array:
    """One number, or a mask, which is NumPy's at first, on the device and of the library of a."""
    if not isinstance(b, np.ndarray) or isinstance(a, np.ndarray):
        return b
    xp = common_namespace(a)
    if b.size == 1:
        return xp.full(b.shape, b.item(), dtype=dtype_of(xp, dtype_name(b.dtype)), device=device(a))
    return xp.asarray(b, device=device(a)) if b.dtype == np.bool_ else b


def masked_like(x: Array | Terms, y: Array) -> Array:
    """y with the mask of x, if x has one."""
    x = x.x if isinstance(x, Terms) else x
    if not isinstance(x, np.ma.MaskedArray):
        return y
    mask = np.ma.getmask(x)
    # A mask is written to as its array is.
    return np.ma.array(y, mask=np.broadcast_to(mask, y.shape).copy() if np.ndim(mask) else mask)
