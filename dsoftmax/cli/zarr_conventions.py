"""Decode a Zarr array by its attributes: the CF conventions, as xarray implements them.

https://docs.xarray.dev/en/stable/internals/zarr-encoding-spec.html says where xarray stores them.
"""

from __future__ import annotations

import base64
import math
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np

_DIMENSIONS = "_ARRAY_DIMENSIONS"

# Attributes that hold for the stored numbers, but not for what is computed from them.
_OF_STORED_NUMBERS = {
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
    "valid_min",
    "valid_max",
    "valid_range",
    "actual_range",
    "flag_masks",
    "flag_meanings",
    "flag_values",
    "calendar",
    "dtype",
    _DIMENSIONS,
}


@dataclass(frozen=True)
class Decoding:
    """How stored numbers become values: NaN if missing, else number * scale + offset.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the values.
    scale, offset : float or None
    missing : tuple of numpy.generic
        Numbers in the stored dtype.
    """

    dtype: np.dtype
    scale: float | None
    offset: float | None
    missing: tuple[np.generic, ...]

    def __call__(self, stored: Any) -> np.ndarray:
        """The values of a block, which is overwritten if it has their dtype."""
        values = np.require(stored, self.dtype, "W")
        for number in self.missing:  # compared as stored: the values may be rounded
            np.copyto(values, np.nan, where=stored == number)
        if self.scale is not None:
            values *= self.scale
        if self.offset is not None:
            values += self.offset
        return values

    def __str__(self) -> str:
        factors = {"scale_factor": self.scale, "add_offset": self.offset}
        parts = [f"{name} {value}" for name, value in factors.items() if value is not None]
        if self.missing:
            parts.append(f"missing {', '.join(map(str, self.missing))} as NaN")
        return ", ".join(parts)


def decoding_of(array: Any) -> Decoding | None:
    """How the numbers of an open Zarr array are decoded; None where they are the values.

    Raises
    ------
    ValueError
        If an attribute is not understood; it names the attribute and its value.
    """
    dtype = array.dtype
    if dtype.kind not in "biuf":
        return None
    attributes = dict(array.attrs)
    if times := _times(attributes):
        raise ValueError(f"{times}, so that its numbers are times, which have no exponential")
    masks = ["_FillValue", "missing_value"]
    # In format 2 xarray stores _FillValue as fill_value, and reads only that. In format 3, or
    # without xarray's dimension names, fill_value is just what an unwritten chunk holds.
    of_xarray = array.metadata.zarr_format == 2 and _DIMENSIONS in attributes
    if of_xarray and array.fill_value is not None:
        masks[0] = "fill_value"
        attributes["fill_value"] = np.asarray(array.fill_value).item()
    if "_Unsigned" in attributes:
        raise _problem("_Unsigned", attributes["_Unsigned"], "which is not supported")
    scale, offset = (_factor(name, attributes) for name in ("scale_factor", "add_offset"))
    missing = tuple(number for name in masks for number in _missing(name, attributes, dtype))
    packed = scale is not None or offset is not None
    if not packed and not missing:
        return None
    if packed or (dtype.kind != "f" and dtype.itemsize > 2):
        dtype = np.dtype("f8")
    elif dtype.kind != "f":
        dtype = np.dtype("f4")
    return Decoding(dtype, scale, offset, tuple(dict.fromkeys(missing)))


def dimension_names(array: Any) -> list[str | None] | None:
    """The names of the axes of an open Zarr array; None if it has none, or wrong ones."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get(_DIMENSIONS)
    fitting = (
        isinstance(names, (list, tuple))
        and len(names) == array.ndim
        and all(name is None or isinstance(name, str) for name in names)
    )
    return list(names) if fitting else None


def kept_attributes(array: Any) -> dict[str, Any]:
    """The attributes of an open Zarr array that a result keeps."""
    attributes = {name: v for name, v in array.attrs.items() if name not in _OF_STORED_NUMBERS}
    if _times(dict(array.attrs)):  # the result has no times
        attributes.pop("units", None)
    return attributes


def _times(attributes: dict[str, Any]) -> str | None:
    """The attribute, and its value, that marks the numbers as times; None if there is none."""
    units, dtype = str(attributes.get("units", "")), str(attributes.get("dtype", ""))
    if " since " in units:
        return f"units is {units!r}"
    return f"dtype is {dtype!r}" if dtype.startswith(("datetime64", "timedelta64")) else None


def _factor(name: str, attributes: dict[str, Any]) -> float | None:
    """A factor or offset, which may also be the only element of a list; None if there is none."""
    if name not in attributes:
        return None
    numbers = _numbers(name, attributes[name])
    try:
        if len(numbers) == 1 and math.isfinite(numbers[0]):
            return float(numbers[0])
    except OverflowError:  # an integer of hundreds of digits
        pass
    raise _problem(name, attributes[name], "which is not one finite number")


def _missing(name: str, attributes: dict[str, Any], dtype: np.dtype) -> list[np.generic]:
    """The numbers other than NaN that stand for missing values, in the stored dtype.

    In CF the attribute has the type of the array. JSON does not keep it, so it is converted here.
    """
    value = attributes.get(name, [])
    if value == "NaN":  # how Zarr before 3.1 writes NaN
        numbers = []
    elif name == "_FillValue" and dtype.kind == "f" and isinstance(value, str):
        numbers = [_double(name, value)]
    else:
        numbers = _numbers(name, value)
    missing = []
    for number in numbers:
        if number != number:
            continue
        try:
            with np.errstate(over="raise"):
                stored = dtype.type(number if dtype.kind == "f" else int(number))
        except ArithmeticError:
            stored = None
        if stored is None or (dtype.kind != "f" and stored != number):
            raise _problem(name, value, f"which {dtype} cannot hold")
        missing.append(stored)
    return missing


def _double(name: str, text: str) -> float:
    """The float64 that xarray writes in base64, little-endian."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f8").item()
    except ValueError:
        raise _problem(name, text, "which is neither a number nor a float64 in base64") from None


def _numbers(name: str, value: Any) -> list[int | float]:
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
        raise _problem(name, value, "which is not a number")
    return numbers


def _problem(name: str, value: Any, reason: str) -> ValueError:
    return ValueError(f"its {name} is {reprlib.repr(value)}, {reason}")
