"""The CUDA kernels beside the speed of the device's memory, and beside other libraries.

``python -m benchmarks.gpu`` prints three tables:

- the passes of dsoftmax, each with the bytes that it has to move, and the share of the bandwidth of
  a copy that it does so with; the first case is the one huge vector that the paper leaves out
- whole softmaxes: `cupyx.scipy.special.softmax`, ``exp(x - x.max())`` by hand, torch
- the figure of the paper: elements per second over the length V of a row, for a large and a small
  batch; "safe" is a maximum before dsoftmax's two passes, one more access to each element

Times are those until the device has finished, launches included.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from . import machine
from .timing import interleave, ratio, summarize

Call = Callable[[], Any]
Samples = dict[str, list[float]]


class Case(NamedTuple):
    """A block of standard normal numbers."""

    title: str
    shape: tuple[int, ...]
    axis: int
    dtype: str

    @property
    def elements(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What one access to every element moves."""
        return self.elements * {"float16": 2, "float32": 4, "float64": 8}[self.dtype]


CASES = (
    Case("one vector, 10^9", (10**9,), 0, "float32"),
    Case("one vector, 10^9", (10**9,), 0, "float16"),
    Case("one vector, 5 10^8", (5 * 10**8,), 0, "float64"),
    Case("rows of 1000", (10**6, 1000), 1, "float32"),
    Case("rows of 10", (10**8, 10), 1, "float32"),
    Case("columns of 10^6", (10**6, 1000), 0, "float32"),
)
QUICK_CASES = (Case("one vector", (10_007,), 0, "float32"), Case("rows", (40, 50), 1, "float64"))

BATCHES = ((4000, 10), (10, 15))  # rows, and how many lengths 63 * 2**i
QUICK_BATCHES = ((40, 2), (10, 2))

# How often a pass accesses each element; a copy does twice.
ACCESSES = {"state": 1, "softmax from a state": 2, "log-softmax from a state": 2}
TARGET, TARGET_OVER_SAFE = 0.8, 1.3


@click.command()
@click.option("--quick", is_flag=True, help="Tiny arrays: shows that all of it runs.")
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0), default=1.0, show_default=True)
def main(quick: bool, rounds: int, seconds: float) -> None:
    """Measure the kernels for CuPy on the current device; print three tables."""
    cupy = device_or_error()
    console = Console()
    console.width = max(console.width, 150)
    console.print(describe(cupy))
    cases, batches = (QUICK_CASES, QUICK_BATCHES) if quick else (CASES, BATCHES)
    passes = [(case, samples_of(cupy, passes_of(cupy, case), rounds, seconds)) for case in cases]
    console.print(passes_table(passes))
    whole = [(case, samples_of(cupy, whole_of(cupy, case), rounds, seconds)) for case in cases]
    console.print(whole_table(whole))
    for batch, count in batches:
        lengths = [63 * 2**i for i in range(count)]
        rows = [(v, samples_of(cupy, paper_of(cupy, batch, v), rounds, seconds)) for v in lengths]
        console.print(paper_table(batch, rows))


