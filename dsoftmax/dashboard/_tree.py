"""The figure of a job as what it is: a pass over the chunks, a tree of merges, another pass.

A row has a cell for each task, or, of more than a hundred, for several tasks. It fills up from the
left as its tasks finish, whichever these are: the scheduler knows how many have, and that is cheap
to ask. A merge runs after all that it merges, so rows fill up one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool

from ._colours import FAILED, FIRST, NOTHING, SECOND, TREE
from ._figures import plot
from ._jobs import Job, Progress

MOST_CELLS = 100
_WIDEST, _HALF_HEIGHT = 0.05, 0.2  # of a cell
_EDGE, _MOST_LINES = "#c4c4c4", 50
_ENDS = ("x0", "y0", "x1", "y1")
_ROW_HEIGHT, _LEAST_HEIGHT = 46, 330  # pixels

HELP = (
    "Time runs from top to bottom. In the first pass each chunk is read and gives its state, the "
    "maximum m and the sum d of exp(x - m). Merges join states level by level, down to the root, "
    "which has the state of the whole. The second pass combines each chunk with it. Full cells are "
    "done, pale ones run, orange ones have failed. Rows fill up from the left, whichever of their "
    "tasks finish first."
)


class Row(NamedTuple):
    """A group of tasks: its title, its colour, and how far it is."""

    title: str
    colour: str
    progress: Progress


class Cells(NamedTuple):
    """Where the cells of all rows are: the row, centre and width of each."""

    row: np.ndarray
    centre: np.ndarray
    width: np.ndarray


class Edges(NamedTuple):
    """Lines between cells: the number of the one that each starts from, and both ends."""

    start: np.ndarray
    ends: dict[str, np.ndarray]


def rows_of(job: Job, progress: Sequence[Progress]) -> list[Row]:
    """The rows of a job, in the order in which they run."""
    if not job.levels:
        titles = [("Each Chunk", FIRST if job.second else SECOND)]
    else:
        levels = [(f"Merges, Level {i}", TREE) for i in range(1, len(job.levels))]
        last = "Roots" if progress[len(job.levels)].total > 1 else "Root"
        if is_chain(job):
            last = "Merges in Turn"
        titles = [("First Pass", FIRST), *levels, (last, TREE)]
    if job.second is not None:
        titles.append(("Second Pass", SECOND))
    return [Row(*title, part) for title, part in zip(titles, progress, strict=True)]


def is_chain(job: Job) -> bool:
    """Whether merges are a chain and no tree: each takes the one before."""
    return any(level in level.dependencies for level in job.levels)


def cells_of(totals: Sequence[int]) -> Cells:
    """The cells of rows of so many tasks: a parent above the middle of its children."""
    numbers = [max(-(-total // tasks_per_cell(total)), 1) for total in totals]
    centres: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    for n in numbers:
        if centres and n < len(centres[-1]):
            parents = parents_of(len(centres[-1]), n)
            centre = np.bincount(parents, centres[-1]) / np.bincount(parents)
        else:
            centre = (np.arange(n) + 0.5) / n
        room = min([*np.diff(centre), 2 * centre[0], 2 * (1 - centre[-1])])
        centres.append(centre)
        widths.append(np.full(n, min(0.8 * room, _WIDEST)))
    row = np.repeat(np.arange(len(numbers)), numbers)
    return Cells(row, np.concatenate(centres), np.concatenate(widths))


def tasks_per_cell(total: int) -> int:
    """How many tasks a cell stands for, in a row of so many."""
    return max(-(-total // MOST_CELLS), 1)


def parents_of(children: int, parents: int) -> np.ndarray:
    """Which of some parents each child belongs to, if they are shared out evenly."""
    return np.arange(children) * parents // children


def edges_of(cells: Cells, chain: bool = False) -> Edges:
    """Lines from the cells of each row to those of the next, of a chain also within the second."""
    found = []
    for row in range(cells.row[-1]):
        above, below = (np.flatnonzero(cells.row == r) for r in (row, row + 1))
        if len(above) >= len(below):
            below = below[parents_of(len(above), len(below))]
        else:
            above = above[parents_of(len(below), len(above))]
            last = len(below) - 1  # more lines are too close to be told apart
            some = np.linspace(0, last, min(last + 1, _MOST_LINES)).round().astype(int)
            above, below = above[some], below[some]
        found.append((above, below, -row - _HALF_HEIGHT, -row - 1 + _HALF_HEIGHT))
        if chain and row == 0:
            links = np.flatnonzero(cells.row == 1)
            found.append((links[:-1], links[1:], -1.0, -1.0))
    if not found:
        return Edges(np.empty(0, int), {name: np.empty(0) for name in _ENDS})
    start, end = (np.concatenate([edge[i] for edge in found]) for i in (0, 1))
    y0, y1 = (np.repeat([e[i] for e in found], [len(e[0]) for e in found]) for i in (2, 3))
    return Edges(start, {"x0": cells.centre[start], "y0": y0, "x1": cells.centre[end], "y1": y1})


def shares(part: Progress, cells: int) -> np.ndarray:
    """What of each cell of a row is done, is done or runs, and has failed, from 0 to 1."""
    place, size = np.arange(cells), max(part.total, 1) / cells
    done, begun = part.done / size, (part.done + part.running) / size
    failed = part.failed / size - (cells - 1 - place)
    return np.clip([done - place, begun - place, failed], 0.0, 1.0)


class Tree:
    """The figure, with the rows of one job."""

    def __init__(self) -> None:
        names = ("left", "right", "bottom", "top", "colour", "done", "begun", "failed")
        self.cells = ColumnDataSource({name: [] for name in names}, name="cells")
        self.edges = ColumnDataSource({name: [] for name in (*_ENDS, "colour")})
        of_rows = ("part", "share", "text", "colour", "y")
        self.parts = ColumnDataSource({name: [] for name in of_rows}, name="parts")
        self.figure, self.root = plot("tree", HELP, x_range=(-0.01, 1.01))
        self.figure.title.text = "Passes and Tree"
        self.figure.segment(
            "x0", "y0", "x1", "y1", source=self.edges, color="colour", line_alpha=0.6
        )
        rows = self.figure.hbar(
            y="y", left=-0.01, right=1.01, height=0.9, source=self.parts, alpha=0
        )
        sides: dict[str, Any] = {"bottom": "bottom", "top": "top", "source": self.cells}
        for left, right, colour, alpha in (
            ("left", "right", NOTHING, 1),
            ("left", "begun", "colour", 0.4),
            ("left", "done", "colour", 1),
            ("failed", "right", FAILED, 1),
        ):
            self.figure.quad(
                left, right, **sides, fill_color=colour, fill_alpha=alpha, line_color=None
            )
        self.figure.add_tools(HoverTool(renderers=[rows], tooltips="@part: @text", visible=False))
        self.figure.xaxis.axis_line_color = None
        self.figure.xaxis.major_tick_line_color = None
        self.figure.xaxis.minor_tick_line_color = None
        self.figure.xaxis.major_label_text_font_size = "0px"
        self.figure.grid.visible = False
        self.figure.outline_line_color = None
        (self.axis,) = self.figure.yaxis
        self.axis.axis_line_color = self.axis.major_tick_line_color = None
        self.axis.ticker = self.ticks = FixedTicker(ticks=[])
        self.rows: list[Row] = []
        self.totals: list[int] = []

    def draw(self, job: Job, rows: list[Row]) -> None:
        """Show how far the rows are."""
        if rows == self.rows:
            return
        self.rows = rows
        totals = [row.progress.total for row in rows]
        if totals != self.totals:
            self._lay_out(job, rows, totals)
        parts = zip(rows, self.numbers, strict=True)
        found = np.concatenate([shares(row.progress, n) for row, n in parts], axis=1)
        left, right = self.cells.data["left"], self.cells.data["right"]
        done, begun, failed = found * self.at.width
        _patch(self.cells, {"done": left + done, "begun": left + begun, "failed": right - failed})
        start = self.between.start
        colours = np.where(found[0][start] == 1, self.cells.data["colour"][start], _EDGE)
        _patch(self.edges, {"colour": colours})
        texts = [text_of(row.progress) for row in rows]
        if texts == self.parts.data["text"] and self.parts.data["part"]:
            return
        titles = [row.title for row in rows]
        share = [r.progress.done / r.progress.total if r.progress.total else 0.0 for r in rows]
        self.parts.data = {
            "part": titles,
            "share": share,
            "text": texts,
            "colour": [row.colour for row in rows],
            "y": [-i for i in range(len(rows))],
        }
        self.axis.major_label_overrides = {
            -i: f"{title}\n{text}"
            for i, (title, text) in enumerate(zip(titles, texts, strict=True))
        }

    def _lay_out(self, job: Job, rows: list[Row], totals: list[int]) -> None:
        self.totals, self.at = totals, cells_of(totals)
        self.numbers = np.bincount(self.at.row)
        left, right = self.at.centre - self.at.width / 2, self.at.centre + self.at.width / 2
        self.cells.data = {
            "left": left,
            "right": right,
            "bottom": -self.at.row - _HALF_HEIGHT,
            "top": -self.at.row + _HALF_HEIGHT,
            "colour": np.array([row.colour for row in rows])[self.at.row],
            "done": left.copy(),
            "begun": left.copy(),
            "failed": right.copy(),
        }
        self.between = edges_of(self.at, is_chain(job))
        self.edges.data = {**self.between.ends, "colour": np.full(len(self.between.start), _EDGE)}
        self.figure.y_range.start, self.figure.y_range.end = 0.5 - len(rows), 0.5
        self.ticks.ticks = [-i for i in range(len(rows))]
        self.figure.height = max(_LEAST_HEIGHT, _ROW_HEIGHT * len(rows))
        most = tasks_per_cell(max(totals))
        cell = "One Task" if most == 1 else f"Up to {most:,} Tasks"
        self.figure.xaxis.axis_label = f"Each Cell: {cell}"


def _patch(source: ColumnDataSource, columns: dict[str, np.ndarray]) -> None:
    """Send the values of columns that have changed, and no others."""
    patches = {}
    for name, values in columns.items():
        changed = np.flatnonzero(values != source.data[name])
        if len(changed):
            patches[name] = [(int(i), values[i].item()) for i in changed]
    if patches:
        source.patch(patches)


def text_of(part: Progress) -> str:
    """How many are done: "45 of 100"."""
    text = f"{part.done:,} of {part.total:,}"
    return text + (f", {part.failed:,} failed" if part.failed else "")
