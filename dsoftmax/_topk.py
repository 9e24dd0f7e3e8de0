"""softmax_topk and topk: the k best of every slice, in the same pass as the normalizer."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ._algebra.dtypes import result_dtype
from ._arguments import Array, Axes, Omitted, as_array, check_exact, check_exactly
from ._engine import reduced
from ._graph.tree import SplitEvery
from ._kernels.topk import quick_result
from ._results import TopK, TopKWithLog
from ._terms import as_mask, as_terms
from ._topk_operation import best, check_length


def softmax_topk(
    x: Any,
    k: int,
    axis: int | Omitted | None = Omitted.OMITTED,
    *,
    return_log: bool = False,
    where: Any = None,
    exact: bool | None = None,
    split_every: SplitEvery = None,
) -> TopK | TopKWithLog:
    r"""The k largest probabilities of a softmax, and their indices, in one pass over x.

    The same as sorting ``softmax(x, axis)``, but no other probability is ever computed: each chunk
    gives its normalizer (m, d) and its k largest elements, these are merged in a tree, and
    :math:`e^{x - m} / d` is computed for the k that remain. This is the fused softmax and top-k of
    [1]_ over the chunks of a Dask array, which is read once; nothing of its size is written.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans. Masked entries count as -inf.
    k : int
        Number of probabilities, from 0 to the length of the axis.
    axis : int or None
        Axis along which the softmax sums to 1 and the largest are taken; it can be left out only
        for a vector. None means the flattened array: it is one distribution, and the indices are
        those of ``x.ravel()``. The array itself is neither reshaped nor rechunked.
    return_log : bool, optional
        Whether to return the logarithms of the probabilities too: (x - m) - log d, which are
        finite even where the probabilities underflow to 0.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`. Others have probability 0 and come last.
    exact : bool, optional
        Whether the result is the same to the last bit whatever the chunks, as in `softmax`.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, along an axis. The
        default is Dask's ``split_every`` setting, else 16 (4 where a partial result exceeds 1 MiB).

    Returns
    -------
    values : array
        The probabilities, in the dtype of x if that is floating, else float64. They have the shape
        of x with length k along ``axis``, or shape (k,) for ``axis=None``.
    indices : array
        Their positions along ``axis``: int64, of the same shape.
    log_values : array
        Only if ``return_log``: the logarithms, in the dtype and shape of the probabilities.

        For a Dask array all are lazy Dask arrays with the chunks of x, but a single chunk along
        ``axis``; otherwise they are arrays of the same library as x. They come as a named tuple,
        `TopK` or `TopKWithLog`.

    Raises
    ------
    TypeError
        If x is complex or not numeric, sparse, labelled, stored, a Dask collection other than an
        array, or a list of Dask or masked arrays; if k, axis or split_every is of the wrong type,
        if where is not boolean, or if axis is left out of an array of several dimensions.
    ValueError
        If k is negative or exceeds the length of the axis, axis is out of range
        (`numpy.exceptions.AxisError`), where does not broadcast with x, or split_every is less than
        2. All errors are raised at the
        call, except for a k too large for an axis of unknown length, which only the computation can
        find.

    See Also
    --------
    topk : The k largest elements themselves, or the k smallest.
    softmax : All probabilities.

    Notes
    -----
    The order is total, and does not depend on the chunks: descending x, and ascending indices where
    elements are equal. This is the order of the exact probabilities; rounded ones may be equal for
    unequal elements. NaN comes first: in a slice that holds NaN, the indices of its NaNs are in
    front, and all probabilities are NaN. As in `softmax`, they are also NaN in a slice that holds
    +inf or nothing but -inf. Otherwise -inf has probability 0 and comes last. Elements that
    ``where`` leaves out come after it, by ascending index, and have probability 0 in all slices.

    Compute all results together, with the method ``compute`` of the tuple or one `dask.compute`;
    computed one by one, each reads x again. With s chunks along ``axis`` there is one task per
    chunk, about s / split_every for the merges, and one for each result. A partial result has at
    most k elements per slice, however long the chunk.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 4, Algorithm 4.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.from_array([[0.0, 3.0, 1.0, 2.0], [5.0, 5.0, 5.0, 9.0]], chunks=(1, 2))
    >>> values, indices = dsoftmax.softmax_topk(x, 2, axis=1).compute()
    >>> values.round(4)
    array([[0.6439, 0.2369],
           [0.9479, 0.0174]])
    >>> indices
    array([[1, 3],
           [3, 0]])
    """
    exact = check_exact(exact, "softmax_topk")
    if where is None and split_every is None and not return_log and not exact:
        quick = quick_result(x, k, _of_vector(x, axis), normalized=True)
        if quick is not None:
            return TopK(*quick)
    x, terms, k, axes = _checked("softmax_topk", x, k, axis, split_every, where)
    if exact:
        check_exactly(x, "softmax_topk")
    names = ("values", "indices", "log_values") if return_log else ("values", "indices")
    operation = best("softmax_topk", k, axes, getattr(x.dtype, "itemsize", 8), names, exact)
    results = reduced(operation, terms, axes, result_dtype(x), split_every=split_every)
    return TopKWithLog(*results) if return_log else TopK(*results)


def topk(
    x: Any,
    k: int,
    axis: int | Omitted | None = Omitted.OMITTED,
    *,
    split_every: SplitEvery = None,
) -> TopK:
    """The k largest or k smallest elements and their indices, in one pass over x.

    `dask.array.topk` gives only the elements, and `dask.array.argtopk` only the indices.

    Parameters
    ----------
    x : array_like
        As in `softmax_topk`, but not masked.
    k : int
        Number of elements, at most the length of the axis; negative for the smallest.
    axis : int or None
        Axis to search; it can be left out only for a vector. None means the flattened array.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax_topk`.

    Returns
    -------
    values : array
        The elements, in the dtype of x. They have its shape with length abs(k) along ``axis``, or
        shape (abs(k),) for ``axis=None``.
    indices : array
        Their positions along ``axis``, or in the flattened array: int64, of the same shape.

        For a Dask array both are lazy, with the chunks of x but a single chunk along ``axis``.

    Raises
    ------
    TypeError, ValueError
        As in `softmax_topk`; TypeError also for a masked array.

    Notes
    -----
    The largest elements descend, and NaN comes first; the smallest ascend, and NaN comes last. The
    indices of equal elements ascend, whatever the chunks.

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
    if split_every is None:
        quick = quick_result(x, k, _of_vector(x, axis), normalized=False)
        if quick is not None:
            return TopK(*quick)
    x, _, k, axes = _checked("topk", x, k, axis, split_every)
    if isinstance(getattr(x, "_meta", x), np.ma.MaskedArray):
        raise TypeError("topk: x is masked; fill it with a value that comes last, e.g. -inf or 0")
    operation = best("topk", k, axes, getattr(x.dtype, "itemsize", 8))
    return TopK(*reduced(operation, x, axes, x.dtype, split_every=split_every))