def device_or_error() -> ModuleType:
    """CuPy, if it finds a device."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy
        reason = "CuPy finds no device"
    except ImportError:
        reason = "CuPy is not installed"
    except Exception as error:  # no driver, one that is too old, ...
        reason = str(error)
    raise click.ClickException(
        f"{reason}; this benchmark needs a CUDA device, and CuPy: pip install 'dsoftmax[gpu]' for "
        "CUDA 12, 'dsoftmax[gpu-cuda13]' for CUDA 13"
    )


def describe(cupy: Any) -> str:
    """The device and the versions."""
    found = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    versions = {"cupy": cupy.__version__, "driver": cupy.cuda.runtime.driverGetVersion()}
    versions |= {name: v for name, v in machine.versions().items() if v}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"\n{found['name'].decode()}, {found['multiProcessorCount']} multiprocessors\n{listed}"


def block(cupy: Any, case: Case) -> Any:
    """The block of a case, on the device."""
    dtype = "float64" if case.dtype == "float64" else "float32"
    rng = cupy.random.default_rng(0)
    return rng.standard_normal(case.shape, dtype=dtype).astype(case.dtype, copy=False)


def passes_of(cupy: Any, case: Case) -> dict[str, Call]:
    """A copy, and what dsoftmax does to a block."""
    from dsoftmax import _kernels

    x = block(cupy, case)
    to, state = cupy.empty_like(x), _kernels.of_block(x, (case.axis,))
    return {
        "copy": lambda: cupy.copyto(to, x),
        "state": lambda: _kernels.of_block(x, (case.axis,)),
        "softmax from a state": lambda: _kernels.rescale(x, state),
        "log-softmax from a state": lambda: _kernels.log_rescale(x, state),
    }


def whole_of(cupy: Any, case: Case) -> dict[str, Call]:
    """The softmax of a block, by everyone."""
    import dsoftmax

    x, axis = block(cupy, case), case.axis

    def by_hand() -> Any:
        e = cupy.exp(x - x.max(axis=axis, keepdims=True))
        e /= e.sum(axis=axis, keepdims=True)
        return e

    calls: dict[str, Call] = {"dsoftmax": lambda: dsoftmax.softmax(x, axis=axis)}
    calls |= {"by hand": by_hand, **_cupyx(x, axis), **_torch(x, axis)}
    return calls


def paper_of(cupy: Any, batch: int, length: int) -> dict[str, Call]:
    """The softmaxes of the paper, over rows."""
    import dsoftmax
    from dsoftmax import _kernels

    x = block(cupy, Case("", (batch, length), 1, "float32"))

    def safe() -> Any:
        x.max(axis=1)
        return _kernels.rescale(x, _kernels.of_block(x, (1,)))

    calls: dict[str, Call] = {"online": lambda: dsoftmax.softmax(x, axis=1), "safe": safe}
    return calls | _cupyx(x, 1) | _torch(x, 1)


def _cupyx(x: Any, axis: int) -> dict[str, Call]:
    try:
        from cupyx.scipy.special import softmax
    except ImportError:
        return {}
    return {"cupyx": lambda: softmax(x, axis=axis)}


def _torch(x: Any, axis: int) -> dict[str, Call]:
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    tensor = torch.from_dlpack(x)
    return {"torch": lambda: torch.softmax(tensor, axis)}


def samples_of(cupy: Any, calls: dict[str, Call], rounds: int, seconds: float) -> Samples:
    """Seconds of each call; without those that the device has no memory for."""
    device = cupy.cuda.Device()

    def finished(call: Call) -> Call:
        def run() -> None:
            call()
            device.synchronize()

        return run

    able = {}
    for name, call in calls.items():
        try:
            finished(call)()
        except Exception as error:  # a library's own kind of out of memory
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        else:
            able[name] = finished(call)
    return interleave(able, rounds, seconds)


def bandwidth(case: Case, name: str, seconds: float) -> float:
    """The bytes per second that a pass moves at least."""
    return case.bytes * ACCESSES.get(name, 2) / seconds


def passes_table(rows: list[tuple[Case, Samples]]) -> Table:
    """A row for each case, a column for each pass."""
    table = Table(
        title="10^9 elements per second, GB/s, and the share of the bandwidth of a copy"
        f" (target for float32 in one vector: {TARGET:.0%})",
        title_justify="left",
        show_lines=True,
    )
    for name in ("case", "copy", *ACCESSES):
        table.add_column(name, justify="left" if name == "case" else "right")
    for case, samples in rows:
        cells = [_pass_cell(case, name, samples) for name in ("copy", *ACCESSES)]
        table.add_row(f"{case.title}, {case.dtype}", *cells)
    return table


def _pass_cell(case: Case, name: str, samples: Samples) -> str:
    if name not in samples:
        return "-"
    seconds = summarize(samples[name]).median
    speed = bandwidth(case, name, seconds)
    text = f"{case.elements / seconds / 1e9:.1f}\n{speed / 1e9:.0f} GB/s"
    if name == "copy" or "copy" not in samples:
        return text
    share = speed / bandwidth(case, "copy", summarize(samples["copy"]).median)
    judged = case == CASES[0]
    return f"{text}\n{share:.0%}" + judged * (" met" if share >= TARGET else " MISSED")


def whole_table(rows: list[tuple[Case, Samples]]) -> Table:
    """A row for each case, a column for each library."""
    names = list(dict.fromkeys(name for _, samples in rows for name in samples))
    table = Table(
        title="softmax: 10^9 elements per second; below, how many times longer than dsoftmax",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("case")
    for name in names:
        table.add_column(name, justify="right")
    for case, samples in rows:
        cells = [_whole_cell(case, name, samples) for name in names]
        table.add_row(f"{case.title}, {case.dtype}", *cells)
    return table


def _whole_cell(case: Case, name: str, samples: Samples) -> str:
    if name not in samples:
        return "-"
    speed = f"{case.elements / summarize(samples[name]).median / 1e9:.1f}"
    if name == "dsoftmax" or "dsoftmax" not in samples:
        return speed
    return f"{speed}\n{ratio(samples[name], samples['dsoftmax']):.2f} x"


def paper_table(batch: int, rows: list[tuple[int, Samples]]) -> Table:
    """A row for each length V."""
    names = list(dict.fromkeys(name for _, samples in rows for name in samples))
    table = Table(
        title=f"float32, batch {batch}: 10^9 elements per second"
        f" (target for online over safe, where rows do not fit in the cache: {TARGET_OVER_SAFE} x)",
        title_justify="left",
    )
    for name in ("V", *names, "online over safe"):
        table.add_column(name, justify="right")
    for length, samples in rows:
        cells = [
            f"{batch * length / summarize(samples[name]).median / 1e9:.2f}"
            if name in samples
            else "-"
            for name in names
        ]
        both = "online" in samples and "safe" in samples
        gain = f"{ratio(samples['safe'], samples['online']):.2f} x" if both else "-"
        table.add_row(f"{length:,}", *cells, gain)
    return table


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gpu")
