"""Guess by names whether a task may take much longer than loading its input.

What has no such name counts as cheap, as most elementwise functions are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from inspect import ismethod
from typing import Any

import numpy as np

from .uses import Names, label

_MODULES = (
    r"\w*linalg\w*|\w*(?<!o)fft\w*|opt_einsum",
    r"scipy\.(?:cluster|integrate|interpolate|ndimage|optimize|signal|spatial)",
    r"cv2\.(?!im)\w+|skimage\.(?!io\b|color\b|util\b|_shared\.utils)\w+",  # imread is cheap
    r"sklearn\.(?!datasets\b)\w+|torch\.(?:hub|jit|nn|_C\._nn)",  # so is torch.load
    r"catboost|keras|lightgbm|onnxruntime|tensorflow|transformers|xgboost",
)
_FUNCTIONS = (
    r"\w*dot|\w*matmul|\w*einsum|matvec|vecmat|bmm|torch\.mm|\w*convolve|\w*correlate|conv\dd",
    r"(?:numpy|np|jnp|xp)\.(?:inner|kron|cov|corrcoef|polyfit)",  # bare names are ambiguous
    r"_?predict(?:_\w+)?|decision_function|score_samples|gaussian_kde",  # of models
    r"(?:numpy|np)\.(?:vectorize|frompyfunc)|da_frompyfunc|.* \(vectorized\)",  # element by element
)
_DEAR = re.compile(
    rf"(?:^|\.)(?:{'|'.join(_MODULES)})(?:\.|$)"
    rf"|(?<!>)(?:^|\.)(?:{'|'.join(_FUNCTIONS)})$"  # <locals> are inspected instead
    "|^@$"
)


def dear(used: Iterable[Any]) -> str | None:
    """The name of the first expensive thing that tasks use (see `uses`), or None."""
    for value in used:
        for name in _names(value):
            if _DEAR.search(name):
                return name.strip(".")
        if isinstance(value, np.ufunc) and value.signature:  # on vectors or matrices
            return value.__name__
    return None


def _names(value: Any) -> Iterable[str]:
    """The names that identify a value: its own, or those of its classes."""
    if isinstance(value, Names):
        return value
    if ismethod(value):
        return (label(value.__func__), *_names(value.__self__))
    kind = value if isinstance(value, type) else type(value)
    classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in kind.__mro__]
    return [*classes, label(value)] if callable(value) else classes
