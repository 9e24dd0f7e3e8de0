"""cumulative_logsumexp: running log-sum-exps of arrays of any size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._algebra.dtypes import result_dtype
from ._arguments import Array, as_array, check_axis
from ._engine import scanned
from ._graph.choose import Reread
from ._reread import check_reread
from .operations import CUMULATIVE_LOGSUMEXP

_NAME = CUMULATIVE_LOGSUMEXP.name


def cumulative_logsumexp(
    x: Any,
    axis: int | None = None,
    *,
    reverse: bool = False,
    include_initial: bool = False,
    reread: Reread = "auto",
) -> Array:
    r"""Logarithms of running sums of exponentials, :math:`y_i = \log \sum_{j \le i} e^{x_j}`.

    What ``log(cumulative_sum(exp(x)))`` would be without overflow, with the arguments and shapes of
    the array API's ``cumulative_sum``; lazy and parallel for a Dask array. Each chunk gives its
    maximum m and its normalizer d, as for a softmax; these are merged one after the other, so that
    each chunk has the state of all before it; and a second pass continues from there within the
    chunk.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, or list; of floats, integers
        or booleans, with at least one dimension. Masked entries take no part and stay masked, as in
        `numpy.ma.MaskedArray.cumsum`.
    axis : int, optional
        Axis along which to sum. It can be left out only for a vector.
    reverse : bool, optional
        Whether the sums run from the end: :math:`y_i = \log \sum_{j \ge i} e^{x_j}`.
    include_initial : bool, optional
        Whether the result begins with the empty sum, -inf, and so is longer by one along the axis.
        With ``reverse`` it ends with it.
    reread : bool or "auto", optional
        Whether the second pass over a Dask array reads x again, as in `softmax`.

    Returns
    -------
    array
        The sums, in the shape of x (longer by one along the axis with ``include_initial``), and the
        dtype of x if that is floating, else float64. For a Dask array, a lazy Dask array with the
        chunks of x, unknown ones included; with ``include_initial`` the first chunk along the axis
        (the last with ``reverse``) is longer by one. Otherwise an array of the library of x.

    Raises
    ------
    TypeError
        If x is not what `softmax` takes, axis is not an int, or reverse or include_initial is not
        a bool.
    ValueError
        If x has no dimension, or several and axis is left out; if axis is out of range
        (`numpy.exceptions.AxisError`), or reread is not True, False or "auto". Raised at the call.

    See Also
    --------
    logsumexp : The last of these sums.

    Notes
    -----
    Computed in float64 (or better) with compensated sums, whatever the dtype of x, and rounded
    once: to within 4 units of 2**-53 times max(1, abs(y)) for float64, however many elements and
    chunks there are. -inf at the beginning gives -inf; everything from the first +inf on is +inf,
    and everything from the first NaN on is NaN.

    There are three tasks for each chunk: one for the state, one that merges it with the state of
    all before, and one for the result. No chunk waits for one that comes after it. If every chunk
    holds whole slices, there is only one task per chunk. The parallel form is the blocked prefix
    sum of [1]_ with the operator of the online softmax [2]_.

    References
    ----------
    .. [1] G. E. Blelloch, "Prefix sums and their applications", CMU-CS-90-190, 1990, section 1.2.
    .. [2] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> dsoftmax.cumulative_logsumexp(da.zeros(4, chunks=2)).compute().round(4)
    array([0.    , 0.6931, 1.0986, 1.3863])
    >>> dsoftmax.cumulative_logsumexp([1000.0, 1000.0], include_initial=True).round(4)
    array([     -inf, 1000.    , 1000.6931])
    """
    x = as_array(x, _NAME)
    axis = _check_axis(axis, x.shape)
    reread = check_reread(reread, _NAME)
    options = {"reverse": reverse, "include_initial": include_initial}
    for name, value in options.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{_NAME}: {name} is {value!r}; use True or False")
    options = {name: bool(value) for name, value in options.items()}
    return scanned(CUMULATIVE_LOGSUMEXP, x, axis, result_dtype(x), reread, **options)


def _check_axis(axis: Any, shape: tuple[int, ...]) -> int:
    if not shape:
        raise ValueError(f"{_NAME}: x has no dimension to sum along; pass an array of one at least")
    if axis is None and len(shape) == 1:
        return 0
    if axis is None:
        raise ValueError(
            f"{_NAME}: x has {len(shape)} dimensions (shape {tuple(shape)}) and axis is None; say "
            "along which to sum, as axis=-1"
        )
    if isinstance(axis, tuple):
        raise TypeError(f"{_NAME}: axis is {axis!r}; use an int")
    (axis,) = check_axis(axis, shape, _NAME)
    return axis
