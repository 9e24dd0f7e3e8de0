"""Arguments become arrays, axes and dtypes here, or errors that say what to do."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import dask
import dask.array as da
import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from ._dtypes import dtype_name, is_complex, result_name, supported

Array = Any
Axes = tuple[int, ...]
Axis = int | tuple[int, ...] | None


def as_array(x: Any, function: str, name: str = "x", *, complex_ok: bool = False) -> Array:
    """x as an array of a supported dtype: a Dask or array-API array as it is, else NumPy's.

    Raises
    ------
    TypeError
        For a dtype without exponentials (objects, strings, dates, complex unless ``complex_ok``),
        for Dask collections that are not arrays, which would have to be computed here, as lists of
        Dask arrays would, and for lists of masked arrays, whose masks NumPy drops.
    """
    if isinstance(x, (list, tuple)):
        _check_items(x, function, name)
    if not isinstance(x, da.Array) and dask.is_dask_collection(x):
        raise TypeError(
            f"{function}: {name} is a {_type_name(x)}; pass a Dask array, as "
            "df.to_dask_array(lengths=True) gives of a DataFrame and array.data of an xarray "
            "DataArray"
        )
    if not isinstance(x, da.Array) and not is_array_api_obj(x):
        x = np.asarray(x)
    dtype = dtype_name(x.dtype)
    if is_complex(dtype) and not complex_ok:
        raise TypeError(
            f"{function}: {name} has dtype {dtype}, and the softmax of complex numbers is no "
            "distribution; pass a real array (logsumexp takes complex ones)"
        )
    if not supported(dtype):
        raise TypeError(
            f"{function}: {name} has dtype {dtype}, which has no exponential; pass floats or "
            f"integers, as {name}.astype('float64') where its values are numbers"
        )
    return x


def as_like(b: Array, a: Array, function: str) -> Array:
    """Weights b in memory as an array of the library, and on the device, of a.

    Raises
    ------
    TypeError
        If b is not of NumPy, and of another library than a.
    """
    xp = array_namespace(a)
    if not isinstance(b, np.ndarray) or xp is array_namespace(b):
        check_same_library(function, a, b)
        return b
    b = np.ma.filled(b, 0)
    # Integers as floats: not every library lets them meet.
    return xp.asarray(b.astype(result_name(dtype_name(b.dtype)), copy=False), device=device(a))


def check_same_library(function: str, *arrays: Array) -> None:
    """Raise TypeError unless all arrays are of one library."""
    if len({array_namespace(x) for x in arrays}) > 1:
        kinds = ", ".join(dict.fromkeys(map(_type_name, arrays)))
        raise TypeError(
            f"{function}: arrays of different libraries ({kinds}); convert them to one, as with "
            "numpy.asarray"
        )


def check_shape(shape: Any, axis: Axis, function: str) -> tuple[Axes, tuple[int, ...]]:
    """The axes as from `check_axis`, and the shape with length 1 along them.

    Lengths along the axes may be unknown (nan).

    Raises
    ------
    TypeError, ValueError
        If the shape is no tuple of lengths, and as `check_axis`.
    """
    hint = "use a tuple of lengths, ints from 0, as (2, 3)"
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
    """The axes as a sorted tuple of numbers from 0, all of them for None.

    Raises
    ------
    TypeError
        If axis is not None, an int or a tuple of ints.
    ValueError
        `numpy.exceptions.AxisError` if it is out of range; also for a repeated axis.
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
        if ndim == 0 and len(axes) == 1 and number in (0, -1):  # as NumPy and SciPy take scalars
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
    """Raise TypeError or ValueError if ``split_every`` bounds nothing; None is Dask's setting."""
    name, hint = "split_every", "use an int of at least 2, or a dict {axis: int} of such"
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


def check_not_empty(x: Array, axes: Axes, function: str) -> None:
    """Raise ValueError if a slice along ``axes`` is empty: it has no softmax."""
    if any(x.shape[axis] == 0 for axis in axes):
        raise ValueError(
            f"{function}: x has shape {tuple(x.shape)}, empty along axis {_plain(axes)}; a "
            "zero-size slice has no softmax (zero-size array to reduction operation maximum)"
        )


def check_broadcast(a: Array, b: Array, function: str) -> tuple[int, ...]:
    """The common shape of a and its weights b, or ValueError.

    Unknown lengths (nan, of Dask arrays) broadcast with 1, with nothing, and with another unknown
    length of the same number of blocks.
    """
    shape = []
    for i in range(-max(a.ndim, b.ndim), 0):
        m = a.shape[i] if i >= -a.ndim else 1
        n = b.shape[i] if i >= -b.ndim else 1
        if m == 1 or n == 1:
            shape.append(n if m == 1 else m)
        elif m == n or (math.isnan(m) and math.isnan(n) and a.numblocks[i] == b.numblocks[i]):
            shape.append(m)
        elif math.isnan(m) or math.isnan(n):
            raise ValueError(
                f"{function}: the chunk sizes of a, of shape {a.shape}, or b, of shape {b.shape}, "
                "are unknown and may not agree; call .compute_chunk_sizes() on the one with nan"
            )
        else:
            raise ValueError(
                f"{function}: b of shape {tuple(b.shape)} does not broadcast with a of shape "
                f"{tuple(a.shape)}; give one weight per element, or axes of length 1"
            )
    return tuple(shape)


def _check_items(x: Any, function: str, name: str) -> None:
    """Raise TypeError if a list holds, at any depth, what NumPy would not just copy."""
    kind = "list" if isinstance(x, list) else "tuple"
    for item in set(map(type, x)):
        if issubclass(item, da.Array):
            raise TypeError(
                f"{function}: {name} is a {kind} of Dask arrays, which would be computed here; "
                f"join them, as with dask.array.stack({name})"
            )
        if issubclass(item, np.ma.MaskedArray):
            raise TypeError(
                f"{function}: {name} is a {kind} of masked arrays, whose masks would be lost; join "
                f"them, as with numpy.ma.stack({name})"
            )
        if issubclass(item, (list, tuple)):
            for inner in x:
                if isinstance(inner, item):
                    _check_items(inner, function, name)


def _plain(axes: Iterable[int]) -> Any:
    axes = tuple(axes)
    return axes[0] if len(axes) == 1 else axes


def _type_name(x: Any) -> str:
    return f"{type(x).__module__.split('.')[0]} {type(x).__name__}"
