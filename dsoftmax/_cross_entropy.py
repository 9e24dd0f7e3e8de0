"""cross_entropy: what a softmax gives to the labels, in one reading, over chunks of classes."""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from . import operations
from ._algebra.dtypes import dtype_name
from ._arguments import (
    Array,
    Axes,
    as_any_array,
    as_array,
    check_beside_dask,
    check_not_empty,
    check_same_library,
)
from ._engine import reduced
from ._graph.alignment import cut_as, join_blocks, unlike
from ._graph.stage import Call, Stage
from ._graph.tree import SplitEvery
from ._kernels import Terms
from ._kernels import labels as kernel
from ._kernels.labels import Classes, OutOfRangeError
from ._placed import places_along
from ._terms import Joined, as_joined, as_terms

_NAME, _KEY = operations.CROSS_ENTROPY.name, operations.CROSS_ENTROPY.key


def cross_entropy(
    x: Any,
    labels: Any,
    axis: int = -1,
    *,
    ignore_label: int | None = None,
    where: Any = None,
    keepdims: bool = False,
    split_every: SplitEvery = None,
) -> Array:
    r"""Cross-entropy of a softmax and labels, :math:`\log \sum_j e^{x_j} - x_{label}`.

    The negative logarithm of the probability that the softmax of each slice gives to its label, as
    in ``torch.nn.functional.cross_entropy(x, labels, reduction="none")``, for classes in any number
    of chunks. x is read once; neither the softmax nor its logarithm is ever stored.

    Parameters
    ----------
    x : array_like
        Scores: Dask array, NumPy array or one of another array-API library, or list; of floats,
        integers or booleans. Masked entries take no part.
    labels : array_like of int
        The class of each slice, from 0 to the length of the axis minus 1: in the shape of x (and
        ``where``, broadcast) without ``axis``, and any integer dtype. A NumPy array, a Dask array,
        or an array of the library of x. Slices with a masked label are left out, as those with
        ``ignore_label`` are.
    axis : int, optional
        The axis of the classes; the last one by default.
    ignore_label : int, optional
        A label that leaves its slice out, such as the usual -100 or 255; the result is 0 there. No
        other label may be out of range.
    where : array_like of bool, optional
        Which classes take part; broadcasts with x, as in `softmax`. Other classes have probability
        0, whatever x is there, so such a label gives inf.
    keepdims : bool, optional
        Whether the axis stays, with length 1.
    split_every : int or dict of int to int, optional
        For a Dask array, how many partial results one task merges at most, as in `softmax`.

    Returns
    -------
    array
        The cross-entropy of each slice in nats, in the shape of labels, and the dtype of x if that
        is floating, else float64. Lazy, with the chunks of x, if x, labels or where is a Dask
        array.

    Raises
    ------
    TypeError
        If x is complex or not numeric, sparse, labelled, stored, a Dask collection other than an
        array, or a list of Dask or masked arrays; if labels are not of integers; if where is not
        boolean; if axis is not an int; if ignore_label or split_every is of the wrong type.
    ValueError
        If a label is out of range: the error has its value and position, and is raised at the
        call for labels in memory, in the computation for others. If labels do not have the shape of
        x without the axis, where does not broadcast with x, axis is out of range
        (`numpy.exceptions.AxisError`), or x is empty along it. If the lengths of the chunks of x
        along the axis are unknown, since then the position of a label is too. If other unknown
        lengths cannot agree; in the computation, where only a worker can tell.

    See Also
    --------
    log_softmax : The logarithms of all probabilities.
    logsumexp : The logarithm of the denominator alone.

    Notes
    -----
    Computed as (m - x_label) + log d in float64 (or better), and never as logsumexp(x) - x_label,
    whose rounding at the size of x loses the digits of m - x_label [1]_. As in `log_softmax`,
    slices that hold NaN, or nothing but -inf, give NaN; so does a label at +inf. A label elsewhere
    in a slice with +inf, at -inf, or at a masked entry gives inf. A label that ``where`` leaves out
    gives inf in every slice, even where all other classes are left out.

    Sums and means over slices are taken of the result::

        losses = dsoftmax.cross_entropy(x, labels, ignore_label=-100)
        mean = losses.sum() / (labels != -100).sum()

    and the perplexity is ``exp(mean)``. With s chunks along the axis there is one task per chunk
    and about s / split_every for the merges; a task holds one chunk. Labels in a Dask array are
    rechunked to match x, and have a task for each of their chunks.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> import dask.array as da
    >>> import dsoftmax
    >>> x = da.from_array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [1.0, 1.0, 1.0]], chunks=(3, 2))
    >>> dsoftmax.cross_entropy(x, [2, 0, -100], ignore_label=-100).compute().round(4)
    array([0.4076, 0.0949, 0.    ])
    """
    x, labels = as_array(x, _NAME), _as_labels(labels)
    check_beside_dask(_NAME, {"x": x, "labels": labels})
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"{_NAME}: axis is {axis!r}; use one int, the axis of the classes")
    terms, axes, dtype = as_terms(_NAME, x, axis, split_every, where=where)
    named = "where" if not any(map(math.isnan, x.shape)) else "x"
    x = terms.blocks if isinstance(terms, Joined) else terms
    axis = _check_axis(axes, x.shape, named)
    check_not_empty(x, axes, _NAME)
    check = partial(
        cross_entropy_labels,
        classes=int(x.shape[axis]),
        axis=axis,
        ignored=_check_ignored(ignore_label),
    )
    _check_shape(x, labels, axis)
    lazy = isinstance(labels, da.Array)
    if lazy:
        options = check.keywords | {"dtype": np.int64, "meta": np.empty((0,) * labels.ndim, int)}
        labels = labels.map_blocks(cross_entropy_labels, **options)
    else:
        labels = check(labels)
    classes: Any
    if lazy or isinstance(x, da.Array):
        joined = as_joined(_NAME, terms, labels, _axes_of_scores(x, axis), dtype)
        classes, call = _joined(joined, labels, axis), Call.of(_NAME, joined.arrays[0], axes)
    else:
        if not isinstance(labels, np.ndarray):
            check_same_library(_NAME, x.x if isinstance(x, Terms) else x, labels)
        classes, call = _with_labels(x, labels, 0, axis), None
    return reduced(operations.CROSS_ENTROPY, classes, axes, dtype, keepdims, split_every, call)[0]


