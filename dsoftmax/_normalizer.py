"""The normalizer of a softmax as a value: made from data, merged, finished and applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
from array_api_compat import array_namespace
from array_api_compat import numpy as xp_numpy
from dask.array.optimization import optimize
from dask.base import normalize_token

from . import _kernels
from ._algebra import State, identity
from ._arguments import Array, Axes, Axis, as_array, check_same_library, check_shape
from ._dtypes import (
    accumulator_dtype,
    dtype_name,
    dtype_of,
    is_complex,
    parsed_name,
    promoted_name,
    real_name,
    result_dtype,
    result_name,
    supported,
    working_name,
)
from ._graph import SplitEvery, Stage, map_blocks
from ._reread import Reread, check_reread, second_read
from ._states import (
    as_terms,
    equal,
    frozen,
    joined,
    logarithms,
    states,
    union,
    unwrap_scalar,
)


class Normalizer:
    r"""The normalizer (m, d) of the softmax of some slices: an immutable value.

    For each slice of the data it holds the maximum m and :math:`d = \sum b_i e^{x_i - m}`, the
    latter as w, the terms at the maximum, plus s, all the others [1]_. Normalizers of parts of the
    data merge to that of the whole, in any order and grouping; so a stream, a set of files or the
    chunks of an array can be taken one by one, and none of them has to fit in memory with another.

    Make one with `Normalizer.of` or `Normalizer.identity`. Two are equal if their axes, dtypes and
    states are (NaN counts as equal to NaN); lazy ones if they are to be computed in the same way.

    Attributes
    ----------
    axis : tuple of int
        The axes that were reduced: they have length 1 in m, w, s and d, so that these broadcast
        with the data.

    Notes
    -----
    Of a Dask array everything is lazy: the attributes and the results are Dask arrays. The
    normalizer itself is a Dask collection then, for `dask.compute`, `dask.persist` and the client
    of a cluster, and what they compute is the normalizer in memory, a few numbers per slice.

    Each merge rounds, however many it merges: d is off by at most 4 units of rounding (2^-53) after
    ``n.merge(*others)``, and by that much more in each turn of a loop of ``n = n.merge(other)``.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.

    Examples
    --------
    A stream of scores, normalised without ever holding it:

    >>> import numpy as np
    >>> import dsoftmax
    >>> n = dsoftmax.Normalizer.identity(shape=(0,))
    >>> for scores in (np.array([0.1, 0.3]), np.array([0.08, -0.09])):
    ...     n = n.merge(dsoftmax.Normalizer.of(scores))
    >>> n
    Normalizer(m=0.3, d=3.298306425538625)
    >>> n.softmax(np.array([0.08, -0.09]))
    array([0.24331238, 0.2052741 ])
    """

    __slots__ = ("_dtype", "_neutral", "_states", "axis")
    __hash__ = None  # type: ignore[assignment]  # as arrays: equality looks at the elements

    axis: Axes
    _states: Any  # a State, or a Dask array whose blocks are States
    _dtype: Any  # None of an identity that takes the dtype of what it is merged with
    _neutral: bool  # whether it is an identity, which fits arrays of any library

    def __init__(self, states: Any, axis: Axes, dtype: Any, neutral: bool = False) -> None:
        if isinstance(states, State):
            states = frozen(states)
        values = {"_states": states, "axis": axis, "_dtype": dtype, "_neutral": neutral}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Normalizer is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Normalizer is immutable: cannot delete {name}")

    def __reduce__(self) -> Any:
        return type(self), (self._states, self.axis, self._dtype, self._neutral)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Normalizer):
            return NotImplemented
        mine, others = self._states, other._states
        if (self.axis, dtype_name(self.dtype)) != (other.axis, dtype_name(other.dtype)):
            return False
        if type(mine) is not type(others):
            return False
        if self._lazy:
            return mine.name == others.name
        return equal(mine, others)

    def __repr__(self) -> str:
        if self._lazy:
            return f"Normalizer({self._states!r}, axis={self.axis})"
        if self.m.size == 1:
            return f"Normalizer(m={self.m.item()!r}, d={self.d.item()!r})"
        return f"Normalizer(shape={self.shape}, axis={self.axis}, dtype={dtype_name(self.dtype)})"

    @classmethod
    def of(
        cls, x: Any, axis: Axis = None, b: Any = None, *, split_every: SplitEvery = None
    ) -> Normalizer:
        """The normalizer of an array: of a block in memory at once, of a Dask array lazily.

        Parameters
        ----------
        x : array_like
            As `logsumexp` takes it, complex numbers included. May be empty.
        axis : int or tuple of ints, optional
            Axis or axes to reduce; None (the default) stands for all of them.
        b : array_like, optional
            Weights, which broadcast with x; as in `logsumexp`.
        split_every : int or dict of int to int, optional
            How many partial results one task merges at most, as in `softmax`.

        Returns
        -------
        Normalizer

        Raises
        ------
        TypeError, ValueError
            As in `logsumexp`, at the call.
        """
        x = as_array(x, "Normalizer.of", complex_ok=True)
        terms, axes, dtype = as_terms("Normalizer.of", x, axis, b, split_every)
        return cls(states("softmax", terms, axes, split_every), axes, dtype)

    @classmethod
    def identity(cls, shape: tuple[int, ...], axis: Axis = None, dtype: Any = None) -> Normalizer:
        """The normalizer of no data, (-inf, 0): what a running merge starts from.

        Parameters
        ----------
        shape : tuple of int
            Of the data; its lengths along axis do not matter.
        axis : int or tuple of ints, optional
            The reduced axes, None for all.
        dtype : dtype_like, optional
            Of the data. None (the default) takes that of what it is merged with, and stands for
            float64 until then.

        Returns
        -------
        Normalizer
            In memory, of NumPy arrays; merged with one of another library, it gives one of that.

        Raises
        ------
        TypeError
            If shape is no tuple of ints, dtype has no exponential, or axis is of the wrong type.
        ValueError
            If a length is negative, or axis is out of range or repeated.
        """
        name = "float64" if dtype is None else parsed_name(dtype)
        if not supported(name):
            raise TypeError(
                f"Normalizer.identity: dtype is {dtype!r}; use a float, complex or integer one"
            )
        axes, kept = check_shape(shape, axis, "Normalizer.identity")
        given = None if dtype is None else dtype_of(np, result_name(name))
        return cls(identity(xp_numpy, kept, name), axes, given, neutral=True)

    @property
    def m(self) -> Array:
        """The maximum of each slice, -inf for an empty one.

        In the dtype of the computation: float32 for halves, float64 for integers; real for complex
        data.
        """
        return self._field("m", real_name(working_name(dtype_name(self.dtype))))

    @property
    def w(self) -> Array:
        """The sum of the weights at the maximum, float64 or better.

        Without weights that is how many elements equal the maximum.
        """
        return self._field("w", accumulator_dtype(self.dtype))

    @property
    def s(self) -> Array:
        """The sum of the weights times exp(x - m) below the maximum, float64 or better."""
        return self._field("s", accumulator_dtype(self.dtype))

    @property
    def d(self) -> Array:
        """w + s, the normalizer of the paper."""
        return self._field("d", accumulator_dtype(self.dtype))

    @property
    def dtype(self) -> Any:
        """The dtype of the results: that of the data if it is floating or complex, else float64."""
        return np.dtype(np.float64) if self._dtype is None else self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of m, w, s and d: that of the data, but 1 along the axes that were reduced."""
        states = self._states
        return tuple(states.m.shape if isinstance(states, State) else states.shape)

    @property
    def _lazy(self) -> bool:
        return not isinstance(self._states, State)

    def compute(self, **kwargs: Any) -> Normalizer:
        """The same normalizer in memory; keywords go to `dask.compute`."""
        return dask.compute(self, **kwargs)[0]

    def persist(self, **kwargs: Any) -> Normalizer:
        """The same normalizer with its states held by Dask; keywords go to `dask.persist`."""
        return dask.persist(self, **kwargs)[0]

    # What makes it a Dask collection if it is lazy; in memory it has no graph, and so it is none.

    __dask_optimize__ = staticmethod(optimize)
    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __dask_graph__(self) -> Any:
        return self._states.__dask_graph__() if self._lazy else None

    def __dask_keys__(self) -> list[Any]:
        return self._states.__dask_keys__()

    def __dask_layers__(self) -> Any:
        return self._states.__dask_layers__()

    def __dask_tokenize__(self) -> Any:
        state = self._states.name if self._lazy else tuple(self._states)
        kind = (dtype_name(self.dtype), self._dtype is None, self._neutral)
        return normalize_token((type(self).__name__, state, self.axis, *kind))

    def __dask_postcompute__(self) -> Any:
        return _in_memory, (self.axis, self._dtype)

    def __dask_postpersist__(self) -> Any:
        return _persisted, (*self._states.__dask_postpersist__(), self.axis, self._dtype)

    def merge(self, *others: Normalizer) -> Normalizer:
        """The normalizer of the data of all of them together.

        Associative and commutative, with `identity` as the neutral element, and total: parts that
        are empty, or hold infinities or NaN, merge like any other. Lazy if one of them is. The
        dtypes promote as NumPy's do.

        Raises
        ------
        TypeError
            If one is not a Normalizer, or they hold arrays of different libraries.
        ValueError
            If their shapes or axes differ.
        """
        parts = (self, *others)
        for other in others:
            if not isinstance(other, Normalizer):
                raise TypeError(f"merge takes Normalizers, not {type(other).__name__}")
            if (other.shape, other.axis) != (self.shape, self.axis):
                raise ValueError(
                    f"cannot merge normalizers of shape {self.shape} over axis {self.axis} and of "
                    f"shape {other.shape} over axis {other.axis}; merge parts of the same slices"
                )
        dtypes = [part.dtype for part in parts if part._dtype is not None]
        parts = tuple(part for part in parts if not part._neutral)
        if not parts:
            asked = promoted_name(*map(dtype_name, dtypes)) if dtypes else None
            return Normalizer.identity(self.shape, self.axis, asked)
        name = promoted_name(*map(dtype_name, dtypes))
        lazy = [part for part in parts if part._lazy]
        if not lazy:
            check_same_library("merge", *(part.m for part in parts))
            state = union(*(part._states for part in parts), result=name)
            return Normalizer(state, self.axis, dtype_of(array_namespace(state.m), name))
        dtype = dtype_of(np, name)
        stage = Stage("softmax-merge", union, accumulator_dtype(dtype), result=name)
        chunks = lazy[0]._states.chunks
        states = map_blocks(stage, *(part._blocks(chunks) for part in parts))
        return Normalizer(states, self.axis, dtype)

    def logsumexp(self, keepdims: bool = False, return_sign: bool = False) -> Array:
        """log(sum of b exp(x)) of each slice: what `dsoftmax.logsumexp` gives for the data.

        Parameters
        ----------
        keepdims : bool, optional
            Whether the reduced axes stay, with length 1.
        return_sign : bool, optional
            Whether to return the logarithm of the absolute value, and the sign.

        Returns
        -------
        array, or two arrays
            Of dtype ``self.dtype`` (a logarithm of absolute values is real); lazy if the
            normalizer is. NaN where the sum is negative, unless ``return_sign``.
        """
        return logarithms(self._states, self.axis, self.dtype, keepdims, return_sign)

    def softmax(self, x: Any, *, reread: Reread = "auto") -> Array:
        """exp(x - m) / d: the softmax of any part of the data of this normalizer.

        Parameters
        ----------
        x : array_like
            Part of the data: as many dimensions as the normalizer and the same lengths, except
            along ``axis``.
        reread : bool or "auto", optional
            Whether a Dask array is read again that this normalizer is, or will be, computed from;
            as in `dsoftmax.softmax`.

        Returns
        -------
        array
            As of `dsoftmax.softmax`; lazy if x or the normalizer is.

        Raises
        ------
        TypeError
            If x or the normalizer is complex, or x has no exponential.
        ValueError
            If the shapes do not match.
        """
        return self._apply("softmax", _kernels.rescale, x, reread)

    def log_softmax(self, x: Any, *, reread: Reread = "auto") -> Array:
        """(x - m) - log d: the log-softmax of any part of the data of this normalizer.

        Parameters, returns and errors as of `softmax`.
        """
        return self._apply("log-softmax", _kernels.log_rescale, x, reread)

    def _field(self, name: str, dtype: Any) -> Array:
        if not self._lazy:
            return getattr(self._states, name)
        return map_blocks(Stage(f"normalizer-{name}", _field, dtype, field=name), self._states)

    def _apply(self, name: str, rescale: Callable[..., Any], x: Any, reread: Reread) -> Array:
        function = f"Normalizer.{name.replace('-', '_')}"
        x = as_array(x, function)
        reread = check_reread(reread, function)
        if is_complex(self.dtype):
            raise TypeError(f"{function}: this normalizer is of complex data, which has no softmax")
        kept = [i for i in range(len(self.shape)) if i not in self.axis]
        if x.ndim != len(self.shape) or any(
            not math.isnan(x.shape[i]) and x.shape[i] != self.shape[i] for i in kept
        ):
            raise ValueError(
                f"{function}: x has shape {tuple(x.shape)} and the normalizer {self.shape}; they "
                f"may differ along axis {self.axis} only"
            )
        if not self._lazy and not isinstance(x, da.Array):
            check_same_library(function, x, self.m)
            return unwrap_scalar(rescale(x, self._states))
        if not isinstance(x, da.Array):
            whole = zip(self._states.chunks, x.shape, strict=True)
            x = da.from_array(
                x, tuple((n,) if i in self.axis else c for i, (c, n) in enumerate(whole))
            )
        if self._lazy:
            x = second_read(function, x, self._states, self.axis, reread)
        stage = Stage(f"{name}-rescale", rescale, result_dtype(x), masks=True)
        return map_blocks(stage, x, self._blocks(x.chunks))

    def _blocks(self, chunks: tuple[tuple[int, ...], ...]) -> da.Array:
        """The states as blocks that align with data of these chunks."""
        chunks = tuple((1,) if i in self.axis else c for i, c in enumerate(chunks))
        if self._lazy and all(map(_agree, self._states.chunks, chunks)):
            return self._states
        if self._lazy:
            fields = [field.rechunk(chunks) for field in (self.m, self.w, self.s)]
        else:
            fields = [da.from_array(_lasting(field), chunks=chunks) for field in self._states]
        return map_blocks(Stage("normalizer-state", State, accumulator_dtype(self.dtype)), *fields)


def _field(state: State, field: str) -> Array:
    return getattr(state, field)


def _lasting(x: Array) -> Array:
    """x as Dask keeps it: on its device if it is CuPy's, else in NumPy's memory."""
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def _in_memory(blocks: Any, axis: Axes, dtype: Any) -> Normalizer:
    """The normalizer of the computed blocks of a lazy one."""
    return Normalizer(joined(blocks), axis, dtype)


def _persisted(
    graph: Any,
    rebuild: Callable[..., da.Array],
    arguments: tuple[Any, ...],
    axis: Axes,
    dtype: Any,
    **options: Any,
) -> Normalizer:
    """A lazy normalizer whose states Dask holds."""
    return Normalizer(rebuild(graph, *arguments, **options), axis, dtype)


def _agree(chunks: tuple[int, ...], others: tuple[int, ...]) -> bool:
    """Whether two arrays are cut alike along an axis; unknown lengths have to be trusted."""
    if any(map(math.isnan, (*chunks, *others))):
        return len(chunks) == len(others)
    return chunks == others
