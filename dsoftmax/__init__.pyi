"""What type checkers see: a lazy array gives a lazy one, and any other an array of its library.

Only types are here, so that the signatures of the functions stay short, and all in one file, which
imports no module before it is used.  Of each function there are overloads for Dask arrays, for what
becomes a NumPy array, and for arrays of other libraries; tests/project/test_types.py compares them
with the function, and runs mypy and pyright on them.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Generic, Literal, Protocol, Required, TypedDict, TypeVar, Unpack, overload

import dask.array as da
import numpy as np

from . import dashboard, grouped, operations, reference
from . import dataframe as dataframe
from . import xarray as xarray
from ._arguments import Axis
from ._arguments import Omitted as _Omitted
from ._compile import compile as compile  # noqa: A004  # Python has one, too
from ._graph.choose import Reread
from ._graph.tree import SplitEvery
from ._kernels.inversion import Method
from ._normalizer import Normalizer
from ._reread import reread
from ._results import GumbelTopK, TopK, TopKWithLog

__version__: str
__all__ = [
    "GumbelTopK",
    "Normalizer",
    "TopK",
    "TopKWithLog",
    "choice",
    "cross_entropy",
    "cumulative_logsumexp",
    "dashboard",
    "effective_sample_size",
    "entropy",
    "expectation",
    "grouped",
    "gumbel_topk",
    "log_softmax",
    "logsumexp",
    "operations",
    "reference",
    "reread",
    "softmax",
    "softmax_matmul",
    "softmax_topk",
    "topk",
]

class _Standard(Protocol):
    """An array of another library, by the array API standard: NumPy has another type here."""

    def __dlpack_device__(self) -> tuple[Enum, int]: ...

class _Jax(Protocol):
    """An array of JAX, which does not declare all of the standard."""

    @property
    def addressable_shards(self) -> Any: ...

_NumPy = np.ndarray[Any, Any]
_InMemory = _NumPy | np.generic | Sequence[Any] | complex  # it becomes a NumPy array
_Other = TypeVar("_Other", bound=_Standard | _Jax)
_Number = np.floating[Any] | Any  # Any, as the logarithm of a complex sum is complex
_Reduced = _NumPy | Any  # Any, as it is a number if no axis is left
_Where = TypeVar("_Where")
_Mask = _InMemory | None

# The keywords on which types do not depend, but for masks: a lazy one makes the result lazy.

class _Reduce(TypedDict, Generic[_Where], total=False):
    where: _Where
    split_every: SplitEvery

class _LazyReduce(TypedDict, total=False):
    where: Required[da.Array]
    split_every: SplitEvery

class _Sum(_Reduce[_Where], Generic[_Where], total=False):
    exact: bool | None

class _LazySum(_LazyReduce, total=False):
    exact: bool | None

class _Rescale(_Sum[_Where], Generic[_Where], total=False):
    reread: Reread

class _LazyRescale(_LazySum, total=False):
    reread: Reread

class _Labels(_Reduce[_Where], Generic[_Where], total=False):
    ignore_label: int | None
    keepdims: bool

class _Running(TypedDict, total=False):
    reverse: bool
    include_initial: bool
    reread: Reread

class _Choice(TypedDict, total=False):
    replace: bool
    method: Method
    where: Any
    rng: Any

class _Gumbel(_Reduce[Any], total=False):
    rng: Any

@overload
def softmax(x: da.Array, axis: Axis = None, **options: Unpack[_Rescale[Any]]) -> da.Array: ...
@overload
def softmax(x: Any, axis: Axis = None, **options: Unpack[_LazyRescale]) -> da.Array: ...
@overload
def softmax(x: _InMemory, axis: Axis = None, **options: Unpack[_Rescale[_Mask]]) -> _NumPy: ...
@overload
def softmax(
    x: _Other, axis: Axis = None, **options: Unpack[_Rescale[_Other | _Mask]]
) -> _Other: ...
@overload
def log_softmax(x: da.Array, axis: Axis = None, **options: Unpack[_Rescale[Any]]) -> da.Array: ...
@overload
def log_softmax(x: Any, axis: Axis = None, **options: Unpack[_LazyRescale]) -> da.Array: ...
@overload
def log_softmax(x: _InMemory, axis: Axis = None, **options: Unpack[_Rescale[_Mask]]) -> _NumPy: ...
@overload
def log_softmax(
    x: _Other, axis: Axis = None, **options: Unpack[_Rescale[_Other | _Mask]]
) -> _Other: ...
@overload
def logsumexp(
    a: da.Array,
    axis: Axis = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_Sum[Any]],
) -> da.Array: ...
@overload
def logsumexp(
    a: da.Array,
    axis: Axis = None,
    b: Any = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
    **options: Unpack[_Sum[Any]],
) -> tuple[da.Array, da.Array]: ...
@overload
def logsumexp(
    a: Any,
    axis: Axis = None,
    *,
    b: da.Array,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_Sum[Any]],
) -> da.Array: ...
@overload
def logsumexp(
    a: Any,
    axis: Axis = None,
    b: _Mask = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_LazySum],
) -> da.Array: ...
@overload
def logsumexp(
    a: _InMemory,
    axis: None = None,
    b: _Mask = None,
    keepdims: Literal[False] = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_Sum[_Mask]],
) -> _Number: ...
@overload
def logsumexp(
    a: _InMemory,
    axis: Axis = None,
    b: _Mask = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_Sum[_Mask]],
) -> _Reduced: ...
@overload
def logsumexp(
    a: _Other,
    axis: Axis = None,
    b: _Other | _Mask = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    **options: Unpack[_Sum[_Other | _Mask]],
) -> _Other: ...
@overload
def logsumexp(
    a: Any,
    axis: Axis = None,
    b: Any = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
    **options: Unpack[_Sum[Any]],
) -> tuple[Any, Any]: ...
@overload
def expectation(
    x: da.Array,
    values: tuple[Any, ...],
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[Any]],
) -> tuple[da.Array, ...]: ...
@overload
def expectation(
    x: _InMemory,
    values: tuple[Any, ...],
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[Any]],
) -> tuple[Any, ...]: ...
@overload
def expectation(
    x: _Other,
    values: tuple[Any, ...],
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[_Other | _Mask]],
) -> tuple[_Other, ...]: ...
@overload
def expectation(
    x: da.Array,
    values: Any,
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[Any]],
) -> da.Array: ...
@overload
def expectation(
    x: Any,
    values: da.Array,
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[Any]],
) -> da.Array: ...
@overload
def expectation(
    x: Any, values: Any, axis: Axis = None, keepdims: bool = False, **options: Unpack[_LazyReduce]
) -> da.Array: ...
@overload
def expectation(
    x: _InMemory,
    values: _InMemory,
    axis: None = None,
    keepdims: Literal[False] = False,
    **options: Unpack[_Reduce[_Mask]],
) -> _Number: ...
@overload
def expectation(
    x: _InMemory,
    values: _InMemory,
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[_Mask]],
) -> _Reduced: ...
@overload
def expectation(
    x: _Other,
    values: _Other,
    axis: Axis = None,
    keepdims: bool = False,
    **options: Unpack[_Reduce[_Other | _Mask]],
) -> _Other: ...
@overload
def entropy(
    x: da.Array, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[Any]]
) -> da.Array: ...
@overload
def entropy(
    x: Any, axis: Axis = None, keepdims: bool = False, **options: Unpack[_LazyReduce]
) -> da.Array: ...
@overload
def entropy(
    x: _InMemory,
    axis: None = None,
    keepdims: Literal[False] = False,
    **options: Unpack[_Reduce[_Mask]],
) -> _Number: ...
@overload
def entropy(
    x: _InMemory, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[_Mask]]
) -> _Reduced: ...
@overload
def entropy(
    x: _Other, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[_Other | _Mask]]
) -> _Other: ...
@overload
def effective_sample_size(
    x: da.Array, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[Any]]
) -> da.Array: ...
@overload
def effective_sample_size(
    x: Any, axis: Axis = None, keepdims: bool = False, **options: Unpack[_LazyReduce]
) -> da.Array: ...
@overload
def effective_sample_size(
    x: _InMemory,
    axis: None = None,
    keepdims: Literal[False] = False,
    **options: Unpack[_Reduce[_Mask]],
) -> _Number: ...
@overload
def effective_sample_size(
    x: _InMemory, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[_Mask]]
) -> _Reduced: ...
@overload
def effective_sample_size(
    x: _Other, axis: Axis = None, keepdims: bool = False, **options: Unpack[_Reduce[_Other | _Mask]]
) -> _Other: ...
@overload
def softmax_matmul(
    x: da.Array,
    v: Any,
    *,
    return_logsumexp: Literal[False] = False,
    **options: Unpack[_Reduce[Any]],
) -> da.Array: ...
@overload
def softmax_matmul(
    x: da.Array, v: Any, *, return_logsumexp: Literal[True], **options: Unpack[_Reduce[Any]]
) -> tuple[da.Array, da.Array]: ...
@overload
def softmax_matmul(
    x: Any,
    v: da.Array,
    *,
    return_logsumexp: Literal[False] = False,
    **options: Unpack[_Reduce[Any]],
) -> da.Array: ...
@overload
def softmax_matmul(
    x: Any, v: da.Array, *, return_logsumexp: Literal[True], **options: Unpack[_Reduce[Any]]
) -> tuple[da.Array, da.Array]: ...
@overload
def softmax_matmul(
    x: _InMemory,
    v: _InMemory,
    *,
    return_logsumexp: Literal[False] = False,
    **options: Unpack[_Reduce[_Mask]],
) -> _Reduced: ...
@overload
def softmax_matmul(
    x: _InMemory,
    v: _InMemory,
    *,
    return_logsumexp: Literal[True],
    **options: Unpack[_Reduce[_Mask]],
) -> tuple[_Reduced, _Reduced]: ...
@overload
def softmax_matmul(
    x: _Other,
    v: _Other,
    *,
    return_logsumexp: Literal[False] = False,
    **options: Unpack[_Reduce[_Other | _Mask]],
) -> _Other: ...
@overload
def softmax_matmul(
    x: _Other,
    v: _Other,
    *,
    return_logsumexp: Literal[True],
    **options: Unpack[_Reduce[_Other | _Mask]],
) -> tuple[_Other, _Other]: ...
@overload
def cross_entropy(
    x: da.Array, labels: Any, axis: int = -1, **options: Unpack[_Labels[Any]]
) -> da.Array: ...
@overload
def cross_entropy(
    x: Any, labels: da.Array, axis: int = -1, **options: Unpack[_Labels[Any]]
) -> da.Array: ...
@overload
def cross_entropy(
    x: _InMemory, labels: _InMemory, axis: int = -1, **options: Unpack[_Labels[_Mask]]
) -> _Reduced: ...
@overload
def cross_entropy(
    x: _Other, labels: _Other, axis: int = -1, **options: Unpack[_Labels[_Other | _Mask]]
) -> _Other: ...
@overload
def cumulative_logsumexp(
    x: da.Array, axis: int | None = None, **options: Unpack[_Running]
) -> da.Array: ...
@overload
def cumulative_logsumexp(
    x: _InMemory, axis: int | None = None, **options: Unpack[_Running]
) -> _NumPy: ...
@overload
def cumulative_logsumexp(
    x: _Other, axis: int | None = None, **options: Unpack[_Running]
) -> _Other: ...
@overload
def softmax_topk(
    x: Any,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[False] = False,
    **options: Unpack[_LazySum],
) -> TopK[da.Array]: ...
@overload
def softmax_topk(
    x: da.Array,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[False] = False,
    **options: Unpack[_Sum[Any]],
) -> TopK[da.Array]: ...
@overload
def softmax_topk(
    x: _InMemory,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[False] = False,
    **options: Unpack[_Sum[_Mask]],
) -> TopK[_NumPy]: ...
@overload
def softmax_topk(
    x: _Other,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[False] = False,
    **options: Unpack[_Sum[_Other | _Mask]],
) -> TopK[_Other]: ...
@overload
def softmax_topk(
    x: da.Array,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[True],
    **options: Unpack[_Sum[Any]],
) -> TopKWithLog[da.Array]: ...
@overload
def softmax_topk(
    x: _InMemory,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[True],
    **options: Unpack[_Sum[_Mask]],
) -> TopKWithLog[_NumPy]: ...
@overload
def softmax_topk(
    x: _Other,
    k: int,
    axis: int | _Omitted | None = ...,
    *,
    return_log: Literal[True],
    **options: Unpack[_Sum[_Other | _Mask]],
) -> TopKWithLog[_Other]: ...
@overload
def topk(
    x: da.Array, k: int, axis: int | _Omitted | None = ..., *, split_every: SplitEvery = None
) -> TopK[da.Array]: ...
@overload
def topk(
    x: _InMemory, k: int, axis: int | _Omitted | None = ..., *, split_every: SplitEvery = None
) -> TopK[_NumPy]: ...
@overload
def topk(
    x: _Other, k: int, axis: int | _Omitted | None = ..., *, split_every: SplitEvery = None
) -> TopK[_Other]: ...
@overload
def choice(
    x: da.Array, size: int, axis: int | None = None, **options: Unpack[_Choice]
) -> da.Array: ...
@overload
def choice(
    x: _InMemory, size: int, axis: int | None = None, **options: Unpack[_Choice]
) -> _NumPy: ...
@overload
def choice(x: _Other, size: int, axis: int | None = None, **options: Unpack[_Choice]) -> _Other: ...
@overload
def gumbel_topk(
    x: da.Array, k: int, axis: int | None = None, **options: Unpack[_Gumbel]
) -> GumbelTopK[da.Array]: ...
@overload
def gumbel_topk(
    x: _InMemory, k: int, axis: int | None = None, **options: Unpack[_Gumbel]
) -> GumbelTopK[_NumPy]: ...
@overload
def gumbel_topk(
    x: _Other, k: int, axis: int | None = None, **options: Unpack[_Gumbel]
) -> GumbelTopK[_Other]: ...
