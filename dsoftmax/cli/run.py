"""What the commands do: softmax, logsumexp, entropy, top-k and the like of arrays on disk."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from dask.utils import parse_bytes

from .. import Normalizer, softmax_topk, topk
from .._algebra.dtypes import dtype_name, is_complex, supported
from .._arguments import Axes, check_axis, check_not_empty
from ..operations import OPERATIONS, Operation, reduce
from .destination import Destination
from .formats import open_source
from .job import Interrupted, JobError, compute, connected, dashboard_link, interruptible, reported
from .storage import StorageError, StoredArray, default_limit, plan_chunks


def run(
    key: str,
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
    k: int | None = None,
) -> None:
    """Check, prepare DST, run, give DST its name and print; any error is one line.

    ``key`` is that of the operation, by which its command is called.
    """
    operation = next(one for one in OPERATIONS if one.key == key)
    for option, given in (("--overwrite", overwrite), ("--keepdims", keepdims)):
        if given and dst is None:
            raise click.ClickException(f"{option} is for DST; name a file to write")
    if scheduler is not None and threads is not None:
        raise click.ClickException("--threads is for this process; leave it out with --scheduler")
    try:
        with interruptible() as ignore_signals, contextlib.ExitStack() as cleanup:
            source = open_source(src, stored)
            plan = _plan(operation, source, axis, chunk_size, keepdims, k)
            jobs = list(plan.extremes)
            named = {} if dst is None else {_named(dst, n): y for n, y in plan.results.items()}
            destinations = []
            for path, result in named.items():
                destination = cleanup.enter_context(Destination(path, overwrite, source))
                cleanup.callback(ignore_signals)  # while incomplete output is removed
                jobs.append(destination.write(result, plan.dropped))
                destinations.append(destination)
            client = cleanup.enter_context(connected(scheduler, threads))
            click.echo(f"dashboard  {dashboard_link(client)}", err=True)
            with reported(report):
                start = time.perf_counter()
                values = compute(operation.key, client, jobs)
                seconds = time.perf_counter() - start
                ignore_signals()
                for destination in destinations:
                    destination.check()
                for destination in destinations:
                    destination.commit()
    except (StorageError, JobError) as error:
        raise click.ClickException(str(error)) from error
    except Interrupted as signalled:
        click.echo(f"Interrupted{'' if dst is None else f': {dst} is not written'}", err=True)
        raise SystemExit(128 + signalled.number) from None
    _print_summary(plan, values[: len(plan.extremes)], seconds, ", ".join(named))


def _named(dst: str, name: str) -> str:
    """Where one of several results goes: y-values.npy for y.npy."""
    root, suffix = os.path.splitext(dst.rstrip("/"))
    return f"{root}-{name}{suffix}" if name and root else dst


@dataclass(frozen=True)
class _Plan:
    """The arrays to read and to compute, lazily.

    ``results`` come by names that tell them apart; one alone has none. ``dropped`` are the axes of
    the source that they do not have. ``label`` names the numbers to summarise; ``extremes`` are the
    least and greatest of them, without NaN, and how many are NaN; just the number if there is one,
    and empty if there is none.
    """

    source: StoredArray
    x: da.Array
    results: dict[str, da.Array]
    dropped: Axes
    label: str
    slices: int
    extremes: tuple[da.Array, ...]


def _plan(
    operation: Operation,
    source: StoredArray,
    axis: Axes | None,
    limit: int | None,
    keepdims: bool,
    k: int | None = None,
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
        if k is not None and axis is not None and len(axis) > 1:
            given = ",".join(map(str, axis))
            raise ValueError(
                f"{operation.key}: --axis is {given}; give one axis, or leave it out for the "
                "flattened array"
            )
    except ValueError as error:
        raise StorageError(str(error)) from error
    if limit is None:
        limit = default_limit(source, axes, parse_bytes(dask.config.get("array.chunk-size")))
    order = sorted(source.nearest, key=lambda axis: axis not in axes)
    chunks = plan_chunks(source.shape, source.dtype.itemsize, limit, source.grain, order)
    x = source.read(chunks)
    numbers: Any
    if k is not None:
        label, numbers, results = _best(operation, x, k, axes if axis else None)
        results = {name: _merged(result, limit) for name, result in results.items()}
    elif operation.rescale is None:
        label, numbers = operation.name, _merged(reduce(operation, x, axes, keepdims), limit)
        results = {"": numbers}
    else:  # with one set of states, as `operations.rescale` does not share its own
        normalizer = Normalizer.of(x, axes)
        label, numbers = "logsumexp", normalizer.logsumexp()
        results = {"": getattr(normalizer, operation.name)(x)}
    (result, *_) = results.values()
    dropped = axes if result.ndim < x.ndim else ()
    return _Plan(source, x, results, dropped, label, numbers.size, _extremes(numbers))


def _best(
    operation: Operation, x: da.Array, k: int, axes: Axes | None
) -> tuple[str, da.Array, dict[str, da.Array]]:
    """The label, the first of each slice, and the k best with their indices."""
    functions: dict[str, Any] = {"softmax_topk": softmax_topk, "topk": topk}
    function = functions[operation.name]
    try:
        values, indices = function(x, k, axes[0] if axes else None)
    except ValueError as error:
        raise StorageError(str(error)) from error
    kind = "probability" if function is softmax_topk else "element"
    first = values[(slice(None),) * (axes[0] if axes else 0) + (slice(1),)]
    label = f"{'smallest' if k < 0 else 'largest'} {kind}"
    return label, first, {"values": values, "indices": indices}


def _merged(result: Any, limit: int) -> da.Array:
    """A result that is smaller than its source, in chunks as large."""
    return result.rechunk(plan_chunks(result.shape, result.dtype.itemsize, limit))


def _extremes(numbers: da.Array) -> tuple[da.Array, ...]:
    if numbers.size < 2:
        return (numbers.min(),) if numbers.size else ()
    if numbers.dtype.kind in "biu":
        return numbers.min(), numbers.max(), (numbers != numbers).sum()
    nan, infinity = da.isnan(numbers), numbers.dtype.type(np.inf)
    least, greatest = da.where(nan, infinity, numbers), da.where(nan, -infinity, numbers)
    return least.min(), greatest.max(), nan.sum()


def _print_summary(plan: _Plan, extremes: list[Any], seconds: float, written: str) -> None:
    x, (result, *_) = plan.x, plan.results.values()
    rows = {
        "shape": x.shape,
        "dtype": result.dtype,
        "chunks": f"{x.chunksize}, {x.npartitions} in all",
        plan.label: _range(extremes, plan.slices),
        "elements per second": f"{x.size / seconds:.3g}",
    }
    if plan.source.decoding is not None:
        rows["decoded"] = plan.source.decoding
    if written:
        rows["written to"] = written
    click.echo("\n".join(f"{name:<19}  {value}" for name, value in rows.items()))


def _range(extremes: list[Any], slices: int) -> str:
    if slices < 2:
        return str(extremes[0]) if slices else "none, of 0 slices"
    least, greatest, nans = extremes
    shown = "none" if nans == slices else f"{least} to {greatest}"
    return f"{shown}, of {slices} slices" + (f", {nans} of them NaN" if nans else "")
