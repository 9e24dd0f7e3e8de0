"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from . import first, machine, report
from .cases import select
from .worker import Spec, run

PICTURES = (".png", ".svg", ".pdf")


def _output(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Ten minutes of measuring should not end in a path that cannot be written."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.absolute().parent}; make it first")
    if path is not None and param.name == "picture" and path.suffix not in PICTURES:
        raise click.BadParameter(f"{path.name} ends in none of {', '.join(PICTURES)}")
    return path


def _threads(ctx: click.Context, param: click.Parameter, threads: tuple[int, ...]) -> list[int]:
    cores = machine.available_cores()
    if not threads:
        return [n for n in (1, 2) if n <= cores]
    if max(threads) > cores:
        raise click.BadParameter(f"{max(threads)} is more than the {cores} cores that there are")
    return sorted(set(threads))


@click.command()
@click.option("--quick", is_flag=True, help="Tiny arrays, seconds: shows that all of it runs.")
@click.option(
    "--only",
    multiple=True,
    metavar="TEXT",
    help="Cases with TEXT in their name, as in softmax-float32-row-1e8; may be repeated.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    multiple=True,
    callback=_threads,
    help="Number of cores; may be repeated. [default: 1 and 2]",
)
@click.option("--rounds", type=click.IntRange(min=1), help="At least, per case. [default: 3]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    help="Cases that take less get more rounds. [default: 5]",
)
@click.option("--first/--no-first", "with_first", default=True, help="Import and first calls.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_output,
    help="Write all samples here.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_output,
    help=f"Draw the results here ({', '.join(PICTURES)}).",
)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing: print and draw what an earlier --json holds.",
)
def main(
    quick: bool,
    only: tuple[str, ...],
    threads: list[int],
    rounds: int | None,
    seconds: float | None,
    with_first: bool,
    json_path: Path | None,
    picture: Path | None,
    source: Path | None,
) -> None:
    """Measure dsoftmax beside its peers and the speed of the memory; print a table."""
    if source is not None:
        results = _read(source)
    else:
        rounds = rounds or (2 if quick else 3)
        seconds = seconds if seconds is not None else (0.0 if quick else 5.0)
        results = _measure(quick, only, threads, rounds, seconds, with_first)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1))
    report.show(results)
    if picture is not None:
        from .picture import draw

        draw(results, picture)
    if any(run["failures"] for run in results["runs"]):
        raise click.ClickException("some peers failed: see FAILED above")


def _read(source: Path) -> dict[str, Any]:
    try:
        results = json.loads(source.read_text())
        if "runs" in results:
            return results
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError):
        pass
    raise click.BadParameter(f"{source} does not hold results; name a file that --json wrote")


def _measure(
    quick: bool,
    only: tuple[str, ...],
    threads: list[int],
    rounds: int,
    seconds: float,
    with_first: bool,
) -> dict[str, Any]:
    if not select(quick, True, only):
        names = "\n".join(case.name for case in select(quick, True))
        raise click.BadParameter(f"no case has {' or '.join(only)} in its name; there are\n{names}")
    most = max(threads)
    runs = [run(Spec(n, n == most, quick, only, rounds, seconds)) for n in threads]
    present = {name for r in runs for case in r["cases"] for name in case["seconds"]}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": {"quick": quick, "only": only, "rounds": rounds, "seconds": seconds},
        "runs": runs,
        "first": first.measure(sorted(present), most, 1 if quick else 5) if with_first else [],
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
