"""A step of a graph: a function of blocks, with the name of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any

import numpy as np
from dask.base import normalize_token


class Stage:
    """A function of blocks, under the name that its tasks show on the dashboard.

    Dask names the tasks of a reduction after its functions, so this is one.  It takes the blocks
    out of the lists that Dask puts them in, and answers the empty arrays that Dask tries functions
    on by itself: an empty array of the same kind and of ``dtype``.

    Parameters
    ----------
    name : str
        Prefix of the task keys, as ``softmax-rescale``.
    func : callable
        A module-level function, called with the blocks (so that keys are deterministic).
    dtype : dtype
        Of the blocks it returns; of the accumulator where these are states.
    nbytes : float, optional
        Of the whole array that the blocks are of, for those who watch.
    masks : bool, optional
        Whether it returns masked blocks for masked ones.
    **options
        Keyword arguments of ``func``.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        dtype: Any,
        *,
        nbytes: float | None = None,
        masks: bool = False,
        **options: Any,
    ) -> None:
        self.__name__ = name
        self.func = func
        self.dtype = np.dtype(dtype)
        self.nbytes = nbytes
        self.masks = masks
        self.options = options
        self.lists: int | None = 0  # how deep Dask nests each block in lists; None: however deep

    def in_lists(self, depth: int | None) -> Stage:
        """The same function of blocks that come in nested lists of one each.

        None is for states, which are no lists as blocks may be: of any depth and length.
        """
        stage = copy(self)
        stage.lists = depth
        return stage

    def __call__(
        self,
        *blocks: Any,
        axis: Any = None,
        keepdims: bool = True,
        computing_meta: bool = False,
    ) -> Any:
        if computing_meta:
            meta = next(_flatten(blocks)).astype(self.dtype)
            if isinstance(meta, np.ndarray):  # of a subclass, if it is one
                masked = isinstance(meta, np.ma.MaskedArray)
                meta = np.ma.getdata(meta, subok=False)
                meta = np.ma.array(meta) if masked and self.masks else meta
            return meta if keepdims else meta.sum(axis=axis)
        if self.lists is None:
            blocks = tuple(_flatten(blocks))
        else:
            for _ in range(self.lists):
                blocks = tuple(block for (block,) in blocks)
        return self.func(*blocks, **self.options)

    def __dask_tokenize__(self) -> Any:
        # A function as it is would count by its address, which other processes do not have.
        return normalize_token(
            (self.__name__, self.func, self.dtype.name, self.options, self.lists)
        )

    def __repr__(self) -> str:
        return f"<Stage {self.__name__}>"


def _flatten(nested: Iterable[Any]) -> Iterator[Any]:
    for item in nested:
        if isinstance(item, list):  # a tuple may be a state
            yield from _flatten(item)
        else:
            yield item
