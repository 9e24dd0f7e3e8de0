"""What type checkers see of `dsoftmax.grouped`: see `dsoftmax/__init__.pyi`."""

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack, overload

import dask.array as da
import numpy as np

from ._graph.choose import Reread
from ._graph.tree import SplitEvery

__all__ = ["effective_sample_size", "entropy", "log_softmax", "logsumexp", "softmax"]

_NumPy = np.ndarray[Any, Any]
_InMemory = _NumPy | Sequence[Any]

class _Reduce(TypedDict, total=False):
    axis: int
    split_every: SplitEvery

class _Rescale(_Reduce, total=False):
    expected_groups: Any
    reread: Reread

@overload
def softmax(x: da.Array, by: Any, **options: Unpack[_Rescale]) -> da.Array: ...
@overload
def softmax(x: Any, by: da.Array, **options: Unpack[_Rescale]) -> da.Array: ...
@overload
def softmax(x: _InMemory, by: Any, **options: Unpack[_Rescale]) -> _NumPy: ...
@overload
def log_softmax(x: da.Array, by: Any, **options: Unpack[_Rescale]) -> da.Array: ...
@overload
def log_softmax(x: Any, by: da.Array, **options: Unpack[_Rescale]) -> da.Array: ...
@overload
def log_softmax(x: _InMemory, by: Any, **options: Unpack[_Rescale]) -> _NumPy: ...
@overload
def logsumexp(
    x: da.Array, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def logsumexp(
    x: da.Array, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def logsumexp(
    x: Any, by: da.Array, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def logsumexp(
    x: Any, by: da.Array, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def logsumexp(
    x: _InMemory, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, _NumPy]: ...
@overload
def logsumexp(
    x: _InMemory, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> _NumPy: ...
@overload
def entropy(
    x: da.Array, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def entropy(
    x: da.Array, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def entropy(
    x: Any, by: da.Array, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def entropy(
    x: Any, by: da.Array, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def entropy(
    x: _InMemory, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, _NumPy]: ...
@overload
def entropy(
    x: _InMemory, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> _NumPy: ...
@overload
def effective_sample_size(
    x: da.Array, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def effective_sample_size(
    x: da.Array, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def effective_sample_size(
    x: Any, by: da.Array, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, da.Array]: ...
@overload
def effective_sample_size(
    x: Any, by: da.Array, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> da.Array: ...
@overload
def effective_sample_size(
    x: _InMemory, by: Any, *, expected_groups: None = None, **options: Unpack[_Reduce]
) -> tuple[Any, _NumPy]: ...
@overload
def effective_sample_size(
    x: _InMemory, by: Any, *, expected_groups: Any, **options: Unpack[_Reduce]
) -> _NumPy: ...
