"""Exact, parallel and lazy softmax, log-softmax and log-sum-exp of Dask arrays."""

from . import reference
from ._normalizer import Normalizer
from ._reread import reread
from ._softmax import log_softmax, logsumexp, softmax
from ._topk import TopK, TopKWithLog, softmax_topk, topk

__version__ = "0.1.0"

__all__ = [
    "Normalizer",
    "TopK",
    "TopKWithLog",
    "log_softmax",
    "logsumexp",
    "reference",
    "reread",
    "softmax",
    "softmax_topk",
    "topk",
]
