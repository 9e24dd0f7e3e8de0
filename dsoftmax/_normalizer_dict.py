"""Convert states to plain numbers, strings and lists, for JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import to_device

from ._algebra.dtypes import dtype_of, dtypes_for, is_complex, parsed_name, real_name, supported
from ._algebra.exact import FIELDS as EXACT_FIELDS
from ._algebra.exact import KINDS, Exact, OnDevice, identity
from ._algebra.moments import Moments
from ._algebra.normalizer import State
from ._arguments import Axes

VERSION = 1
_NAME = "Normalizer.from_dict"


def to_dict(
    state: State | Moments | Exact | OnDevice,
    axis: Axes | None,
    name: str | None,
    ndim: int,
    neutral: bool,
) -> dict[str, Any]:
    """The dict of a normalizer in memory; ``name`` is that of its dtype, if it has one."""
    fields = state._asdict()
    if isinstance(state, KINDS):
        records = state.records
        fields = {field: records[field] for field in EXACT_FIELDS}
    return {
        "version": VERSION,
        "dtype": name,
        "identity": neutral,
        "axis": None if axis is None else list(axis),
        "ndim": ndim,
        "shape": [int(n) for n in state.m.shape],
        **{field: _written(_in_numpy(value)) for field, value in fields.items()},
    }


def from_dict(
    kept: Mapping[str, Any],
) -> tuple[State | Moments | Exact, Axes | None, str | None, int, bool]:
    """The arguments that `to_dict` was given; TypeError or ValueError if they cannot be."""
    if not isinstance(kept, Mapping):
        raise TypeError(
            f"{_NAME}: kept is of type {type(kept).__name__}; pass what to_dict returned"
        )
    kind = Moments if "t" in kept or "q" in kept else State  # with statistics
    names = EXACT_FIELDS if "top" in kept else kind._fields
    keys = ("version", "dtype", "identity", "axis", "ndim", "shape", *names)
    if missing := [key for key in keys if key not in kept]:
        raise ValueError(f"{_NAME}: kept has no {missing[0]!r}; pass what to_dict returned")
    if kept["version"] != VERSION:
        raise ValueError(
            f"{_NAME}: kept has version {kept['version']!r}, and this dsoftmax knows {VERSION}; "
            "upgrade dsoftmax"
        )
    axis, name, ndim, shape = _checked(kept)
    of = name or "float64"
    if "top" in kept:
        state = identity(shape, of)
        for key in names:
            field = state.records[key]
            field[...] = _read(kept, key, field.shape, field.dtype.name)
        return state, axis, name, ndim, kept["identity"]
    dtypes = {key: dtypes_for(of).accumulator for key in kind._fields} | {
        "m": dtypes_for(of).maximum
    }
    fields = (_read(kept, key, shape, dtype) for key, dtype in dtypes.items())
    return kind(*fields), axis, name, ndim, kept["identity"]


def _checked(kept: Mapping[str, Any]) -> tuple[Axes | None, str | None, int, tuple[int, ...]]:
    """What is said of the data: axis, the name of their dtype, ndim, and the shape of states."""
    name = kept["dtype"]
    if name is not None:
        parsed = parsed_name(name) if isinstance(name, str) else ""
        if not supported(parsed) or not dtypes_for(parsed).is_inexact:
            raise _no_such("dtype", name, "the name of a float or complex dtype")
        name = parsed
    if not isinstance(kept["identity"], bool):
        raise _no_such("identity", kept["identity"], "True or False")
    shape, axis = _lengths(kept, "shape"), None
    (ndim,) = _lengths({"ndim": [kept["ndim"]]}, "ndim")
    if kept["axis"] is not None:
        axis = _lengths(kept, "axis")
        known = axis == tuple(sorted({*axis})) and all(i < len(shape) for i in axis)
        if not known or any(shape[i] != 1 for i in axis) or len(shape) != ndim:
            raise _no_such("axis", kept["axis"], f"axes of length 1 of the shape {list(shape)}")
    elif shape:
        raise _no_such("shape", kept["shape"], "[], as axis is None")
    return axis, name, ndim, shape


def _in_numpy(x: Any) -> np.ndarray:
    try:
        return np.asarray(getattr(x, "detach", lambda: x)())  # for torch tensors that require grad
    except TypeError:  # it is not on the CPU
        return np.asarray(to_device(x, "cpu"))


def _written(x: np.ndarray) -> Any:
    """Nested lists of numbers, or of strings for what JSON numbers cannot hold."""
    if is_complex(x.dtype):
        return _written(np.stack([x.real, x.imag], axis=-1))
    if x.ndim:
        return [_written(part) for part in x]
    if x.dtype.kind == "i":
        return int(x)
    number = float(x)
    exact = math.isfinite(number) and x.dtype.itemsize <= 8
    return number if exact else str(x[()])


def _read(kept: Mapping[str, Any], key: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    dtype = dtype_of(np, real_name(name))
    pairs = (2,) if is_complex(name) else ()
    problem = _no_such(key, kept[key], f"numbers of shape {list(shape + pairs)}")
    try:
        flat = np.array(kept[key], dtype=object)
        if flat.shape != shape + pairs and flat.size:
            raise problem
        numbers = [dtype.type(_number(number)) for number in flat.ravel().tolist()]
        values = np.array(numbers, dtype).reshape(shape + pairs)
    except (TypeError, ValueError, OverflowError):
        raise problem from None
    if not pairs:
        return values
    together = np.empty(shape, dtype_of(np, name))
    together.real, together.imag = values[..., 0], values[..., 1]
    return together


def _number(value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    return value


def _lengths(kept: Mapping[str, Any], key: str) -> tuple[int, ...]:
    value = kept[key]
    if not isinstance(value, (list, tuple)) or not all(type(n) is int and n >= 0 for n in value):
        raise _no_such(key, value, "a list of ints from 0")
    return tuple(value)


def _no_such(key: str, value: Any, wanted: str) -> ValueError:
    shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:77]}..."
    return ValueError(f"{_NAME}: kept[{key!r}] is {shown}; it has to be {wanted}")
