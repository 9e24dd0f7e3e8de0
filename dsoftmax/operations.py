"""The operations of dsoftmax as data, and functions that run them or your own.

An `Operation` has a `Monoid`, the state kept for each slice, and what is computed from it: results,
for `reduce`, or a second map, for `rescale`. `OPERATIONS` lists those of the package, for the
dashboard and the benchmarks; all are in one file, side by side. ``DESIGN.md`` shows how to define
one outside the package, ``CONTRIBUTING.md`` how to add one to it, step by step.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from . import _kernels
from ._algebra.dtypes import dtypes_for, real_name, result_dtype
from ._algebra.moments import merge as merge_moments
from ._algebra.normalizer import signed_log_sum
from ._algebra.prefix import after
from ._algebra.sums import mean
from ._algebra.sums import merge as merge_sums
from ._arguments import (
    Array,
    Axis,
    as_array,
    check_axis,
    check_exactly,
    check_not_empty,
    check_split_every,
)
from ._engine import reduced, rescaled
from ._graph.choose import Reread
from ._graph.tree import SplitEvery
from ._kernels import exact, labels, matmul
from ._operation import Monoid, Operation, Result, Scan
from ._reread import check_reread
from ._topk_operation import best

__all__ = [
    "CROSS_ENTROPY",
    "CUMULATIVE_LOGSUMEXP",
    "EFFECTIVE_SAMPLE_SIZE",
    "ENTROPY",
    "EXACT",
    "EXACT_NORMALIZER",
    "LOGSUMEXP",
    "LOG_SOFTMAX",
    "MOMENTS",
    "NORMALIZER",
    "OPERATIONS",
    "SIGNED_LOGSUMEXP",
    "SOFTMAX",
    "Monoid",
    "Operation",
    "Result",
    "Scan",
    "expectation_of",
    "reduce",
    "rescale",
    "softmax_matmul",
]


def _log_abs(state: Any) -> Array:
    return signed_log_sum(state)[0]


def _sign(state: Any) -> Array:
    return signed_log_sum(state)[1]


def _real(name: str) -> str:
    return real_name(dtypes_for(name).result)


def _given(name: str, given: str) -> str:
    return given


# Three numbers of eight bytes for each slice: m, w and s.
NORMALIZER = Monoid("normalizer", _kernels.of_block, _kernels.merge, slice_bytes=24)

SOFTMAX = Operation("softmax", NORMALIZER, rescale=_kernels.rescale, whole=_kernels.softmax)
LOG_SOFTMAX = Operation(
    "log_softmax",
    NORMALIZER,
    rescale=_kernels.log_rescale,
    whole=_kernels.log_softmax,
    title="logarithm of the softmax",
)
LOGSUMEXP = Operation(
    "logsumexp",
    NORMALIZER,
    (Result(_kernels.log_sum),),
    whole=_kernels.logsumexp,
    title="log-sum-exp",
)
SIGNED_LOGSUMEXP = Operation(
    "logsumexp", NORMALIZER, (Result(_log_abs, dtype=_real), Result(_sign))
)

# The same, with sums that are exact in any order.
EXACT_NORMALIZER = Monoid(
    "normalizer", exact.of_block, exact.merge, exact.SLICE_BYTES, finish=exact.finish
)
EXACT = {
    SOFTMAX: Operation("softmax", EXACT_NORMALIZER, rescale=exact.rescale, whole=exact.softmax),
    LOG_SOFTMAX: Operation(
        "log_softmax", EXACT_NORMALIZER, rescale=exact.log_rescale, whole=exact.log_softmax
    ),
    LOGSUMEXP: Operation(
        "logsumexp", EXACT_NORMALIZER, (Result(exact.log_sum),), whole=exact.logsumexp
    ),
    SIGNED_LOGSUMEXP: Operation(
        "logsumexp", EXACT_NORMALIZER, (Result(exact.log_sum), Result(exact.sign))
    ),
}


def either(
    operation: Operation, exact: bool, x: Array, name: str = "x", b: Any = None
) -> Operation:
    """The operation or, if ``exact``, that with exact sums; an error if there are none of x."""
    if not exact:
        return operation
    check_exactly(x, operation.name, name, b)
    return EXACT[operation]


# m, w, s, t and q. What comes of them has one prefix, and so the states of an array in common.
MOMENTS = Monoid("moments", _kernels.moments, merge_moments, slice_bytes=40)
ENTROPY = Operation(
    "entropy",
    MOMENTS,
    (Result(_kernels.entropy),),
    title="entropy in nats",
    states="softmax",
)
EFFECTIVE_SAMPLE_SIZE = Operation(
    "effective_sample_size",
    MOMENTS,
    (Result(_kernels.effective_sample_size),),
    title="effective sample size",
    states="softmax",
)

CUMULATIVE_LOGSUMEXP = Scan(
    "cumulative_logsumexp", NORMALIZER, after, _kernels.cumulative_logsumexp
)


def expectation_of(dtypes: tuple[str, ...]) -> Operation:
    """The operation of `dsoftmax.expectation` for some arrays of values.

    Parameters
    ----------
    dtypes : tuple of str
        The dtype of each mean, one for each array of values.

    Returns
    -------
    Operation
        An operation on x and these arrays, in one pass.
    """
    count = len(dtypes)
    sums = Monoid("sums", _kernels.sums, merge_sums, slice_bytes=24 + 8 * count)
    results = (
        Result(partial(mean, k=k), dtype=partial(_given, given=name))
        for k, name in enumerate(dtypes)
    )
    return Operation("expectation", sums, tuple(results), arrays=1 + count)


# Of scores and labels: m, w, s, the element at the label, and two booleans.
_LABELLED = Monoid(NORMALIZER.name, labels.of_block, labels.merge, slice_bytes=34)
CROSS_ENTROPY = Operation("cross_entropy", _LABELLED, (Result(labels.cross_entropy),), arrays=2)


def softmax_matmul(columns: int = 1) -> Operation:
    """The operation of `dsoftmax.softmax_matmul`.

    Parameters
    ----------
    columns : int, optional
        How many columns the blocks of the matrix have at most, which decides how many states a task
        merges.

    Returns
    -------
    Operation
        An operation on the scores and the matrix.
    """
    size = 8 + 24 // columns  # of an element of o, with its share of m, w and s
    monoid = Monoid(NORMALIZER.name, matmul.of_block, matmul.merge, size)
    return Operation("softmax_matmul", monoid, (Result(matmul.mean),), arrays=2)


# All of the package but scans; one of each family that has a parameter: k, dtypes or columns.
OPERATIONS = (
    SOFTMAX,
    LOG_SOFTMAX,
    LOGSUMEXP,
    ENTROPY,
    EFFECTIVE_SAMPLE_SIZE,
    expectation_of(("float64",)),
    best("softmax_topk", 1),
    best("topk", 1),
    softmax_matmul(),
    CROSS_ENTROPY,
)


def reduce(
    operation: Operation,
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    *,
    split_every: SplitEvery = None,
) -> Array | tuple[Array, ...]:
    """The results of an operation, in one pass over x.

    Parameters
    ----------
    operation : Operation
        One that has results.
    x : array_like
        Dask array, NumPy array or one of another array-API library, list or scalar; of floats,
        integers or booleans. Whether masked entries take part is up to the operation.
    axis : int or tuple of ints, optional
        Axis or axes of a slice; None (the default) means all axes.
    keepdims : bool, optional
        Whether these axes stay, with length 1.
    split_every : int or dict of int to int, optional
        How many states one task merges at most, as in `dsoftmax.softmax`.

    Returns
    -------
    array, or tuple of arrays
        One for each of ``operation.results``; lazy for a Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `dsoftmax.logsumexp`, at the call; ValueError if the operation has no results, or
        takes several arrays.

    Examples
    --------
    >>> import dask.array as da
    >>> from dsoftmax.operations import LOGSUMEXP, reduce
    >>> reduce(LOGSUMEXP, da.zeros(8, chunks=2)).compute()
    np.float64(2.0794415416798357)
    """
    name = operation.name
    if not operation.results:
        raise ValueError(f"reduce: the operation {name} has no results; use rescale")
    if operation.arrays > 1:
        raise ValueError(
            f"reduce: the operation {name} takes {operation.arrays} arrays; call dsoftmax.{name}"
        )
    x = as_array(x, name)
    axes = check_axis(axis, x.shape, name)
    check_split_every(split_every, x.ndim, name)
    found = reduced(operation, x, axes, result_dtype(x), keepdims, split_every)
    return found if len(operation.results) > 1 else found[0]


def rescale(
    operation: Operation,
    x: Any,
    axis: Axis = None,
    *,
    split_every: SplitEvery = None,
    reread: Reread = "auto",
) -> Array:
    """The second map of an operation, which combines each element with the state of its slice.

    Parameters
    ----------
    operation : Operation
        One that has a ``rescale``.
    x : array_like
        As in `reduce`; not empty along axis.
    axis : int or tuple of ints, optional
        Axis or axes of a slice; None (the default) means all axes.
    split_every : int or dict of int to int, optional
        How many states one task merges at most, as in `dsoftmax.softmax`.
    reread : bool or "auto", optional
        Whether the second map reads a Dask array again, as in `dsoftmax.softmax`.

    Returns
    -------
    array
        In the shape of x, and its dtype if that is floating, else float64; lazy, with the chunks
        of x, for a Dask array.

    Raises
    ------
    TypeError, ValueError
        As in `dsoftmax.softmax`, at the call; ValueError if the operation has no second map.
    """
    name = operation.name
    if operation.rescale is None:
        raise ValueError(f"rescale: the operation {name} has no second map; use reduce")
    x = as_array(x, name)
    axes = check_axis(axis, x.shape, name)
    check_not_empty(x, axes, name)
    check_split_every(split_every, x.ndim, name)
    reread = check_reread(reread, name)
    return rescaled(operation, x, axes, result_dtype(x), split_every, reread)
