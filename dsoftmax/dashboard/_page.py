"""The page ``/softmax``: what one viewer sees of one job, drawn with Bokeh."""

from __future__ import annotations

import math
from collections import deque
from html import escape
from time import monotonic
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import AdaptiveTicker, ColumnDataSource, Div, NumeralTickFormatter, Select
from bokeh.plotting import figure
from dask.utils import format_bytes

from ._colours import FIRST, SECOND, TREE
from ._jobs import Job, Progress, Seen
from ._watch import Watch

_WINDOW = 5.0  # seconds over which a speed is measured
_HISTORY = 2000  # points of a curve
_WORKER_COLUMNS = ("worker", "first pass", "second pass", "share", "memory", "spilled")


class Page:
    """The figures of a page, and what this viewer has seen so far."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.job: Job | None = None  # shown in the figures
        self.began = 0.0
        self.samples: deque[tuple[float, int]] = deque()  # time, chunks done in both passes
        self.select = Select(title="job", options=[], width=420)
        self.head = _text("head", "<p>No softmax is running.</p>")
        self.sum_text = _text("sum", "")
        self.parts = _source("parts", "part", "share", "text", "colour")
        self.sums = _source("sums", "share", "logsumexp")
        self.held = _source("held", "seconds", "bytes")
        self.size = _source("size", "seconds", "bytes")
        self.workers = _text("workers", "")
        self.root = column(
            self.select,
            self.head,
            row(self._bars(), self._convergence(), sizing_mode="stretch_width"),
            self.sum_text,
            row(self._memory(), self.workers, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            margin=12,
        )

    def _bars(self) -> Any:
        self.bars = _figure("chunks and merges done", y_range=[], x_range=(0, 1))
        self.bars.hbar(y="part", right=1, height=0.7, source=self.parts, color="#eeeeee")
        self.bars.hbar(
            y="part", right="share", height=0.7, source=self.parts, color="colour", alpha=0.75
        )
        self.bars.text(
            x=0.01, y="part", text="text", source=self.parts, baseline="middle", font_size="12px"
        )
        self.bars.xaxis.formatter = NumeralTickFormatter(format="0 %")
        self.bars.grid.grid_line_color = None
        return self.bars

    def _convergence(self) -> Any:
        plot = _figure("log-sum-exp of the chunks seen so far", x_range=(0, 1))
        plot.step("share", "logsumexp", source=self.sums, color=TREE, line_width=2, mode="after")
        plot.scatter("share", "logsumexp", source=self.sums, color=TREE, size=6)
        plot.xaxis.axis_label = "share of the chunks"
        plot.xaxis.formatter = NumeralTickFormatter(format="0 %")
        return plot

    def _memory(self) -> Any:
        plot = _figure("memory taken by results on all workers", height=240)
        plot.line("seconds", "bytes", source=self.held, color=FIRST, line_width=2)
        plot.line("seconds", "bytes", source=self.size, color="#888888", line_dash="dashed")
        plot.y_range.start = 0
        plot.xaxis.axis_label = "seconds since you opened this job; dashed: the size of the array"
        plot.yaxis.ticker = AdaptiveTicker(mantissas=[1, 256, 512], base=1024)
        plot.yaxis.formatter = NumeralTickFormatter(format="0.[0] b")
        return plot

    def choose(self, jobs: list[Job]) -> Job | None:
        """The job that the viewer selected, or the newest one that has appeared since."""
        named = {job.name: job for job in jobs}
        options = [
            (name, f"{job.kind} {name.rsplit('-', 1)[-1][:8]}") for name, job in named.items()
        ]
        if self.select.options != options:
            previous = {name for name, _ in self.select.options}
            self.select.options = options
            new = [name for name in named if name not in previous]
            if new:
                self.select.value = new[-1]
        return named.get(self.select.value)

    def draw(self, job: Job | None, seen: Seen | None) -> None:
        """Show a job; without one, how the last one ended."""
        if job is None:
            self._draw_end()
            return
        if self.job is None or job.name != self.job.name:
            self.began = monotonic()
            self.samples.clear()
            self.sums.data = {"share": [], "logsumexp": []}
            self.held.data = {"seconds": [], "bytes": []}
            self.sum_text.text = ""
        self.job = job
        size = "unknown size" if math.isnan(job.nbytes) else format_bytes(int(job.nbytes))
        self._draw_head(job, f"of an array of {size}")
        self._draw_parts(job)
        self._draw_memory(job)
        self._draw_workers(job)
        if seen is not None:
            self._draw_sum(seen)

    def _draw_end(self) -> None:
        if self.job is None:
            return
        self._draw_parts(self.job, running=False)
        self._draw_workers(self.job)
        parts = [self.watch.progress(group) for group in self.job.groups]
        ended = "complete" if all(part.done == part.total for part in parts) else "not complete"
        self._draw_head(self.job, f"has left the scheduler, {ended}")

    def _draw_head(self, job: Job, state: str) -> None:
        self.head.text = f"<p><b>{escape(job.kind)}</b> {state}.</p>"

    def _draw_parts(self, job: Job, running: bool = True) -> None:
        rows = [
            (title, colour, self.watch.progress(group))
            for (title, colour), group in zip(_titles(job), job.groups, strict=True)
        ]
        passes = [part for _, colour, part in rows if colour != TREE]
        self.samples.append((monotonic(), sum(part.done for part in passes)))
        while self.samples[-1][0] - self.samples[0][0] > _WINDOW and len(self.samples) > 2:
            self.samples.popleft()
        names = [title for title, _, _ in rows]
        if self.bars.y_range.factors != names[::-1]:
            self.bars.y_range.factors = names[::-1]
        self.parts.data = {
            "part": names,
            "share": [part.done / part.total if part.total else 0.0 for _, _, part in rows],
            "text": [self._count(job, p, running and colour != TREE) for _, colour, p in rows],
            "colour": [colour for _, colour, _ in rows],
        }

    def _count(self, job: Job, part: Progress, with_speed: bool) -> str:
        text = f"{part.done} of {part.total}"
        if part.failed:
            text += f", {part.failed} failed"
        if with_speed and 0 < part.done < part.total:
            text += self._speed(job, part.total)
        return text

    def _speed(self, job: Job, chunks: int) -> str:
        """The speed of both passes together over the last seconds; "" if not measured."""
        (before, then), (now, done) = self.samples[0], self.samples[-1]
        if now - before < 0.4 or done <= then:
            return ""
        speed = (done - then) / (now - before)
        text = f", {speed:.3g} chunks/s"
        if not math.isnan(job.nbytes):
            text += f", {speed * job.nbytes / chunks / 1e9:.3g} GB/s"
        return text

    def _draw_memory(self, job: Job) -> None:
        held = sum(worker.nbytes for worker in self.watch.scheduler.workers.values())
        now = monotonic() - self.began
        self.held.stream({"seconds": [now], "bytes": [held]}, rollover=_HISTORY)
        if not math.isnan(job.nbytes):
            self.size.data = {"seconds": [0, now], "bytes": [job.nbytes] * 2}

    def _draw_sum(self, seen: Seen) -> None:
        if math.isfinite(seen.logsumexp):
            point = {"share": [seen.chunks / seen.of], "logsumexp": [seen.logsumexp]}
            if self.sums.data["share"][-1:] != point["share"]:
                self.sums.stream(point, rollover=_HISTORY)
        terms = "" if seen.m is None else f"m = {seen.m!r}, log d = {seen.log_d!r}, "
        which = f", of the first of {seen.slices} slices" if seen.slices > 1 else ""
        self.sum_text.text = (
            f"<p>{seen.chunks} of {seen.of} chunks seen: {terms}"
            f"<b>logsumexp = {seen.logsumexp!r}</b>{which}</p>"
        )

    def _draw_workers(self, job: Job) -> None:
        first, second = self.watch.by_worker(job.first), self.watch.by_worker(job.second)
        total = sum(first.values()) + sum(second.values())
        rows = [_WORKER_COLUMNS]
        for address, worker in self.watch.scheduler.workers.items():
            ours = first.get(address, 0), second.get(address, 0)
            share = f"{sum(ours) / total:.0%}" if total else ""
            memory = format_bytes(worker.memory.process)
            if worker.memory_limit:
                memory += f" of {format_bytes(worker.memory_limit)}"
            spilled = format_bytes(worker.memory.spilled)
            rows.append((str(worker.name), *map(str, ours), share, memory, spilled))
        caption = "<b>tasks that each worker has finished since you opened this job</b>"
        self.workers.text = f"{caption}<table>{''.join(map(_row, rows))}</table>"


def _row(cells: tuple[str, ...]) -> str:
    """A row of an HTML table."""
    style = "padding: 2px 18px 2px 0; border-bottom: 1px solid #e0e0e0"
    joined = f'</td><td style="{style}">'.join(map(escape, cells))
    return f'<tr><td style="{style}">{joined}</td></tr>'


def _source(name: str, *columns: str) -> Any:
    return ColumnDataSource({column: [] for column in columns}, name=name)


def _text(name: str, text: str) -> Any:
    return Div(text=text, name=name, sizing_mode="stretch_width")


def _figure(title: str, height: int = 320, **options: Any) -> Any:
    return figure(
        title=title, height=height, sizing_mode="stretch_width", toolbar_location=None, **options
    )


def _titles(job: Job) -> list[tuple[str, str]]:
    """The titles of the groups of a job, with their colours."""
    if not job.levels:
        titles = [("each chunk", FIRST if job.second else SECOND)]
    else:
        levels = [(f"tree: level {i}", TREE) for i in range(1, len(job.levels))]
        titles = [("first pass: (m, d) of each chunk", FIRST), *levels, ("tree: the root", TREE)]
    if job.second is not None:
        titles.append(("second pass: exp(x - m) / d", SECOND))
    return titles
