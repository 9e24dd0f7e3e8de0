"""The results as one picture for the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from .cases import DTYPES, FUNCTIONS
from .peers import PEERS
from .timing import summarize

# Other sizes of what is drawn: for the table.
SMALLER_OR_LARGER = ("row-1e6", "row-1e7", "row-5e8")

# Marker, color (of Okabe & Ito, distinct to all eyes) and size.
STYLES = {
    "floor": ("|", "#000000", 14),
    "dsoftmax": ("D", "#D55E00", 8),
    "scipy-dask": ("o", "#0072B2", 9),
    "by-hand": ("s", "#56B4E9", 6),
    "torch": ("^", "#009E73", 7),
    "jax": ("v", "#CC79A7", 7),
    "scipy-numpy": ("o", "#999999", 5),
    "dsoftmax-numpy": ("D", "#E69F00", 5),
}
HOLLOW = ("scipy-dask",)  # so that what it covers can be seen


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the run with the most cores: a panel for each function and dtype, a line a layout.

    Parameters
    ----------
    results : dict
        As in the JSON file.
    path : Path
        Of the picture; its suffix gives the format.
    """
    run = results["runs"][-1]
    cases = [case for case in run["cases"] if case["layout"] not in SMALLER_OR_LARGER]
    cases = cases or run["cases"]
    titles = {case["layout"]: case["title"] for case in reversed(cases)}  # from below
    lines = {layout: i for i, layout in enumerate(titles)}

    figure, panels = plt.subplots(
        len(DTYPES),
        len(FUNCTIONS),
        figsize=(12, 2.2 + 0.9 * len(lines)),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for row, dtype in zip(panels, DTYPES, strict=True):
        for panel, function in zip(row, FUNCTIONS, strict=True):
            chosen = (c for c in cases if (c["function"], c["dtype"]) == (function, dtype))
            draw_panel(panel, chosen, lines)
            panel.set_title(f"{function}, {dtype}", loc="left", fontsize=11)
    panels[0, 0].set_xscale("log")
    panels[0, 0].xaxis.set_major_formatter("{x:g}")
    panels[0, 0].set_yticks(list(lines.values()), [_superscript(t) for t in titles.values()])
    panels[0, 0].set_ylim(-0.5, len(lines) - 0.5)
    figure.supxlabel("ns per element, median and quartiles (left is faster)", fontsize=11)
    figure.legend(handles=legend(cases), loc="outside upper center", ncols=len(STYLES))
    machine = results["machine"]
    figure.suptitle(
        f"{run['threads']} cores of {machine['cpu']}, {results['date'][:10]}", fontsize=9, y=-0.02
    )
    plt.rcParams["svg.hashsalt"] = "dsoftmax"  # the same results give the same file
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def draw_panel(panel: Any, cases: Iterable[dict[str, Any]], lines: dict[str, int]) -> None:
    """One function and dtype."""
    for case in cases:
        y = lines[case["layout"]]
        for name, (_, color, _) in STYLES.items():
            if name in case["seconds"]:
                ns = summarize(case["seconds"][name], 1e9 / case["elements"])
                panel.plot([ns.low, ns.high], [y, y], color=color, linewidth=1.5, zorder=2)
                panel.plot(ns.median, y, **_style(name), zorder=3)
    panel.grid(axis="x", which="both", linewidth=0.4, color="#DDDDDD")
    panel.grid(axis="y", linewidth=0.8, color="#EEEEEE")
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)


def legend(cases: list[dict[str, Any]]) -> list[Line2D]:
    """An entry for each peer that was measured."""
    measured = {name for case in cases for name in case["seconds"]}
    return [
        Line2D([], [], **_style(name), linestyle="", label=PEERS[name].label)
        for name in STYLES
        if name in measured
    ]


def _superscript(text: str) -> str:
    return re.sub(r"\^(\d+)", r"$^{\1}$", text)


def _style(name: str) -> dict[str, Any]:
    marker, color, size = STYLES[name]
    fill = "none" if name in HOLLOW else color
    return {"marker": marker, "color": color, "markersize": size, "markerfacecolor": fill}
