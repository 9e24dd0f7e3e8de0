"""The command line: softmax, logsumexp, entropy and the like of arrays on disk."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from dask.utils import parse_bytes

from .. import Normalizer, __version__
from .._algebra.dtypes import dtype_name, is_complex, supported
from .._arguments import Axes, check_axis, check_not_empty
from ..operations import OPERATIONS, Operation, reduce
from .destination import Destination
from .formats import open_source
from .job import Interrupted, JobError, compute, connected, dashboard_link, interruptible, reported
from .options import common_options
from .storage import StorageError, StoredArray, default_limit, plan_chunks


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dsoftmax")
def main() -> None:
    """Exact softmax, log-sum-exp, entropy and the like of arrays larger than memory."""


def _run(
    operation: Operation,
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
    """Check, prepare DST, run, give DST its name and print; any error is one line."""
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
                cleanup.callback(ignore_signals)  # while incomplete output is removed
                jobs.append(destination.write(plan.result, plan.dropped))
            client = cleanup.enter_context(connected(scheduler, threads))
            click.echo(f"dashboard  {dashboard_link(client)}", err=True)
            with reported(report):
                start = time.perf_counter()
                values = compute(operation.key, client, jobs)
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
    """The arrays to read and to compute, lazily.

    ``dropped`` are the axes of the source that the result does not have. ``label`` names the
    numbers to summarise; ``extremes`` are the least and greatest of them, without NaN, and how many
    are NaN; just the number if there is one, and empty if there is none.
    """

    source: StoredArray
    x: da.Array
    result: da.Array
    dropped: Axes
    label: str
    slices: int
    extremes: tuple[da.Array, ...]


def _plan(
    operation: Operation, source: StoredArray, axis: Axes | None, limit: int | None, keepdims: bool
) -> _Plan:
    name = dtype_name(source.dtype)
    if is_complex(name) or not supported(name):
        raise StorageError(
            f"{source.path} has dtype {source.dtype}; convert it to a real float, integer or bool"
        )
    try:
        axes = check_axis(axis, source.shape, operation.key)
        if operation.rescale is not None:
            check_not_empty(source, axes, operation.key)
    except ValueError as error:
        raise StorageError(str(error)) from error
    if limit is None:
        limit = default_limit(source, axes, parse_bytes(dask.config.get("array.chunk-size")))
    order = sorted(source.nearest, key=lambda axis: axis not in axes)
    chunks = plan_chunks(source.shape, source.dtype.itemsize, limit, source.grain, order)
    x = source.read(chunks)
    numbers: Any
    if operation.rescale is None:
        label, numbers = operation.name, reduce(operation, x, axes, keepdims)
        numbers = result = numbers.rechunk(
            plan_chunks(numbers.shape, numbers.dtype.itemsize, limit)
        )
    else:  # with one set of states, as `operations.rescale` does not share its own
        normalizer = Normalizer.of(x, axes)
        label, numbers = "logsumexp", normalizer.logsumexp()
        result = getattr(normalizer, operation.name)(x)
    dropped = axes if result.ndim < x.ndim else ()
    return _Plan(source, x, result, dropped, label, numbers.size, _extremes(numbers))


def _extremes(numbers: da.Array) -> tuple[da.Array, ...]:
    if numbers.size < 2:
        return (numbers.min(),) if numbers.size else ()
    nan, infinity = da.isnan(numbers), numbers.dtype.type(np.inf)
    least, greatest = da.where(nan, infinity, numbers), da.where(nan, -infinity, numbers)
    return least.min(), greatest.max(), nan.sum()


def _print_summary(plan: _Plan, extremes: list[Any], seconds: float, dst: str | None) -> None:
    x, result = plan.x, plan.result
    rows = {
        "shape": x.shape,
        "dtype": result.dtype,
        "chunks": f"{x.chunksize}, {x.npartitions} in all",
        plan.label: _range(extremes, plan.slices),
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


def _add_command(operation: Operation) -> None:
    """Add a command that writes an array of the shape of SRC, or one number per slice."""
    files = "are .npy files or Zarr arrays (directories; DST ends in .npy or .zarr)."
    title, maps = operation.title or operation.name, operation.rescale is not None

    def command(src: str, dst: str | None, **options: Any) -> None:
        _run(operation, src, dst, **options)

    if maps:
        command.__doc__ = f"Write the {title} of SRC to DST.\n\nBoth {files}"
    else:
        command.__doc__ = (
            f"Print the {title} of SRC, or write it to DST.\n\nWith --axis there is one per slice: "
            "all go to DST, and the least and greatest are printed. SRC and DST " + files
        )
        keepdims = "Keep the reduced axes in DST, with length 1."
        command = click.option("--keepdims", is_flag=True, help=keepdims)(command)
    command = click.argument("dst", required=maps)(common_options(command))
    main.command(operation.key)(click.argument("src")(command))


for _operation in OPERATIONS:
    if _operation.arrays == 1 and all(result.length is None for result in _operation.results):
        _add_command(_operation)
