"""A step of a graph: a function of blocks, with the name of its tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from dask.base import normalize_token

from .._algebra.dtypes import dtype_name


class Call(NamedTuple):
    """A function and the array that it was called on, by which the dashboard names a job.

    Attributes
    ----------
    function : str
        As users call it.
    shape : tuple
        With nan where lengths are unknown.
    dtype : str
    axes : tuple of int
        Of a slice.
    nbytes : float
        The size of the array in bytes, NaN if its shape is unknown.
    """

    function: str
    shape: tuple[float, ...]
    dtype: str
    axes: tuple[int, ...]
    nbytes: float

    @classmethod
    def of(cls, function: str, x: Any, axes: tuple[int, ...], dtype: Any = None) -> Call:
        """The call on a Dask array; ``dtype`` is given if it is not that of the blocks."""
        dtype = x.dtype if dtype is None else dtype
        nbytes = math.prod(x.shape) * dtype.itemsize
        return cls(function, tuple(x.shape), dtype_name(dtype), axes, nbytes)


class Stage:
    """A function of blocks, with the name that its tasks show on the dashboard.

    Dask names the tasks of a reduction after its functions, so a stage is a callable. It unpacks
    blocks from the lists that Dask puts them in. Dask's trial calls on empty arrays it answers
    itself, with an empty array of the same kind and of ``dtype``.

    Parameters
    ----------
    name : str
        Prefix of the task keys, such as ``softmax-rescale``.
    func : callable
        Called with the blocks; a module-level function, so that keys are deterministic.
    dtype : dtype
        Of the blocks returned; if these are states, of the accumulator.
    call : Call, optional
        What a stage that reads the input array belongs to, shown by the dashboard.
    masks : bool, optional
        Whether it returns masked blocks for masked blocks.
    **options
        Keyword arguments of ``func``.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        dtype: Any,
        *,
        call: Call | None = None,
        masks: bool = False,
        **options: Any,
    ) -> None:
        self.__name__ = name
        self.func = func
        self.dtype = np.dtype(dtype)
        self.call = call
        self.masks = masks
        self.options = options
        self.lists: int | None = 0  # levels of lists around each block; None: any number

    def in_lists(self, depth: int | None) -> Stage:
        """The same stage for blocks that come in ``depth`` nested lists of one item each.

        None accepts lists of any depth and length; it is for states, which are never lists.
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
            if isinstance(meta, np.ndarray):  # subclasses become plain or masked
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
        # By default Dask would use the address of the stage, which differs between processes. The
        # call does not count, as several functions may need the same states.
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
