"""The parts of the page that are text: where a job is, in words and in HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from dask.utils import format_bytes

from ._colours import FAILED, FIRST, NOTHING, SECOND
from ._jobs import Job, Progress
from ._pace import count

_MOST_WORKERS = 20  # rows of the table

EXAMPLE = """\
import dask.array as da, dsoftmax
from distributed import Client
client = Client("{address}")
x = 9 * da.sin(da.arange(2_000_000_000, chunks=10_000_000))
dsoftmax.softmax(x).max().compute()"""


def empty(address: str) -> str:
    """What the page would show, and what to run so that it does."""
    code = escape(EXAMPLE.format(address=address))
    return f"""
<h2 style="margin: 8px 0; font-size: 20px">No softmax is running on this cluster</h2>
<p style="max-width: 46em; line-height: 1.5">When one runs, or a log-sum-exp, an entropy, a top-k or
any other operation of dsoftmax, this page shows:</p>
<ul style="max-width: 44em; line-height: 1.5">
<li>its two passes over the chunks and the tree of merges between them, filling up;</li>
<li>the log-sum-exp of the chunks seen so far, as it rises to that of the whole;</li>
<li>how much memory the results take, of the size of the array;</li>
<li>the time it has taken and the time left, and the share of each worker.</li>
</ul>
<p>To see it at work, paste this into Python:</p>
<pre id="example" style="background: #eee; padding: 10px 14px; max-width: 46em; overflow-x: auto;
user-select: all; line-height: 1.5">{code}</pre>"""


def status(job: Job, parts: Sequence[Progress], workers: int, busy: int) -> str:
    """Where a job is, in a sentence; ``busy`` is the number of tasks that run on all workers."""
    first, second = parts[0], parts[-1] if job.second else None
    passed = "First pass: " if job.levels else ""
    if failed := sum(part.failed for part in parts):
        return f"{count(failed, 'task')} failed; asking for the result raises the error."
    if all(part.done == part.total for part in parts):
        return "Complete."
    if not workers:
        return "Waiting for workers: the cluster has none."
    if not first.done:
        return _beginning(first, busy)
    if first.done < first.total:
        return f"{passed}{first.done:,} of {first.total:,} chunks are done."
    if second is None or not (second.done or second.running):
        return "All chunks are read; their states are being merged."
    return f"Second pass: {second.done:,} of {second.total:,} chunks are done."


def _beginning(first: Progress, busy: int) -> str:
    """What happens while no chunk is done."""
    if first.running:
        are = "is" if first.running == 1 else "are"
        return (
            f"{count(first.running, 'task')} {are} running, and no chunk is done yet. The first "
            "ones take longer: each worker imports its libraries, and loads or compiles its "
            "kernels."
        )
    if busy:
        return "Waiting for other tasks, such as those that make the chunks."
    return "Waiting for a worker to begin."


def held(nbytes: int, size: float, of: str = "of") -> str:
    """What is held, and of what: "12.00 MiB of 2.24 GiB"."""
    if math.isnan(size):
        return format_bytes(nbytes)
    return f"{format_bytes(nbytes)} {of} {format_bytes(int(size))}"


def head(
    function: str, slices: str, bar: str, sentence: str, facts: Sequence[tuple[str, str]]
) -> str:
    """The title of a job, its progress, a sentence on it, and some facts by their names."""
    tiles = "".join(
        '<div style="margin: 0 32px 8px 0"><div style="color: #595959; font-size: 12px">'
        f'{escape(name)}</div><div style="font-size: 19px; white-space: nowrap">{escape(value)}'
        "</div></div>"
        for name, value in facts
    )
    return (
        f'<h2 style="margin: 4px 0 8px; font-size: 20px">{escape(function)} '
        f'<span style="font-weight: normal">of {escape(slices)}</span></h2>{bar}'
        f'<p style="margin: 8px 0 10px; font-size: 14px">{escape(sentence)}</p>'
        f'<div style="display: flex; flex-wrap: wrap">{tiles}</div>'
    )


def bar(passes: Sequence[Progress], in_one: bool) -> str:
    """How much of all passes is done, as a bar with a part for each; ``in_one`` without a tree."""
    colours = (SECOND,) if in_one else (FIRST, SECOND)
    parts = "".join(
        f'<div style="flex: 1; display: flex; background: {NOTHING}">'
        f"{_stripe(part.done, part.total, colour)}{_stripe(part.failed, part.total, FAILED)}</div>"
        for part, colour in zip(passes, colours, strict=False)
    )
    return f'<div style="display: flex; gap: 3px; height: 10px">{parts}</div>'


def _stripe(part: int, total: int, colour: str) -> str:
    return f'<div style="width: {100 * part / max(total, 1):.1f}%; background: {colour}"></div>'


def workers(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of workers."""
    cell = "padding: 4px 14px 4px 0; border-bottom: 1px solid #ddd"
    header = "".join(f'<th style="{cell}; text-align: left">{escape(c)}</th>' for c in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{cell}">{escape(value)}</td>' for value in row) + "</tr>"
        for row in rows[:_MOST_WORKERS]
    )
    more = len(rows) - _MOST_WORKERS
    rest = f"<p>And {count(more, 'more worker')}.</p>" if more > 0 else ""
    title = "Workers: Tasks Finished Since You Opened This Job"
    return (
        f'<b style="font-size: 13px; color: #444">{title}</b>'
        '<div style="overflow-x: auto"><table style="border-collapse: collapse; margin-top: 8px">'
        f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )
