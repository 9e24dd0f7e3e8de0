"""Blocks and their labels: what workers check, and say whose labels have no order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._algebra.dtypes import type_name
from ._arguments import Array
from ._graph.alignment import check_blocks
from ._kernels import as_block
from ._kernels.distinct import UnorderedError
from ._kernels.factorize import Coded, Labels, coded, places_of, product
from ._kernels.groups import Groups, Labelled, merge


@dataclass(frozen=True)
class Expected:
    """The expected labels of each key, as from `in_order`, among the arguments of a stage."""

    labels: tuple[tuple[Array, Array], ...]


def check_block(x: Array, function: str) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(
            f"{function}: x is of type {type_name(x)}, and groups are of NumPy and Dask arrays of "
            "NumPy blocks; convert it, as with numpy.asarray"
        )
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{function}: x is masked; pass x.filled(-inf), so that these elements have "
            "probability 0, or give them a label that is missing"
        )


def as_labelled(x: Array, *keys: Any, axis: int, ndim: int, **options: Any) -> Labelled:
    """A block and its labels, as `as_labels` gives them."""
    x = as_block(x, ndim)
    check_block(x, options["function"])
    return Labelled(x, as_labels(*keys, length=x.shape[axis], **options))


def as_labels(
    *keys: Any,
    function: str,
    kinds: tuple[str, ...],
    expected: tuple[tuple[Array, Array], ...] | None,
    length: int | None = None,
    **_: Any,
) -> Labels:
    """Labels as vectors, or their places among those that are expected, which may come last."""
    if isinstance(keys[-1], Expected):
        keys, expected = keys[:-1], keys[-1].labels
    vectors = tuple(
        k.ravel() if isinstance(k, (Coded, np.ma.MaskedArray)) else np.ravel(k) for k in keys
    )
    shapes: dict[str, Any] = {} if length is None else {"x": ((length,), ())}
    names = ["by"] if len(keys) == 1 else [f"by[{i}]" for i in range(len(keys))]
    for vector, name, kind in zip(vectors, names, kinds, strict=True):
        shapes[name] = (vector.shape, ())
        if kind != "O" and vector.dtype.kind != kind:
            raise TypeError(
                f"{function}: a block of {name} has dtype {vector.dtype}, which its Dask array "
                "does not say; convert the blocks first, as with map_blocks(..., dtype=...)"
            )
    check_blocks(function, shapes)
    found = []
    for vector, name, kind in zip(vectors, names, kinds, strict=True):
        with checked_order(function, name):
            found.append(_hashed(vector, kind))
    if expected is None:
        return tuple(found)
    places = tuple(places_among(*pair, function) for pair in zip(found, expected, strict=True))
    return (product(tuple(len(order) for _, order in expected), places),)


def _hashed(labels: Array | Coded, kind: str) -> Array | Coded:
    """Labels of an array that has objects as `Coded`, so that an error can name it."""
    if isinstance(labels, Coded) or kind not in "OT":
        return labels
    # Numbers and words as objects, as in other blocks: all have the same hash.
    return coded(labels if labels.dtype.kind in "OTMm" else labels.astype(object))


def places_among(labels: Array | Coded, expected: tuple[Array, Array], function: str) -> Array:
    try:
        return places_of(labels, expected)
    except TypeError as error:
        raise TypeError(
            f"{function}: no label in by can equal those of expected_groups ({error}); convert one "
            "of them"
        ) from None


@contextmanager
def checked_order(function: str, name: str = "by") -> Iterator[None]:
    """Say whose labels they are that have no order."""
    try:
        yield
    except UnorderedError as error:
        raise TypeError(
            f"{function}: labels in {name} have no order, or no hash ({error}); make them of one "
            f"kind, as with {name}.astype(str)"
        ) from None


def merged(*states: Groups, function: str) -> Groups:
    """The states of the union, of labels that may have an order only where they are."""
    with checked_order(function):
        return merge(*states)
