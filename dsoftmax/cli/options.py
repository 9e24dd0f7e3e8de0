"""The options that all commands share, and their parsing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import click

from .._install import how_to_install

Axes = tuple[int, ...]


def _parse_axis(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> Axes | None:
    try:
        return tuple(int(axis) for text in value for axis in text.split(",")) or None
    except ValueError:
        raise click.ClickException(
            f"--axis is {','.join(value)!r}; give integers, e.g. --axis 0,2 or --axis -1"
        ) from None


def _parse_chunk_size(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        limit = parse_bytes(value)
    except ValueError:
        limit = 0
    if limit < 1:
        raise click.ClickException(f"--chunk-size is {value!r}; give a size, e.g. '64 MiB'")
    return limit


def _parse_report(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if not value.endswith(".html"):
        raise click.ClickException(f"--report is {value!r}; give the name of an .html file")
    if not Path(value).resolve().parent.is_dir():
        raise click.ClickException(f"--report is {value!r}; there is no such directory")
    if importlib.util.find_spec("bokeh") is None:
        raise click.ClickException(f"--report needs bokeh: {how_to_install('dashboard')}")
    return value


def common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all commands share."""
    for option in reversed(
        [
            click.option(
                "--axis",
                multiple=True,
                metavar="AXIS[,AXIS...]",
                callback=_parse_axis,
                help="Axis or axes of a distribution; all of them by default. May be repeated.",
            ),
            click.option(
                "--stored",
                is_flag=True,
                help="Use the numbers of a packed Zarr array as they are stored, without "
                "scale_factor, add_offset and _FillValue.",
            ),
            click.option(
                "--overwrite",
                is_flag=True,
                help="Replace an existing DST, once the new one is complete.",
            ),
            click.option(
                "--chunk-size",
                metavar="SIZE",
                callback=_parse_chunk_size,
                help="Largest size of a chunk, e.g. '64 MiB'; by default Dask's array.chunk-size, "
                "or less for small arrays. Never less than a chunk of the Zarr array SRC.",
            ),
            click.option(
                "--scheduler",
                metavar="ADDRESS",
                help="Run on the Dask cluster of this scheduler, e.g. tcp://host:8786, whose "
                "workers see the same files; by default on threads of this process.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(min=1),
                help="Number of threads of this process; one per CPU by default.",
            ),
            click.option(
                "--report",
                metavar="FILE.html",
                callback=_parse_report,
                help="Write Dask's performance report of the run (needs bokeh).",
            ),
        ]
    ):
        command = option(command)
    return command
