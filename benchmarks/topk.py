"""Softmax with top-k: the figures of the paper on the CPU, and the targets of dsoftmax.

``python -m benchmarks.topk`` prints two tables.  The first is the benchmark of the repository
NVIDIA/online-softmax: elements per second over the length V of a row, for a large and a small
batch, on one core, in three ways that differ in how often they touch each element:

- safe softmax, then top-k: maximum, sum, output (read and written), top-k of the output; 5 accesses
- safe softmax fused with top-k: maximum, then sum and top-k in one pass; 2
- online softmax fused with top-k: everything in one pass; 1

All three are made of the kernels of dsoftmax.  The second is of Dask arrays on all cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from . import machine
from .timing import interleave, ratio, summarize
from .worker import environment

K = 5
ACCESSES = {"safe, unfused": 5, "safe, fused": 2, "online, fused": 1}
BATCHES = ((4000, 10), (10, 15))  # rows, and how many lengths 63 * 2**i
QUICK_BATCHES = ((40, 2), (10, 2))

Call = Callable[[], Any]
Calls = dict[str, Call]


class Layout(NamedTuple):
    """A Dask array of float32."""

    title: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]


LAYOUTS = (
    Layout("rows of 50,000", (2000, 50_000), (125, 50_000)),
    Layout("one row, 10^8", (10**8,), (6_250_000,)),
)
QUICK_LAYOUTS = (Layout("rows of 500", (20, 500), (5, 250)),)

# float32 sums of 10^8 float32 lose two digits; whoever computes something else differs by more
TOLERANCE, NOTED = 0.05, 1e-4

# name of the other side: dsoftmax is to be so many times faster, or to take at most so many times
FASTER = {"Dask": 5.0, "torch": 5.0}
SLOWER = {"dsoftmax.logsumexp": 1.3}


@click.command()
@click.option("--quick", is_flag=True, help="Tiny arrays, seconds: shows that all of it runs.")
@click.option("--rounds", type=click.IntRange(min=1), help="At least, per row. [default: 5]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    help="Rows that take less get more rounds. [default: 1]",
)
def main(quick: bool, rounds: int | None, seconds: float | None) -> None:
    """Measure softmax with top-k (float32, k = 5) beside torch and Dask; print two tables."""
    rounds = rounds or (2 if quick else 5)
    seconds = seconds if seconds is not None else (0.0 if quick else 1.0)
    console = Console()
    console.width = max(console.width, 150)
    found = machine.describe()
    console.print(f"\n{found['cpu']}, {found['cores']} cores, {found['memory_gib']} GiB")
    versions = machine.versions()
    console.print(", ".join(f"{name} {v}" for name, v in versions.items() if v))
    if versions["torch"] is None:
        console.print("torch is not installed, and left out: pip install torch")
    batches = QUICK_BATCHES if quick else BATCHES
    for batch, rows in _in_process("paper", batches, rounds, seconds, threads=1):
        console.print(_paper_table(batch, rows))
    threads = machine.available_cores()
    rows = [
        _in_process("layout", list(layout), rounds, seconds, threads=threads)
        for layout in (QUICK_LAYOUTS if quick else LAYOUTS)
    ]
    console.print(_layouts_table(threads, rows, judged=not quick))
    for title, *_, differences in rows:
        for name, difference in differences.items():
            if difference > NOTED:
                console.print(f"{title}: {name} differs by {difference:.1e}")


def _in_process(function: str, *arguments: Any, threads: int) -> Any:
    """A measurement in a process of its own, which has only so many cores."""
    command = [sys.executable, "-m", "benchmarks.topk", "--measure"]
    command += [json.dumps([function, threads, *arguments])]
    done = subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _measured(function: str, threads: int, *arguments: Any) -> Any:
    machine.pin(threads)
    functions: dict[str, Any] = {"paper": _paper, "layout": _layout}
    return functions[function](threads, *arguments)


def _paper(
    threads: int, batches: list[list[int]], rounds: int, seconds: float
) -> list[tuple[int, list[Any]]]:
    """For each batch, and each length of its rows: the samples of each way in seconds."""
    tables, rng = [], np.random.default_rng(0)
    for batch, lengths in batches:
        rows = []
        for i in range(lengths):
            x = rng.standard_normal((batch, 63 * 2**i), dtype=np.float32)
            calls = _ways(x) | _torch(x, threads) | _dask(x, (batch, -1), threads)
            _check(calls, "online, fused")
            samples = interleave(calls, rounds, seconds)
            rows.append((x.shape[1], samples))
            ours = summarize(samples["online, fused"], 1e9 / x.size).median
            print(f"batch {batch}, V = {x.shape[1]}: {ours:.2f} ns", file=sys.stderr, flush=True)
        tables.append((batch, rows))
    return tables


def _ways(x: np.ndarray) -> Calls:
    """The three ways of the paper, each a row of passes over x."""
    import dsoftmax
    from dsoftmax import _kernels

    def unfused() -> Any:
        x.max(axis=1)
        state = _kernels.of_block(x, (1,))
        return dsoftmax.topk(_kernels.rescale(x, state), K, axis=-1)

    def safe() -> Any:
        x.max(axis=1)
        return dsoftmax.softmax_topk(x, K, axis=-1)

    def online() -> Any:
        return dsoftmax.softmax_topk(x, K, axis=-1)

    return dict(zip(ACCESSES, (unfused, safe, online), strict=True))


def _torch(x: np.ndarray, threads: int) -> Calls:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(x)
    return {"torch": lambda: tuple(torch.topk(torch.softmax(tensor, -1), K))}


def _dask(x: Any, chunks: Any, threads: int) -> Calls:
    """What Dask has: the values, without where they are, of the unfused softmax."""
    import dask
    import dask.array as da
    from scipy.special import softmax

    dask.config.set(scheduler="threads", num_workers=threads)
    lazy = x if isinstance(x, da.Array) else da.from_array(x, chunks=chunks)
    return {"Dask": lambda: (da.topk(softmax(lazy, axis=-1), K, axis=-1).compute(),)}


def _layout(
    threads: int, layout: list[Any], rounds: int, seconds: float
) -> tuple[str, int, dict[str, list[float]], int | None, int, dict[str, float]]:
    """Title, number of elements, samples in seconds, memory, of chunks too, and differences."""
    import dask
    import dask.array as da

    import dsoftmax

    title, shape, chunks = layout
    rng = da.random.default_rng(0)
    source = rng.standard_normal(tuple(shape), chunks=tuple(chunks), dtype="float32")
    dask.config.set(scheduler="threads", num_workers=threads)
    dask.compute(*dsoftmax.softmax_topk(source[:1] if source.ndim > 1 else source[:10], K, -1))
    before = machine.peak_memory()
    dask.compute(*dsoftmax.softmax_topk(source, K, axis=-1))
    after = machine.peak_memory()
    x = source.persist()
    calls: Calls = {
        "dsoftmax": lambda: dask.compute(*dsoftmax.softmax_topk(x, K, axis=-1)),
        "dsoftmax.logsumexp": lambda: dsoftmax.logsumexp(x, axis=-1).compute(),
        **_dask(x, None, threads),
        **_torch(x.compute(), threads),
    }
    found = {name: call for name, call in calls.items() if name != "dsoftmax.logsumexp"}
    differences = _check(found, "dsoftmax")
    samples = interleave(calls, rounds, seconds)
    held = None if before is None or after is None else after - before
    chunk = max(int(np.prod(chunks)) * 4 * threads, 1)
    return title, int(np.prod(shape)), samples, held, chunk, differences


def _check(calls: Calls, reference: str) -> dict[str, float]:
    """Run every call once: all have to find the same; how far their values differ, relatively."""
    values, indices = calls[reference]()
    differences = {}
    for name, call in calls.items():
        theirs, *places = map(np.asarray, call())
        for place in places:  # Dask has none
            np.testing.assert_array_equal(place, indices, err_msg=name)
        differences[name] = float(np.max(np.abs(theirs - values) / values))
        if differences[name] > TOLERANCE:
            raise AssertionError(f"{name} differs from {reference} by {differences[name]:.1e}")
    return differences


def _paper_table(batch: int, rows: list[Any]) -> Table:
    names = list(rows[0][1])
    table = Table(
        title=f"float32, k = {K}, batch {batch}, one core: 10^6 elements per second,"
        " and in brackets how often each is accessed",
        title_justify="left",
    )
    table.add_column("V", justify="right")
    for name in names:
        accesses = f" ({ACCESSES[name]})" if name in ACCESSES else ""
        table.add_column(name + accesses, justify="right")
    table.add_column("online, fused\nover unfused", justify="right")
    for length, samples in rows:
        rates = [batch * length / summarize(samples[name]).median / 1e6 for name in names]
        gain = ratio(samples["safe, unfused"], samples["online, fused"])
        table.add_row(f"{length:,}", *(f"{rate:.3g}" for rate in rates), f"{gain:.1f} x")
    return table


def _layouts_table(threads: int, rows: list[Any], judged: bool) -> Table:
    names = list(rows[0][2])
    table = Table(
        title=f"Dask array of float32, k = {K}, {threads} cores: ns per element, median ± half the"
        " distance of the quartiles; below, times dsoftmax, and the target",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("case", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("memory of a lazy input\n(in chunks times cores)", justify="right")
    for title, elements, samples, held, chunk, _ in rows:
        cells = [_cell(name, samples, 1e9 / elements, judged) for name in names]
        memory = "unknown" if held is None else f"{held / 2**20:.0f} MiB ({held / chunk:.1f})"
        table.add_row(title, *cells, memory)
    return table


def _cell(name: str, samples: dict[str, list[float]], scale: float, judged: bool) -> str:
    found = summarize(samples[name], scale)
    text = f"{found.median:.2f} ± {found.spread:.2f}"
    if name == "dsoftmax":
        return text
    times = ratio(samples[name], samples["dsoftmax"])
    if not judged:
        return f"{text}\n{times:.2f} x"
    if name in FASTER:
        verdict = "met" if times >= FASTER[name] else "MISSED"
        return f"{text}\n{times:.2f} x (at least {FASTER[name]:g}: {verdict})"
    verdict = "met" if 1 / times <= SLOWER[name] else "MISSED"
    return f"{text}\n1 / {1 / times:.2f} (at most {SLOWER[name]:g}: {verdict})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:  # started by `_in_process`
        json.dump(_measured(*json.loads(sys.argv[2])), sys.stdout)
    else:
        main(prog_name="python -m benchmarks.topk")
