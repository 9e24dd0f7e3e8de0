"""Run a command: check, prepare DST, compute, give DST its name, and print."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from typing import Any

import click
from distributed import Client

from .destination import Destination, commit
from .formats import open_source
from .job import Interrupted, ReportError, compute, connected, interruptible, reported
from .output import MOST, Outcome, named, print_json, print_numbers, print_summary
from .page import dashboard_link
from .plan import Plan, Sources, plan, settled
from .storage import MisuseError, StorageError
from .workers import JobError


def run(
    key: str,
    src: str,
    dst: str | None,
    *,
    beside: str | None,
    stored: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    chunk_size: int | None,
    scheduler: str | None,
    threads: int | None,
    report: str | None,
    where: str | None = None,
    **options: Any,
) -> None:
    """Run the command ``key``; any error is one line. ``options`` are those of its own."""
    _check_options(dst, scheduler, threads, overwrite, where, options)
    beside = beside or options.get("by")
    client: Client | None = None
    compiled_before = False
    unreported: ReportError | None = None
    if "seed" in options and options["seed"] is None:
        options["seed"] = secrets.randbits(53)  # exact as a JSON number
    try:
        with (
            _in_one_line(dst),
            interruptible() as ignore_signals,
            contextlib.ExitStack() as cleanup,
        ):
            others = (None if a is None else open_source(a, stored) for a in (beside, where))
            sources = Sources(open_source(src, stored), *others)
            planned = plan(key, sources, chunk_size, options)
            named_paths = {} if dst is None else names_of(dst, planned.found.results)
            destinations = {}
            for name, path in named_paths.items():
                destinations[name] = Destination(path, overwrite, *sources.given)
                destinations[name].check_dtype(planned.found.results[name].dtype)
                cleanup.enter_context(destinations[name])
                cleanup.callback(ignore_signals)  # while incomplete output is removed
            started = _started(scheduler, threads, quiet, report)
            if not planned.is_known:  # nor is, then, what is printed, or how much is written
                client, start = cleanup.enter_context(started)
                unknown = list(planned.found.results.values())
                found, compiled_before = compute(key, client, unknown, quiet)
                planned = settled(planned, found)
            printed = _printed(key, planned, dst, as_json, quiet)
            results = planned.found.results
            written = [
                to.write(results[name], planned.dropped) for name, to in destinations.items()
            ]
            jobs = [*planned.extremes, *printed.values(), *written]
            if client is None:
                client, start = cleanup.enter_context(started)
            values, compiled = compute(key, client, jobs, quiet)
            seconds = time.perf_counter() - start
            ignore_signals()
            commit(*destinations.values())
    except ReportError as error:  # after the results are there, which are printed first
        unreported = error
    count = len(planned.extremes)
    more = {name: value for name, value in options.items() if name == "seed"}
    if sources.x.decoding is not None:
        more["decoded"] = str(sources.x.decoding)
    outcome = Outcome(
        key,
        src,
        planned,
        values[:count],
        dict(zip(printed, values[count:], strict=False)),
        tuple(named_paths.values()),
        seconds,
        compiled_before or compiled,
        more,
    )
    show = print_json if as_json else print_numbers if quiet else print_summary
    show(outcome)
    if unreported is not None:
        raise click.ClickException(str(unreported)) from unreported


@contextlib.contextmanager
def _in_one_line(dst: str | None) -> Iterator[None]:
    """Errors as Click prints them, and a signal as the status with which a process ends."""
    try:
        yield
    except MisuseError as error:
        raise click.UsageError(str(error)) from error
    except (StorageError, JobError) as error:
        raise click.ClickException(str(error)) from error
    except Interrupted as signalled:
        click.echo(f"Interrupted{'' if dst is None else f': {dst} is not written'}", err=True)
        raise SystemExit(128 + signalled.number) from None


@contextlib.contextmanager
def _started(
    scheduler: str | None, threads: int | None, quiet: bool, report: str | None
) -> Iterator[tuple[Client, float]]:
    """A client, which is announced and reported of, and the time from when on it computes."""
    with connected(scheduler, threads, dashboard=not quiet) as client:
        if not quiet:
            click.echo(f"dashboard  {dashboard_link(client, scheduler is None)}", err=True)
        with reported(report):
            yield client, time.perf_counter()


def _check_options(
    dst: str | None,
    scheduler: str | None,
    threads: int | None,
    overwrite: bool,
    where: str | None,
    options: dict[str, Any],
) -> None:
    """Raise click.UsageError for options that do not go together."""
    for option, given in (("--overwrite", overwrite), ("--keepdims", options.get("keepdims"))):
        if given and dst is None:
            raise click.UsageError(f"{option} is for DST; name a file to write")
    if options.get("by") and (where is not None or options.get("keepdims")):
        other = "--keepdims" if where is None else "--where"
        raise click.UsageError(f"--by makes groups, and does not go with {other}; leave out one")
    if options.get("mean") and options["keepdims"]:
        raise click.UsageError("--mean gives one number; leave out --keepdims")
    if scheduler is not None and threads is not None:
        raise click.UsageError("--threads is for this process; leave it out with --scheduler")
    uploaded = dst is not None and re.match(r"(?!file:|local:)\w+://.*\.npy$", dst)
    if scheduler is not None and uploaded:
        raise click.UsageError(
            f"{dst} is a .npy file at a URL, which is put together on this machine; with "
            "--scheduler write Zarr, or to a path that all workers see"
        )


def _printed(
    key: str, planned: Plan, dst: str | None, as_json: bool, quiet: bool
) -> dict[str, Any]:
    """The arrays to print, by name: none if they go to DST, or if their range is all to print."""
    results = named(key, planned.found.results)
    few = planned.found.numbers is None or len(results) > 1
    if dst is not None or not (few or as_json or quiet):
        return {}
    count = sum(y.size for y in results.values())
    if count <= MOST:
        return results
    if as_json and not few:
        return {}
    raise click.UsageError(
        f"{key}: there are {count} numbers, and at most {MOST} are printed; name DST"
    )


def names_of(dst: str, results: Collection[str]) -> dict[str, str]:
    """Where results go: one alone to DST, and each of several to a file such as y-values.npy."""
    root, suffix = os.path.splitext(dst.rstrip("/"))
    if len(results) == 1 or not root:
        return dict.fromkeys(results, dst)
    return {name: f"{root}-{name}{suffix}" for name in results}
