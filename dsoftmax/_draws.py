"""Draws from a softmax of any size: choice, and gumbel_topk with its keys."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from ._arguments import Array, check_not_empty
from ._draw_arguments import as_count, as_key
from ._engine import reduced
from ._graph.tree import SplitEvery
from ._gumbel_operation import ARGUMENTS, drawn
from ._kernels.inversion import MOST_SORTED, Method
from ._placed import Slices, as_slices
from ._replacement import drawn as drawn_with_replacement
from ._results import GumbelTopK
from ._topk_operation import check_length


def choice(
    x: Any,
    size: int,
    axis: int | None = None,
    *,
    replace: bool = True,
    method: Method = "multinomial",
    where: Any = None,
    rng: Any = None,
) -> Array:
    r"""Indices drawn at random with the probabilities softmax(x).

    Like ``numpy.random.Generator.choice(n, size, p=softmax(x))``, but x may be a Dask array of any
    size, no probabilities are stored, and the indices do not depend on the chunks: the random
    numbers belong to elements and draws, and sums are integers.

    Parameters
    ----------
    x : array_like
        Log-weights: Dask array, NumPy array or one of another array-API library, list; of floats,
        integers or booleans. Masked entries are not drawn. The lengths of chunks must be known.
    size : int
        Number of draws from each slice. Without replacement, at most the number of elements with a
        positive probability.
    axis : int, optional
        Axis along which the softmax sums to 1: each slice is drawn from on its own. None (the
        default) means the flattened array.
    replace : bool, optional
        Whether an element may be drawn several times. Without replacement, the indices come in the
        order in which they are drawn, one after the other, from the elements that are left.
    method : {"multinomial", "systematic", "stratified"}, optional
        How to draw with replacement. The draws are at points of the running sum of the
        probabilities: independent points for "multinomial"; one point in each of ``size`` equal
        parts of it, at independent places ("stratified") or at the same place ("systematic"). These
        two give ascending indices and a lower variance [1]_: "systematic" draws an element of
        probability p ``size * p`` times, rounded up or down.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`.
    rng : None, int, numpy.random.SeedSequence or numpy.random.Generator, optional
        The seed of the draws, as in `numpy.random.default_rng`. A Generator is drawn from at the
        call. Equal seeds give equal task names, and equal indices.

    Returns
    -------
    array
        The indices along the axis, or in ``x.ravel()``: int64, in the shape of x with length
        ``size`` along the axis, or in shape (size,). For a Dask array, a lazy Dask array with the
        chunks of x, but a single chunk along the axis; otherwise an array of the library of x.

    Raises
    ------
    TypeError
        If x is not what `softmax` takes, if size, axis, replace or rng is of the wrong type, or if
        where is not boolean.
    ValueError
        If axis is out of range (`numpy.exceptions.AxisError`) or a slice is empty, size is
        negative or, without replacement, exceeds the number of elements, method is none of the
        three, or lengths are unknown. Only the computation can find a slice with NaN or +inf, or
        one with no element of positive probability, or with fewer of them than draws without
        replacement.

    See Also
    --------
    gumbel_topk : Draws without replacement, with their keys.
    softmax_topk : The most probable elements.

    Notes
    -----
    Without replacement, x is read once, as by `gumbel_topk`. With replacement, there are three
    passes over a Dask array whose slices span several blocks: one for the normalizer; one for the
    sums of the weights in the pieces of each block, which are integers that add exactly, of 61 bits
    for a slice; and one for the elements, which works only on pieces with a draw. The passes read x
    again, or hold it, as `softmax` does with ``reread="auto"``. docs/draws.md has the details: what
    is exact, and what is not.

    References
    ----------
    .. [1] R. Douc, O. Cappé, E. Moulines, "Comparison of resampling schemes for particle
       filtering", 2005, arXiv:cs/0507025.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.log(da.arange(1, 101, chunks=30))
    >>> dsoftmax.choice(x, 5, rng=0).compute()
    array([39, 40, 24, 97, 31])
    >>> dsoftmax.choice(x, 5, replace=False, rng=0).compute()
    array([ 9, 83, 87, 63, 19])
    >>> dsoftmax.choice(x, 5, method="systematic", rng=0).compute()
    array([17, 47, 65, 79, 91])
    """
    if method not in get_args(Method):
        raise ValueError(
            f'choice: method is {method!r}; use "multinomial", "systematic" or "stratified"'
        )
    if not isinstance(replace, (bool, np.bool_)):
        raise TypeError(f"choice: replace is {replace!r}; use True or False")
    if not replace and method != "multinomial":
        raise ValueError(
            f"choice: method is {method!r}, a way to draw with replacement, and replace is False; "
            "leave one of them out"
        )
    slices = as_slices("choice", x, axis, where)
    count = as_count(size, "choice", "size")
    if not replace or count == 0:
        return _without(slices, count, rng)[0]
    check_not_empty(slices, slices.axes, "choice")
    if method != "multinomial" and count >= MOST_SORTED:
        raise ValueError(
            f'choice: size is {count}; use less than {MOST_SORTED}, or method="multinomial"'
        )
    return drawn_with_replacement(slices, count, method, as_key(rng, "choice"))


def gumbel_topk(
    x: Any,
    k: int,
    axis: int | None = None,
    *,
    where: Any = None,
    rng: Any = None,
    split_every: SplitEvery = None,
) -> GumbelTopK:
    r"""The k largest of x plus Gumbel noise: k draws without replacement, in one pass over x.

    The indices are those of k elements drawn one after the other from the softmax of what is left
    [1]_, in this order: the same as those of ``choice(x, k, replace=False)`` for the same seed.
    Estimators with importance weights, and stochastic beam search, also need the keys [2]_: an
    element is among the first k - 1 exactly if its key exceeds the last one, kappa, and given kappa
    that has the probability :math:`1 - \exp(-\exp(x - \kappa))`.

    Parameters
    ----------
    x : array_like
        Log-weights, as in `choice`; they need not be normalized.
    k : int
        Number of draws, at most the number of elements with a positive probability in each slice.
    axis : int, optional
        Axis along which to draw; None (the default) means the flattened array.
    where : array_like of bool, optional
        Which elements take part, as in `softmax`.
    rng : None, int, numpy.random.SeedSequence or numpy.random.Generator, optional
        The seed of the draws, as in `choice`.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax_topk`.

    Returns
    -------
    keys : array
        The elements plus noise, descending along the axis: float64, in the shape of x with length
        k along the axis, or in shape (k,).
    indices : array
        Their positions along the axis, or in ``x.ravel()``: int64, of the same shape.

        For a Dask array both are lazy, with the chunks of x but a single chunk along the axis.

    Raises
    ------
    TypeError, ValueError
        As in `choice` without replacement.

    See Also
    --------
    topk : The k largest elements, without noise.

    Notes
    -----
    The noise of an element depends only on the seed and the index of the element in the whole
    array, by the counter-based generator Philox4x32-10 [3]_ with uniform numbers of 53 bits.

    References
    ----------
    .. [1] T. Vieira, "Gumbel-max trick and weighted reservoir sampling", 2014.
    .. [2] W. Kool, H. van Hoof, M. Welling, "Stochastic beams and where to find them: the
       Gumbel-top-k trick for sampling sequences without replacement", 2019, arXiv:1903.06059.
    .. [3] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
       1, 2, 3", 2011, doi:10.1145/2063384.2063405.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.log(da.arange(1, 101, chunks=30))
    >>> keys, indices = dask.compute(*dsoftmax.gumbel_topk(x, 3, rng=0))
    >>> keys.round(3)
    array([7.381, 7.246, 6.929])
    >>> indices
    array([ 9, 83, 87])
    """
    slices = as_slices("gumbel_topk", x, axis, where, split_every)
    return GumbelTopK(*_without(slices, as_count(k, "gumbel_topk", "k"), rng, split_every))


def _without(slices: Slices, k: int, rng: Any, split_every: SplitEvery = None) -> tuple[Array, ...]:
    """Draws without replacement: their keys, if `choice` does not ask, and their indices."""
    function, axes = slices.function, slices.axes
    length = math.prod(slices.shape[i] for i in axes)
    check_length(function, k, length, *ARGUMENTS[function])
    operation = drawn(function, k, axes, slices.shape, as_key(rng, function))
    options: dict[str, Any] = {"split_every": split_every, "call": slices.call}
    return reduced(operation, slices.placed, axes, np.dtype(np.float64), **options)
