"""softmax, log_softmax and logsumexp, as in SciPy, for arrays of any size.

They are in one file, most of which is docstrings.
"""

from __future__ import annotations

from typing import Any

from . import operations
from ._arguments import Array, Axis, as_array, check_exact, check_not_empty
from ._engine import reduced, rescaled
from ._graph.choose import Reread
from ._graph.tree import SplitEvery
from ._kernels import quick_result
from ._reread import check_reread
from ._terms import as_terms


def softmax(
    x: Any,
    axis: Axis = None,
    *,
    where: Any = None,
    exact: bool | None = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Array:
    r"""Softmax, :math:`e^{x_i} / \sum_j e^{x_j}`, over an array or some of its axes.

    The same as `scipy.special.softmax`, but lazy and parallel for a Dask array: each chunk gives
    its maximum m and its normalizer d (the sum of :math:`e^{x - m}`), these are merged in a tree,
    and a second pass computes :math:`e^{x - m} / d`.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or array of another array-API library, list or scalar; of floats,
        integers or booleans. Masked entries take no part and stay masked.
    axis : int or tuple of ints, optional
        Axis or axes along which the result sums to 1. None (the default) means all axes: the whole
        array is one distribution. With ``()`` each element is a distribution of its own.
    where : array_like of bool, optional
        Which elements take part; broadcasts with x, both ways. Either of the two may be a Dask
        array and the other a NumPy array. Elements that are left out have probability 0, whatever
        x holds there (even NaN or infinities); a slice with no element left is 0 everywhere.
    exact : bool, optional
        Whether sums are exact, so that the result is the same to the last bit whatever the chunks,
        the order of merging, the threads and the machine. Only for NumPy and CuPy arrays, and Dask
        arrays of these. None (the default) takes Dask's ``dsoftmax.exact`` setting, else False.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, in all or along each
        axis. The default is Dask's ``split_every`` setting, else 16 (4 where a partial result
        exceeds 1 MiB).
    reread : bool or "auto", optional
        For a Dask array, whether the second pass reads x again (True: x is read and computed twice,
        with memory for a few chunks per worker however long x is) or uses chunks held from the
        first (False: everything once, with memory for all chunks of x). "auto" (the default) is
        Dask's ``dsoftmax.reread`` setting if there is one; otherwise x is held if it is in memory,
        small, or possibly expensive to compute, and read again if it is only loaded and mapped. The
        choice and its reason go to the logger "dsoftmax" at level INFO.

    Returns
    -------
    array
        The probabilities, in the shape of x (and ``where``, broadcast), and the dtype of x if that
        is floating, else float64. For a Dask array, a lazy Dask array with the chunks of x, unknown
        ones included; otherwise an array of the same library as x, or a NumPy scalar for a scalar.

    Raises
    ------
    TypeError
        If x is complex or not numeric, sparse, labelled (a Series, a DataArray), stored (an array
        of zarr or h5py, the name of a file), a Dask collection other than an array, or a list of
        such, of Dask arrays or of masked arrays; if where is not boolean; or if axis or
        split_every is of the wrong type.
    ValueError
        If axis is out of range (`numpy.exceptions.AxisError`) or repeated, if x is known to be
        empty along axis, if where does not broadcast with x, if split_every is less than 2, or if
        reread is not True, False or "auto". All errors are raised at the call, before anything is
        computed, except that chunks of unknown lengths in x and where can only be compared by a
        worker.

    See Also
    --------
    log_softmax : Its logarithm, without underflow.
    logsumexp : The logarithm of the denominator, m + log d.
    Normalizer : (m, d) itself, to keep, merge and apply.
    reread : Read an array a second time, for passes of your own.

    Notes
    -----
    d is summed in float64 (or better) whatever the dtype of x; float16 and bfloat16 are computed
    in float32 and rounded once. The result does not depend on the chunks, except in its last bits.
    A slice that holds NaN or +inf, or nothing but -inf, gives NaN, as in SciPy. ``where`` is
    applied to each chunk as it is read: no masked copy of x is made.

    With s chunks along ``axis`` there is one task per chunk for the state (m, d), about
    s / split_every for the merges, and one per chunk for the result. If every chunk holds whole
    slices, there is only one task per chunk.

    A NumPy array of 2^18 elements or more (2^20 in `softmax`, `log_softmax` and `logsumexp` without
    ``b``, if slices are contiguous in memory) is computed by several threads: as many as Dask's
    setting ``num_workers`` says, by default one for each core that the process may use. One thread
    is used outside the main thread, in a process started by another, and where Dask's scheduler is
    set to be synchronous. Dask's setting ``dsoftmax.threads`` overrides all of this, except outside
    the main thread. The number of threads does not change a bit of the result. The same holds for
    all functions that take one array and an axis.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, sections 3 and 3.1.
    .. [2] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.from_array([[0.0, 1.0], [2.0, 3.0]], chunks=(1, 1))
    >>> dsoftmax.softmax(x, axis=1)
    dask.array<softmax-rescale, shape=(2, 2), dtype=float64, chunksize=(1, 1), ...>
    >>> dsoftmax.softmax(x, axis=1).compute().round(4)
    array([[0.2689, 0.7311],
           [0.2689, 0.7311]])
    >>> dsoftmax.softmax([0.0, 1.0, 9.0], where=[True, True, False]).round(4)
    array([0.2689, 0.7311, 0.    ])
    """
    return _rescaled(operations.SOFTMAX, x, axis, where, exact, split_every, reread)


def log_softmax(
    x: Any,
    axis: Axis = None,
    *,
    where: Any = None,
    exact: bool | None = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Array:
    r"""Logarithm of the softmax, :math:`x_i - \log \sum_j e^{x_j}`.

    The same as `scipy.special.log_softmax`, but lazy and parallel for a Dask array. Exact where
    ``log(softmax(x))`` has underflowed to -inf.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans. Masked entries take no part and stay masked.
    axis : int or tuple of ints, optional
        Axis or axes along which the exponentials of the result sum to 1; None (the default)
        means all axes.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`. Others have the log-probability -inf.
    exact : bool, optional
        Whether sums are exact, as in `softmax`.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.
    reread : bool or "auto", optional
        Whether the second pass reads a Dask array again, as in `softmax`.

    Returns
    -------
    array
        The log-probabilities, as for `softmax`: in the shape of x, and its dtype if that is
        floating, else float64; lazy, with the chunks of x, for a Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`, at the call.

    Notes
    -----
    Computed as (x - m) - log d and never as x - logsumexp(x), whose rounding at the size of x
    loses the digits of x - m [1]_. A slice that holds NaN, or nothing but -inf, gives NaN; where
    the maximum is +inf, it gives NaN at +inf and -inf elsewhere, as in SciPy.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> dsoftmax.log_softmax(da.from_array([1000.0, 1.0], chunks=1)).compute()
    array([   0., -999.])
    """
    return _rescaled(operations.LOG_SOFTMAX, x, axis, where, exact, split_every, reread)


def _rescaled(
    operation: operations.Operation,
    x: Any,
    axis: Axis,
    where: Any,
    exact: bool | None,
    split_every: SplitEvery,
    reread: Reread,
) -> Array:
    name = operation.name
    exact = check_exact(exact, name)
    if not exact and where is None and split_every is None and reread == "auto":
        x = as_array(x, name) if type(x) is list else x
        quick = quick_result(name, x, axis)
        if quick is not None:
            return quick
    x = as_array(x, name)
    operation = operations.either(operation, exact, x)
    terms, axes, dtype = as_terms(name, x, axis, split_every, where=where)
    check_not_empty(terms, axes, name)
    return rescaled(operation, terms, axes, dtype, split_every, check_reread(reread, name))


def logsumexp(
    a: Any,
    axis: Axis = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    *,
    where: Any = None,
    exact: bool | None = None,
    split_every: SplitEvery = None,
) -> Array:
    r"""Logarithm of a sum of exponentials, :math:`\log \sum_i b_i e^{a_i}`.

    The same as `scipy.special.logsumexp`, but lazy and parallel for a Dask array, which it reads
    once, chunk by chunk.

    Parameters
    ----------
    a : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers, booleans or complex numbers. Masked entries take no part.
    axis : int or tuple of ints, optional
        Axis or axes to sum over; None (the default) means all axes.
    b : array_like, optional
        Weights, which broadcast with a; they may be negative. Where b is 0, a is ignored, whatever
        its value; a masked weight counts as 0. NumPy weights are moved to the array library and
        device of a.
    keepdims : bool, optional
        Whether the axes summed over stay, with length 1.
    return_sign : bool, optional
        Whether to return the logarithm of the absolute value of the sum, and its sign.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`; the same as a weight of 0 elsewhere. A slice with
        no element left gives -inf.
    exact : bool, optional
        Whether sums are exact, as in `softmax`. Only without weights.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    res : array
        The logarithm; -inf for an empty sum, and NaN for a negative one unless ``return_sign``. In
        the dtype that a and b promote to if that is floating or complex, else float64. Lazy for
        Dask arrays, with their chunks along the remaining axes; a NumPy scalar in place of a 0-d
        NumPy array.
    sgn : array
        Only if ``return_sign``: 1, 0 or -1, in the dtype of res; a phase for complex sums.

    Raises
    ------
    TypeError
        If a or b is not numeric, sparse, labelled, stored, a Dask collection other than an array,
        or a list of such, of Dask arrays or of masked arrays; if where is not boolean; or if b or
        where is of another array library than a (and not NumPy's).
    ValueError
        If axis is out of range (`numpy.exceptions.AxisError`) or repeated, b or where does not
        broadcast with a, or their unknown chunk sizes cannot agree. Raised at the call, or in the
        computation where only a worker can tell that blocks of unknown lengths do not agree.

    Notes
    -----
    The state of a chunk is (m, w, s): the maximum, the sum of the weights at the maximum, and the
    rest of the sum divided by exp(m); w and s are in float64 or better. The result is
    m + log|w| + log1p(s / w), so that the small terms of ``logsumexp([0, -40])`` are not lost; w
    and s are swapped where s is larger.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.
    .. [2] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> dsoftmax.logsumexp(da.arange(10, chunks=4)).compute().item()
    9.45862974442671
    >>> dsoftmax.logsumexp([1, 2], b=[1, -1], return_sign=True)
    (np.float64(1.5413248546129181), np.float64(-1.0))
    """
    exact = check_exact(exact, "logsumexp")
    if not (exact or return_sign) and where is None and split_every is None:
        a = as_array(a, "logsumexp", "a", complex_ok=True) if type(a) is list else a
        quick = quick_result("logsumexp", a, axis, bool(keepdims), b)
        if quick is not None:
            return quick
    x = as_array(a, "logsumexp", "a", complex_ok=True)
    if x.ndim == 0:
        x = x[None]  # as SciPy: a scalar is an array of one element
    operation = operations.SIGNED_LOGSUMEXP if return_sign else operations.LOGSUMEXP
    operation = operations.either(operation, exact, x, "a", b)
    terms, axes, dtype = as_terms("logsumexp", x, axis, split_every, b=b, where=where, name="a")
    results = reduced(operation, terms, axes, dtype, keepdims, split_every)
    return results if return_sign else results[0]
