"""The page ``/softmax``: what one viewer sees of one job, drawn with Bokeh."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

from bokeh.core.properties import without_property_validation
from bokeh.layouts import column
from bokeh.models import InlineStyleSheet, Row, Select
from dask.utils import format_bytes
from distributed.metrics import time
from distributed.scheduler import TaskGroup, TaskState

from . import _html
from ._figures import Convergence, Memory, text
from ._jobs import Job, Progress
from ._pace import Pace, duration, number, roughly
from ._sums import Seen
from ._tree import Tree, rows_of
from ._watch import Watch

_COLUMNS = ("Worker", "First Pass", "Second Pass", "Share", "Memory", "Spilled")
_NARROWEST = 480  # pixels of a figure; two that do not fit go below each other


class Page:
    """The figures of a page, and what this viewer has seen so far."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.job: Job | None = None  # shown in the figures
        self.pace, self.elapsed = Pace(), 0.0
        self.below: dict[TaskState, int] = {}  # how many chunks are below merges of the job
        self.labels: dict[str, str] = {}  # of the jobs to select from, by their names
        self.known: dict[str, TaskGroup] = {}  # the first passes of those on the scheduler
        self.select = Select(title="Job", options=[], sizing_mode="stretch_width", visible=False)
        self.head = text("head", _html.empty(watch.scheduler.address))
        self.sum_text, self.workers = text("sum"), text("workers")
        self.tree, self.sums, self.memory = Tree(), Convergence(), Memory()
        self.sums.root.children.append(self.sum_text)
        self.figures = column(
            _beside(self.tree.root, self.sums.root),
            _beside(self.memory.root, self.workers),
            sizing_mode="stretch_width",
            visible=False,
        )
        self.root = column(
            self.select, self.head, self.figures, sizing_mode="stretch_width", margin=(8, 12, 8, 12)
        )

    def choose(self, jobs: list[Job]) -> Job | None:
        """The job that the viewer selected, or the newest one that has appeared since."""
        named = {job.name: job for job in jobs}
        new = [name for name, job in named.items() if self.known.get(name) is not job.first]
        self.known = {name: job.first for name, job in named.items()}
        ended = [] if self.job is None or self.job.name in named else [self.job.name]
        there = (*ended, *named)
        self.labels = {name: self.labels[name] for name in there if name in self.labels}
        for name in new:
            if name not in self.labels:
                self.labels[name] = self._label(named[name])
        options = [(name, self.labels[name]) for name in there]
        if self.select.options != options:
            self.select.options = options
            self.select.visible = len(options) > 1
        if new:
            self.select.value = new[-1]
        job = named.get(self.select.value)
        if job is None or self.job is None or job.first is not self.job.first:
            self.below.clear()
        return job

    def _label(self, job: Job) -> str:
        """The title of a job; of several with the same, each gets the first number not taken."""
        taken = self.labels.values()
        labels = (f"{job.title} #{i}" if i > 1 else job.title for i in count(1))
        return next(label for label in labels if label not in taken)

    @without_property_validation  # as Dask's pages do, which takes half the time
    def draw(self, job: Job | None, seen: Seen | None) -> None:
        """Show a job; without one, how the last one ended."""
        running, job = job is not None, job or self.job
        if job is None:
            return
        if self.job is None or job.first is not self.job.first:
            self.pace, self.elapsed, self.sum_text.text = Pace(), 0.0, ""
            self.sums.clear()
            self.memory.clear()
            self.figures.visible = True
        self.job = job
        threads = sum(worker.nthreads for worker in self.watch.scheduler.workers.values())
        parts = [self.watch.progress(group) for group in job.groups]
        # Of the tasks that workers have been given, no more run than there are threads.
        parts = [part._replace(running=min(part.running, threads)) for part in parts]
        self._draw_head(job, parts, running)
        self.tree.draw(job, rows_of(job, parts))
        self._draw_workers(job)
        if seen is not None:
            self._draw_sum(seen)
        self.sums.root.visible = job.has_sum

    def _draw_head(self, job: Job, parts: list[Progress], running: bool) -> None:
        workers = self.watch.scheduler.workers.values()
        passes = [parts[0], *(parts[-1:] if job.second else [])]
        done, total = sum(part.done for part in passes), sum(part.total for part in passes)
        complete = all(part.done == part.total for part in parts)
        began, now = self.watch.began(job), time()
        if complete:
            now = max(group.stop for group in job.groups) or now
        if complete or running:
            self.elapsed = max(now - began, 0.0)
        facts = [("Elapsed", duration(self.elapsed))]
        if running and not complete:
            self.pace.add(now, done)
            if not any(part.failed for part in parts):
                left = roughly(self.pace.left(total - done))
                facts.append(("Time Left", left or "not known yet"))
            speed = self.pace.speed
        else:
            speed = done / self.elapsed if self.elapsed else 0.0
        if speed:
            facts += _speeds(speed, job.nbytes / parts[0].total, complete)
        if running:
            held = sum(worker.nbytes for worker in workers)
            busy = sum(len(worker.processing) for worker in workers)
            sentence = _html.status(job, parts, len(workers), busy)
            sentence += f" Workers hold {_html.held(held, job.nbytes, 'of an array of')}."
            self.memory.draw(self.elapsed, held, job.nbytes)
        else:
            sentence = "Complete" if complete else "Not complete"
            sentence += "; its tasks have left the scheduler."
        bar = _html.bar(passes, not job.levels)
        self.head.text = _html.head(job.function, job.slices, bar, sentence, facts)

    def _draw_sum(self, seen: Seen) -> None:
        self.sums.draw(seen)
        terms = ""
        if seen.m is not None and seen.log_d is not None:
            terms = f"m = {number(seen.m)}, log d = {number(seen.log_d)}, "
        which = f", of the first of {seen.slices:,} slices" if seen.slices > 1 else ""
        self.sum_text.text = (
            f"{seen.chunks:,} of {seen.of:,} chunks seen: {terms}"
            f"<b>log-sum-exp = {number(seen.logsumexp)}</b>{which}"
        )

    def _draw_workers(self, job: Job) -> None:
        first, second = self.watch.by_worker(job.first), self.watch.by_worker(job.second)
        total = sum(first.values()) + sum(second.values())
        rows = []
        by_name = sorted(
            self.watch.scheduler.workers.items(),
            key=lambda item: (len(str(item[1].name)), str(item[1].name)),
        )
        for address, worker in by_name:
            ours = first.get(address, 0), second.get(address, 0)
            share = f"{sum(ours) / total:.0%}" if total else ""
            memory = format_bytes(worker.memory.process)
            if worker.memory_limit:
                memory += f" of {format_bytes(worker.memory_limit)}"
            spilled = format_bytes(worker.memory.spilled)
            rows.append((str(worker.name), *map(str, ours), share, memory, spilled))
        self.workers.text = _html.workers(_COLUMNS, rows)


def _speeds(speed: float, nbytes: float, complete: bool) -> list[tuple[str, str]]:
    """A speed, in chunks of so many bytes and in bytes, or only in chunks."""
    of = "Average" if complete else "Speed"
    chunks = f"{speed:.3g} chunks/s"
    if math.isnan(nbytes):
        return [(of, chunks)]
    return [(of, f"{format_bytes(int(speed * nbytes))}/s, {chunks}")]


def _beside(*parts: Any) -> Any:
    """Parts beside each other where there is room, else below each other."""
    for part in parts:
        part.styles = {"flex": f"1 1 {_NARROWEST}px", "min-width": f"min(100%, {_NARROWEST}px)"}
    wrap = InlineStyleSheet(css=":host { flex-wrap: wrap; gap: 12px 24px; }")
    return Row(*parts, sizing_mode="stretch_width", stylesheets=[wrap])
