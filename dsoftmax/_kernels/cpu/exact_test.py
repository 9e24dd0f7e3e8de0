"""The test of kernels for exact sums before their first use: to the bit, as on every machine."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._algebra.exact import identity, record_dtype
from .protocol import SCRATCH_BYTES, Work
from .samples import place_of, scratch_memory

Function = Callable[..., None]

_SLICES, _LENGTH = 3, 37  # several vectors, and not whole ones

# What was found with fused multiply-adds on x86.
_STATES = {
    ("float32", False): 1283601704,
    ("float32", True): 658929129,
    ("float64", False): 1253978821,
    ("float64", True): 3074815222,
}
_FINISHED = {"float32": 1034538441, "float64": 1034538441}


def rows(kernel: Function, address: Callable[..., int], working: Any, masked: bool) -> bool:
    """Whether sums of two classes have the right bits."""
    return _states(kernel, working, masked, False)


def columns(kernel: Function, address: Callable[..., int], working: Any, masked: bool) -> bool:
    """Whether those of columns have the bits of those of rows."""
    return _states(kernel, working, masked, True)


def _states(kernel: Function, working: Any, masked: bool, across: bool) -> bool:
    numbers = (np.arange(_SLICES * _LENGTH) * 37 % 101 - 50) * 0.875
    x = numbers.reshape(_SLICES, _LENGTH).astype(working)
    where = (np.arange(x.size) % 3 != 0).reshape(x.shape)
    records, scratch = np.ones(_SLICES, record_dtype(working)), scratch_memory(SCRATCH_BYTES)
    work = Work(count=_SLICES, length=_LENGTH)
    if across:
        x, where = (np.ascontiguousarray(a.T) for a in (x, where))
        work = Work(count=1, length=_LENGTH, width=_SLICES)
    work.x_row, work.x_step = x.strides
    work.where_row, work.where_step = where.strides
    work.x, work.where, work.m, work.scratch = map(place_of, (x, where, records, scratch))
    kernel(work.address)
    return zlib.crc32(records.tobytes()) == _STATES[np.dtype(working).name, masked]


def finish(kernel: Function, address: Callable[..., int], working: Any) -> bool:
    """Whether sums, logarithms and log-sum-exps have the right bits."""
    records = identity((_LENGTH,), np.dtype(working).name).records
    i = np.arange(_LENGTH)
    records["m"], records["w"] = i * 13 % 53 - 20.625, 1 + i % 3
    records["anchor"] = np.stack([i * 13 % 53 // 64 * 64.0, i * -64.0], axis=-1)
    records["rest"][:, 0, 2], records["rest"][:, 1, 3] = i * 10**11, i * i
    results = np.zeros((3, _LENGTH))
    kernel(place_of(records), *map(place_of, results), _LENGTH)
    return zlib.crc32(results.tobytes()) == _FINISHED[np.dtype(working).name]
