"""The CUDA kernels over the shapes of blocks, beside a copy of the same bytes and beside torch.

- gpu-rows: rows of 2 to 10^6 elements; by length and dtype
- gpu-columns: the state along the first axis of tables of 1 to 4096 columns, and the softmax of it
- gpu-host: what a call costs before the device begins: on 1000 elements, a hundred calls at a time
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pkgutil import resolve_name
from typing import Any

from ..case import Call, Case, Sides, Suite, Target, within
from ..device import block, copied, finished, passes, with_torch

ELEMENTS, FEW, REPEAT = 25 * 10**7, 2000, 10
RESULTS = ("softmax", "log_softmax", "logsumexp")
LENGTHS = {
    "float32": (
        *(2, 3, 5, 8, 10, 16, 17, 32, 33, 63, 100, 126, 128, 252, 333, 504, 1000, 1001, 1024),
        *(2016, 4032, 4096, 8064, 16_128, 57_001, 258_048, 10**6),
    ),
    "float16": (3, 10, 33, 100, 1000, 4032, 16_128, 10**6),
    "float64": (3, 10, 33, 100, 1000, 4032, 10**6),
}
COLUMNS = (1, 2, 10, 33, 100, 1000, 1001, 4096)
CALLS = 100
# Of the bandwidth of the copy: rows of up to 8192; longer ones are read twice.
ROWS, LONG_ROWS, READS = 0.9, 0.62, 0.85


def results(shape: tuple[int, ...], axis: int, dtype: str, scope: ExitStack) -> Sides:
    x = block(shape, dtype)
    calls: dict[str, Callable[[], Call]] = {"copy": lambda: copied(x)}
    for name in RESULTS:
        ours = resolve_name(f"dsoftmax:{name}")
        calls[f"dsoftmax: {name}"] = partial(partial, ours, x, axis=axis)
        calls[f"torch: {name}"] = partial(with_torch, name, x, axis)
    return finished(calls, REPEAT)


def of_columns(shape: tuple[int, ...], scope: ExitStack) -> Sides:
    return finished(passes(block(shape, "float32"), 0, "softmax"), REPEAT)


def calls(count: int, scope: ExitStack) -> Sides:
    x = block((10, 100), "float32")
    ours = {
        f"dsoftmax: {name}": partial(partial, resolve_name(f"dsoftmax:{name}"), x, axis=1)
        for name in RESULTS
    }
    return finished(ours | {"torch: softmax": partial(with_torch, "softmax", x, 1)}, count)


def targets(length: int) -> tuple[Target, ...]:
    """Times of a copy, which reads and writes."""
    share = ROWS if length <= 8192 else LONG_ROWS
    written = (within(1 / share, "copy", of=f"dsoftmax: {name}") for name in RESULTS[:2])
    return (*written, within(0.5 / READS, "copy", of="dsoftmax: logsumexp"))


def rows(quick: bool) -> list[Case]:
    total = FEW if quick else ELEMENTS
    return [
        Case(
            f"{dtype}-rows-of-{length}",
            f"{length:,}",
            partial(results, (max(1, total // length), length), 1, dtype),
            REPEAT * max(1, total // length) * length,
            heading=f"Rows of {dtype} on a device, by their length",
            targets=targets(length) if dtype == "float32" and length >= 10 else (),
        )
        for dtype, lengths in LENGTHS.items()
        for length in (lengths[:2] if quick else lengths)
    ]


def columns(quick: bool) -> list[Case]:
    total = FEW if quick else ELEMENTS
    return [
        Case(
            f"{count}-columns",
            f"{count:,}",
            partial(of_columns, (total // count, count)),
            REPEAT * (total // count * count),
        )
        for count in (COLUMNS[2:4] if quick else COLUMNS)
    ]


def host(quick: bool) -> list[Case]:
    count = 2 if quick else CALLS
    return [Case("1000-elements", "a call on 1000 elements", partial(calls, count), count)]


# Every sample is of milliseconds, and 3 minutes are enough for all.
SHORT: dict[str, Any] = {"rounds": 5, "seconds": 0.0}
ROWS_SUITE = Suite("gpu-rows", "Rows on a device", rows, **SHORT)
COLUMNS_SUITE = Suite(
    "gpu-columns", "Columns of float32 on a device, by their number", columns, **SHORT
)
HOST = Suite("gpu-host", "Calls on a device, a time for each", host, rounds=9, seconds=0.0)
