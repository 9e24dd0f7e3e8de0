"""An animation of a softmax at work: a map to (m, d), a tree of merges, and a second map.

    python examples/run_animation.py docs/images/run.gif

Dask's threads compute the softmax of eight chunks.  Callbacks of its scheduler note when each task
begins and ends, and what it gives; the pictures then show that run, slowed down to last a few
seconds.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import dask
import dask.array as da
import numpy as np
from dask.callbacks import Callback
from dask.core import get_deps
from dask.utils import key_split
from matplotlib.figure import Figure
from PIL import Image

import dsoftmax

CHUNKS, ELEMENTS = 8, 400_000  # of each chunk
THREADS = 4
FRAMES, SECONDS, STILL = 72, 6.0, 3.0  # SECONDS for the run, STILL at its end

# Of Okabe and Ito, to be told apart with any colour vision.
BLUE, PURPLE, GREEN, WAITING = "#0072B2", "#AA4499", "#009E73", "#E4E4E4"
COLOURS = {
    "softmax-normalizer": BLUE,
    "softmax-merge-partial": PURPLE,
    "softmax-merge-aggregate": PURPLE,
    "softmax-rescale": GREEN,
}


class Task(NamedTuple):
    """A task of the run: its seconds, its thread, and the state or the block that it gave."""

    begin: float
    end: float
    thread: int
    result: Any


class Recorder(Callback):
    """Note when each task begins and ends."""

    def __init__(self) -> None:
        super().__init__(pretask=self.begins, posttask=self.ends)
        self.begun: dict[Any, float] = {}
        self.tasks: dict[Any, Task] = {}

    def begins(self, key: Any, *_: Any) -> None:
        self.begun[key] = time.perf_counter()

    def ends(self, key: Any, result: Any, graph: Any, state: Any, thread: int) -> None:
        self.tasks[key] = Task(self.begun[key], time.perf_counter(), thread, result)


class Run(NamedTuple):
    """A run: x and y for drawing, the tasks by name and number, and which of them need which."""

    x: np.ndarray
    y: np.ndarray
    tasks: dict[Any, Task]
    needs: dict[Any, set[Any]]
    seconds: float


def log_density(block_id: tuple[int], elements: int) -> np.ndarray:
    """A chunk of the logarithms of a density with three peaks, to be normalised."""
    t = np.linspace(block_id[0], block_id[0] + 1, elements, endpoint=False)
    logs = -np.inf
    for centre, width, height in ((1.7, 0.5, 0.0), (4.4, 0.35, -0.2), (5.9, 0.8, -0.3)):
        logs = np.logaddexp(logs, height - ((t - centre) / width) ** 2 / 2)
    return logs


def record(elements: int = ELEMENTS, threads: int = THREADS) -> Run:
    """Compute a softmax and note its tasks."""
    chunks = ((elements,) * CHUNKS,)
    x = da.map_blocks(log_density, elements=elements, chunks=chunks, dtype=float)
    (y,) = dask.optimize(dsoftmax.softmax(x, split_every=2, reread=True))
    needs, _ = get_deps(dict(y.__dask_graph__()))
    with Recorder() as recorder, dask.config.set(pool=None, num_workers=threads):
        (y,) = dask.persist(y, scheduler="threads")
    tasks = {key: task for key, task in recorder.tasks.items() if key_split(key) in COLOURS}
    start = min(task.begin for task in tasks.values())
    names = {thread: i for i, thread in enumerate(sorted({task.thread for task in tasks.values()}))}
    tasks = {
        key: Task(task.begin - start, task.end - start, names[task.thread], task.result)
        for key, task in tasks.items()
    }
    every = elements // 40
    drawn_x, drawn_y = dask.compute(x[::every], y[::every])
    seconds = max(task.end for task in tasks.values())
    return Run(drawn_x, drawn_y, tasks, needs, seconds)


def places(run: Run) -> dict[Any, tuple[float, int]]:
    """Where the states are in the tree: across, and the level."""
    found: dict[Any, tuple[float, int]] = {}
    for key in sorted(run.tasks, key=lambda key: run.tasks[key].end):
        kind = key_split(key)
        if kind == "softmax-normalizer":
            found[key] = (key[1] + 0.5, 0)
        elif kind != "softmax-rescale":
            below = [found[needed] for needed in run.needs[key] if needed in found]
            across, levels = zip(*below, strict=True)
            found[key] = (sum(across) / len(across), max(levels) + 1)
    return found


def fraction(task: Task, now: float) -> float:
    """How much of a task is done."""
    return float(np.clip((now - task.begin) / (task.end - task.begin), 0, 1))


def draw_frame(run: Run, now: float) -> Image.Image:
    """The run at a time: x and its states, the tree, y, and what each thread has done."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, tree, below, stream = figure.subplots(4, 1, height_ratios=[2.2, 4.4, 2.2, 1.5])
    across = np.linspace(0, CHUNKS, run.x.size, endpoint=False)
    for axes, kind, values in (
        (above, "softmax-normalizer", run.x),
        (below, "softmax-rescale", run.y / run.y.max()),
    ):
        low, high = values.min(), values.max()
        axes.set(xlim=(0, CHUNKS), ylim=(low - 0.12 * (high - low), high + 0.2 * (high - low)))
        for key, task in run.tasks.items():
            if key_split(key) == kind:
                part = (across >= key[1]) & (across <= key[1] + 1)
                done = fraction(task, now)
                axes.axvspan(key[1] + 0.02, key[1] + 0.98, color=WAITING, alpha=0.5, linewidth=0)
                end = key[1] + 0.02 + 0.96 * done
                axes.axvspan(key[1] + 0.02, end, color=COLOURS[kind], alpha=0.35, linewidth=0)
                if kind == "softmax-normalizer" or done == 1:
                    colour = COLOURS[kind] if done == 1 else "#888888"
                    axes.plot(across[part], values[part], color=colour, linewidth=1.6)
    draw_tree(tree, run, now)
    for task, kind in ((task, key_split(key)) for key, task in run.tasks.items()):
        length = min(task.end, now) - task.begin
        if length > 0:
            seen = max(0.985 * length, run.seconds / 250)  # a merge takes microseconds
            stream.barh(task.thread, seen, 0.8, task.begin, color=COLOURS[kind])
    stream.set(xlim=(0, run.seconds), ylim=(-0.6, THREADS - 0.4), yticks=[])
    stream.set_xticks([0, run.seconds], ["0", f"{1000 * run.seconds:.0f} ms"])
    for axes, words in (
        (above, "x, in chunks\nof a Dask array"),
        (tree, "m and d,\nmerged in a tree"),
        (below, "softmax(x)"),
        (stream, f"{THREADS} threads"),
    ):
        axes.set_ylabel(words, rotation=0, ha="right", va="center", fontsize=11, labelpad=8)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    for axes in (above, tree, below):
        axes.set(xticks=[], yticks=[])
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return Image.open(buffer).convert("RGB")


