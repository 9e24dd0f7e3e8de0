"""What the commands call: a function of the package for each, with the options of the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import dask.array as da
import numpy as np

import dsoftmax

from .. import grouped
from .._arguments import Axes, check_not_empty

Options = dict[str, Any]


class Arrays(NamedTuple):
    """The array x, another one beside it, and the argument ``where`` if there is a mask."""

    x: da.Array
    beside: da.Array | None
    mask: dict[str, da.Array]


class Found(NamedTuple):
    """What a function gives: arrays to write, and the numbers by which they are summarised.

    Attributes
    ----------
    results : dict of str to dask.array.Array
        By names that tell them apart; one alone has none.
    label : str
        What the numbers are.
    numbers : dask.array.Array, optional
        One for each slice.
    each : str
        What a slice is called.
    """

    results: dict[str, da.Array]
    label: str = ""
    numbers: da.Array | None = None
    each: str = "slice"


class Function(NamedTuple):
    """How a command calls its function.

    Attributes
    ----------
    find : callable
        ``find(name, arrays, axes, options) -> Found``; the axes are those of a slice.
    axis : int, optional
        Of a slice, for a command without the option --axis; None for all of them.
    flat : bool
        Whether without --axis the axes are None, and the array is flattened.
    beside : {"number", "integer", "label"}
        What the array beside x has to hold.
    broadcasts : bool
        Whether the array beside x broadcasts with it, so that axes are those of both.
    """

    find: Callable[[str, Arrays, Axes | None, Options], Found]
    axis: int | None = None
    flat: bool = False
    beside: Literal["number", "integer", "label"] = "number"
    broadcasts: bool = False


def _normalized(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    check_not_empty(arrays.x, axes or (), name)
    # With one set of states, as the functions softmax and logsumexp do not share theirs.
    normalizer = dsoftmax.Normalizer.of(arrays.x, axes, **arrays.mask)
    y = getattr(normalizer, name)(arrays.x)
    if arrays.mask:
        out = y.dtype.type(-np.inf if name == "log_softmax" else 0)
        y = da.where(arrays.mask["where"], y, out)
    return Found({"": y}, "logsumexp", normalizer.logsumexp())


def _number(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    of = (arrays.x,) if arrays.beside is None else (arrays.x, arrays.beside)
    y = getattr(dsoftmax, name)(*of, axis=axes or None, keepdims=options["keepdims"], **arrays.mask)
    return Found({"": y}, name, y)


def _labelled(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    y = dsoftmax.cross_entropy(
        arrays.x,
        arrays.beside,
        options["axis"],
        ignore_label=options["ignore_label"],
        keepdims=options["keepdims"],
        **arrays.mask,
    )
    if options["mean"]:
        ignored = options["ignore_label"]
        count = y.size if ignored is None else (arrays.beside != ignored).sum()
        total, count = y.sum(dtype=np.promote_types(y.dtype, np.float64)), da.asarray(count)
        y = da.where(count > 0, total / da.maximum(count, 1), np.nan)
    return Found({"": y}, name, y)


def _running(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    axis, reverse = options["axis"], options["reverse"]
    y = dsoftmax.cumulative_logsumexp(
        arrays.x, axis, reverse=reverse, include_initial=options["include_initial"]
    )
    total = slice(1) if reverse else slice(-1, None)
    (axis,) = axes or ()
    return Found({"": y}, "logsumexp", y[(slice(None),) * axis + (total,)])


def _matmul(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    y, logs = dsoftmax.softmax_matmul(arrays.x, arrays.beside, return_logsumexp=True, **arrays.mask)
    return Found({"": y}, "logsumexp", logs)


def _best(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    k, random = options["k"], {"rng": options["seed"]} if "seed" in options else {}
    one = axes[0] if axes else None
    found = getattr(dsoftmax, name)(arrays.x, k, one, **random, **arrays.mask)
    kinds = {"softmax_topk": "probability", "topk": "element", "gumbel_topk": "key"}
    label = f"{'smallest' if k < 0 else 'largest'} {kinds[name]}"
    first = found[0][(slice(None),) * (one or 0) + (slice(1),)]
    return Found(found._asdict(), label, first)


def _drawn(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    y = dsoftmax.choice(
        arrays.x,
        options["size"],
        axes[0] if axes else None,
        replace=not options["no_replace"],
        method=options["method"],
        rng=options["seed"],
        **arrays.mask,
    )
    return Found({"indices": y})


def _within(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    return Found({"": getattr(grouped, name)(arrays.x, arrays.beside, axis=_along(axes))})


def _of_groups(name: str, arrays: Arrays, axes: Axes | None, options: Options) -> Found:
    labels, values = getattr(grouped, name)(arrays.x, arrays.beside, axis=_along(axes))
    return Found({"labels": labels, "values": values}, name, values, "group")


def _along(axes: Axes | None) -> Any:
    """One axis; several as they are, which is an error."""
    return axes[0] if axes and len(axes) == 1 else axes


# Of the commands that do not give one number per slice, or do it in another way than most.
FUNCTIONS = {
    "softmax": Function(_normalized),
    "log-softmax": Function(_normalized),
    "expectation": Function(_number, broadcasts=True),
    "cross-entropy": Function(_labelled, beside="integer"),
    "cumulative-logsumexp": Function(_running),
    "softmax-matmul": Function(_matmul, axis=-1),
    "softmax-topk": Function(_best, flat=True),
    "topk": Function(_best, flat=True),
    "choice": Function(_drawn, flat=True),
    "gumbel-topk": Function(_best, flat=True),
}

# With labels beside x.
WITHIN_GROUPS = {
    "softmax": Function(_within, axis=-1, beside="label"),
    "log-softmax": Function(_within, axis=-1, beside="label"),
    "logsumexp": Function(_of_groups, axis=-1, beside="label"),
    "entropy": Function(_of_groups, axis=-1, beside="label"),
    "effective-sample-size": Function(_of_groups, axis=-1, beside="label"),
}


def function_of(key: str, by: bool) -> Function:
    """The function of a command; within groups, if there are labels beside x."""
    return WITHIN_GROUPS[key] if by else FUNCTIONS.get(key, Function(_number))
