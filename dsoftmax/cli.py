"""The command line: softmax, log-softmax and logsumexp of arrays on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from dask.utils import parse_bytes

from . import Normalizer, __version__, logsumexp
from ._arguments import Axes, check_axis, check_not_empty
from ._destination import Destination
from ._dtypes import dtype_name, is_complex, supported
from ._formats import open_source
from ._job import (
    Interrupted,
    JobError,
    compute,
    connected,
    dashboard_link,
    interruptible,
    reported,
)
from ._storage import StorageError, StoredArray, default_limit, plan_chunks


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dsoftmax")
def main() -> None:
    """Exact softmax, log-softmax and log-sum-exp of arrays larger than memory."""


def _parse_axis(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> Axes | None:
    try:
        return tuple(int(axis) for text in value for axis in text.split(",")) or None
    except ValueError:
        raise click.ClickException(
            f"--axis is {','.join(value)!r}; give integers, as --axis 0,2 or --axis -1"
        ) from None


def _parse_chunk_size(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        limit = parse_bytes(value)
    except ValueError:
        limit = 0
    if limit < 1:
        raise click.ClickException(f"--chunk-size is {value!r}; give a size, as '64 MiB'")
    return limit


def _parse_report(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if not value.endswith(".html"):
        raise click.ClickException(f"--report is {value!r}; give the name of an .html file")
    if not Path(value).resolve().parent.is_dir():
        raise click.ClickException(f"--report is {value!r}; there is no such directory")
    if importlib.util.find_spec("bokeh") is None:
        raise click.ClickException(
            '--report needs bokeh: python -m pip install "dsoftmax[dashboard]"'
        )
    return value


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all commands have."""
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
                help="Take the numbers of a packed Zarr array as they are stored, without "
                "scale_factor, add_offset, _FillValue.",
            ),
            click.option("--overwrite", is_flag=True, help="Replace DST, once it is complete."),
            click.option(
                "--chunk-size",
                metavar="SIZE",
                callback=_parse_chunk_size,
                help="Most bytes of a chunk, as '64 MiB'; by default Dask's array.chunk-size, "
                "and less for small arrays. Never less than a chunk of the Zarr array SRC.",
            ),
            click.option(
                "--scheduler",
                metavar="ADDRESS",
                help="Run on the Dask cluster of this scheduler, as tcp://host:8786, whose workers "
                "see the same files; by default on threads of this process.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(min=1),
                help="Threads of this process; one per CPU by default.",
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


@main.command("softmax")
@click.argument("src")
@click.argument("dst")
@_options
def softmax_command(src: str, dst: str, **options: Any) -> None:
    """Write the softmax of SRC to DST.

    Both are .npy files or Zarr arrays (directories; DST ends in .npy or .zarr).
    """
    _run("softmax", src, dst, **options)


@main.command("log-softmax")
@click.argument("src")
@click.argument("dst")
@_options
def log_softmax_command(src: str, dst: str, **options: Any) -> None:
    """Write the logarithm of the softmax of SRC to DST.

    Both are .npy files or Zarr arrays (directories; DST ends in .npy or .zarr).
    """
    _run("log-softmax", src, dst, **options)


@main.command("logsumexp")
@click.argument("src")
@click.argument("dst", required=False)
@_options
@click.option("--keepdims", is_flag=True, help="Keep the reduced axes in DST, with length 1.")
def logsumexp_command(src: str, dst: str | None, **options: Any) -> None:
    """Print the log-sum-exp of SRC, or write it to DST.

    With --axis there is one per slice: DST gets them all, and the least and the greatest are
    printed. SRC and DST are .npy files or Zarr arrays (directories; DST ends in .npy or .zarr).
    """
    _run("logsumexp", src, dst, **options)


def _run(
    operation: str,
    src: str,
    dst: str | None,
    *,
    axis: Axes | None,
    stored: bool,
    overwrite: bool,
    chunk_size: int | None,
    scheduler: str | None,
    threads: int | None,
    report: str | None,
    keepdims: bool = False,
) -> None:
    """Check, prepare DST, run, give DST its name and print; whatever goes wrong is one line."""
    for option, given in (("--overwrite", overwrite), ("--keepdims", keepdims)):
        if given and dst is None:
            raise click.ClickException(f"{option} is for DST; name a file to write")
    if scheduler is not None and threads is not None:
        raise click.ClickException("--threads is for this process; leave it out with --scheduler")
    try:
        with interruptible() as ignore_signals, contextlib.ExitStack() as cleanup:
            source = open_source(src, stored)
            plan = _plan(operation, source, axis, chunk_size, keepdims)
            jobs = list(plan.extremes)
            destination = None
            if dst is not None:
                destination = cleanup.enter_context(Destination(dst, overwrite, source))
                cleanup.callback(ignore_signals)  # while it removes what is not complete
                jobs.append(destination.write(plan.result, plan.dropped))
            client = cleanup.enter_context(connected(scheduler, threads))
            click.echo(f"dashboard  {dashboard_link(client)}", err=True)
            with reported(report):
                start = time.perf_counter()
                values = compute(operation, client, jobs)
                seconds = time.perf_counter() - start
                ignore_signals()
                if destination is not None:
                    destination.commit()
    except (StorageError, JobError) as error:
        raise click.ClickException(str(error)) from error
    except Interrupted as signalled:
        click.echo(f"Interrupted{'' if dst is None else f': {dst} is not written'}", err=True)
        raise SystemExit(128 + signalled.number) from None
    _print_summary(plan, values[: len(plan.extremes)], seconds, dst)


@dataclass(frozen=True)
class _Plan:
    """What is read and what is computed, lazily.

    ``dropped`` are the axes of the source that the result does not have.

    ``extremes`` are the least and the greatest logsumexp but NaN, and how many are NaN: the only
    logsumexp if there is one, and nothing if there is none.
    """

    source: StoredArray
    x: da.Array
    result: da.Array
    dropped: Axes
    slices: int
    extremes: tuple[da.Array, ...]


def _plan(
    operation: str, source: StoredArray, axis: Axes | None, limit: int | None, keepdims: bool
) -> _Plan:
    name = dtype_name(source.dtype)
    if is_complex(name) or not supported(name):
        raise StorageError(
            f"{source.path} has dtype {source.dtype}; convert it to a real float, integer or bool"
        )
    try:
        axes = check_axis(axis, source.shape, operation)
        if operation != "logsumexp":
            check_not_empty(source, axes, operation)
    except ValueError as error:
        raise StorageError(str(error)) from error
    if limit is None:
        limit = default_limit(source, axes, parse_bytes(dask.config.get("array.chunk-size")))
    order = sorted(source.nearest, key=lambda axis: axis not in axes)
    chunks = plan_chunks(source.shape, source.dtype.itemsize, limit, source.grain, order)
    x = source.read(chunks)
    lse: Any
    if operation == "logsumexp":
        lse = logsumexp(x, axes, keepdims=keepdims)
        lse = result = lse.rechunk(plan_chunks(lse.shape, lse.dtype.itemsize, limit))
    else:
        normalizer = Normalizer.of(x, axes)
        lse = normalizer.logsumexp()
        apply = normalizer.softmax if operation == "softmax" else normalizer.log_softmax
        result = apply(x)
    dropped = axes if result.ndim < x.ndim else ()
    return _Plan(source, x, result, dropped, lse.size, _extremes(lse))


def _extremes(lse: da.Array) -> tuple[da.Array, ...]:
    if lse.size < 2:
        return (lse.min(),) if lse.size else ()
    nan, infinity = da.isnan(lse), lse.dtype.type(np.inf)
    return da.where(nan, infinity, lse).min(), da.where(nan, -infinity, lse).max(), nan.sum()


def _print_summary(plan: _Plan, extremes: list[Any], seconds: float, dst: str | None) -> None:
    x, result = plan.x, plan.result
    rows = {
        "shape": x.shape,
        "dtype": result.dtype,
        "chunks": f"{x.chunksize}, {x.npartitions} in all",
        "logsumexp": _range(extremes, plan.slices),
        "elements per second": f"{x.size / seconds:.3g}",
    }
    if plan.source.decoding is not None:
        rows["decoded"] = plan.source.decoding
    if dst is not None:
        rows["written to"] = dst
    click.echo("\n".join(f"{name:<19}  {value}" for name, value in rows.items()))


def _range(extremes: list[Any], slices: int) -> str:
    if slices < 2:
        return str(extremes[0]) if slices else "none, of 0 slices"
    least, greatest, nans = extremes
    shown = "none" if nans == slices else f"{least} to {greatest}"
    return f"{shown}, of {slices} slices" + (f", {nans} of them NaN" if nans else "")
