"""The normalizer of a softmax as a value: made from data, merged, finished and applied.

One class, and so one file: most of it is its documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import starmap
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.optimization import optimize
from dask.base import normalize_token

from . import _kernels
from ._algebra import numpy_arrays
from ._algebra.dtypes import (
    accumulator_dtype,
    dtype_name,
    dtype_of,
    dtypes_for,
    is_complex,
    parsed_name,
    promoted_name,
    supported,
)
from ._algebra.moments import Moments
from ._algebra.moments import identity as identity_of_moments
from ._algebra.namespace import array_namespace
from ._algebra.normalizer import State, identity
from ._algebra.prefix import after
from ._algebra.states import copied, dropped, equal, expanded, frozen, joined, unwrap_scalar
from ._arguments import (
    Array,
    Axes,
    Axis,
    as_array,
    check_beside_dask,
    check_exact,
    check_exactly,
    check_same_library,
    check_shape,
)
from ._engine import Finish, of_states, states
from ._graph.choose import Reread
from ._graph.stage import Call, Stage
from ._graph.threads import threads_here
from ._graph.tree import SplitEvery, map_blocks
from ._html import html_of
from ._kernels import exact as exactly
from ._kernels.exact import Exact
from ._kernels.running import cumulative_logsumexp as running_sums
from ._normalizer_blocks import (
    field_of,
    log_softmax_by,
    merged_blocks,
    rescaled_blocks,
    softmax_by,
    union,
)
from ._normalizer_dict import from_dict, to_dict
from ._not_arrays import is_labelled
from ._reread import check_reread
from ._terms import Joined, as_terms
from .operations import (
    EFFECTIVE_SAMPLE_SIZE,
    ENTROPY,
    EXACT,
    EXACT_NORMALIZER,
    LOGSUMEXP,
    MOMENTS,
    NORMALIZER,
    SIGNED_LOGSUMEXP,
    Operation,
)

_MERGED_AT_ONCE = 16  # blocks of a stream; a merge rounds once, however many it merges


class Normalizer:
    r"""The normalizer (m, d) of the softmax of some slices, as an immutable object.

    For each slice of the data it holds the maximum m and :math:`d = \sum b_i e^{x_i - m}`, the
    latter as w + s: w has the terms at the maximum, s all others [1]_. Normalizers of parts of the
    data merge to that of the whole, in any order and grouping. So a stream, a set of files or the
    chunks of an array can be taken one by one, and no two of them need to fit in memory together.

    Make one with `Normalizer.of`, `Normalizer.from_blocks` or `Normalizer.identity`. Two are equal
    if their axes, dtypes and states are (NaN counts as equal to NaN); lazy ones if they have the
    same Dask name. ``a + b`` is ``a.merge(b)``, and ``float(n)`` the log-sum-exp of one slice.

    Attributes
    ----------
    axis : tuple of int, or None
        The axes that were reduced: they have length 1 in m, w, s and d, so that these broadcast
        with the data. None if all of the data are one slice: then m, w, s and d are numbers, and
        the number of dimensions of the data does not matter.
    statistics : bool
        Whether it was made with ``statistics=True``, so that `entropy` and `effective_sample_size`
        are known.
    exact : bool
        Whether it was made with ``exact=True``, so that sums are exact: m, w, s and d are the same
        to the last bit whatever the order and the parts in which it was made.

    Notes
    -----
    For a Dask array everything is lazy: the attributes and the results are Dask arrays.
    The normalizer itself is then a Dask collection, for `dask.compute`, `dask.persist` and the
    client of a cluster; computing it gives the normalizer in memory, a few numbers per slice.

    Each merge rounds once, however many it merges: d is off by at most 4 units of rounding (2^-53)
    after ``n.merge(*others)``, and by as much again for each turn of a loop with
    ``n = n.merge(other)``.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
       arXiv:1805.02867, section 3.1.

    Examples
    --------
    A stream of scores, normalised without ever holding it:

    >>> import numpy as np
    >>> import dsoftmax
    >>> n = dsoftmax.Normalizer.identity()
    >>> for scores in (np.array([0.1, 0.3]), np.array([0.08, -0.09])):
    ...     n = n.update(scores)
    >>> n
    Normalizer(m=0.3, d=3.298306425538625)
    >>> float(n)
    1.493409...
    >>> n.softmax(np.array([0.08, -0.09]))
    array([0.24331238, 0.2052741 ])
    """

    __slots__ = ("_dtype", "_ndim", "_neutral", "_states", "axis", "exact", "statistics")
    __hash__ = None  # type: ignore[assignment]  # as arrays: equality looks at the elements

    axis: Axes | None
    exact: bool
    statistics: bool
    _states: Any  # a State, Moments or Exact, or a Dask array whose blocks are such
    _dtype: Any  # None of an identity that takes the dtype of what it is merged with
    _neutral: bool  # whether it is an identity, which fits arrays of any library
    _ndim: int  # of the data; the largest if they are one slice

    def __init__(
        self,
        states: Any,
        axis: Axes | None,
        dtype: Any,
        ndim: int,
        neutral: bool = False,
        statistics: bool = False,
        exact: bool = False,
    ) -> None:
        if not isinstance(states, da.Array):
            states, statistics = frozen(states), isinstance(states, Moments)
            exact = isinstance(states, exactly.KINDS)
        values = {"_states": states, "axis": axis, "_dtype": dtype}
        values |= {"_neutral": neutral, "_ndim": ndim, "statistics": statistics, "exact": exact}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Normalizer is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Normalizer is immutable: cannot delete {name}")

    def __reduce__(self) -> Any:
        kind = (self.axis, self._dtype, self._ndim, self._neutral, self.statistics, self.exact)
        return type(self), (self._states, *kind)

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
        if math.prod(self.shape) == 1:
            return f"Normalizer(m={_number(self.m)!r}, d={_number(self.d)!r})"
        return f"Normalizer(shape={self.shape}, axis={self.axis}, dtype={dtype_name(self.dtype)})"

    @classmethod
    def of(
        cls,
        x: Any,
        axis: Axis = None,
        b: Any = None,
        *,
        where: Any = None,
        statistics: bool = False,
        exact: bool | None = None,
        split_every: SplitEvery = None,
    ) -> Normalizer:
        """The normalizer of an array: computed at once in memory, lazily for a Dask array.

        Parameters
        ----------
        x : array_like
            The data, as in `logsumexp`, complex numbers included. May be empty.
        axis : int or tuple of ints, optional
            Axis or axes to reduce; None (the default) means all axes.
        b : array_like, optional
            Weights, which broadcast with x, as in `logsumexp`.
        where : array_like of bool, optional
            Which elements take part, as in `logsumexp`.
        statistics : bool, optional
            Whether to also keep what `entropy` and `effective_sample_size` need: five numbers for
            each slice instead of three. Only for real x without weights.
        exact : bool, optional
            Whether its sums are exact, as in `softmax`: then merging rounds nothing, in any order.
            It keeps 152 bytes for each slice instead of 24. Only without weights and statistics.
        split_every : int or dict of int to int, optional
            How many partial results one task merges at most, as in `softmax`.

        Returns
        -------
        Normalizer

        Raises
        ------
        TypeError, ValueError
            As in `logsumexp`, at the call; ValueError also for weights with ``statistics``.
        """
        exact = _is_exact(exact, statistics, "Normalizer.of")
        if statistics and b is not None:
            raise ValueError(
                "Normalizer.of: statistics are those of a softmax, which has no weights b; add "
                "log(b) to x if they are positive"
            )
        if b is None and where is None and split_every is None and not (statistics or exact):
            quick = _kernels.quick_state(x, axis)
            if quick is not None:
                return cls(quick, axis if axis is None else (axis % x.ndim,), x.dtype, x.ndim)
        x = as_array(x, "Normalizer.of", complex_ok=not statistics)
        if exact:
            check_exactly(x, "Normalizer.of", b=b)
        prefix = "softmax" if statistics else ""
        terms, axes, dtype = as_terms(
            "Normalizer.of", x, axis, split_every, b=b, where=where, prefix=prefix
        )
        monoid = MOMENTS if statistics else EXACT_NORMALIZER if exact else NORMALIZER
        ndim, read = terms.ndim, terms.blocks if isinstance(terms, Joined) else terms
        call = Call.of("Normalizer", read, axes) if isinstance(read, da.Array) else None
        if axis is not None:
            kept = states("softmax", monoid, terms, axes, split_every, call=call)
            return cls(kept, axes, dtype, ndim, statistics=statistics, exact=exact)
        without_axes = partial(dropped, axes=axes)
        key = f"softmax-{monoid.name}"
        numbers = Finish(key, without_axes, accumulator_dtype(dtype), keepdims=False)
        kept = states("softmax", monoid, terms, axes, split_every, numbers, call)
        return cls(kept, None, dtype, ndim, statistics=statistics, exact=exact)

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[Any],
        axis: Axis = None,
        *,
        statistics: bool = False,
        exact: bool | None = None,
    ) -> Normalizer:
        """The normalizer of a stream of blocks, of which one is in memory at a time.

        Parameters
        ----------
        blocks : iterable of array_like
            The blocks, each as in `Normalizer.of`; taken one by one, until there are no more.
        axis : int or tuple of ints, optional
            The axes to reduce in each block, along which blocks may differ in length; None (the
            default) means all axes.
        statistics, exact : bool, optional
            As in `Normalizer.of`.

        Returns
        -------
        Normalizer
            The same as ``Normalizer.of(block, axis)`` of each, merged. Lazy if a block is a Dask
            array.

        Raises
        ------
        TypeError
            If blocks is not iterable, or is a string, a mapping, a DataFrame or a Dask array, which
            `Normalizer.of` takes.
        ValueError
            If there are no blocks and axis is given, since the number of slices is then unknown.

        Notes
        -----
        Normalizers are merged sixteen at a time, and so are the results, so n blocks cost the
        roundings of about log(n) / log(16) merges.

        Examples
        --------
        >>> import dsoftmax
        >>> dsoftmax.Normalizer.from_blocks([0.1, x] for x in (0.3, 0.08, -0.09))
        Normalizer(m=0.3, d=4.9357679...)
        """
        one = isinstance(blocks, (da.Array, str, bytes, Mapping)) or is_labelled(blocks)
        if one or not isinstance(blocks, Iterable) or getattr(blocks, "shape", None) == ():
            raise TypeError(
                f"Normalizer.from_blocks: blocks is of type {type(blocks).__name__}; pass an "
                "iterable of arrays (and a Dask array to Normalizer.of)"
            )
        levels: list[list[Normalizer]] = []
        for block in blocks:
            part = cls.of(block, axis, statistics=statistics, exact=exact)
            del block  # before the next one is made
            for level in levels:
                level.append(part)
                if len(level) < _MERGED_AT_ONCE:
                    break
                part = level[0].merge(*level[1:])
                level.clear()
            else:
                levels.append([part])
        parts = [part for level in levels for part in level]
        if not parts and axis is not None:
            raise ValueError(
                f"Normalizer.from_blocks: there are no blocks, and so no slices along axis {axis}; "
                "start from Normalizer.identity(shape, axis), and update it"
            )
        if not parts:
            return cls.identity(statistics=statistics, exact=exact)
        return parts[0].merge(*parts[1:])

    @classmethod
    def identity(
        cls,
        shape: tuple[int, ...] | None = None,
        axis: Axis = None,
        dtype: Any = None,
        *,
        statistics: bool = False,
        exact: bool | None = None,
    ) -> Normalizer:
        """The normalizer of no data, (-inf, 0): the start of a running merge.

        Parameters
        ----------
        shape : tuple of int, optional
            The shape of the data; its lengths along axis do not matter. Not needed if axis is None,
            since the data are then one slice.
        axis : int or tuple of ints, optional
            The reduced axes, None for all.
        dtype : dtype_like, optional
            The dtype of the data. None (the default) takes the dtype of what it is merged with, and
            means float64 until then.
        statistics, exact : bool, optional
            What `update` keeps, as in `Normalizer.of`. The identity merges with all kinds.

        Returns
        -------
        Normalizer
            In memory, of NumPy arrays; merged with one of another library, it gives one of that
            library.

        Raises
        ------
        TypeError
            If shape is not a tuple of ints, or is left out although axis is given, if dtype is one
            without exponentials, or if axis is of the wrong type.
        ValueError
            If a length is negative, or axis is out of range or repeated.
        """
        name = "float64" if dtype is None else parsed_name(dtype)
        if not supported(name):
            raise TypeError(
                f"Normalizer.identity: dtype is {dtype!r}; use a float, complex or integer one"
            )
        if statistics and is_complex(name):
            raise TypeError(
                f"Normalizer.identity: dtype is {dtype!r}; use a real one, which statistics need"
            )
        if shape is None and axis is not None:
            raise TypeError(
                f"Normalizer.identity: axis is {axis!r} without a shape; give that of the data"
            )
        axes, kept = check_shape(() if shape is None else shape, axis, "Normalizer.identity")
        asked = None if dtype is None else name
        exact = _is_exact(exact, statistics, "Normalizer.identity")
        if exact:
            check_exactly(np.empty(0, dtype_of(np, name)), "Normalizer.identity", "dtype")
        if axis is None:
            return cls._identity((), None, asked, len(kept), statistics, exact)
        return cls._identity(kept, axes, asked, len(kept), statistics, exact)

    @classmethod
    def _identity(
        cls,
        shape: tuple[int, ...],
        axis: Axes | None,
        name: str | None,
        ndim: int,
        statistics: bool,
        exact: bool,
    ) -> Normalizer:
        """The identity for states of a shape, and of a dtype unless ``name`` is None."""
        given = None if name is None else dtype_of(np, dtypes_for(name).result)
        if exact:
            state = exactly.identity(shape, name or "float64")
            return cls(state, axis, given, ndim, neutral=True)
        nothing = identity_of_moments if statistics else identity
        return cls(nothing(numpy_arrays, shape, name or "float64"), axis, given, ndim, neutral=True)

    @property
    def m(self) -> Array:
        """The maximum of each slice, -inf for an empty one.

        In the dtype of the computation: float32 for half precision, float64 for integers; real for
        complex data.
        """
        return self._field("m", dtypes_for(self.dtype).maximum)

    @property
    def w(self) -> Array:
        """The sum of the weights at the maximum, float64 or better.

        Without weights, the number of elements that equal the maximum.
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
        """The shape of m, w, s and d: that of the data with length 1 along the reduced axes.

        ``()`` if axis is None; nan for an unknown length.
        """
        return tuple(self._states.shape if self._lazy else self._states[0].shape)

    @property
    def _lazy(self) -> bool:
        return isinstance(self._states, da.Array)

    @property
    def _of_one_slice(self) -> bool:
        return self.axis is None

    def compute(self, **kwargs: Any) -> Normalizer:
        """The same normalizer in memory.

        Parameters
        ----------
        **kwargs
            Passed to `dask.compute`.

        Returns
        -------
        Normalizer
            In memory, a few numbers for each slice.
        """
        return dask.compute(self, **kwargs)[0]

    def persist(self, **kwargs: Any) -> Normalizer:
        """The same normalizer with its states held by Dask.

        Parameters
        ----------
        **kwargs
            Passed to `dask.persist`.

        Returns
        -------
        Normalizer
            Lazy, and computed.
        """
        return dask.persist(self, **kwargs)[0]

    def _repr_html_(self) -> str | None:
        if not self._lazy:
            return None
        rows = {"axis": self.axis, "dtype of results": dtype_name(self.dtype), "m": self.m}
        return html_of("Normalizer", rows | {"d": self.d})

    # The protocol of Dask collections; in memory there is no graph, and so it is not one.

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
        kind = (dtype_name(self.dtype), self._dtype is None, self._neutral, self._ndim)
        return normalize_token((type(self).__name__, state, self.axis, *kind))

    def __dask_postcompute__(self) -> Any:
        return _in_memory, (self.axis, self._dtype, self._ndim)

    def __dask_postpersist__(self) -> Any:
        kind = (self.axis, self._dtype, self._ndim, False, self.statistics, self.exact)
        return _persisted, (*self._states.__dask_postpersist__(), *kind)

    def merge(self, *others: Normalizer) -> Normalizer:
        """The normalizer of all the data together; ``a + b`` merges two.

        Merging is associative and commutative, with `identity` as the neutral element, and works
        for all values: parts that are empty, or hold infinities or NaN, merge like any other.

        Parameters
        ----------
        *others : Normalizer
            The normalizers of the other parts, for the same slices.

        Returns
        -------
        Normalizer
            Lazy if one of them is. Dtypes are promoted as in NumPy.

        Raises
        ------
        TypeError
            If one is not a Normalizer, or they hold arrays of different libraries.
        ValueError
            If their shapes or axes differ (raised in the computation where a length is unknown
            before); or if some were made with ``statistics``, or ``exact``, and some without.
        """
        parts = (self, *others)
        if others and all(map(self._is_like, others)):
            states, ndim = (p._states for p in parts), max(p._ndim for p in parts)
            return Normalizer(_kernels.merge(*states), self.axis, self._dtype, ndim)
        for i, other in enumerate(others):
            if not isinstance(other, Normalizer):
                raise TypeError(
                    f"merge: others[{i}] is of type {type(other).__name__}; pass Normalizers, as "
                    "those of Normalizer.of"
                )
            self._check_mergeable(other)
        ndim = max(part._ndim for part in parts)
        lengths = [next((n for n in along if n == n), math.nan) for along in _shapes(parts)]
        dtypes = [dtype_name(part.dtype) for part in parts if part._dtype is not None]
        statistics, exact = (any(getattr(p, k) for p in parts) for k in ("statistics", "exact"))
        parts = tuple(part for part in parts if not part._neutral)
        if not parts:
            asked = promoted_name(*dtypes) if dtypes else None
            return Normalizer._identity(self.shape, self.axis, asked, ndim, statistics, exact)
        if len({part.statistics for part in parts}) > 1:
            raise ValueError(
                "merge: some normalizers have statistics and others do not; make all of them with "
                "statistics=True, or none"
            )
        if len({part.exact for part in parts}) > 1:
            raise ValueError(
                "merge: some normalizers have exact sums and others do not; make all of them with "
                "exact=True, or none"
            )
        statistics, exact = parts[0].statistics, parts[0].exact
        name = promoted_name(*dtypes)
        if not any(part._lazy for part in parts):
            check_same_library("merge", *(part._states.m for part in parts))
            state = union(*(part._states for part in parts), result=name)
            xp = array_namespace(state.m)
            return Normalizer(state, self.axis, dtype_of(xp, name), ndim)
        kind = self._kind(statistics, exact)
        blocks = merged_blocks([part._states for part in parts], lengths, name, kind)
        options = {"statistics": statistics, "exact": exact}
        return Normalizer(blocks, self.axis, dtype_of(np, name), ndim, **options)

    @staticmethod
    def _kind(statistics: bool, exact: bool) -> Any:
        """The type of the states."""
        return Moments if statistics else Exact if exact else State

    def __add__(self, other: object) -> Normalizer:
        return self.merge(other) if isinstance(other, Normalizer) else NotImplemented

    def __radd__(self, other: object) -> Normalizer:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # for sum()

    def update(self, block: Any, b: Any = None, *, where: Any = None) -> Normalizer:
        """A new normalizer, of the data so far and a block; this one does not change.

        Parameters
        ----------
        block : array_like
            With the slices of this normalizer and any length along ``axis``; of any shape if all
            data are one slice.
        b : array_like, optional
            Weights, which broadcast with the block, as in `logsumexp`.
        where : array_like of bool, optional
            Which elements of the block take part, as in `logsumexp`.

        Returns
        -------
        Normalizer
            ``self.merge(Normalizer.of(block, self.axis, b))``, with statistics if this one has
            them, or exact if this one is. That rounds once per block, unless sums are exact; for a
            long stream, `from_blocks` rounds less.

        Raises
        ------
        TypeError, ValueError
            As in `Normalizer.of` and `merge`.
        """
        kind = {"statistics": self.statistics, "exact": self.exact}
        new = Normalizer.of(block, self.axis, b, where=where, **kind)
        return self.merge(new)

    def _is_like(self, other: Any) -> bool:
        """Whether the two are of one kind, in NumPy arrays: merging them takes no promotion."""
        if type(other) is not Normalizer or self._neutral or other._neutral:
            return False
        mine, others = self._states, other._states
        return (
            type(mine) is type(others) is State
            and type(mine.m) is type(others.m) is np.ndarray
            and mine.m.shape == others.m.shape
            and self.axis == other.axis
            and self._dtype == other._dtype
        )

    def _check_mergeable(self, other: Normalizer) -> None:
        """Raise ValueError if the two are known to have different slices."""
        alike = self.axis == other.axis and len(self.shape) == len(other.shape)
        if not alike or not all(starmap(_agree, zip(self.shape, other.shape, strict=True))):
            raise ValueError(
                f"merge: normalizers of shape {self.shape} over axis {self.axis} and of shape "
                f"{other.shape} over axis {other.axis} have different slices; merge parts of the "
                "same slices"
            )

    def __float__(self) -> float:
        if math.prod(self.shape) != 1:
            raise TypeError(
                f"float: this normalizer, of shape {self.shape}, has several slices; use "
                "logsumexp(), which gives an array"
            )
        if is_complex(self.dtype):
            raise TypeError("float: this log-sum-exp is complex; use complex(n.logsumexp())")
        return float(_number(self.compute().logsumexp()).real)

    def to_dict(self) -> dict[str, Any]:
        """The normalizer as plain numbers, strings and lists, for JSON and the like.

        Returns
        -------
        dict
            With the keys ``version`` (1), ``dtype`` (a name, or None), ``identity``, ``axis``,
            ``ndim``, ``shape``, ``m``, ``w``, ``s`` and, with statistics, ``t`` and ``q``; with
            exact sums ``top``, ``anchor`` and ``rest`` in place of ``s``. Numbers that JSON does
            not have are strings: "inf", "-inf", "nan", and all digits of a longdouble. Complex
            numbers are pairs.

        Raises
        ------
        TypeError
            If this normalizer is lazy.

        Examples
        --------
        >>> import dsoftmax
        >>> n = dsoftmax.Normalizer.of([0.0, 1.0])
        >>> kept = n.to_dict()
        >>> kept["m"], kept["w"], kept["dtype"]
        (1.0, 1.0, 'float64')
        >>> dsoftmax.Normalizer.from_dict(kept) == n
        True
        """
        if self._lazy:
            raise TypeError("to_dict: this normalizer is lazy; use n.compute().to_dict()")
        name = None if self._dtype is None else dtype_name(self._dtype)
        return to_dict(self._states, self.axis, name, self._ndim, self._neutral)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Normalizer:
        """The normalizer of a dict from `to_dict`, with NumPy arrays.

        Parameters
        ----------
        kept : dict
            A dict from `to_dict`, of this or an earlier version.

        Returns
        -------
        Normalizer

        Raises
        ------
        TypeError
            If kept is not a dict.
        ValueError
            If its version is unknown, or a key is missing or has an invalid value.
        """
        state, axis, name, ndim, neutral = from_dict(kept)
        return cls(state, axis, None if name is None else dtype_of(np, name), ndim, neutral)

    def logsumexp(self, keepdims: bool = False, return_sign: bool = False) -> Array:
        """log(sum(b exp(x))) of each slice, as `dsoftmax.logsumexp` gives for the data.

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
        found = self._results(SIGNED_LOGSUMEXP if return_sign else LOGSUMEXP, keepdims)
        return found if return_sign else found[0]

    def entropy(self, keepdims: bool = False) -> Array:
        """The entropy of the softmax of each slice in nats, as `dsoftmax.entropy` gives it.

        Parameters
        ----------
        keepdims : bool, optional
            Whether the reduced axes stay, with length 1.

        Returns
        -------
        array
            Of dtype ``self.dtype``; lazy if the normalizer is.

        Raises
        ------
        ValueError
            If this normalizer was made without ``statistics=True``.

        Examples
        --------
        >>> import dsoftmax
        >>> n = dsoftmax.Normalizer.from_blocks([[0.0], [1.0, 2.0]], statistics=True)
        >>> n.entropy().round(6), n.effective_sample_size().round(6)
        (np.float64(0.832396), np.float64(1.958699))
        """
        return self._statistic(ENTROPY, keepdims)

    def effective_sample_size(self, keepdims: bool = False) -> Array:
        """Kish's effective sample size, as `dsoftmax.effective_sample_size` gives it.

        Parameters
        ----------
        keepdims : bool, optional
            Whether the reduced axes stay, with length 1.

        Returns
        -------
        array
            Of dtype ``self.dtype``; lazy if the normalizer is.

        Raises
        ------
        ValueError
            If this normalizer was made without ``statistics=True``.
        """
        return self._statistic(EFFECTIVE_SAMPLE_SIZE, keepdims)

    def _statistic(self, operation: Operation, keepdims: bool) -> Array:
        if not self.statistics:
            raise ValueError(
                f"Normalizer.{operation.name}: this normalizer was made without statistics, and "
                "has m, w and s alone; make it with statistics=True"
            )
        return self._results(operation, keepdims)[0]

    def _results(self, operation: Operation, keepdims: bool) -> tuple[Array, ...]:
        axes = self.axis or ()
        operation = EXACT[operation] if self.exact else operation
        found = [
            of_states(result, operation.key, self._states, axes, self.dtype, keepdims)
            for result in operation.results
        ]
        if keepdims and self._of_one_slice:
            found = [number[(None,) * self._ndim] for number in found]
        return tuple(found)

    def softmax(self, x: Any, *, reread: Reread = "auto") -> Array:
        """exp(x - m) / d: the softmax of any part of the data of this normalizer.

        Parameters
        ----------
        x : array_like
            Part of the data: as many dimensions as the normalizer and the same lengths, except
            along ``axis``; of any shape if all data are one slice.
        reread : bool or "auto", optional
            Whether to read a Dask array again if this normalizer is computed from it, or if the
            lengths of its chunks have to be found first; as in `dsoftmax.softmax`.

        Returns
        -------
        array
            The probabilities, as from `dsoftmax.softmax`; lazy if x or the normalizer is.

        Raises
        ------
        TypeError
            If x or the normalizer is complex, or x is not numeric.
        ValueError
            If the shapes do not match; raised in the computation if a length is unknown before.
        """
        kernel = exactly.rescale if self.exact else softmax_by
        return self._apply("softmax", kernel, x, reread)

    def log_softmax(self, x: Any, *, reread: Reread = "auto") -> Array:
        """(x - m) - log d: the log-softmax of any part of the data of this normalizer.

        Parameters
        ----------
        x : array_like
            Part of the data, as in `softmax`.
        reread : bool or "auto", optional
            Whether to read a Dask array again, as in `softmax`.

        Returns
        -------
        array
            The log-probabilities, as from `dsoftmax.log_softmax`; lazy if x or the normalizer is.

        Raises
        ------
        TypeError, ValueError
            As in `softmax`.
        """
        kernel = exactly.log_rescale if self.exact else log_softmax_by
        return self._apply("log-softmax", kernel, x, reread)

    def cumulative_logsumexp(self, x: Any) -> Array:
        """Running log-sum-exps of the next block of a stream, continued from this normalizer.

        Parameters
        ----------
        x : array_like
            The block that comes after the data of this normalizer: of one dimension if these are
            one slice, else of the same shape, except along ``axis``. In memory, as the normalizer
            must be.

        Returns
        -------
        array
            The logarithm of the sum of exponentials of the data so far and of x up to each element,
            as from `dsoftmax.cumulative_logsumexp`.

        Raises
        ------
        TypeError
            If x or the normalizer is lazy or complex, or x is not numeric.
        ValueError
            If slices run along several axes, or the shapes do not match.

        Examples
        --------
        >>> import dsoftmax
        >>> n = dsoftmax.Normalizer.identity()
        >>> for block in ([0.0, 0.0], [0.0]):
        ...     print(n.cumulative_logsumexp(block).round(4))
        ...     n = n.update(block)
        [0.     0.6931]
        [1.0986]
        """
        function = "Normalizer.cumulative_logsumexp"
        x = as_array(x, function)
        if self._lazy or isinstance(x, da.Array):
            what = "the normalizer" if self._lazy else "x"
            raise TypeError(
                f"{function}: {what} is lazy; compute it first, or pass the whole as one Dask "
                "array to dsoftmax.cumulative_logsumexp"
            )
        axes = self._axes_of(function, x)
        if len(axes) != 1:
            raise ValueError(
                f"{function}: x has shape {tuple(x.shape)} and slices along axes {axes}, but "
                "running sums go along one axis; use one-dimensional blocks, or a normalizer of "
                "one axis"
            )
        before = None
        if not self._neutral:
            check_same_library(function, x, self._states.m)
            states = exactly.finish(self._states) if self.exact else self._states
            state = State(states.m, states.w, states.s)
            before = after(None, expanded(state, 1) if self._of_one_slice else state)
        return running_sums(x, before, axes[0], reverse=False, include_initial=False)

    def _field(self, name: str, dtype: Any) -> Array:
        if self._lazy:
            return map_blocks(
                Stage(f"normalizer-{name}", field_of, dtype, field=name), self._states
            )
        states = exactly.finish(self._states) if self.exact else self._states
        value = getattr(states, name)  # NumPy arrays can be handed out: they are read-only
        of_numpy = isinstance(value, (np.ndarray, np.generic))
        return unwrap_scalar(value) if of_numpy else copied(value)

    def _apply(self, name: str, kernel: Callable[..., Any], x: Any, reread: Reread) -> Array:
        function = f"Normalizer.{name.replace('-', '_')}"
        x = as_array(x, function)
        reread = check_reread(reread, function)
        axes = self._axes_of(function, x)
        if self._lazy or isinstance(x, da.Array):
            own = self._states if self._lazy else self._states.m
            check_beside_dask(function, {"x": x, "the normalizer": own})
            kind = self._kind(self.statistics, self.exact)
            return rescaled_blocks(name, function, kernel, x, self._states, axes, reread, kind)
        if name == "softmax" and self._of_one_slice and not self.exact:
            quick = _kernels.quick_softmax(x, self._states)
            if quick is not None:
                return quick
        check_same_library(function, x, self._states.m)
        state = expanded(self._states, x.ndim) if self._of_one_slice else self._states
        with _kernels.InMemory(x.shape, threads_here, wait=True):
            return unwrap_scalar(kernel(x, state))

    def _axes_of(self, function: str, x: Array) -> Axes:
        """The axes along which slices of x run, whose shape has to match."""
        if is_complex(self.dtype):
            raise TypeError(f"{function}: this normalizer is of complex data, which has no softmax")
        if self.axis is None:
            return tuple(range(x.ndim))
        if x.ndim != self._ndim or not all(
            i in self.axis or _agree(x.shape[i], n) for i, n in enumerate(self.shape)
        ):
            raise ValueError(
                f"{function}: x has shape {tuple(x.shape)} and the normalizer {self.shape}; they "
                f"may differ along axis {self.axis} only"
            )
        return self.axis


def _is_exact(exact: bool | None, statistics: bool, function: str) -> bool:
    """Whether sums are to be exact; ValueError if there are to be statistics, too."""
    exact = check_exact(exact, function)
    if exact and statistics:
        raise ValueError(
            f"{function}: statistics have no exact sums; use exact=False (or Dask's setting "
            "dsoftmax.exact), or make a second normalizer with them"
        )
    return exact


def _number(x: Any) -> complex:
    """The single element of an array, as a Python number."""
    x = array_namespace(x).reshape(x, ())
    return complex(x) if is_complex(x.dtype) else float(x)


def _agree(m: float, n: float) -> bool:
    """Whether two lengths may be the same; an unknown one, nan, may be any."""
    return m == n or math.isnan(m) or math.isnan(n)


def _shapes(parts: Iterable[Normalizer]) -> Iterable[tuple[float, ...]]:
    """The lengths of all parts, for each axis."""
    return zip(*(part.shape for part in parts), strict=True)


def _in_memory(blocks: Any, *kind: Any) -> Normalizer:
    """The normalizer in memory, from the computed blocks of a lazy one."""
    return Normalizer(joined(blocks), *kind)


def _persisted(
    graph: Any,
    rebuild: Callable[..., da.Array],
    arguments: tuple[Any, ...],
    *kind: Any,
    **options: Any,
) -> Normalizer:
    """A lazy normalizer whose states Dask holds."""
    return Normalizer(rebuild(graph, *arguments, **options), *kind)