def _of_vector(x: Any, axis: Any) -> Any:
    """The axis, or that of a vector if it is left out."""
    return -1 if axis is Omitted.OMITTED and getattr(x, "ndim", 0) == 1 else axis


def _checked(
    function: str, x: Any, k: Any, axis: Any, split_every: SplitEvery, where: Any = None
) -> tuple[Array, Any, int, Axes]:
    """x as an array of a dimension or more, its terms, k as an int, and one axis or all; or errors.

    The terms are x with the mask, if there is one.
    """
    x = as_array(x, function)
    mask = None if where is None else as_mask(where, function)
    ndim = max(x.ndim, 0 if mask is None else mask.ndim)
    if axis is Omitted.OMITTED:
        if ndim > 1:
            raise TypeError(
                f"{function}: axis is left out, and x has {ndim} dimensions; say axis=-1 for the "
                "last one, or axis=None for the flattened array"
            )
        axis = -1
    if isinstance(axis, tuple):
        raise TypeError(f"{function}: axis is {axis!r}; use one int, or None for the whole array")
    if ndim == 0:
        x, axis = x[None], 0 if axis is None else axis
    terms, axes, _ = as_terms(function, x, axis, split_every, where=mask)
    try:
        if isinstance(k, (bool, np.bool_)):
            raise TypeError
        k = operator.index(k)
    except TypeError:  # NumPy's error for an array does not name k
        raise TypeError(f"{function}: k is {k!r}; use an int") from None
    if k < 0 and function == "softmax_topk":
        raise ValueError(
            f"{function}: k is {k}; use an int from 0 (topk takes a negative one, for the smallest)"
        )
    check_length(function, k, math.prod(terms.shape[i] for i in axes))
    return x, terms, k, axes
