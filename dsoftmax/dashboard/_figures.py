"""The other figures: how the sum converges, and what memory is held. All have help marks."""

from __future__ import annotations

import math
from typing import Any

from bokeh.layouts import column
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    CustomAction,
    CustomJS,
    Div,
    InlineStyleSheet,
    NumeralTickFormatter,
    Span,
)
from bokeh.plotting import figure

from ._colours import FIRST, TREE
from ._html import held as held_of
from ._pace import number
from ._sums import Seen

_HISTORY = 2000  # points of a curve
_BINARY = {"base": 1024, "mantissas": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]}
_TEXT = "font-size: 13px; line-height: 1.45; color: #333"

_SUM_HELP = (
    "m + log d of all states that workers hold now, merged: the log-sum-exp of the chunks that are "
    "done. It rises to that of the whole. Of several slices it is the first one's. Nothing is "
    "shown of states that take more than 64 KiB or are on a GPU, nor of operations without a sum."
)
_MEMORY_HELP = (
    "What the results of tasks take on all workers, in memory and on disk, and the size of the "
    "array. It stays near zero if chunks are read twice, and rises to the size of the array if "
    "they are held between the passes."
)


def text(name: str, html: str = "") -> Any:
    """A part of the page in HTML, as wide as there is room."""
    wide = InlineStyleSheet(css=".bk-clearfix { display: block; width: 100%; }")
    return Div(
        text=html,
        name=name,
        sizing_mode="stretch_width",
        styles={"font-size": "13px"},
        stylesheets=[wide],
    )


def plot(name: str, help_text: str, height: int = 330, **options: Any) -> tuple[Any, Any]:
    """A figure with a help mark, and both in a column: the mark opens a text above the figure."""
    made = figure(
        title="",
        height=height,
        sizing_mode="stretch_width",
        toolbar_location="above",
        tools="",
        min_border_right=12,
        **options,
    )
    html = f'<div style="{_TEXT}; padding: 6px 10px; background: #eee">{help_text}</div>'
    note = Div(text=html, name=f"{name} help", visible=False, sizing_mode="stretch_width")
    show = CustomJS(args={"note": note}, code="note.visible = !note.visible")
    made.add_tools(CustomAction(icon="help", description="What this shows", callback=show))
    return made, column(made, note, sizing_mode="stretch_width")


class Convergence:
    """The log-sum-exp of the chunks that are done, by their share."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"share": [], "logsumexp": []}, name="sums")
        self.figure, self.root = plot("sum", _SUM_HELP, x_range=(0, 1.02))
        self.figure.step(
            "share", "logsumexp", source=self.source, color=TREE, line_width=2, mode="after"
        )
        self.figure.scatter("share", "logsumexp", source=self.source, color=TREE, size=7)
        self.figure.xaxis.axis_label = "Share of the Chunks Seen So Far"
        self.figure.xaxis.formatter = NumeralTickFormatter(format="0 %")
        self.clear()

    def clear(self) -> None:
        """Forget the points of another job."""
        self.source.data = {"share": [], "logsumexp": []}
        self.figure.title.text = "Log-Sum-Exp: Nothing Seen"

    def draw(self, seen: Seen) -> None:
        """Add a point."""
        if not math.isfinite(seen.logsumexp):
            return
        share = seen.chunks / seen.of
        if self.source.data["share"][-1:] != [share]:
            self.source.stream({"share": [share], "logsumexp": [seen.logsumexp]}, rollover=_HISTORY)
            self.figure.title.text = f"Log-Sum-Exp: {number(seen.logsumexp)}"


class Memory:
    """What all workers hold, and the size of the array."""

    def __init__(self) -> None:
        self.held = ColumnDataSource({"seconds": [], "bytes": []}, name="held")
        self.size = Span(dimension="width", line_color="#444444", line_dash="dashed", name="size")
        self.named = ColumnDataSource({"seconds": [], "bytes": [], "text": []})
        self.figure, self.root = plot("memory", _MEMORY_HELP, height=270, y_range=(0, 1))
        self.figure.varea("seconds", 0, "bytes", source=self.held, color=FIRST, fill_alpha=0.25)
        self.figure.line("seconds", "bytes", source=self.held, color=FIRST, line_width=3)
        self.figure.add_layout(self.size)
        words: dict[str, Any] = {"text_font_size": "12px", "y_offset": -4, "x_offset": 4}
        self.figure.text("seconds", "bytes", "text", source=self.named, **words)
        self.figure.xaxis.axis_label = "Seconds Since the Job Began"
        self.figure.yaxis.ticker = BasicTicker(**_BINARY)
        self.figure.yaxis.formatter = NumeralTickFormatter(format="0.[0] b")
        self.clear()

    def clear(self) -> None:
        """Forget the points of another job."""
        self.held.data = {"seconds": [], "bytes": []}
        self.size.location = None
        self.named.data = {"seconds": [], "bytes": [], "text": []}
        self.figure.title.text = "Memory Held"
        self.peak, self.top = 0, -1.0

    def draw(self, now: float, held: int, size: float) -> None:
        """Add what is held ``now``, in seconds since the job began."""
        self.held.stream({"seconds": [now], "bytes": [held]}, rollover=_HISTORY)
        self.peak = max(self.peak, held)
        top = float(self.peak) if math.isnan(size) else max(self.peak, size)
        if not math.isnan(size) and self.size.location is None:
            self.size.location = size
            self.named.data = {"seconds": [now], "bytes": [size], "text": ["Size of the Array"]}
        if top != self.top:
            self.top = top
            self.figure.y_range.start, self.figure.y_range.end = -0.03 * top, 1.12 * max(top, 1)
        self.figure.title.text = f"Memory Held: {held_of(held, size)}"
