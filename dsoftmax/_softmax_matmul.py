"""softmax_matmul: a softmax times a matrix, in one reading of both, without the softmax."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from . import _kernels, operations
from ._algebra.dtypes import dtype_name, is_complex, result_dtype
from ._arguments import Array, as_array, check_beside_dask, check_not_empty
from ._engine import of_states, reduced, states
from ._graph.alignment import cut_as, join_blocks, unlike
from ._graph.stage import Call, Stage
from ._graph.tree import SplitEvery
from ._kernels.matmul import Attended, Factors
from ._operation import Result
from ._terms import Joined, as_joined, as_like, as_terms

_NAME, _KEY = "softmax_matmul", "softmax-matmul"


def softmax_matmul(
    x: Any,
    v: Any,
    *,
    where: Any = None,
    return_logsumexp: bool = False,
    split_every: SplitEvery = None,
) -> Array | tuple[Array, Array]:
    r"""Matrix product with a softmax, ``softmax(x, axis=-1) @ v``, in one pass over x and v.

    The mean of the rows of v under the softmax of each row of x: attention, if x holds the scores
    of queries and keys. Each chunk of x gives its normalizer (m, d) and
    :math:`o = \sum_k e^{x_k - m} v_k`; these are merged in a tree, where o is scaled as d is, and
    the result is o / d [1]_ [2]_ [3]_. The softmax itself is never stored.

    Parameters
    ----------
    x : array_like
        Shape (..., q, k) or (k,): Dask array, NumPy array or one of another array-API library, or
        list; of floats, integers or booleans. Masked entries take no part.
    v : array_like
        Shape (..., k, n) or (k,), of the same kinds. Masked entries count as 0.
    where : array_like of bool, optional
        Which elements of x take part: an attention mask, such as (q, k) for causal attention or
        (k,) for padded keys. Broadcasts with x, both ways, as in `softmax`; other elements do not
        count, whatever x and v are there.
    return_logsumexp : bool, optional
        Whether to return the log-sum-exp of the rows of x too, which allows results of parts to be
        merged further.
    split_every : int or dict of int to int, optional
        For Dask arrays, how many partial results one task merges at most; in a dict, that of the
        last axis of x. The default is Dask's ``split_every`` setting, else 16 (4 where a partial
        result exceeds 1 MiB).

    Returns
    -------
    y : array
        The product, by the rules of `numpy.matmul`: of shape (..., q, n), with the axes before the
        last two broadcast, without q if x is a vector and without n if v is. In the dtype that x
        and v promote to if that is floating, else float64. A lazy Dask array if x, v or where is
        one, with the chunks of x along its rows and those of v along its columns. It is 0 in rows
        where no element takes part.
    logsumexp : array
        Only if ``return_logsumexp``: in the shape of y without n, and the dtype of y. It is -inf in
        rows where no element takes part.

    Raises
    ------
    TypeError
        If x or v is complex or not numeric, sparse, labelled, stored, a Dask collection other than
        an array, or a list of Dask or masked arrays; if where is not boolean; if they are of
        different array libraries; or if split_every is of the wrong type.
    ValueError
        If x or v is a scalar, their shapes do not fit, where does not broadcast with x, x is known
        to be empty along its last axis, or split_every is less than 2. Raised at the call, or in
        the computation where only a worker can tell that chunks of unknown lengths do not agree.

    See Also
    --------
    softmax : The probabilities themselves.
    logsumexp : The logarithm of the denominator alone.

    Notes
    -----
    Exponentials are computed in the dtype that x and v promote to (float16 and bfloat16 in
    float32, integers in float64). Products are summed in that dtype, up to 128 of them by a
    compiled kernel or 8192 by the BLAS of the array library (where v is narrow, or matrices are
    small), and beyond that in float64, as between chunks. Rows that hold NaN or +inf, or nothing
    but -inf, give NaN; infinities and NaN in v count as in the product, so 0 times infinity is NaN.

    A task holds a block of x and one of v, and one of exponentials where BLAS multiplies. **v is
    chunked to match x**, along the last axis of x and along shared axes before the last two: a Dask
    array v with other chunks is rechunked, and x never is. ``where`` is applied to each chunk of x
    as it is read; if its chunks differ, both are cut at the edges of both. With unknown lengths, x
    and v must have the same number of chunks. Each chunk of v is used by all chunks of rows of x,
    and held until then. Each chunk of columns of v computes the exponentials of x again, so few
    wide chunks are best.

    With s chunks along the last axis of x there is one task per chunk and about s / split_every for
    the merges. Pass y and the log-sum-exp to one `dask.compute`; computed one by one, each reads x
    again.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.
    .. [2] M. N. Rabe, C. Staats, "Self-attention does not need O(n^2) memory", 2021,
       arXiv:2112.05682, section 3.
    .. [3] T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: fast and memory-efficient
       exact attention with IO-awareness", 2022, arXiv:2205.14135, section 3.1.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> keys = da.from_array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], chunks=(2, 2))
    >>> values = da.from_array([[10.0], [20.0], [30.0]], chunks=(2, 1))
    >>> query = [[2.0, -1.0]]
    >>> dsoftmax.softmax_matmul(query @ keys.T, values).compute().round(4)
    array([[15.5411]])
    >>> causal = [[True, True, False]]
    >>> dsoftmax.softmax_matmul(query @ keys.T, values, where=causal).compute().round(4)
    array([[10.4743]])
    """
    x, v = as_array(x, _NAME), as_array(v, _NAME, "v", complex_ok=True)
    if is_complex(v.dtype):
        raise TypeError(
            f"{_NAME}: v has dtype {dtype_name(v.dtype)}; pass a real array, as v.real and v.imag "
            "one by one"
        )
    check_beside_dask(_NAME, {"x": x, "v": v})
    dtype = result_dtype(x, v)
    terms, _, _ = as_terms(_NAME, x, -1, split_every, where=where)
    v = v if isinstance(v, da.Array) or isinstance(terms, Joined) else as_like(v, x, _NAME)
    x = terms.blocks if isinstance(terms, Joined) else terms
    labels = _check_shapes(x, v)
    check_not_empty(x, (x.ndim - 1,), _NAME)
    if isinstance(split_every, dict):
        last = [n for i, n in split_every.items() if i % x.ndim == x.ndim - 1]
        split_every = {labels.k: last[0]} if last else {}
    axes = labels.axes
    factors: Any
    if isinstance(x, da.Array) or isinstance(v, da.Array):
        axes_of_v = {j: i for i, j in labels.shared.items()}
        joined = as_joined(_NAME, terms, v, axes_of_v, dtype)
        factors, read = _joined(joined, v, labels, dtype), joined.arrays[0]
        call = Call.of(_NAME, read, (read.ndim - 1,))
        columns = max(factors.chunks[-1])
    else:
        factors, call = Factors(x, v), None
        columns = v.shape[-1] if v.ndim > 1 else 1
    operation = operations.softmax_matmul(1 if columns != columns else max(int(columns), 1))
    if not return_logsumexp:
        return reduced(operation, factors, axes, dtype, False, split_every, call)[0]
    (result,) = operation.results
    kept = states(_KEY, operation.monoid, factors, axes, split_every, call=call)
    y = of_states(result, _KEY, kept, axes, dtype, False)
    over = {*axes, labels.n}  # each chunk of columns has the same normalizers
    logs = of_states(_LOGSUMEXP, _KEY, kept, tuple(sorted(over)), dtype, True)
    return y, logs[tuple(0 if i in over else slice(None) for i in range(labels.n + 1))]


class _Labels(NamedTuple):
    """The axes of the product before the sum, (..., q, k, n), and which of them x and v have."""

    x: tuple[int, ...]
    v: tuple[int, ...]
    q: int
    k: int
    n: int

    @property
    def shared(self) -> dict[int, int]:
        """The axes of v that x has too, and which of x they are."""
        return {self.v.index(label): self.x.index(label) for label in self.v if label in self.x}

    @property
    def axes(self) -> tuple[int, ...]:
        """Those that the result does not have."""
        q, n = (self.q,) if len(self.x) == 1 else (), (self.n,) if len(self.v) == 1 else ()
        return (*q, self.k, *n)


def _check_shapes(x: Array, v: Array) -> _Labels:
    if x.ndim == 0 or v.ndim == 0:
        name = "x" if x.ndim == 0 else "v"
        raise ValueError(
            f"{_NAME}: {name} is a scalar; pass an array of one axis or more, or use softmax(x) * v"
        )
    q = max(x.ndim - 2, v.ndim - 2, 0)
    k, n = q + 1, q + 2
    of_x = (*range(q - x.ndim + 2, q), q, k) if x.ndim > 1 else (k,)
    of_v = (*range(q - v.ndim + 2, q), k, n) if v.ndim > 1 else (k,)
    labels = _Labels(of_x, of_v, q, k, n)
    for i, j in labels.shared.items():
        lengths = (x.shape[j], v.shape[i])
        if lengths[0] == lengths[1] or (of_v[i] != k and 1 in lengths):
            continue
        if not any(map(math.isnan, lengths)):
            raise ValueError(
                f"{_NAME}: x of shape {tuple(x.shape)} and v of shape {tuple(v.shape)} do not fit; "
                "the last axis of x must have the length of the second-to-last axis of v (of the "
                "only one of a vector), and the axes before the last two must broadcast"
            )
        if not all(map(math.isnan, lengths)) or x.numblocks[j] != v.numblocks[i]:
            raise ValueError(
                f"{_NAME}: the chunk sizes of x, of shape {x.shape}, or v, of shape {v.shape}, are "
                "unknown and may not agree; call .compute_chunk_sizes() on each one with nan"
            )
    return labels


def _joined(terms: Joined, v: Array, labels: _Labels, dtype: np.dtype) -> da.Array:
    """An array of shape (..., q, k, n), whose blocks are the factors: those of x and v."""
    x, shared = terms.blocks, labels.shared
    v = cut_as(v, x, shared)
    alike = tuple((j, i) for i, j in shared.items() if 1 not in (x.shape[j], v.shape[i]))
    options: dict[str, Any] = {"terms": terms.stage, "ndim": v.ndim, "alike": alike}
    join = Stage(f"{_KEY}-factors", _factors, dtype, **options)
    parts = [(a, labels.x) for a in terms.arrays]
    return join_blocks(join, labels.n + 1, *parts, (v, labels.v))


# What stages call: module-level functions, so that keys are deterministic.


def _factors(
    *blocks: Array, terms: Stage, ndim: int, alike: tuple[tuple[int, int], ...]
) -> Factors:
    *arrays, v = blocks
    factors = Factors(terms(*arrays), _kernels.as_block(v, ndim))
    shapes = {name: tuple(block.shape) for name, block in factors._asdict().items()}
    if any(shapes["x"][j] != shapes["v"][i] for j, i in alike):
        raise unlike(_NAME, shapes)
    return factors


def _log_sum(state: Attended) -> Array:
    return _kernels.log_sum(state.normalizer)


_LOGSUMEXP = Result(_log_sum, name=f"{_KEY}-logsumexp")
