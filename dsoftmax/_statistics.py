"""expectation, entropy and effective_sample_size: statistics of a softmax, in one pass over x."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import operations
from ._algebra.dtypes import dtype_name, is_complex, result_dtype
from ._arguments import Array, Axis, as_array
from ._engine import reduced
from ._graph.tree import SplitEvery
from ._terms import as_terms


def expectation(
    x: Any,
    values: Any,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Array | tuple[Array, ...]:
    r"""Mean of values under the softmax of x, :math:`\sum_i p_i v_i` with :math:`p = softmax(x)`.

    The same as ``(softmax(x, axis) * values).sum(axis)``, in one pass: each chunk gives its
    normalizer (m, d) and its sums of :math:`e^{x_i - m} v_i`, which merge as d does [1]_.
    Probabilities are never stored.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans: log-weights up to a constant, such as a log-posterior or scores.
        Masked entries take no part.
    values : array_like, or tuple of such
        The values to average: real, and not masked. They broadcast with x, both ways, so for a
        grid the coordinates of one axis are enough. A tuple gives one mean for each of its arrays,
        all in one pass over x; a list is one array.
    axis : int or tuple of ints, optional
        Axis or axes along which the probabilities sum to 1; None (the default) means all axes.
    keepdims : bool, optional
        Whether these axes stay, with length 1.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`; others do not count, whatever x and the values
        are there.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    array, or tuple of arrays
        The mean, in the dtype that x and the values promote to if that is floating, else float64.
        Lazy if x, where or any of the values is a Dask array. NumPy scalars for NumPy results
        without axes.

    Raises
    ------
    TypeError
        If values are complex, masked, not numeric or a tuple of scalars alone, where is not
        boolean, or x is not what `softmax` takes.
    ValueError
        If axis is out of range (`numpy.exceptions.AxisError`) or repeated, if values or where do
        not broadcast with x, or if values is an empty tuple. Raised at the call, or in the
        computation where only a worker can tell that blocks of unknown lengths do not agree.

    See Also
    --------
    entropy : The mean of -log p.
    logsumexp : The logarithm of the sum of weighted exponentials.

    Notes
    -----
    Sums are kept in float64 (or better). The mean is NaN where the softmax is: in a slice that
    holds NaN or +inf, or nothing but -inf. It is 0 where no element takes part. Values follow
    IEEE 754: an infinite value with probability 0 gives NaN, and sums beyond 1.8e308 are infinite.

    A list is one array, as everywhere; only a tuple means several arrays.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.

    Examples
    --------
    The mean and the standard deviation of a Gaussian posterior on a grid:

    >>> import dask
    >>> import dask.array as da
    >>> import dsoftmax
    >>> theta = da.linspace(-6, 8, 100_000, chunks=10_000)
    >>> log_posterior = -((theta - 1) ** 2) / 2
    >>> mean, square = dsoftmax.expectation(log_posterior, (theta, theta**2))
    >>> mean, square = dask.compute(mean, square)
    >>> mean.round(6), ((square - mean**2) ** 0.5).round(6)
    (np.float64(1.0), np.float64(1.0))
    """
    name = "expectation"
    several = isinstance(values, tuple)
    x = as_array(x, name)
    given = values if several else (values,)
    if not given:
        raise ValueError(f"{name}: values is an empty tuple; pass an array, or a tuple of some")
    if several and x.ndim and all(map(np.isscalar, given)):  # each would be its own mean
        raise TypeError(
            f"{name}: values is the tuple {values!r} of scalars, and a tuple is several arrays; "
            f"pass one array as a list, {list(values)!r}"
        )
    called = [f"values[{k}]" if several else "values" for k in range(len(given))]
    arrays = tuple(_as_values(v, n) for v, n in zip(given, called, strict=True))
    terms, axes, _ = as_terms(name, x, axis, split_every, where=where, values=arrays)
    # A Python scalar adapts to the dtype of x, an array promotes it.
    kinds = (v if type(v) in (bool, int, float) else a for v, a in zip(given, arrays, strict=True))
    dtypes = tuple(dtype_name(result_dtype(x, kind)) for kind in kinds)
    operation = operations.expectation_of(dtypes)
    results = reduced(operation, terms, axes, np.float64, keepdims, split_every)
    return results if several else results[0]


def entropy(
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Array:
    r"""Entropy of the softmax of x in nats, :math:`-\sum_i p_i \log p_i`.

    Computed in one pass over x, and right even where the probabilities underflow or round to 1. It
    ranges from 0, where one element has all the probability, to log n. Its exponential is the
    perplexity.

    Parameters
    ----------
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans: unnormalised log-probabilities. Masked entries take no part.
    axis : int or tuple of ints, optional
        Axis or axes along which the probabilities sum to 1; None (the default) means all axes.
    keepdims : bool, optional
        Whether these axes stay, with length 1.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    array
        The entropy, in the dtype of x if that is floating, else float64; lazy for a Dask array.
        NumPy scalars for NumPy results without axes.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`, at the call, except that x may be empty.

    See Also
    --------
    effective_sample_size : Uses the same partial results; computed together, they read x once.
    Normalizer : With ``statistics=True``, gives the entropy of streams.

    Notes
    -----
    The state of a chunk is (m, w, s, t, q): the normalizer (m, d = w + s) of [1]_, and
    :math:`t = \sum (x_i - m) e^{x_i - m}`, :math:`q = \sum e^{2 (x_i - m)}` over the terms below
    the maximum. The entropy [2]_ is :math:`\log d - t / d`, in which nothing cancels since t is
    not positive: that of [0, -40] is 1.742e-16.

    The entropy is NaN where the softmax is: in a slice that holds NaN or +inf, or nothing but
    -inf. It is 0 where no element takes part.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.
    .. [2] C. E. Shannon, "A mathematical theory of communication", Bell System Technical Journal
       27(3), 1948, :doi:`10.1002/j.1538-7305.1948.tb01338.x`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> dsoftmax.entropy(da.zeros(8, chunks=2)).compute()  # log 8
    np.float64(2.0794415416798357)
    >>> dsoftmax.entropy([0.0, -40.0]).round(19)
    np.float64(1.742e-16)
    """
    return _statistic(operations.ENTROPY, x, axis, keepdims, where, split_every)


def effective_sample_size(
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Array:
    r"""Effective sample size of log-weights x, :math:`1 / \sum_i p_i^2`.

    This is Kish's: the number of equal weights that would estimate a mean as well [1]_ [2]_. It
    ranges from 1, where one sample has all the weight, to n. Computed in one pass over x, and exact
    where ``exp(x)`` would overflow.

    Parameters
    ----------
    x : array_like
        Logarithms of weights, up to a constant; as in `entropy`.
    axis : int or tuple of ints, optional
        Axis or axes of a sample; None (the default) means all axes.
    keepdims : bool, optional
        Whether these axes stay, with length 1.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    array
        The size, as for `entropy`: in the dtype of x if that is floating, else float64; lazy for a
        Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`, at the call, except that x may be empty.

    See Also
    --------
    entropy : Uses the same partial results; computed together, they read x once.

    Notes
    -----
    Computed as :math:`d^2 / (w + q)` from the state of `entropy`. In exact arithmetic,
    ``exp(2 logsumexp(x) - logsumexp(2 x))`` is the same, but it loses as many digits as the
    logarithms have before the decimal point. NaN where the softmax is NaN, 0 where no element takes
    part.

    References
    ----------
    .. [1] L. Kish, "Survey sampling", Wiley, 1965.
    .. [2] A. Kong, J. S. Liu, W. H. Wong, "Sequential imputations and Bayesian missing data
       problems", Journal of the American Statistical Association 89(425), 278-288, 1994,
       :doi:`10.1080/01621459.1994.10476469`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> log_weights = da.from_array([1000.0, 1000.0, 1000.0, 0.0], chunks=2)
    >>> dsoftmax.effective_sample_size(log_weights).compute()
    np.float64(3.0)
    """
    return _statistic(operations.EFFECTIVE_SAMPLE_SIZE, x, axis, keepdims, where, split_every)


def _statistic(
    operation: operations.Operation,
    x: Any,
    axis: Axis,
    keepdims: bool,
    where: Any,
    split_every: SplitEvery,
) -> Array:
    name, prefix = operation.name, operation.states
    x = as_array(x, name)
    terms, axes, dtype = as_terms(name, x, axis, split_every, where=where, prefix=prefix)
    return reduced(operation, terms, axes, dtype, keepdims, split_every)[0]


def _as_values(values: Any, name: str) -> Array:
    """Values as an array that is real and not masked, or a TypeError."""
    array = as_array(values, "expectation", name, complex_ok=True)
    if is_complex(array.dtype):
        raise TypeError(
            f"expectation: {name} has dtype {dtype_name(array.dtype)}; pass the real and the "
            "imaginary part, as the tuple (v.real, v.imag)"
        )
    if isinstance(getattr(array, "_meta", array), np.ma.MaskedArray):
        raise TypeError(
            f"expectation: {name} is masked; fill it, and leave elements that are to take no part "
            "out with where="
        )
    return array
