"""The functions of dsoftmax for xarray's DataArrays and Datasets, with dimension names for axes.

Dimensions, coordinates, attributes and names are kept, and Dask arrays stay lazy. The module needs
xarray: the extra ``xarray``. The functions share their arguments, and so are in one file.
"""

from __future__ import annotations

from typing import Any, TypeVar

from . import _softmax, _statistics, grouped
from ._graph.choose import Reread
from ._graph.tree import SplitEvery
from ._install import how_to_install

try:
    from . import _named
    from ._named import Dims
except ImportError as error:
    raise ImportError(f"dsoftmax.xarray needs xarray: {how_to_install('xarray')}") from error

__all__ = [
    "effective_sample_size",
    "entropy",
    "expectation",
    "log_softmax",
    "logsumexp",
    "softmax",
]

Named = TypeVar("Named")  # a DataArray or Dataset


def softmax(
    x: Named,
    dim: Dims = None,
    *,
    by: Any = None,
    where: Any = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Named:
    r"""Softmax, :math:`e^{x_i} / \sum_j e^{x_j}`, over some dimensions, or within groups.

    Parameters
    ----------
    x : DataArray or Dataset
        NumPy, Dask or other arrays with names, as in `dsoftmax.softmax`. Each variable of a Dataset
        is normalised by itself, over those of the dimensions that it has.
    dim : str, or list or tuple of such, optional
        The dimensions over which the result sums to 1; None (the default), or ``...``, for all.
    by : str or DataArray, or list or tuple of such, optional
        Labels along one dimension of x, which then is dim: the name of a coordinate, or a
        DataArray. The softmax is among elements with the same label, for each position along the
        other dimensions; several are keys, whose combinations are the groups. See
        `dsoftmax.grouped.softmax`.
    where : DataArray of bool, optional
        Which elements take part; its dimensions are among those of x.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.softmax`; the keys of a dict are numbers of axes.
    reread : bool or "auto", optional
        As in `dsoftmax.softmax`.

    Returns
    -------
    DataArray or Dataset
        With the dimensions, coordinates, attributes, name and chunks of x, and without its
        encoding. ``xarray.set_options(keep_attrs=False)`` drops attributes.

    Raises
    ------
    TypeError
        If x is no DataArray or Dataset, where is no DataArray, or by is neither that nor the name
        of a coordinate; if where and by are both given; also as in `dsoftmax.softmax`.
    ValueError
        If dim or by names something that x does not have, or where or by has dimensions that x does
        not have; `xarray.AlignmentError` if it has other coordinates.

    See Also
    --------
    dsoftmax.softmax : The same for arrays, with more on errors and on how it runs.

    Examples
    --------
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> utility = xr.DataArray(
    ...     [[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]],
    ...     dims=("person", "mode"),
    ...     coords={"mode": ["car", "bus", "train"], "public": ("mode", [False, True, True])},
    ... )
    >>> dsoftmax.xarray.softmax(utility, "mode").sel(mode="train").values.round(3)
    array([0.844, 0.333])
    >>> dsoftmax.xarray.softmax(utility, by="public").sel(mode="train").values.round(3)
    array([0.881, 0.5  ])
    """
    options = {"split_every": split_every, "reread": reread}
    return _named.mapped(_softmax.softmax, grouped.softmax, x, dim, by, where, **options)


def log_softmax(
    x: Named,
    dim: Dims = None,
    *,
    by: Any = None,
    where: Any = None,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Named:
    r"""Logarithm of the softmax over some dimensions, or within groups.

    Parameters
    ----------
    x : DataArray or Dataset
        As in `softmax`.
    dim : str, or list or tuple of such, optional
        The dimensions of a slice; None, or ``...``, for all.
    by : str or DataArray, or list or tuple of such, optional
        Labels along one dimension, as in `softmax`.
    where : DataArray of bool, optional
        Which elements take part.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.log_softmax`.
    reread : bool or "auto", optional
        As in `dsoftmax.log_softmax`.

    Returns
    -------
    DataArray or Dataset
        As from `softmax`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> x = xr.DataArray([[1000.0, 1.0], [5.0, 5.0]], dims=("row", "column"))
    >>> dsoftmax.xarray.log_softmax(x, "column").values.round(3)
    array([[ 0.00e+00, -9.99e+02],
           [-6.93e-01, -6.93e-01]])
    """
    options = {"split_every": split_every, "reread": reread}
    return _named.mapped(_softmax.log_softmax, grouped.log_softmax, x, dim, by, where, **options)


def logsumexp(
    x: Named,
    dim: Dims = None,
    *,
    by: Any = None,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Named:
    r"""Logarithm of the sum of exponentials over some dimensions, or of each group.

    Parameters
    ----------
    x : DataArray or Dataset
        As in `softmax`.
    dim : str, or list or tuple of such, optional
        The dimensions to reduce; None, or ``...``, for all.
    by : str or DataArray, or list or tuple of such, optional
        Labels along one dimension, as in `softmax`; in memory, since they become a coordinate.
    where : DataArray of bool, optional
        Which elements take part.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.logsumexp`.

    Returns
    -------
    DataArray or Dataset
        Without these dimensions and the coordinates along them, as in xarray's own reductions. With
        ``by``, a dimension of the sorted labels, named after by, replaces the dimension of the
        labels.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> x = xr.DataArray([0.0, 1.0, 0.0], dims="row", coords={"kind": ("row", ["b", "a", "b"])})
    >>> dsoftmax.xarray.logsumexp(x, "row").item()
    1.551444713932051
    >>> dsoftmax.xarray.logsumexp(x, by="kind").to_series().round(3).to_dict()
    {'a': 1.0, 'b': 0.693}
    """
    return _named.reduced(
        _softmax.logsumexp, grouped.logsumexp, x, dim, by, where, split_every=split_every
    )


def entropy(
    x: Named,
    dim: Dims = None,
    *,
    by: Any = None,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Named:
    r"""Entropy of the softmax over some dimensions, or within each group, in nats.

    Parameters
    ----------
    x : DataArray or Dataset
        As in `softmax`.
    dim : str, or list or tuple of such, optional
        The dimensions to reduce; None, or ``...``, for all.
    by : str or DataArray, or list or tuple of such, optional
        Labels along one dimension, as in `logsumexp`.
    where : DataArray of bool, optional
        Which elements take part.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.entropy`.

    Returns
    -------
    DataArray or Dataset
        As from `logsumexp`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> x = xr.DataArray([[0.0, 0.0], [0.0, -800.0]], dims=("row", "column"))
    >>> dsoftmax.xarray.entropy(x, "column").values.round(3)
    array([0.693, 0.   ])
    """
    return _named.reduced(
        _statistics.entropy, grouped.entropy, x, dim, by, where, split_every=split_every
    )


def effective_sample_size(
    x: Named,
    dim: Dims = None,
    *,
    by: Any = None,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Named:
    r"""Effective sample size, :math:`1 / \sum_i p_i^2`, over some dimensions, or of each group.

    Parameters
    ----------
    x : DataArray or Dataset
        Log-weights, as in `softmax`.
    dim : str, or list or tuple of such, optional
        The dimensions to reduce; None, or ``...``, for all.
    by : str or DataArray, or list or tuple of such, optional
        Labels along one dimension, as in `logsumexp`.
    where : DataArray of bool, optional
        Which elements take part.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.effective_sample_size`.

    Returns
    -------
    DataArray or Dataset
        As from `logsumexp`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> x = xr.DataArray([[0.0, 0.0], [0.0, -800.0]], dims=("row", "column"))
    >>> dsoftmax.xarray.effective_sample_size(x, "column").values
    array([2., 1.])
    """
    function, within = _statistics.effective_sample_size, grouped.effective_sample_size
    return _named.reduced(function, within, x, dim, by, where, split_every=split_every)


def expectation(
    x: Named,
    values: Any,
    dim: Dims = None,
    *,
    where: Any = None,
    split_every: SplitEvery = None,
) -> Any:
    r"""Mean of values under the softmax over some dimensions, in one pass over x.

    Parameters
    ----------
    x : DataArray
        As in `softmax`: log-weights up to a constant.
    values : str or DataArray, or tuple of such
        The values to average: the name of a coordinate, or a DataArray whose dimensions are among
        those of x. A tuple gives one mean for each of its values.
    dim : str, or list or tuple of such, optional
        The dimensions to reduce; None, or ``...``, for all.
    where : DataArray of bool, optional
        Which elements take part.
    split_every : int or dict of int to int, optional
        As in `dsoftmax.expectation`.

    Returns
    -------
    DataArray, or tuple of such
        The means, with the names and attributes of the values; otherwise as from `logsumexp`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`, and in `dsoftmax.expectation`.

    Examples
    --------
    The mean of a Gaussian posterior on a grid:

    >>> import numpy as np
    >>> import xarray as xr
    >>> import dsoftmax.xarray
    >>> theta = np.linspace(-6, 8, 1001)
    >>> log_posterior = xr.DataArray(-((theta - 1) ** 2) / 2, coords={"theta": theta}, dims="theta")
    >>> dsoftmax.xarray.expectation(log_posterior, "theta", "theta").round(6).item()
    1.0
    """
    several = isinstance(values, tuple)
    given = values if several else (values,)
    means = _named.expectations(x, given, dim, where, split_every)
    return means if several else means[0]
