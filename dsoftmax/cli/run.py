"""Run a command: check, prepare DST, compute, give DST its name, and print."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from typing import Any

import click

from .destination import Destination
from .formats import open_source
from .job import Interrupted, JobError, compute, connected, interruptible, reported
from .output import MOST, Outcome, named, print_json, print_numbers, print_summary
from .page import dashboard_link
from .plan import Plan, Sources, plan
from .storage import MisuseError, StorageError


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
    _check_options(dst, scheduler, threads, overwrite, options)
    if "seed" in options and options["seed"] is None:
        options["seed"] = secrets.randbits(53)  # exact as a JSON number
    try:
        with interruptible() as ignore_signals, contextlib.ExitStack() as cleanup:
            others = (None if a is None else open_source(a, stored) for a in (beside, where))
            sources = Sources(open_source(src, stored), *others)
            planned = plan(key, sources, chunk_size, options)
            printed = _printed(key, planned, dst, as_json, quiet)
            jobs = [*planned.extremes, *printed.values()]
            results = {} if dst is None else planned.found.results
            named_results = {name_of(dst or "", name): y for name, y in results.items()}
            destinations = []
            for path, result in named_results.items():
                destination = Destination(path, overwrite, *sources.given)
                cleanup.enter_context(destination)
                cleanup.callback(ignore_signals)  # while incomplete output is removed
                jobs.append(destination.write(result, planned.dropped))
                destinations.append(destination)
            client = cleanup.enter_context(connected(scheduler, threads, dashboard=not quiet))
            if not quiet:
                click.echo(f"dashboard  {dashboard_link(client, scheduler is None)}", err=True)
            with reported(report):
                start = time.perf_counter()
                values = compute(key, client, jobs, quiet)
                seconds = time.perf_counter() - start
                ignore_signals()
                for destination in destinations:
                    destination.check()
                for destination in destinations:
                    destination.commit()
    except MisuseError as error:
        raise click.UsageError(str(error)) from error
    except (StorageError, JobError) as error:
        raise click.ClickException(str(error)) from error
    except Interrupted as signalled:
        click.echo(f"Interrupted{'' if dst is None else f': {dst} is not written'}", err=True)
        raise SystemExit(128 + signalled.number) from None
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
        tuple(named_results),
        seconds,
        more,
    )
    show = print_json if as_json else print_numbers if quiet else print_summary
    show(outcome)


def _check_options(
    dst: str | None,
    scheduler: str | None,
    threads: int | None,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    """Raise click.UsageError for options that do not go together."""
    for option, given in (("--overwrite", overwrite), ("--keepdims", options.get("keepdims"))):
        if given and dst is None:
            raise click.UsageError(f"{option} is for DST; name a file to write")
    if options.get("mean") and options["keepdims"]:
        raise click.UsageError("--mean gives one number; leave out --keepdims")
    if scheduler is not None and threads is not None:
        raise click.UsageError("--threads is for this process; leave it out with --scheduler")
    uploaded = dst is not None and re.match(r"(?!file:)\w+://.*\.npy$", dst)
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


def name_of(dst: str, name: str) -> str:
    """Where one of several results goes: y-values.npy for y.npy."""
    root, suffix = os.path.splitext(dst.rstrip("/"))
    return f"{root}-{name}{suffix}" if name and root else dst
