"""Calls of the compiled kernel of softmax(x) @ v."""

from __future__ import annotations

import numpy as np

from . import kernels
from .call import address_of, scratch_address
from .compiler import compiled

Array = np.ndarray

_VECTORS = 4 * 64  # bytes of a row of v that sums are made of at a time
_FEW = 1 << 16  # products of one matrix that are not worth a call


def supports(x: Array, v: Array) -> bool:
    """Whether the kernel takes matrices: wide and large enough for it to be worth the while."""
    native = x.dtype == v.dtype and x.dtype in (np.float32, np.float64)
    width = v.shape[-1] * v.dtype.itemsize
    fills = 4 * width >= 3 * (-(-width // _VECTORS) * _VECTORS)
    return native and fills and x.shape[-2] * x.shape[-1] * v.shape[-1] >= _FEW


def products(x: Array, m: Array, v: Array) -> Array:
    """exp(x - m) @ v in float64, of x (..., q, k), m (..., q, 1) and v (..., k, n)."""
    kernel, item = compiled(kernels.products, x.dtype.type), x.dtype.itemsize
    columns = v.shape[-1]
    width = -(-columns * item // _VECTORS) * _VECTORS // item
    x = x if x.strides[-1] == item else np.ascontiguousarray(x)
    if width != columns:
        v = np.concatenate([v, np.zeros((*v.shape[:-1], width - columns), v.dtype)], axis=-1)
    v = v if v.strides[-1] == item else np.ascontiguousarray(v)
    others = np.broadcast_shapes(x.shape[:-2], v.shape[:-2])
    x, m, v = (np.broadcast_to(a, (*others, *a.shape[-2:])) for a in (x, m, v))
    o = np.zeros((*others, x.shape[-2], width))
    for i in np.ndindex(others):
        high = np.ascontiguousarray(m[i])
        at = (*_place(x[i]), *_place(v[i]), address_of(high), address_of(o[i]))
        kernel(*at, *x.shape[-2:], width, scratch_address())
    return o[..., :columns]


def _place(matrix: Array) -> tuple[int, int]:
    return address_of(matrix), matrix.strides[0]
