"""The dtypes of input, computation, accumulation and result: one table for all array libraries.

Dtypes are handled by name ("float32"), the one thing that NumPy, ml_dtypes, CuPy, torch and JAX
agree on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from . import numpy_arrays
from .namespace import array_namespace

_INTEGERS = ("bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
_LONG = np.dtype(np.longdouble).name  # float128, float96, or float64 where there is no such type
_CLONG = np.dtype(np.clongdouble).name

_FLOATS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
_WORKING = dict.fromkeys(_INTEGERS, "float64") | _FLOATS | {_LONG: _LONG}
_REAL = {"complex64": "float32", "complex128": "float64", _CLONG: _LONG}
_COMPLEX = {real: name for name, real in _REAL.items()}
_ACCUMULATOR = {"float32": "float64", "complex64": "complex128"}  # the others are their own


@dataclass(frozen=True, slots=True)
class Dtypes:
    """The names of the dtypes in which a computation on arrays of one dtype takes place.

    Attributes
    ----------
    name : str
        Of the input.
    result : str
        Of the result: floats and complex numbers keep theirs, bool and integers give float64.
    working : str
        In which exponentials are computed.
    accumulator : str
        In which they are summed.
    maximum : str
        Of m, the working dtype without its imaginary part.
    is_complex : bool
        Whether the input is complex.
    """

    name: str
    result: str
    working: str
    accumulator: str
    maximum: str
    is_complex: bool

    @property
    def is_inexact(self) -> bool:
        """Whether the input has floats or complex numbers, the dtype of its result."""
        return self.result == self.name


def dtypes_for(dtype: Any) -> Dtypes:
    """What goes with a dtype of any library, or with its name; a KeyError if nothing does."""
    return _dtypes(dtype if isinstance(dtype, str) else dtype_name(dtype))


@cache
def _dtypes(name: str) -> Dtypes:
    result = "float64" if name in _INTEGERS else name
    working = name if name in _REAL else _WORKING[name]
    accumulator = _ACCUMULATOR.get(working, working)
    return Dtypes(name, result, working, accumulator, _REAL.get(working, working), name in _REAL)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype of any library: 'float32' for np.dtype('>f4') and torch.float32."""
    if isinstance(dtype, np.dtype):
        name = _names.get(dtype)
        if name is None:
            name = _names[dtype] = dtype.name
        return name
    if isinstance(dtype, type):
        return np.dtype(dtype).name
    return str(dtype).rsplit(".", 1)[-1]


_names: dict[np.dtype, str] = {}  # NumPy builds the name anew each time, in 4 us


def type_name(x: Any) -> str:
    """The type of x and its library, as in 'pandas Series'; only 'dict' for a built-in type."""
    library = type(x).__module__.partition(".")[0]
    return type(x).__name__ if library == "builtins" else f"{library} {type(x).__name__}"


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse array or matrix of SciPy, CuPy or PyData Sparse."""
    return "sparse" in type(x).__module__.split(".") and hasattr(x, "nnz")


def parsed_name(dtype: Any) -> str:
    """The name of a dtype_like that a user passes, even of a dtype unknown to NumPy."""
    try:
        return np.dtype(dtype).name
    except TypeError:
        return dtype_name(dtype)


def is_complex(dtype: Any) -> bool:
    return dtype_name(dtype) in _REAL


def real_name(name: str) -> str:
    return _REAL.get(name, name)


def result_name(name: str) -> str:
    return dtypes_for(name).result


def supported(name: str) -> bool:
    return name in _WORKING or name in _REAL


@cache
def promoted_name(*names: str) -> str:
    """The name of the dtype that several promote to by NumPy's rules, whatever their library.

    bfloat16, which NumPy does not promote, counts as float16; with float16 it gives float32.
    """
    brain = "bfloat16" in names
    if brain:
        half = "float32" if "float16" in names else "float16"
        names = tuple(half if name == "bfloat16" else name for name in names)
    name = names[0] if len({*names}) == 1 else np.result_type(*sorted({*names})).name
    return "bfloat16" if brain and name == "float16" else name


def holds(name: str, other: str) -> bool:
    """Whether casting from dtype ``other`` to ``name`` loses nothing but precision."""
    floats = {*_REAL.values(), "float16", "bfloat16"}
    if other in _INTEGERS and name in _INTEGERS:
        return np.can_cast(other, name, "safe")
    if other in _REAL:
        return name in _REAL
    return name in floats or name in _REAL


def dtype_of(xp: Any, name: str) -> Any:
    """The dtype object of that name in an array namespace."""
    return _numpy_dtype(name) if xp is numpy_arrays or xp is np else _dtype_in(xp, name)


@cache
def _numpy_dtype(name: str) -> Any:
    return _dtype_in(np, name)


def _dtype_in(xp: Any, name: str) -> Any:
    dtype = getattr(xp, name, None)
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        return np.dtype(dtype)
    if dtype is not None:
        return dtype
    import ml_dtypes  # only arrays that already have such a dtype get here

    return np.dtype(getattr(ml_dtypes, name))


def result_dtype(x: Any, b: Any = None) -> Any:
    """The dtype of a result for x and weights b, an array or a Python scalar, which adapts to x."""
    name = dtypes_for(x.dtype).result
    if b is None:
        pass
    elif hasattr(b, "dtype"):
        name = dtypes_for(promoted_name(dtype_name(x.dtype), dtype_name(b.dtype))).result
    elif isinstance(b, complex):
        name = _COMPLEX.get(dtypes_for(name).working, name)
    return dtype_of(np if isinstance(x.dtype, np.dtype) else array_namespace(x), name)


def accumulator_dtype(dtype: Any) -> np.dtype:
    """The NumPy dtype in which the sums for a result of ``dtype`` are accumulated."""
    return np.dtype(dtypes_for(dtype).accumulator)
