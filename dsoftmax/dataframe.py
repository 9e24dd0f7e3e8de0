"""The functions of `dsoftmax.grouped` for pandas and Dask Series and DataFrames.

pandas gives pandas, and Dask gives Dask, lazily: index, names and divisions are kept, and no row is
shuffled. The module needs pandas, and `dask.dataframe` for Dask: the extra ``dataframe``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from ._graph.tree import SplitEvery
from ._groups import EFFECTIVE_SAMPLE_SIZE, ENTROPY, LOGSUMEXP
from ._install import how_to_install

try:
    from . import _frames
    from ._frame_arguments import columns
except ImportError as error:
    raise ImportError(
        "dsoftmax.dataframe needs pandas, and dask.dataframe for the columns of Dask; both come "
        f"with {how_to_install('dataframe')}"
    ) from error

__all__ = ["effective_sample_size", "entropy", "log_softmax", "logsumexp", "softmax"]

Frame = TypeVar("Frame")  # a Series or DataFrame, of pandas or Dask


def softmax(
    x: Frame, by: Any, *, expected_groups: Any = None, split_every: SplitEvery = None
) -> Frame:
    r"""Softmax of columns within groups of rows, :math:`e^{x_i} / \sum_{j: g_j = g_i} e^{x_j}`.

    The same as ``x.groupby(by).transform(softmax)``, without a call for each group, and for Dask
    without a shuffle: each partition gives the labels in it, with a maximum and a normalizer for
    each; these are merged in a tree, and a second pass computes the result.

    Parameters
    ----------
    x : Series or DataFrame
        Scores, of pandas or Dask: floats, integers or booleans of NumPy, pandas' nullable kinds or
        Arrow. Missing scores are NaN. Each column of a DataFrame is normalised by itself.
    by : Series or column name, or list or tuple of such
        The label of each row: a Series with the index of x, or the name of a column of a DataFrame,
        which is then not a score; several are keys, whose combinations are the groups. Any kind
        with an order and a hash: integers, strings, dates, categories. A row with a missing label
        (NaN, None, NA, NaT) belongs to no group.
    expected_groups : array_like, or tuple of such, optional
        The labels that count for each key, all different; other rows belong to no group.
    split_every : int, optional
        For Dask, how many partial results one task merges at most, as in `dsoftmax.grouped`.

    Returns
    -------
    Series or DataFrame
        With the index and names of x and, for Dask, its divisions and partitions. The dtype is
        NumPy's: that of the scores if it is floating, else float64, and for several columns the one
        that they promote to. NaN for rows of no group.

    Raises
    ------
    TypeError
        If x is no Series or DataFrame, or by neither a Series nor the name of a column, only one of
        them is from Dask, a column of scores is not numeric, or labels have no order or no hash.
    ValueError
        If by has another index or other partitions than x, or expected_groups has a label twice or
        a missing one. Raised at the call, or in the computation where only a worker can tell.

    Warns
    -----
    UserWarning
        If a task below x is seen to draw from a random generator that it shares with others.

    See Also
    --------
    dsoftmax.grouped.softmax : The same for arrays.

    Notes
    -----
    A Dask column is read twice, and nothing of it is held in between. The steps that make it run
    twice, too: call ``.persist()`` on a frame that is expensive to compute, such as a merged one.

    There are two tasks for each partition, and a merge for every four; with more than 16 partitions
    there are 1.3 more tasks for each, and no task holds all groups. The result matches the other
    columns of x row by row: ``df.assign(p=softmax(df["u"], df["market"]))`` aligns nothing, even
    where divisions are unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from dsoftmax import dataframe
    >>> df = pd.DataFrame({"market": ["Oslo", "Bergen", "Bergen", "Oslo"], "u": [0.0, 1, 0, 3]})
    >>> df["p"] = dataframe.softmax(df["u"], by=df["market"])
    >>> df.round(3)
       market    u      p
    0    Oslo  0.0  0.047
    1  Bergen  1.0  0.731
    2  Bergen  0.0  0.269
    3    Oslo  3.0  0.953
    """
    return _frames.softmax(columns("dataframe.softmax", x, by), False, expected_groups, split_every)


def log_softmax(
    x: Frame, by: Any, *, expected_groups: Any = None, split_every: SplitEvery = None
) -> Frame:
    r"""Logarithm of the softmax of columns within groups of rows.

    Exact where the logarithm of `softmax` has underflowed to -inf.

    Parameters
    ----------
    x : Series or DataFrame
        Scores, of pandas or Dask, as in `softmax`.
    by : Series or column name, or list or tuple of such
        The label of each row, as in `softmax`.
    expected_groups : array_like, or tuple of such, optional
        The labels that count, as in `softmax`.
    split_every : int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    Series or DataFrame
        The log-probabilities, as from `softmax`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dsoftmax import dataframe
    >>> dataframe.log_softmax(pd.Series([1000.0, 1.0, 7.0]), by=pd.Series([1, 1, 2])).tolist()
    [0.0, -999.0, 0.0]
    """
    given = columns("dataframe.log_softmax", x, by)
    return _frames.softmax(given, True, expected_groups, split_every)


def logsumexp(
    x: Frame, by: Any, *, expected_groups: Any = None, split_every: SplitEvery = None
) -> Frame:
    r"""Logarithm of the sum of exponentials of each group, :math:`\log \sum_{j: g_j = g} e^{x_j}`.

    Parameters
    ----------
    x : Series or DataFrame
        Scores, of pandas or Dask, as in `softmax`.
    by : Series or column name, or list or tuple of such
        The label of each row, as in `softmax`.
    expected_groups : array_like, or tuple of such, optional
        The labels for each key, all different, in the order of the result. Others do not count.
    split_every : int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    Series or DataFrame
        A row for each group. The index is the sorted labels (categories in their own order), in the
        dtype of by, with a level for each key. With ``expected_groups`` there is a row for each of
        these, -inf for an empty group. For Dask, one partition, or several in order where there may
        be many groups.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dsoftmax import dataframe
    >>> df = pd.DataFrame({"market": ["Oslo", "Bergen", "Bergen", "Oslo"], "u": [0.0, 1, 0, 3]})
    >>> dataframe.logsumexp(df, by="market")["u"].round(3).to_dict()
    {'Bergen': 1.313, 'Oslo': 3.049}
    """
    given = columns("dataframe.logsumexp", x, by)
    return _frames.statistic(given, LOGSUMEXP, expected_groups, split_every)


def entropy(
    x: Frame, by: Any, *, expected_groups: Any = None, split_every: SplitEvery = None
) -> Frame:
    r"""Entropy of the softmax within each group in nats, :math:`-\sum_i p_i \log p_i`.

    Parameters
    ----------
    x : Series or DataFrame
        Scores, of pandas or Dask, as in `softmax`.
    by : Series or column name, or list or tuple of such
        The label of each row, as in `softmax`.
    expected_groups : array_like, or tuple of such, optional
        The labels of the result, as in `logsumexp`.
    split_every : int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    Series or DataFrame
        A row for each group, as from `logsumexp`; 0 for an empty group, and NaN for one without a
        softmax.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dsoftmax import dataframe
    >>> x, by = pd.Series([0.0, 0.0, 5.0]), pd.Series(["a", "a", "b"])
    >>> dataframe.entropy(x, by).round(3).to_dict()
    {'a': 0.693, 'b': 0.0}
    """
    given = columns("dataframe.entropy", x, by)
    return _frames.statistic(given, ENTROPY, expected_groups, split_every)


def effective_sample_size(
    x: Frame, by: Any, *, expected_groups: Any = None, split_every: SplitEvery = None
) -> Frame:
    r"""Effective sample size of each group, :math:`1 / \sum_i p_i^2`.

    Parameters
    ----------
    x : Series or DataFrame
        Log-weights, of pandas or Dask, as in `softmax`.
    by : Series or column name, or list or tuple of such
        The label of each row, as in `softmax`.
    expected_groups : array_like, or tuple of such, optional
        The labels of the result, as in `logsumexp`.
    split_every : int, optional
        How many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    Series or DataFrame
        A row for each group, as from `logsumexp`; 0 for an empty group, and NaN for one without a
        softmax.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dsoftmax import dataframe
    >>> x, by = pd.Series([0.0, 0.0, 5.0]), pd.Series(["a", "a", "b"])
    >>> dataframe.effective_sample_size(x, by).to_dict()
    {'a': 2.0, 'b': 1.0}
    """
    given = columns("dataframe.effective_sample_size", x, by)
    return _frames.statistic(given, EFFECTIVE_SAMPLE_SIZE, expected_groups, split_every)
