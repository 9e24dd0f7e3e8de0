"""The options of the commands, and their parsing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import click

from .._install import how_to_install

Axes = tuple[int, ...]

_MOST_DRAWS = 2**36  # of a slice; far more have too many chunks to be planned


class AtLeast(click.IntRange):
    """An integer from a number on, or up to another, which its errors call one, and no "range"."""

    name = "integer"

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(min=least, max=most)


def _parse_axis(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> Axes | None:
    try:
        return tuple(int(axis) for text in value for axis in text.split(",")) or None
    except ValueError:
        raise click.UsageError(
            f"--axis is {','.join(value)!r}; give integers, e.g. --axis 0,2 or --axis -1"
        ) from None


def _parse_chunk_size(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        limit = parse_bytes(value)
    except (ValueError, OverflowError):  # of what is no number, and of an infinite one
        limit = 0
    if limit < 1:
        raise click.UsageError(f"--chunk-size is {value!r}; give a size, e.g. 64MiB")
    return limit


def _one_array(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> str | None:
    if len(value) > 1:
        more = " (dsoftmax.grouped takes several keys, in Python)" if option.name == "by" else ""
        raise click.UsageError(f"--{option.name} is given {len(value)} times; give one array{more}")
    return value[0] if value else None


def _parse_report(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if not value.endswith(".html"):
        raise click.UsageError(f"--report is {value!r}; give the name of an .html file")
    # By os.path, which takes what cannot be reached for missing, where pathlib raises.
    directory = os.path.dirname(os.path.realpath(value))
    if not os.path.isdir(directory):
        raise click.UsageError(f"--report is {value!r}; there is no such directory")
    if os.path.isdir(value):
        raise click.UsageError(f"--report is {value!r}, a directory; give the name of a file")
    if not os.access(value if os.path.exists(value) else directory, os.W_OK):
        raise click.ClickException(f"cannot write the report {value}: Permission denied")
    if importlib.util.find_spec("bokeh") is None:
        raise click.ClickException(f"--report needs bokeh: {how_to_install('dashboard')}")
    return value


def _one_axis(text: str, default: int | None = None) -> Callable[..., Any]:
    return click.option("--axis", type=int, default=default, metavar="AXIS", help=text)


_K = click.option("--k", "-k", type=AtLeast(0), metavar="K", required=True, help="How many.")

# Those of some commands, by the names that the table of commands uses.
OPTIONS: dict[str, Callable[..., Any]] = {
    "axes": click.option(
        "--axis",
        "axis",
        multiple=True,
        metavar="AXIS[,AXIS...]",
        callback=_parse_axis,
        help="Axis or axes along which the probabilities sum to 1. Default: all axes.",
    ),
    "slice-axis": _one_axis(
        "Axis along which the probabilities sum to 1. Default: the flattened array."
    ),
    "search-axis": _one_axis("Axis to search. Default: the flattened array."),
    "class-axis": _one_axis("Axis of the classes. Default: the last axis.", default=-1),
    "scan-axis": _one_axis("Axis along which to sum; required unless SRC has a single axis."),
    "where": click.option(
        "--where",
        metavar="MASK",
        type=click.Path(),
        multiple=True,
        callback=_one_array,
        help="Boolean array; only elements where it is true take part. It broadcasts to the shape "
        "of SRC.",
    ),
    "by": click.option(
        "--by",
        metavar="LABELS",
        type=click.Path(),
        multiple=True,
        callback=_one_array,
        help="Array with a label for each position along --axis, by default the last: the "
        "probabilities sum to 1 within each group of positions with the same label.",
    ),
    "keepdims": click.option(
        "--keepdims", is_flag=True, help="Keep the reduced axes in DST, with length 1."
    ),
    "k": _K,
    "signed-k": click.option(
        "--k",
        "-k",
        type=int,
        metavar="K",
        required=True,
        help="How many; a negative number gives the smallest elements.",
    ),
    "size": click.option(
        "--size",
        "-n",
        type=AtLeast(0, _MOST_DRAWS),
        metavar="N",
        required=True,
        help="Number of draws.",
    ),
    "no-replace": click.option(
        "--no-replace", is_flag=True, help="Draw each element at most once."
    ),
    "method": click.option(
        "--method",
        type=click.Choice(["multinomial", "systematic", "stratified"]),
        default="multinomial",
        metavar="METHOD",
        help="How to draw with replacement: multinomial (default), systematic or stratified.",
    ),
    "seed": click.option(
        "--seed",
        type=AtLeast(0),
        metavar="N",
        help="Seed of the random numbers. Default: a new one, which is printed.",
    ),
    "ignore-label": click.option(
        "--ignore-label",
        type=int,
        metavar="LABEL",
        help="Leave out slices with this label; their result is 0.",
    ),
    "mean": click.option("--mean", is_flag=True, help="Give the mean over the slices instead."),
    "reverse": click.option("--reverse", is_flag=True, help="Sum from the end of the axis."),
    "include-initial": click.option(
        "--include-initial",
        is_flag=True,
        help="Begin with the empty sum, -inf; DST is then longer than SRC by one.",
    ),
}

_COMMON = (
    click.option(
        "--stored",
        is_flag=True,
        help="Read packed Zarr arrays as they are stored: ignore scale_factor, add_offset, "
        "_FillValue and missing_value.",
    ),
    click.option(
        "--overwrite", is_flag=True, help="Replace DST if it exists, once the new one is complete."
    ),
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary."
    ),
    click.option(
        "--quiet",
        "-q",
        is_flag=True,
        help="Print only the numbers, one per line, or nothing if they go to DST. No progress.",
    ),
    click.option(
        "--chunk-size",
        metavar="SIZE",
        callback=_parse_chunk_size,
        help="Maximum chunk size, e.g. 64MiB; chunks of Zarr arrays are not split. Default: Dask's "
        "setting array.chunk-size, or less for small arrays.",
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Run on the Dask cluster with this scheduler, e.g. tcp://host:8786; its workers must "
        "see the same files. Default: run in this process.",
    ),
    click.option(
        "--threads",
        type=AtLeast(1),
        metavar="N",
        help="Number of threads in this process. Default: one per CPU.",
    ),
    click.option(
        "--report",
        metavar="FILE.html",
        type=click.Path(),
        callback=_parse_report,
        help="Write Dask's performance report of the run to this file (requires bokeh).",
    ),
)


def with_options(command: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
    """Add the named options, and those that all commands share."""
    for option in reversed((*(OPTIONS[name] for name in names), *_COMMON)):
        command = option(command)
    return command
