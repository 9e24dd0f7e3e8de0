"""Turn arguments into arrays, axes and dtypes, or raise errors that say what to do."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import dask
import dask.array as da
import numpy as np
from array_api_compat import is_array_api_obj

from ._algebra.dtypes import (
    dtype_name,
    is_complex,
    supported,
    type_name,
)
from ._algebra.namespace import array_namespace
from ._kernels.exact import unsupported
from ._not_arrays import check_is_array, check_items

Array = Any
Axes = tuple[int, ...]
Axis = int | tuple[int, ...] | None


class Omitted(Enum):
    """A sentinel for an argument that was left out, where None has its own meaning."""

    OMITTED = "omitted"

    def __repr__(self) -> str:
        return "<omitted>"


def as_array(x: Any, function: str, name: str = "x", *, complex_ok: bool = False) -> Array:
    """x as an array of a supported dtype: a Dask or array-API array as it is, else a NumPy array.

    Subclasses of NumPy arrays become plain or masked arrays.

    Raises
    ------
    TypeError
        For a dtype without exponentials (objects, strings, dates, complex unless ``complex_ok``);
        and as `as_any_array`.
    """
    array = x if type(x) is np.ndarray else as_any_array(x, function, name)
    dtype = dtype_name(array.dtype)
    if is_complex(dtype) and not complex_ok:
        raise TypeError(
            f"{function}: {name} has dtype {dtype}, and the softmax of complex numbers is no "
            "distribution; pass a real array (logsumexp takes complex ones)"
        )
    if not supported(dtype) and array.ndim == 0 and array is not x and not np.isscalar(x):
        raise TypeError(
            f"{function}: {name} is of type {type_name(x)}, not an array; pass an array or a "
            f"list, as list({name}) of what is iterable"
        )
    if not supported(dtype):
        raise TypeError(
            f"{function}: {name} has dtype {dtype}, which has no exponential; pass floats or "
            f"integers, as {name}.astype('float64') where its values are numbers"
        )
    return array


def as_any_array(x: Any, function: str, name: str) -> Array:
    """x as an array: a Dask or array-API array as it is, else NumPy's.

    Raises
    ------
    TypeError
        For what would be computed, loaded or lose something here: see `_not_arrays`.
    ValueError
        For lists that are no array, since their parts have different lengths.
    """
    if isinstance(x, (list, tuple)):
        check_items(x, function, name)
        if type(x) in (list, tuple):  # and so nothing of what follows
            try:
                return np.asarray(x)
            except ValueError as error:  # NumPy's says nothing of the argument
                raise ValueError(
                    f"{function}: {name} is a {type(x).__name__} of parts of different lengths; "
                    "pad them to one, or join them and say which is which (dsoftmax.grouped)"
                ) from error
    check_is_array(x, function, name)
    array = x
    if not isinstance(x, (da.Array, np.ma.MaskedArray)) and (
        isinstance(x, np.ndarray) or not is_array_api_obj(x)
    ):
        array = np.asarray(x)
    return array


def check_same_library(function: str, *arrays: Array) -> None:
    """Raise TypeError unless all arrays are from one library."""
    if len({array_namespace(x) for x in arrays}) > 1:
        kinds = ", ".join(dict.fromkeys(map(type_name, arrays)))
        raise TypeError(
            f"{function}: arrays of different libraries ({kinds}); convert them to one, e.g. with "
            "numpy.asarray"
        )


def check_beside_dask(function: str, arrays: Mapping[str, Array]) -> None:
    """Raise TypeError for arrays by their names, one of Dask and one that Dask cannot hold."""
    if not any(isinstance(a, da.Array) for a in arrays.values()):
        return
    for name, a in arrays.items():
        if not isinstance(a, da.Array) and not isinstance(a.dtype, np.dtype):
            raise TypeError(
                f"{function}: {name} is of type {type_name(a)}, beside a Dask array; convert it "
                f"first, as with numpy.asarray({name})"
            )


def check_shape(shape: Any, axis: Axis, function: str) -> tuple[Axes, tuple[int, ...]]:
    """The axes as from `check_axis`, and the shape with length 1 along them.

    Lengths along the axes may be unknown (nan).

    Raises
    ------
    TypeError, ValueError
        If the shape is not a tuple of lengths; also as in `check_axis`.
    """
    hint = "use a tuple of lengths, ints from 0, such as (2, 3)"
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: shape is {shape!r}; {hint}")
    axes = check_axis(axis, tuple(shape), function)
    kept = []
    for i, n in enumerate(shape):
        unknown = isinstance(n, float) and math.isnan(n) and i in axes
        if not unknown and not isinstance(n, (int, np.integer)):
            raise TypeError(f"{function}: shape is {shape!r}; {hint}")
        if n < 0:
            raise ValueError(f"{function}: shape is {shape!r}; {hint}")
        kept.append(1 if i in axes else int(n))
    return axes, tuple(kept)


def check_axis(axis: Axis, shape: tuple[int, ...], function: str) -> Axes:
    """The axes as a sorted tuple of non-negative ints; all of them for None.

    Raises
    ------
    TypeError
        If axis is not None, an int or a tuple of ints.
    ValueError
        `numpy.exceptions.AxisError` if an axis is out of range; also if one is repeated.
    """
    if axis is None:
        return tuple(range(len(shape)))
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = len(shape)
    normalized = []
    for one in axes:
        try:
            if isinstance(one, (bool, np.bool_)):
                raise TypeError
            number = operator.index(one)
        except TypeError:
            raise TypeError(
                f"{function}: axis is {axis!r}; use None, an int or a tuple of ints"
            ) from None
        if ndim == 0 and len(axes) == 1 and number in (0, -1):  # as NumPy and SciPy do for scalars
            return ()
        if not -ndim <= number < ndim:
            raise np.exceptions.AxisError(
                f"{function}: axis {number} is out of bounds for array of dimension {ndim} "
                f"(shape {tuple(shape)})"
            )
        normalized.append(number % ndim)
    if len(set(normalized)) < len(normalized):
        raise ValueError(f"{function}: duplicate value in 'axis' {axis!r}; name each axis once")
    return tuple(sorted(normalized))


def check_split_every(split_every: Any, ndim: int, function: str) -> None:
    """Raise TypeError or ValueError if ``split_every`` is invalid; None means Dask's setting."""
    name, hint = "split_every", "use an int of at least 2, or a dict {axis: int} of these"
    if split_every is None:
        split_every = dask.config.get("split_every", None)
        if split_every is None:
            return
        name = "Dask's setting split_every"
    by_axis = split_every if isinstance(split_every, dict) else {None: split_every}
    for axis, n in by_axis.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"{function}: {name} is {split_every!r}; {hint}")
        if n < 2:
            raise ValueError(f"{function}: {name} is {split_every!r}; {hint}")
        if axis is not None and not (isinstance(axis, (int, np.integer)) and -ndim <= axis < ndim):
            raise ValueError(
                f"{function}: {name} names axis {axis!r} of an array of dimension {ndim}; {hint}"
            )


