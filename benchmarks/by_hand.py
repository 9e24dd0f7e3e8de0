"""The usual forms of Dask arrays, as people write them by hand."""

from __future__ import annotations

import dask.array as da


def softmax(x: da.Array, axis: int) -> da.Array:
    e = da.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: da.Array, axis: int) -> da.Array:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - da.log(da.exp(shifted).sum(axis=axis, keepdims=True))


def logsumexp(x: da.Array, axis: int) -> da.Array:
    m = x.max(axis=axis, keepdims=True)
    return da.log(da.exp(x - m).sum(axis=axis)) + m.squeeze(axis)
