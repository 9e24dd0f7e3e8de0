"""The results as tables for a terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from .cases import Target, targets
from .peers import PEERS
from .timing import ratio, summarize

WIDTH = 172  # of the widest table; less would break numbers over lines

# Rounding that is worth a remark, as relative differences.
NOTED = {"float32": 1e-4, "float64": 1e-9}

Report = dict[str, Any]


def show(results: Report, console: Console | None = None) -> None:
    """Print everything that the JSON file holds, except single samples."""
    console = console or Console()
    console.width = max(console.width, WIDTH)
    machine = results["machine"]
    console.print(
        f"\n{machine['cpu']}, {cores(machine['cores'])}, {machine['memory_gib']} GiB,"
        f" {machine['system']}, {results['date']}"
    )
    console.print(", ".join(f"{name} {v or 'not installed'}" for name, v in versions(results)))
    for run in results["runs"]:
        if run["cases"]:
            console.print(cases_table(run, most_cores=run is results["runs"][-1]))
    if results["first"]:
        console.print(first_table(results["first"]))
    for line in remarks(results):
        console.print(line)


def versions(results: Report) -> list[tuple[str, str | None]]:
    """Name and version of everything that took part."""
    return list(results["versions"].items())


def cases_table(run: Report, most_cores: bool) -> Table:
    """A row for each case, a column for each peer; targets hold on the most cores."""
    table = Table(
        title=f"{cores(run['threads'])}: ns per element, median ± half the distance of the"
        " quartiles; below, how many times longer than dsoftmax",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("case", no_wrap=True)
    for peer in PEERS.values():
        table.add_column(peer.label.replace(" on ", "\non "), justify="right", no_wrap=True)
    table.add_column("target")
    for case in run["cases"]:
        met = verdicts(case) if most_cores else []
        table.add_row(
            f"{case['function']} {case['dtype']}\n{case['title']}",
            *(cell(case, name) for name in PEERS),
            "\n".join(met),
        )
    return table


def cell(case: Report, name: str) -> str:
    """One peer in one case; a dash where it was not measured."""
    seconds = case["seconds"]
    if name not in seconds:
        return "-"
    ns = summarize(seconds[name], 1e9 / case["elements"])
    time = f"{ns.median:.2f} ±{ns.spread:.2f}"
    if name == "floor":
        return time
    if name == "dsoftmax":
        return f"{time}\n{ratio(seconds[name], seconds['floor']):.2f} x floor"
    times = ratio(seconds[name], seconds["dsoftmax"])
    return f"{time}\n{times:.{1 if times >= 1 else 2}f} x"


def verdicts(case: Report) -> list[str]:
    """The targets of a case, what was reached, and whether that is enough."""
    chosen = targets(case["function"], case["dtype"], case["layout"], case["elements"])
    return [verdict(target, case["seconds"]) for target in chosen]


def verdict(target: Target, seconds: dict[str, list[float]]) -> str:
    """As ``at least 2.5 x SciPy on Dask, by hand on Dask: 3.10 met``."""
    ours = seconds["dsoftmax"]
    if target.is_floor:
        reached, relation = ratio(ours, seconds["floor"]), "at most"
        met = reached <= target.factor
    else:
        rivals = [ratio(seconds[name], ours) for name in target.than if name in seconds]
        reached, relation = min(rivals, default=math.nan), "at least"
        met = reached >= target.factor
    than = ", ".join(PEERS[name].label for name in target.than)
    return f"{relation} {target.factor:g} x {than}: {reached:.2f} {'met' if met else 'MISSED'}"


def first_table(first: list[Report]) -> Table:
    """Import and first calls."""
    steps = list(first[0]["seconds"])
    table = Table(
        title="First use in a fresh process that has used Dask already: ms, median ± half the"
        " distance of the quartiles",
        title_justify="left",
    )
    table.add_column("")
    for step in steps:
        table.add_column(step, justify="right")
    for side in first:
        cache = f", cache of compiled code {side['cache']}" if side["cache"] else ""
        times = (summarize(side["seconds"][step], 1e3) for step in steps)
        table.add_row(
            PEERS[side["peer"]].label + cache,
            *(f"{ms.median:.1f} ±{ms.spread:.1f}" for ms in times),
        )
    return table


def cores(n: int) -> str:
    """'1 core', '2 cores'."""
    return f"{n} core{'s' * (n != 1)}"


def remarks(results: Report) -> list[str]:
    """Who did not take part, whose result is poor, and who failed."""
    absent = {entry["peer"]: entry["reason"] for run in results["runs"] for entry in run["absent"]}
    lines = [f"Not measured: {PEERS[name].label} ({why})" for name, why in absent.items()]
    lines += [
        f"Inexact: {PEERS[name].label}, {case['case']}, differs from dsoftmax by {difference:.1e}"
        for case in results["runs"][-1]["cases"]
        for name, difference in case["differences"].items()
        if difference > NOTED[case["dtype"]]
    ]
    lines += [
        f"FAILED: {PEERS[f['peer']].label}, {f['case']}, {cores(f['threads'])}: {f['reason']}"
        for run in results["runs"]
        for f in run["failures"]
    ]
    return lines