def draw_tree(axes: Any, run: Run, now: float) -> None:
    """The states that there are, with their numbers, and how they merge."""
    where = places(run)
    top = max(level for _, level in where.values())
    axes.set(xlim=(0, CHUNKS), ylim=(-top - 0.5, 0.5))
    for key, (across, level) in where.items():
        task, kind = run.tasks[key], key_split(key)
        done = now >= task.end
        for needed in run.needs[key] & set(where):
            before, low = where[needed]
            shown = PURPLE if done else WAITING
            axes.plot([before, across], [-low, -level], color=shown, linewidth=1.5, zorder=1)
        m, w, s = (float(np.ravel(part)[0]) for part in task.result)
        colour = COLOURS[kind] if done else WAITING
        words = f"m = {round(m, 1) + 0.0}\nd = {w + s:.1e}".replace("e+0", "e")
        box = {"facecolor": colour, "edgecolor": "none", "pad": 3.5}
        font = {"color": "white" if done else WAITING, "fontsize": 8.5}
        axes.text(across, -level, words, bbox=box, ha="center", va="center", **font)


def animate(run: Run, path: Path) -> None:
    """Write the animation, of one palette and of what changes from picture to picture."""
    frames = [draw_frame(run, now) for now in np.linspace(0, run.seconds * 1.0001, FRAMES)]
    both = Image.new("RGB", (frames[0].width, 2 * frames[0].height))
    both.paste(frames[0])
    both.paste(frames[-1], (0, frames[0].height))
    palette = both.quantize(64)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) > 246] = 255  # white paper
    palette.putpalette(colours.ravel().tolist())
    pictures = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [round(1000 * SECONDS / FRAMES)] * (FRAMES - 1) + [round(1000 * STILL)]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True
    )


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default="build/run.gif")
def main(path: Path) -> None:
    """Run a softmax on threads, and draw it to PATH, a GIF."""
    record(1000)  # what there is to import and to compile
    run = record()
    click.echo(f"{len(run.tasks)} tasks in {1000 * run.seconds:.0f} ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    animate(run, path)
    click.echo(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