def _as_labels(labels: Any) -> Array:
    found = as_any_array(labels, _NAME, "labels")
    if not (name := dtype_name(found.dtype)).lstrip("u").startswith("int"):
        raise TypeError(_not_integers(name))
    return found


def _not_integers(dtype: str) -> str:
    return (
        f"{_NAME}: labels have dtype {dtype}; pass integers, the indices of the classes along the "
        "axis, as labels.astype('int64') where the values are whole"
    )


def _check_axis(axes: Axes, shape: tuple[Any, ...], named: str) -> int:
    if not axes:
        raise ValueError(f"{_NAME}: x is a scalar; pass an array with an axis of classes")
    if math.isnan(shape[axes[0]]):
        raise ValueError(
            f"{_NAME}: the chunk sizes of {named} along axis {axes[0]} are unknown, and so is where"
            f" a label is; call {named}.compute_chunk_sizes()"
        )
    return axes[0]


def _check_ignored(label: Any) -> int | None:
    try:
        if isinstance(label, (bool, np.bool_)):
            raise TypeError
        return None if label is None else operator.index(label)
    except TypeError:
        raise TypeError(f"{_NAME}: ignore_label is {label!r}; use an int, or None") from None


def _check_shape(x: Array, labels: Array, axis: int) -> None:
    lengths = (*x.shape[:axis], *x.shape[axis + 1 :])
    alike = [m == n or (m != m and n != n) for m, n in zip(lengths, labels.shape, strict=False)]
    if labels.ndim != len(lengths) or not all(alike):
        if any(n != n for n in (*lengths, *labels.shape)) and labels.ndim == len(lengths):
            hint = "call .compute_chunk_sizes() on each one with nan"
        else:
            hint = "pass one label for each slice"
        raise ValueError(
            f"{_NAME}: labels have shape {tuple(labels.shape)}, and x without axis {axis} has "
            f"shape {lengths}; {hint}"
        )
    for i, j in _axes_of_labels(x, axis).items():
        if x.shape[j] != x.shape[j] and x.numblocks[j] != labels.numblocks[i]:
            raise ValueError(
                f"{_NAME}: x has {x.numblocks[j]} chunks of unknown sizes along axis {j}, and "
                f"labels have {labels.numblocks[i]}; call .compute_chunk_sizes() on both"
            )


