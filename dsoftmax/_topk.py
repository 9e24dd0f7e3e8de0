"""softmax_topk and topk: the k best of every slice in the pass that computes the normalizer."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np

from . import _kernels
from ._arguments import Array, Omitted, as_array, check_axis, check_split_every
from ._dtypes import dtype_name, result_dtype
from ._graph import (
    _FAN_IN_LARGE,
    _FAN_IN_SMALL,
    _SMALL_STATE,
    SplitEvery,
    Stage,
    bytes_of,
    reduce_within_blocks,
    tree_reduce,
)
from ._kernels import topk as _kernel
from ._kernels.topk import Top
from ._states import of_dtype


class TopK(NamedTuple):
    """The k best of every slice: what `topk` and `softmax_topk` return.

    Attributes
    ----------
    values : array
        The elements, or their probabilities, best first along the axis.
    indices : array
        Where they are along the axis, int64.
    """

    values: Array
    indices: Array


class TopKWithLog(NamedTuple):
    """The k best of every slice: what `softmax_topk` returns with ``return_log``.

    Attributes
    ----------
    values : array
        The probabilities, largest first along the axis.
    indices : array
        Where they are along the axis, int64.
    log_values : array
        The logarithms of the probabilities.
    """

    values: Array
    indices: Array
    log_values: Array


def softmax_topk(
    x: Any,
    k: int,
    axis: int | Omitted | None = Omitted.OMITTED,
    *,
    return_log: bool = False,
    split_every: SplitEvery = None,
) -> TopK | TopKWithLog:
    r"""The k largest probabilities of a softmax, and where they are, in one pass over x.

    The same as sorting ``softmax(x, axis)``, but no other probability is ever computed: each chunk
    gives its normalizer (m, d) and its k largest elements, these are merged in a tree, and
    :math:`e^{x - m} / d` is taken of the k that remain. This is the softmax fused with top-k of
    [1]_ over the chunks of a Dask array, which is read once; nothing of its size is written.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans. Masked entries count as -inf.
    k : int
        How many, from 0 to the length of the axis.
    axis : int or None
        Axis along which the softmax sums to 1 and the largest are sought; it may only be left out
        where there is no choice, of a vector. None stands for the flattened array: it is one
        distribution, and the indices are those of ``x.ravel()``. The array itself is neither
        reshaped nor rechunked.
    return_log : bool, optional
        Whether to return the logarithms of the probabilities too: (x - m) - log d, which are
        finite where the probabilities underflow to 0.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, along an axis. The
        default is Dask's ``split_every`` setting, else 16 (4 where a partial result exceeds 1 MiB).

    Returns
    -------
    values : array
        The probabilities, of the dtype of x if that is floating, else float64. Of the shape of x
        with length k along ``axis``; of shape (k,) for ``axis=None``.
    indices : array
        Where they are along ``axis``: int64, of the same shape.
    log_values : array
        Only if ``return_log``: the logarithms, in the dtype and shape of the probabilities.

        For a Dask array all are lazy Dask arrays with the chunks of x, but one along ``axis``;
        otherwise they are arrays of the kind of x. They come as a named tuple, `TopK` or
        `TopKWithLog`.

    Raises
    ------
    TypeError
        If x is complex or not numeric, sparse, labelled, a Dask collection other than an array, or
        a list of Dask or masked arrays; if k, axis or split_every is of the wrong type, or if axis
        is left out of an array of several dimensions.
    ValueError
        If k is negative or exceeds the length of the axis, axis is out of range
        (`numpy.exceptions.AxisError`), or split_every is less than 2. All errors are raised at
        the call, except that k is too large for an axis of unknown length: that is found when the
        length is, in the computation.

    See Also
    --------
    topk : The k largest elements themselves, or the k smallest.
    softmax : All probabilities.

    Notes
    -----
    The order is total, and does not depend on the chunks: descending x, and ascending indices where
    elements are equal. That is the order of the exact probabilities; those of unequal elements
    may be equal once rounded. NaN comes first: a slice that holds NaN has the indices of its NaNs
    in front, and all its probabilities are NaN. So they are, as in `softmax`, where it holds +inf
    or nothing but -inf. Otherwise -inf has probability 0 and comes last.

    Pass all results to one `dask.compute`: computed one by one, each reads x anew. With s chunks
    along ``axis`` there is one task per chunk, about s / split_every for the merges, and one for
    each result. A partial result has at most k elements per slice, however long the chunk.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 4, Algorithm 4.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.from_array([[0.0, 3.0, 1.0, 2.0], [5.0, 5.0, 5.0, 9.0]], chunks=(1, 2))
    >>> values, indices = dask.compute(*dsoftmax.softmax_topk(x, 2, axis=1))
    >>> values.round(4)
    array([[0.6439, 0.2369],
           [0.9479, 0.0174]])
    >>> indices
    array([[1, 3],
           [3, 0]])
    """
    function = "softmax_topk"
    x, k, axis = _checked(function, x, k, axis, split_every)
    states = _states(function, x, axis, k, True, split_every)
    dtype = result_dtype(x)
    values = _result(function, _probabilities, dtype, states, axis, k)
    indices = _result(function, _indices, np.int64, states, axis, k)
    if not return_log:
        return TopK(values, indices)
    log_values = _result(function, _log_probabilities, dtype, states, axis, k)
    return TopKWithLog(values, indices, log_values)


def topk(
    x: Any,
    k: int,
    axis: int | Omitted | None = Omitted.OMITTED,
    *,
    split_every: SplitEvery = None,
) -> TopK:
    """The k largest elements and where they are, or the k smallest, in one pass over x.

    What `dask.array.topk` and `dask.array.argtopk` give one each.

    Parameters
    ----------
    x : array_like
        As in `softmax_topk`, but not masked.
    k : int
        How many, at most as many as the axis is long; the smallest if negative.
    axis : int or None
        Axis along which they are sought, which may only be left out for a vector; None for the
        flattened array.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax_topk`.

    Returns
    -------
    values : array
        The elements, of the dtype of x and of its shape with length abs(k) along ``axis``; of
        shape (abs(k),) for ``axis=None``.
    indices : array
        Where they are along ``axis``, in the flattened array for None: int64, of the same shape.

        Lazy, with the chunks of x but one along ``axis``, for a Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `softmax_topk`; TypeError also for a masked array.

    Notes
    -----
    Of the largest, NaN comes first, then descending elements; of the smallest, ascending elements,
    and NaN last. Where elements are equal indices ascend, whatever the chunks.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.from_array([3, 1, 4, 1, 5, 9, 2, 6, 5], chunks=2)
    >>> dask.compute(*dsoftmax.topk(x, 4))
    (array([9, 6, 5, 5]), array([5, 7, 4, 8]))
    >>> dask.compute(*dsoftmax.topk(x, -3))
    (array([1, 1, 2]), array([1, 3, 6]))
    """
    x, k, axis = _checked("topk", x, k, axis, split_every)
    if isinstance(getattr(x, "_meta", x), np.ma.MaskedArray):
        raise TypeError("topk: x is masked; fill it with what is to come last, as -inf or 0")
    states = _states("topk", x, axis, k, False, split_every)
    values = _result("topk", _values, x.dtype, states, axis, k)
    return TopK(values, _result("topk", _indices, np.int64, states, axis, k))


def _checked(
    function: str, x: Any, k: Any, axis: Any, split_every: SplitEvery
) -> tuple[Array, int, int | None]:
    """x as an array of a dimension or more, k as an int, and axis from 0 or None; or an error."""
    x = as_array(x, function)
    if axis is Omitted.OMITTED:
        if x.ndim > 1:
            raise TypeError(
                f"{function}: axis is left out, and x has {x.ndim} dimensions; say axis=-1 for the "
                "last one, or axis=None for the flattened array"
            )
        axis = -1
    if isinstance(axis, tuple):
        raise TypeError(f"{function}: axis is {axis!r}; use one int, or None for the whole array")
    axes = check_axis(axis, x.shape, function)
    check_split_every(split_every, x.ndim, function)
    try:
        if isinstance(k, (bool, np.bool_)):
            raise TypeError
        k = operator.index(k)
    except TypeError:  # NumPy's for an array that is no single int does not name k
        raise TypeError(f"{function}: k is {k!r}; use an int") from None
    if k < 0 and function == "softmax_topk":
        raise ValueError(
            f"{function}: k is {k}; use an int from 0 (topk takes a negative one, for the smallest)"
        )
    _check_length(function, k, math.prod(x.shape[i] for i in axes))
    if x.ndim == 0:
        return x[None], k, 0
    return x, k, None if axis is None else axes[0]


def _check_length(function: str, k: int, length: float) -> None:
    if abs(k) > length:  # false of an unknown length, nan: `_finished` asks again
        raise ValueError(
            f"{function}: k is {k}, but there are only {length} elements along the axis; use at "
            "most as many"
        )


def _states(
    function: str, x: Array, axis: int | None, k: int, normalized: bool, split_every: SplitEvery
) -> Top | da.Array:
    """The `Top` of every slice; of a Dask array lazily, as one block along the reduced axes."""
    if not isinstance(x, da.Array):
        return _kernel.of_block(x, axis, k, normalized)
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    name, dtype = function.replace("_", "-"), result_dtype(x)
    options: dict[str, Any] = {"axis": axis, "k": k, "normalized": normalized}
    stage = Stage(f"{name}-block", _kernel.of_block, dtype, nbytes=bytes_of(x), **options)
    several = [i for i in axes if x.numblocks[i] > 1]
    if not several:
        return reduce_within_blocks(stage, x, axes, True)
    if split_every is None:
        split_every = _fan_in(x, axes, k)
    for i in several:  # one tree for each: the parts that a merge takes have to be in a row
        options = {"axis": axis or 0, "along": axes.index(i), "k": k}
        merge = Stage(f"{name}-merge", _kernel.merge, dtype, **options)
        x = tree_reduce(stage, merge, merge, x, (i,), True, split_every)
        stage = Stage(f"{name}-merge", _same, dtype)
    return x


def _fan_in(x: da.Array, axes: tuple[int, ...], k: int) -> int:
    """The default of ``split_every``: as that of `_graph.fan_in`, for states with k candidates."""
    if configured := dask.config.get("split_every", None):
        return configured
    slices = math.prod(max(x.chunks[i]) for i in range(x.ndim) if i not in axes)
    small = slices * (24 + abs(k) * (8 + x.dtype.itemsize)) <= _SMALL_STATE  # false of nan
    return _FAN_IN_SMALL if small else _FAN_IN_LARGE


def _result(
    function: str, finish: Callable[..., Array], dtype: Any, states: Any, axis: int | None, k: int
) -> Array:
    """One result of the states: of length k along the axis, or in place of all axes for None."""
    if isinstance(states, Top):
        return finish(states)
    name = f"{function.replace('_', '-')}-{finish.__name__.strip('_').replace('_', '-')}"
    options: dict[str, Any] = {
        "finish": finish,
        "function": function,
        "k": k,
        "result": dtype_name(dtype),
    }
    stage = Stage(name, _finished, dtype, **options)
    index = tuple(range(states.ndim))
    out, place = ((0,), 0) if axis is None else (index, axis)
    return da.blockwise(
        stage.in_lists(len(index) - len(out)),
        out,
        *(states, index),
        dtype=stage.dtype,
        adjust_chunks={place: abs(k)},
        align_arrays=False,
    )


# What stages call: module-level functions, so that keys are deterministic.


def _same(top: Top) -> Top:
    return top


def _finished(
    top: Top, finish: Callable[[Top], Array], function: str, k: int, result: str
) -> Array:
    _check_length(function, k, math.prod(top.lengths))
    return of_dtype(finish(top), result)


def _values(top: Top) -> Array:
    return top.values


def _indices(top: Top) -> Array:
    return top.indices


def _probabilities(top: Top) -> Array:
    return _kernels.rescale(top.values, top.normalizer)


def _log_probabilities(top: Top) -> Array:
    return _kernels.log_rescale(top.values, top.normalizer)