def check_exact(exact: Any, function: str) -> bool:
    """The argument ``exact`` of a function, or Dask's setting ``dsoftmax.exact`` for None."""
    name = "exact"
    if exact is None:
        name, exact = "Dask's setting dsoftmax.exact", dask.config.get("dsoftmax.exact", False)
    if not isinstance(exact, (bool, np.bool_)):
        raise ValueError(f"{function}: {name} is {exact!r}; use True or False")
    return bool(exact)


def check_exactly(x: Array, function: str, name: str = "x", b: Any = None) -> None:
    """Raise TypeError or ValueError if there are no exact sums of an array."""
    if reason := unsupported(x._meta if isinstance(x, da.Array) else x):
        raise TypeError(
            f"{function}: {name} {reason}; convert {name} first, or use exact=False (or Dask's "
            "setting dsoftmax.exact)"
        )
    if b is not None:
        raise ValueError(
            f"{function}: weights b have no exact sum; add log(b) to {name} where b is positive, "
            "pass where= for weights of 0 and 1, or use exact=False"
        )


def check_not_empty(x: Any, axes: Axes, function: str) -> None:
    """Raise ValueError if a slice along ``axes`` is empty: it has no softmax."""
    if any(x.shape[axis] == 0 for axis in axes):
        raise ValueError(
            f"{function}: x has shape {tuple(x.shape)}, empty along axis {_plain(axes)}; a "
            "zero-size slice has no softmax (zero-size array to reduction operation maximum)"
        )


def _plain(axes: Iterable[int]) -> Any:
    axes = tuple(axes)
    return axes[0] if len(axes) == 1 else axes
