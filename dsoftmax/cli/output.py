"""What a command prints when it has ended: a summary, bare numbers, or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np

from .plan import Plan

MOST = 10_000  # most numbers that are printed; arrays of more go to a file
_EDGE = 3  # elements at both ends of a long array in the summary


@dataclass(frozen=True)
class Outcome:
    """What there is to print.

    Attributes
    ----------
    key, src : str
        The command, and the array.
    plan : Plan
    extremes : list of numpy.generic
        The values of ``plan.extremes``.
    results : dict of str to numpy.ndarray
        By their names, if they are to be printed.
    written : tuple of str
        The arrays that are written.
    seconds : float
    compiled : bool
        Whether some of them went into compiling kernels.
    more : dict
        What else there is to say, by its name.
    """

    key: str
    src: str
    plan: Plan
    extremes: list[Any]
    results: dict[str, np.ndarray]
    written: tuple[str, ...]
    seconds: float
    compiled: bool
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype:
        """Of the result, or of the values if there are several arrays."""
        results = self.plan.found.results
        return results.get("values", next(iter(results.values()))).dtype


def named(key: str, results: dict[str, Any]) -> dict[str, Any]:
    """The results by names that all have one: that of the function for a single one."""
    return {name or key.replace("-", "_"): result for name, result in results.items()}


def print_numbers(outcome: Outcome) -> None:
    """Print a line for each element: the number, or those of all arrays, side by side."""
    arrays = list(outcome.results.values())
    if arrays and arrays[0].ndim < arrays[-1].ndim:  # labels of groups, which go along the axis
        (axis,) = outcome.plan.axes or ()
        others = tuple(i for i in range(arrays[-1].ndim) if i != axis)
        arrays = list(np.broadcast_arrays(np.expand_dims(arrays[0], others), arrays[-1]))
    columns = [np.ravel(one) for one in arrays]
    lines = [" ".join(map(str, row)) for row in zip(*columns, strict=True)]
    click.echo("\n".join(lines), nl=bool(lines))


def print_json(outcome: Outcome) -> None:
    """Print one object on one line."""
    plan = outcome.plan
    report = {
        "operation": outcome.key,
        "source": outcome.src,
        "shape": list(plan.x.shape),
        "dtype": str(outcome.dtype),
        "axis": None if plan.axes is None else list(plan.axes),
        "chunks": list(plan.x.chunksize),
        "summary": _json_summary(outcome),
        "results": {name: _in_json(one) for name, one in outcome.results.items()} or None,
        "destination": list(outcome.written),
        "seconds": round(outcome.seconds, 6),
        **outcome.more,
    }
    click.echo(json.dumps(report, allow_nan=False))


def _json_summary(outcome: Outcome) -> dict[str, Any] | None:
    numbers = outcome.plan.found.numbers
    if numbers is None:
        return None
    values = [_in_json(np.asarray(one)) for one in outcome.extremes]
    if len(values) == 1:
        nan = int(outcome.extremes[0] != outcome.extremes[0])
        values = [values[0], values[0], nan]
    least, greatest, nans = values or (None, None, 0)
    if nans == numbers.size:
        least = greatest = None
    summary = {"of": outcome.plan.found.label, "slices": numbers.size}
    return summary | {"min": least, "max": greatest, "nan": nans}


def _in_json(x: np.ndarray) -> Any:
    """Nested lists of numbers, or of strings for what JSON numbers cannot hold.

    The digits are those that tell a number from its neighbours in its own dtype.
    """
    if x.ndim:
        return [_in_json(np.asarray(part)) for part in x]
    number = x[()]
    if x.dtype.kind in "biu":
        return number.item()
    text = str(number)
    if x.dtype.kind != "f":  # labels
        return text
    return float(text) if math.isfinite(number) and x.dtype.itemsize <= 8 else text


def print_summary(outcome: Outcome) -> None:
    """Print a table for people."""
    plan = outcome.plan
    rows = {
        "shape": plan.x.shape,
        "dtype": outcome.dtype,
        "chunks": f"{plan.x.chunksize}, {plan.x.npartitions} in all",
    }
    found = plan.found
    if found.numbers is not None:
        rows[found.label] = range_of(outcome.extremes, found.numbers.size, found.each)
    if len(found.results) > 1 or found.numbers is None:
        for name, array in outcome.results.items():
            shown = np.array2string(array, threshold=20, edgeitems=_EDGE, max_line_width=79)
            rows[name] = shown.replace("\n", "\n" + " " * 21)
    pace = f"{plan.x.size / outcome.seconds:.3g} elements per second"
    shown = "kernels were compiled meanwhile" if outcome.compiled else pace
    rows["time"] = f"{outcome.seconds:.3g} s, {shown}"
    rows |= outcome.more
    if outcome.written:
        rows["written to"] = ", ".join(outcome.written)
    click.echo("\n".join(f"{name:<19}  {value}" for name, value in rows.items()))


def range_of(extremes: list[Any], slices: int, each: str = "slice") -> str:
    """The least and the greatest number, and how many slices (or what is ``each``) there are."""
    if slices < 2:
        return str(extremes[0]) if slices else f"none, of 0 {each}s"
    least, greatest, nans = extremes
    shown = "none"
    if nans < slices:
        shown = f"{least!s} to {greatest!s}"  # formatted, they would be of float64
    return f"{shown}, of {slices} {each}s" + (f", {nans} of them NaN" if nans else "")
