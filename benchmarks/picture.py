"""The suite "speed", or "bits", as one picture for the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from .timing import summarize

OTHER_SIZES = ("one row, 10^6", "one row, 10^7", "one row, 5·10^8")  # for the table

# Marker, color (of Okabe & Ito, distinct to all eyes) and size.
STYLES = {
    "floor": ("|", "#000000", 14),
    "dsoftmax": ("D", "#D55E00", 8),
    "SciPy on Dask": ("o", "#0072B2", 9),
    "by hand on Dask": ("s", "#56B4E9", 6),
    "torch": ("^", "#009E73", 7),
    "JAX": ("v", "#CC79A7", 7),
    "SciPy on NumPy": ("o", "#999999", 5),
    "dsoftmax on NumPy": ("D", "#E69F00", 5),
    # Of the suite "bits".
    "dsoftmax, exact": ("D", "#000000", 7),
    "SciPy": ("o", "#0072B2", 7),
}
HOLLOW = ("SciPy on Dask",)  # so that what it covers can be seen


LOOK = {
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "svg.hashsalt": "dsoftmax",  # the same results give the same file
}


@plt.rc_context(LOOK)
def draw(results: dict[str, Any], path: Path) -> None:
    """The suite "speed", or else "bits"."""
    records = [record for record in results["records"] if record["suite"] == "speed"]
    if records:
        _draw_speed(results, records, path)
    else:
        _draw_bits([r for r in results["records"] if r["suite"] == "bits"], path)


def _draw_bits(records: list[dict[str, Any]], path: Path) -> None:
    """A line for each kind of data, with how many different results each library gives."""
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.35 * len(records)), layout="constrained")
    axes.grid(axis="x", which="both", linewidth=0.4, color="#DDDDDD")
    axes.grid(axis="y", linewidth=0.8, color="#EEEEEE")
    axes.tick_params(axis="y", length=0)
    names = [n for n in STYLES if any(n in record["samples"] for record in records)]
    for y, record in enumerate(reversed(records)):
        for k, name in enumerate(names):
            if name in record["samples"]:
                count = summarize(record["samples"][name]["results"]).median
                at = y + 0.12 * (k - (len(names) - 1) / 2)  # next to one another where they agree
                axes.plot(count, at, linestyle="", **style(name), zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_yticks(range(len(records)), [record["title"] for record in reversed(records)])
    axes.set_xlabel("different results of the same numbers, cut and permuted")
    entries = [Line2D([], [], **style(n), linestyle="", label=n) for n in names]
    figure.legend(handles=entries, loc="outside upper center", ncols=len(names))
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _draw_speed(results: dict[str, Any], records: list[dict[str, Any]], path: Path) -> None:
    """The most cores: a panel for each operation and dtype, a line for each layout."""
    threads = max(record["threads"] for record in records)
    records = [r for r in records if r["threads"] == threads]
    records = [r for r in records if r["labels"]["layout"] not in OTHER_SIZES] or records
    operations, dtypes, layouts = (
        list(dict.fromkeys(record["labels"][label] for record in records))
        for label in ("operation", "dtype", "layout")
    )
    layouts.reverse()  # from below
    figure, panels = plt.subplots(
        len(dtypes),
        len(operations),
        figsize=(12, 2.2 + 0.9 * len(layouts)),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for i, dtype in enumerate(dtypes):
        for j, operation in enumerate(operations):
            panels[i, j].set_title(f"{operation}, {dtype}", loc="left", fontsize=11)
            panels[i, j].grid(axis="x", which="both", linewidth=0.4, color="#DDDDDD")
            panels[i, j].grid(axis="y", linewidth=0.8, color="#EEEEEE")
            panels[i, j].tick_params(axis="y", length=0)
    for record in records:
        operation, dtype, layout = (record["labels"][k] for k in ("operation", "dtype", "layout"))
        panel = panels[dtypes.index(dtype), operations.index(operation)]
        draw_line(panel, record, layouts.index(layout))
    first = panels[0, 0]
    first.set_xscale("log")
    first.xaxis.set_major_formatter("{x:g}")
    ticks = [re.sub(r"\^(\d+)", r"$^{\1}$", layout) for layout in layouts]
    first.set_yticks(range(len(layouts)), ticks)
    first.set_ylim(-0.5, len(layouts) - 0.5)
    figure.supxlabel("ns per element, median and quartiles (left is faster)", fontsize=11)
    measured = {name for record in records for name in record["samples"]}
    entries = [Line2D([], [], **style(n), linestyle="", label=n) for n in STYLES if n in measured]
    figure.legend(handles=entries, loc="outside upper center", ncols=len(STYLES))
    about = f"{threads} cores of {results['machine']['cpu']}, {results['date'][:10]}"
    figure.suptitle(about, fontsize=9, y=-0.02)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def draw_line(panel: Any, record: dict[str, Any], y: int) -> None:
    for name, (_, color, _) in STYLES.items():
        if name in record["samples"]:
            ns = summarize(record["samples"][name]["seconds"], 1e9 / record["elements"])
            panel.plot([ns.low, ns.high], [y, y], color=color, linewidth=1.5, zorder=2)
            panel.plot(ns.median, y, **style(name), zorder=3)


def style(name: str) -> dict[str, Any]:
    marker, color, size = STYLES[name]
    fill = "none" if name in HOLLOW else color
    return {"marker": marker, "color": color, "markersize": size, "markerfacecolor": fill}
