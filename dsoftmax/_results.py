"""Named tuples of arrays: what functions return that have several results."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, Self, TypeVar

import dask

from ._html import html_of

A = TypeVar("A")


class TopK(NamedTuple, Generic[A]):
    """The k best of every slice: what `topk` and `softmax_topk` return.

    Attributes
    ----------
    values : array
        The elements, or their probabilities, best first along the axis.
    indices : array
        Their positions along the axis, int64.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> dsoftmax.topk(da.arange(100, chunks=10), 2).compute()
    TopK(values=array([99, 98]), indices=array([99, 98]))
    """

    values: A
    indices: A

    def compute(self, **kwargs: Any) -> TopK[Any]:
        """Compute both arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.compute`.

        Returns
        -------
        TopK
            In memory, with arrays of the type of the chunks.
        """
        return TopK(*dask.compute(*self, **kwargs))

    def persist(self, **kwargs: Any) -> Self:
        """Persist both arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.persist`.

        Returns
        -------
        TopK
            Lazy, with the same arrays, held by Dask.
        """
        return self._replace(**dict(zip(self._fields, dask.persist(*self, **kwargs), strict=True)))

    def _repr_html_(self) -> str | None:
        return html_of("TopK", self._asdict())


class TopKWithLog(NamedTuple, Generic[A]):
    """The k best of every slice: what `softmax_topk` returns with ``return_log``.

    Attributes
    ----------
    values : array
        The probabilities, largest first along the axis.
    indices : array
        Their positions along the axis, int64.
    log_values : array
        The logarithms of the probabilities.
    """

    values: A
    indices: A
    log_values: A

    def compute(self, **kwargs: Any) -> TopKWithLog[Any]:
        """Compute all three arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.compute`.

        Returns
        -------
        TopKWithLog
            In memory, with arrays of the type of the chunks.
        """
        return TopKWithLog(*dask.compute(*self, **kwargs))

    def persist(self, **kwargs: Any) -> Self:
        """Persist all three arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.persist`.

        Returns
        -------
        TopKWithLog
            Lazy, with the same arrays, held by Dask.
        """
        return self._replace(**dict(zip(self._fields, dask.persist(*self, **kwargs), strict=True)))

    def _repr_html_(self) -> str | None:
        return html_of("TopKWithLog", self._asdict())


class GumbelTopK(NamedTuple, Generic[A]):
    """Elements drawn without replacement: what `gumbel_topk` returns.

    Attributes
    ----------
    keys : array
        The elements plus Gumbel noise, float64, descending along the axis.
    indices : array
        Their positions along the axis, int64.
    """

    keys: A
    indices: A

    def compute(self, **kwargs: Any) -> GumbelTopK[Any]:
        """Compute both arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.compute`.

        Returns
        -------
        GumbelTopK
            In memory, with arrays of the type of the chunks.
        """
        return GumbelTopK(*dask.compute(*self, **kwargs))

    def persist(self, **kwargs: Any) -> Self:
        """Persist both arrays in one computation, which reads x once.

        Parameters
        ----------
        **kwargs
            Passed to `dask.persist`.

        Returns
        -------
        GumbelTopK
            Lazy, with the same arrays, held by Dask.
        """
        return self._replace(**dict(zip(self._fields, dask.persist(*self, **kwargs), strict=True)))

    def _repr_html_(self) -> str | None:
        return html_of("GumbelTopK", self._asdict())
