"""Results as Markdown: for a terminal, and for the documents that have tables of recorded ones.

In a document, a table stands between ``<!-- table: FILE SUITE -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tabulate import tabulate

from .suites import SUITES
from .timing import Samples, ratio, summarize

TABLE = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
NOTED = {"float64": 1e-9}  # rounding that is worth a remark; else 1e-4

Record = dict[str, Any]


def text(results: Record) -> str:
    """Everything in the JSON file but single samples."""
    records = results["records"]
    shown = [compared(records)] if results["against"] else tables(records)
    return "\n\n".join([about(results), *shown, *remarks(records)])


def about(results: Record) -> str:
    """The machine, the date and the versions."""
    machine, versions = results["machine"], results["versions"].items()
    listed = ", ".join(f"{name} {version}" for name, version in versions if version)
    return (
        f"{machine['cpu']}, {cores(machine['cores'])}, {machine['memory_gib']} GiB,"
        f" {machine['system']}, {results['date'][:10]}; {listed}"
    )


def cores(n: int) -> str:
    return f"{n} core{'s' * (n != 1)}"


def tables(records: list[Record]) -> Iterator[str]:
    """One for each suite, heading and number of cores."""
    for (name, threads, heading), group in groupby(
        records, lambda record: (record["suite"], record["threads"], record["heading"])
    ):
        rows = list(group)
        if SUITES[name].columns:
            yield f"{heading}:\n\n{measures(rows)}"
        else:
            most = threads == max(r["threads"] for r in records if r["suite"] == name)
            head = f"{heading}, on {cores(threads)}, in ns per element"
            yield f"{head} (and times dsoftmax):\n\n{times(rows, judged=most)}"


def times(records: list[Record], judged: bool) -> str:
    """A row for each case, a column for each side; targets hold on the most cores."""
    sides = list(dict.fromkeys(side for record in records for side in record["samples"]))
    rows = []
    for record in records:
        seconds = {side: taken["seconds"] for side, taken in record["samples"].items()}
        met = [verdict(target, seconds) for target in record["targets"] if judged]
        cells = [cell(side, seconds, 1e9 / record["elements"]) for side in sides]
        rows.append([record["title"], *cells, "; ".join(filter(None, met))])
    return markdown(["", *sides, "targets"], rows)


def cell(side: str, seconds: dict[str, list[float]], scale: float) -> str:
    """The median and half the distance of the quartiles, and a ratio in brackets."""
    if side not in seconds:
        return ""
    taken = summarize(seconds[side], scale)
    shown = f"{digits(taken.median)} ±{digits(taken.spread, 1)}"
    if side == "dsoftmax" and "floor" in seconds:
        return f"{shown} ({ratio(seconds[side], seconds['floor']).median:.2f} floors)"
    if side in ("dsoftmax", "floor") or "dsoftmax" not in seconds:
        return shown
    return f"{shown} ({ratio(seconds[side], seconds['dsoftmax']).median:.2f})"


def digits(x: float, significant: int = 3) -> str:
    return f"{float(f'{x:.{significant}g}'):,g}"


def verdict(target: Record, seconds: dict[str, list[float]]) -> str:
    """As ``at least 2.5 times SciPy on Dask: 3.10, met``; empty if they were not measured."""
    rivals = [seconds[name] for name in target["than"] if name in seconds]
    if not rivals or target["of"] not in seconds:
        return ""
    ours, factor = seconds[target["of"]], target["factor"]
    if target["at_least"]:
        reached = min(ratio(rival, ours).median for rival in rivals)
        met, limit = reached >= factor, f"at least {factor:.3g} times"
    else:
        reached = max(ratio(ours, rival).median for rival in rivals)
        met, limit = reached <= factor, f"at most {factor:.3g} times"
    side = target["of"].removeprefix("dsoftmax").lstrip(": ")
    wanted = " ".join(filter(None, [side, limit, ", ".join(target["than"])]))
    return f"{wanted}: {reached:.2f}, {'met' if met else 'MISSED'}"


def measures(records: list[Record]) -> str:
    """A row for each case and side, a column for each measure."""
    columns = SUITES[records[0]["suite"]].columns
    rows = [
        [record["title"], side, *(columns[n].show(taken[n]) if n in taken else "" for n in columns)]
        for record in records
        for side, taken in record["samples"].items()
    ]
    return markdown(["", "", *(column.title for column in columns.values())], rows)


def compared(records: list[Record]) -> str:
    """How many times as fast this version is, case by case, and in all."""
    rows, medians = [], []
    for record in records:
        samples: Samples = record["samples"]
        for side, ours in samples.get("this version", {}).items():
            if theirs := samples.get("the other", {}).get(side):
                times = ratio(theirs, ours)
                medians.append(times.median)
                seconds = [digits(summarize(s).median) for s in (ours, theirs)]
                found = [f"{times.median:.3f}", f"{times.low:.3f} to {times.high:.3f}"]
                rows.append([f"{record['case']}, {side}", *seconds, *found, str(len(ours))])
    heads = ["", "this version, s", "the other, s", "times as fast", "quartiles", "rounds"]
    total = f"median {summarize(medians).median:.3f}, least {min(medians):.3f}" if medians else ""
    return f"{markdown(heads, rows)}\n\nTimes as fast: {total}"


def remarks(records: list[Record]) -> Iterator[str]:
    """Who did not take part, whose result is poor, and who failed."""
    absent = {f"Not measured: {s} ({why})": None for r in records for s, why in r["absent"].items()}
    yield from absent
    for record in records:
        where = f"{record['suite']} {record['case']} on {cores(record['threads'])}"
        for side, difference in record["differences"].items():
            if difference > NOTED.get(record["labels"].get("dtype"), 1e-4):
                yield f"Inexact: {side}, {where}, differs from dsoftmax by {difference:.1e}"
        for side, why in record["failed"].items():
            yield f"FAILED: {side}, {where}: {why}"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table without its empty columns."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    rows = [[row[i] for i in kept] for row in rows]
    return tabulate(rows, [heads[i] for i in kept], tablefmt="pipe", disable_numparse=True)


def read(path: Path) -> Record:
    """What `write` wrote; else ValueError."""
    results = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(results, dict) or "records" not in results:
        raise ValueError(f"{path} has no records")
    return results


def write(results: Record, path: Path) -> None:
    """A JSON file with a line for each record."""
    head = json.dumps(results | {"records": []}, ensure_ascii=False)
    lines = (json.dumps(record, ensure_ascii=False) for record in results["records"])
    path.write_text(head.removesuffix("]}") + "\n" + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def filled(document: Path) -> str:
    """The text of a document, with the tables of the results that it names."""

    def table(match: re.Match[str]) -> str:
        results = read(document.parent / match[2])
        records = [record for record in results["records"] if record["suite"] == match[3]]
        shown = [*tables(records), about(results)] if records else ["Not recorded yet."]
        return match[1] + "\n\n".join(["", *shown, match[4]]).lstrip("\n")

    return TABLE.sub(table, document.read_text(encoding="utf-8"))