def _axes_of_labels(x: Array, axis: int) -> dict[int, int]:
    """The axes of labels, and which of x they are."""
    return {i: i if i < axis else i + 1 for i in range(x.ndim - 1)}


def _axes_of_scores(x: Array, axis: int) -> dict[int, int]:
    """The axes of x but that of the classes, and which of labels they are."""
    return {j: i for i, j in _axes_of_labels(x, axis).items()}


def _joined(terms: Joined, labels: Array, axis: int) -> da.Array:
    """An array of the shape of x, whose blocks come with their labels and where they begin."""
    x = terms.blocks
    axes = _axes_of_labels(x, axis)
    labels = cut_as(labels, x, axes)
    join = Stage(f"{_KEY}-classes", _classes, terms.stage.dtype, terms=terms.stage, axis=axis)
    parts = [(a, tuple(range(x.ndim))) for a in terms.arrays]
    places = places_along(x.chunks[axis])
    return join_blocks(join, x.ndim, *parts, (labels, tuple(axes.values())), (places, (axis,)))


# What tasks call: module-level functions, so that keys are deterministic.


def cross_entropy_labels(
    labels: Array, classes: int, axis: int, ignored: int | None, block_info: Any = None
) -> Array:
    """The labels of a block, those that are left out as one value; or an error."""
    try:
        return kernel.checked(labels, classes, ignored)
    except TypeError as error:
        raise TypeError(_not_integers(str(error))) from None
    except OutOfRangeError as error:
        index, where = error.index, ""
        if block_info:
            starts = [start for start, _ in block_info[0]["array-location"]]
            if any(map(math.isnan, starts)):
                where = f" of chunk {block_info[0]['chunk-location']}"
            else:
                index = tuple(int(i + start) for i, start in zip(index, starts, strict=True))
        more = f" (and {error.count - 1} more are out of range)" if error.count > 1 else ""
        place = f" at {index}{where}" if index else ""
        raise ValueError(
            f"{_NAME}: a label is {error.label}{place}{more}, and x has {classes} classes along "
            f"axis {axis}; use 0 to {classes - 1}, or ignore_label={error.label} to leave it out"
        ) from None


def _classes(*blocks: Array, terms: Stage, axis: int) -> Classes:
    *arrays, labels, place = blocks
    x, length = terms(*arrays), int(place["length"].item())
    if x.shape[axis] != length:
        raise ValueError(
            f"{_NAME}: a block of x has {x.shape[axis]} classes along axis {axis}, and its Dask "
            f"array says {length}, so that labels would name others; announce the lengths that "
            "there are, as with map_blocks(..., chunks=...)"
        )
    return _with_labels(x, labels, int(place["start"].item()), axis)


def _with_labels(x: Array | Terms, labels: Array, start: int, axis: int) -> Classes:
    shapes = {"x": tuple(x.shape), "labels": tuple(labels.shape)}
    if shapes["labels"] != (*x.shape[:axis], *x.shape[axis + 1 :]):
        raise unlike(_NAME, shapes)
    index = (*(slice(None),) * axis, None, ...)
    return Classes(x, labels[index], start)
