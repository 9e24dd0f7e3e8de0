"""The command: ``python -m benchmarks``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from . import machine, report
from .against import against
from .runner import Record, Settings, run
from .suites import DEFAULT, SUITES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    "benchmarks/thresholds.md",
    "docs/dashboard.md",
    "docs/memory.md",
    "docs/numerics.md",
)
PICTURES = (".png", ".svg", ".pdf")
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _checked(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Ten minutes of measuring should not end in a path that cannot be written."""
    if isinstance(value, Path) and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.absolute().parent}; make it first")
    if param.name == "picture" and value is not None and value.suffix not in PICTURES:
        raise click.BadParameter(f"{value.name} ends in none of {', '.join(PICTURES)}")
    if param.name == "checkout" and value and not (value / "dsoftmax/__init__.py").is_file():
        raise click.BadParameter(f"{value} has no dsoftmax/__init__.py; name a checkout")
    cores = machine.available_cores()
    if param.name == "threads" and max(value, default=0) > cores:
        raise click.BadParameter(f"{max(value)} is more than the {cores} cores that there are")
    return value


def _earlier(ctx: click.Context, param: click.Parameter, path: Path | None) -> Record | None:
    try:
        return None if path is None else report.read(path)
    except ValueError as error:
        message = f"{path} does not hold results; name a file that --json wrote"
        raise click.BadParameter(message) from error


@click.command()
@click.argument("suites", nargs=-1, type=click.Choice(list(SUITES)), metavar="[SUITE]...")
@click.option("--quick", is_flag=True, help="Tiny arrays: shows that all of it runs.")
@click.option("--only", multiple=True, metavar="TEXT", help="Cases with TEXT in their name.")
@click.option("--side", multiple=True, help="Nothing but this and dsoftmax.")
@click.option("--threads", type=click.IntRange(1), multiple=True, callback=_checked, help="Cores.")
@click.option("--rounds", type=click.IntRange(1), help="At least, per case.")
@click.option("--seconds", type=click.FloatRange(0), help="Shorter cases get more rounds.")
@click.option("--against", "checkout", type=FOLDER, callback=_checked, help="Another version.")
@click.option("--json", "output", type=FILE, callback=_checked, help="Write all samples here.")
@click.option(
    "--picture", type=FILE, callback=_checked, help="Draw the suite speed, or bits, here."
)
@click.option("--from", "earlier", type=EXISTING, callback=_earlier, help="Show what --json wrote.")
@click.option("--write", is_flag=True, help="Write the tables of the documents, from results/.")
def main(
    suites: tuple[str, ...],
    quick: bool,
    only: tuple[str, ...],
    side: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int | None,
    seconds: float | None,
    checkout: Path | None,
    output: Path | None,
    picture: Path | None,
    earlier: Record | None,
    write: bool,
) -> None:
    """Measure dsoftmax beside its peers and the speed of the memory; print tables."""
    if write:
        for document in (ROOT / name for name in DOCUMENTS):
            document.write_text(report.filled(document), encoding="utf-8")
        return
    settings = Settings(quick, only, side, rounds, seconds)
    cores = threads or tuple(n for n in (1, 2) if n <= machine.available_cores())
    results = earlier or _measure(suites or DEFAULT, settings, sorted(cores), checkout)
    if output is not None:
        report.write(results, output)
    click.echo(report.text(results))
    if picture is not None:
        from .picture import draw

        draw(results, picture)
    failed = [r for r in results["records"] if r["failed"] and not SUITES[r["suite"]].may_fail]
    if failed or not any(record["samples"] for record in results["records"]):
        raise click.ClickException("something could not be measured: see above")


def _measure(
    suites: tuple[str, ...], settings: Settings, cores: list[int], checkout: Path | None
) -> dict[str, Any]:
    chosen = [SUITES[name] for name in suites]
    if not any(settings.select(suite) for suite in chosen):
        names = [case.name for suite in chosen for case in suite.cases(settings.quick)]
        wanted, there = " or ".join(settings.only), "\n".join(names)
        raise click.BadParameter(f"no case has {wanted} in its name; there are\n{there}")
    records: list[Record] = []
    for suite in chosen:
        if checkout is None:
            records += run(suite, settings, cores)
        else:
            records += against(suite, settings, cores[-1], ROOT, checkout.resolve())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "against": checkout and checkout.resolve().name,
        "records": records,
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
