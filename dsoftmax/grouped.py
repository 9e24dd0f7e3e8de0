"""softmax, log_softmax, logsumexp and statistics within groups of elements with the same label.

For choice probabilities in each market, inclusion at each locus, attention in each document. The
elements of a group may be anywhere in x, in any of its chunks; data are never shuffled. The
functions share their arguments, and so are in one file.
"""

from __future__ import annotations

from typing import Any

from ._arguments import Array
from ._graph.choose import Reread
from ._graph.tree import SplitEvery
from ._group_arguments import grouping
from ._groups import EFFECTIVE_SAMPLE_SIZE, ENTROPY, LOGSUMEXP, reduced, rescaled
from ._reread import check_reread

__all__ = ["effective_sample_size", "entropy", "log_softmax", "logsumexp", "softmax"]


def softmax(
    x: Any,
    by: Any,
    *,
    axis: int = -1,
    expected_groups: Any = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Array:
    r"""Softmax within groups, :math:`e^{x_i} / \sum_{j: g_j = g_i} e^{x_j}`.

    Lazy and parallel for a Dask array, without a shuffle: each chunk gives the labels in it, with a
    maximum m and a normalizer d for each [1]_; these are merged by label in a tree, and a second
    pass computes :math:`e^{x - m} / d`.

    Parameters
    ----------
    x : array_like
        NumPy array, Dask array of NumPy blocks, or list; of floats, integers or booleans, and not
        masked.
    by : array_like, or tuple of such
        The label of each position of x along ``axis``, in any order: integers, booleans, strings,
        dates, floats, or objects that have an order and a hash; a `pandas.Categorical`. The
        combinations of the keys in a tuple are the groups. NumPy or Dask arrays, whichever x is;
        Dask labels are rechunked to match x. Missing labels (NaN, None, NaT, masked, the code -1 of
        a categorical) belong to no group.
    axis : int, optional
        The axis of x that the labels go along, by default the last. Each position along the other
        axes has groups of its own.
    expected_groups : array_like, or tuple of such, optional
        The labels that count for each key, all different; elements with other labels belong to no
        group, as with pandas categories.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most. The default is Dask's
        ``split_every`` setting, else 16, or 4 where a chunk may have so many groups that its
        partial result exceeds 1 MiB, and 2 where that exceeds 16 MiB.
    reread : bool or "auto", optional
        Whether the second pass reads a Dask array again, as in `dsoftmax.softmax`.

    Returns
    -------
    array
        The probabilities, in the shape of x, and its dtype if that is floating, else float64; NaN
        for elements of no group. Lazy, with the chunks of x, if x or by is a Dask array.

    Raises
    ------
    TypeError
        If x is complex, masked, not numeric, or of another library than NumPy and Dask; if by has
        labels that have no order, or cannot equal the expected ones; or if axis is not an int.
    ValueError
        If by is not one-dimensional, or its length is not that of x along axis; if axis is out of
        range (`numpy.exceptions.AxisError`); if expected_groups has a label twice, or a missing
        one. Raised at the call, or in the computation where only a worker can tell (for the values
        of labels, and for unknown lengths).

    See Also
    --------
    logsumexp : The logarithm of the sum in each group.
    dsoftmax.softmax : The same for whole slices.

    Notes
    -----
    A group that holds NaN or +inf, or nothing but -inf, gives NaN, and affects no other group. Sums
    are kept in float64 (or better), compensated within a chunk.

    For n chunks there is one task per chunk for its groups, about n / split_every to merge these,
    and one per chunk for the result. A group takes 32 bytes of a partial result, and the last task
    of the merge holds all groups. If these may exceed 128 MiB, or lengths are unknown, and there
    are more than 16 chunks, or large ones, groups are split into parts, and no task holds all of
    them; this takes about 1.3 more tasks for each chunk. See ``docs/groups.md``.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.

    Examples
    --------
    >>> import dask.array as da
    >>> from dsoftmax import grouped
    >>> utility = da.from_array([0.0, 1.0, 0.0, 3.0, 0.0], chunks=2)
    >>> market = ["Oslo", "Bergen", "Bergen", "Oslo", "Oslo"]
    >>> grouped.softmax(utility, market)
    dask.array<grouped-softmax-rescale, shape=(5,), dtype=float64, chunksize=(2,), ...>
    >>> grouped.softmax(utility, market).compute().round(3)
    array([0.045, 0.731, 0.269, 0.909, 0.045])
    """
    name = "grouped.softmax"
    given = grouping(name, x, by, axis, expected_groups)
    return rescaled(given, False, split_every, check_reread(reread, name))


def log_softmax(
    x: Any,
    by: Any,
    *,
    axis: int = -1,
    expected_groups: Any = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Array:
    r"""Logarithm of the softmax within groups, :math:`x_i - \log \sum_{j: g_j = g_i} e^{x_j}`.

    Exact where ``log(softmax(x, by))`` has underflowed to -inf.

    Parameters
    ----------
    x : array_like
        NumPy array, Dask array of NumPy blocks, or list, as in `softmax`.
    by : array_like, or tuple of such
        The label of each position of x along ``axis``, as in `softmax`.
    axis : int, optional
        The axis of x that the labels go along, by default the last.
    expected_groups : array_like, or tuple of such, optional
        The labels that count, as in `softmax`.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.
    reread : bool or "auto", optional
        Whether the second pass reads a Dask array again, as in `dsoftmax.softmax`.

    Returns
    -------
    array
        The log-probabilities, as from `softmax`: in the shape of x, NaN for elements of no group;
        lazy, with the chunks of x, if x or by is a Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Notes
    -----
    Computed as (x - m) - log d, as `dsoftmax.log_softmax` is.

    Examples
    --------
    >>> from dsoftmax import grouped
    >>> grouped.log_softmax([1000.0, 1.0, 7.0], [1, 1, 2])
    array([   0., -999.,    0.])
    """
    name = "grouped.log_softmax"
    given = grouping(name, x, by, axis, expected_groups)
    return rescaled(given, True, split_every, check_reread(reread, name))


def logsumexp(
    x: Any,
    by: Any,
    *,
    axis: int = -1,
    expected_groups: Any = None,
    split_every: SplitEvery = None,
) -> Any:
    r"""Logarithm of the sum of exponentials of each group, :math:`\log \sum_{j: g_j = g} e^{x_j}`.

    In one pass over x, without a shuffle.

    Parameters
    ----------
    x : array_like
        NumPy array, Dask array of NumPy blocks, or list, as in `softmax`.
    by : array_like, or tuple of such
        The label of each position of x along ``axis``, as in `softmax`.
    axis : int, optional
        The axis of x that the labels go along, by default the last; groups take its place.
    expected_groups : array_like, or tuple of such, optional
        The labels for each key, all different, in the order of the result. Others do not count.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    labels : array, or tuple of arrays
        Only without ``expected_groups``: the labels that occur, sorted; one array for each key of a
        tuple. Missing labels are not among them.
    values : array
        The logarithm for each group, in the dtype of x if that is floating, else float64. With
        ``expected_groups`` it has an axis for each key, as long as its labels, and is -inf for an
        empty group. Lazy if x or by is a Dask array; without ``expected_groups`` its length is
        unknown (nan), and it has several chunks where there may be very many groups.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Notes
    -----
    A group that is all -inf gives -inf; one with +inf and without NaN gives +inf. See
    `dsoftmax.logsumexp` for how small terms are kept.

    Examples
    --------
    >>> from dsoftmax import grouped
    >>> labels, values = grouped.logsumexp([0.0, 1.0, 0.0], ["b", "a", "b"])
    >>> labels.tolist(), values.round(3).tolist()
    (['a', 'b'], [1.0, 0.693])
    >>> grouped.logsumexp([0.0, 1.0, 0.0], ["b", "a", "b"], expected_groups=["c", "b"]).round(3)
    array([ -inf, 0.693])
    """
    given = grouping("grouped.logsumexp", x, by, axis, expected_groups)
    return reduced(given, LOGSUMEXP, split_every)


def entropy(
    x: Any,
    by: Any,
    *,
    axis: int = -1,
    expected_groups: Any = None,
    split_every: SplitEvery = None,
) -> Any:
    r"""Entropy of the softmax within each group in nats, :math:`-\sum_i p_i \log p_i`.

    In one pass over x, without a shuffle; see `dsoftmax.entropy`.

    Parameters
    ----------
    x : array_like
        NumPy array, Dask array of NumPy blocks, or list, as in `softmax`.
    by : array_like, or tuple of such
        The label of each position of x along ``axis``, as in `softmax`.
    axis : int, optional
        The axis of x that the labels go along, by default the last; groups take its place.
    expected_groups : array_like, or tuple of such, optional
        The labels for each key, all different, in the order of the result. Others do not count.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    labels : array, or tuple of arrays
        Only without ``expected_groups``, as from `logsumexp`.
    values : array
        One for each group, as from `logsumexp`; 0 for an empty group, and NaN for one without a
        softmax.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> from dsoftmax import grouped
    >>> labels, values = grouped.entropy([0.0, 0.0, 5.0], ["a", "a", "b"])
    >>> labels.tolist(), values.round(3).tolist()
    (['a', 'b'], [0.693, 0.0])
    """
    given = grouping("grouped.entropy", x, by, axis, expected_groups)
    return reduced(given, ENTROPY, split_every)


def effective_sample_size(
    x: Any,
    by: Any,
    *,
    axis: int = -1,
    expected_groups: Any = None,
    split_every: SplitEvery = None,
) -> Any:
    r"""Effective sample size of each group, :math:`1 / \sum_i p_i^2`.

    In one pass over x, without a shuffle; see `dsoftmax.effective_sample_size`.

    Parameters
    ----------
    x : array_like
        NumPy array, Dask array of NumPy blocks, or list, as in `softmax`.
    by : array_like, or tuple of such
        The label of each position of x along ``axis``, as in `softmax`.
    axis : int, optional
        The axis of x that the labels go along, by default the last; groups take its place.
    expected_groups : array_like, or tuple of such, optional
        The labels for each key, all different, in the order of the result. Others do not count.
    split_every : int or dict of int to int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    labels : array, or tuple of arrays
        Only without ``expected_groups``, as from `logsumexp`.
    values : array
        One for each group, as from `logsumexp`; 0 for an empty group, and NaN for one without a
        softmax.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> from dsoftmax import grouped
    >>> labels, values = grouped.effective_sample_size([0.0, 0.0, 5.0], ["a", "a", "b"])
    >>> labels.tolist(), values.tolist()
    (['a', 'b'], [2.0, 1.0])
    """
    given = grouping("grouped.effective_sample_size", x, by, axis, expected_groups)
    return reduced(given, EFFECTIVE_SAMPLE_SIZE, split_every)
