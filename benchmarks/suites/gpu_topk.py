"""Softmax and the k best in one reading on a device, beside a copy of the block and beside torch.

- gpu-topk: the long and the short rows of docs/gpu.md, one vector, and the large batch of the paper
- gpu-topk-host: what a call costs before the device begins: on 1000 elements, 100 calls at a time

Rows that ascend, and rows of one value, let most elements through that have to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pkgutil import resolve_name
from typing import Any

from ..case import Call, Case, Sides, Suite, Target, faster, within
from ..device import block, copied, device, finished, tensor

LONG = (4000, 32_000)
CASES: dict[str, tuple[tuple[int, ...], int, float]] = {  # shape, k, times as fast as torch
    "long-rows-k-5": (LONG, 5, 5),
    "long-rows-k-50": (LONG, 50, 4),
    "one-vector-1e8": ((10**8,), 5, 100),
    "rows-of-100": ((10**7, 100), 5, 20),
    "paper-V-1000": ((4000, 1000), 5, 1),
    "paper-V-4032": ((4000, 4032), 5, 5),
    "paper-V-16128": ((4000, 16_128), 5, 5),
    "paper-V-64512": ((4000, 64_512), 5, 5),
}
QUICK: dict[str, tuple[tuple[int, ...], int, float]] = {
    "long-rows-k-5": ((3, 5000), 5, 5),
    "rows-of-100": ((40, 100), 5, 20),
}
WORST = 5  # times as long as random rows
REPEAT, CALLS = 10, 100  # in a row


def ours(x: Any, k: int) -> Call:
    return partial(resolve_name("dsoftmax:softmax_topk"), x, k, -1)


def torch(x: Any, k: int) -> Call:
    same = tensor(x)
    # The probabilities: rounded, they may be equal where elements are not, and in any order.
    return lambda: (same.softmax(-1).topk(k, dim=-1)[0],)


def one_reading(shape: tuple[int, ...], k: int, worst: bool, scope: ExitStack) -> Sides:
    cupy, x = device(), block(shape, "float32")
    calls: dict[str, Callable[[], Call]] = {
        "copy": lambda: copied(x),
        "dsoftmax": lambda: ours(x, k),
        "torch": lambda: torch(x, k),
    }
    if worst:
        ascending = cupy.arange(shape[-1], dtype="float32") / 1000
        ascending = cupy.ascontiguousarray(cupy.broadcast_to(ascending, shape))
        constant = cupy.zeros(shape, "float32")
        calls["dsoftmax: ascending"] = lambda: ours(ascending, k)
        calls["dsoftmax: constant"] = lambda: ours(constant, k)
    return finished(calls, REPEAT)


def host(scope: ExitStack) -> Sides:
    x, of_block = block((1000,), "float32"), resolve_name("dsoftmax._kernels.topk:of_block")
    return finished(
        {
            "dsoftmax: softmax_topk": lambda: ours(x, 5),
            "dsoftmax: its state": lambda: partial(of_block, x, (0,), 5, True),
            "torch: softmax, topk": lambda: torch(x, 5),
        },
        CALLS,
    )


def cases(quick: bool) -> list[Case]:
    return [
        Case(
            name,
            f"{' x '.join(f'{n:,}' for n in shape)}, k = {k}",
            partial(one_reading, shape, k, name.startswith("long-rows")),
            REPEAT * math.prod(shape),
            targets=targets(name, times),
            yardsticks=("copy", "dsoftmax: ascending", "dsoftmax: constant"),
        )
        for name, (shape, k, times) in (QUICK if quick else CASES).items()
    ]


def targets(name: str, times: float) -> tuple[Target, ...]:
    kinds = ("ascending", "constant") if name.startswith("long-rows") else ()
    worst = (within(WORST, "dsoftmax", of=f"dsoftmax: {kind}") for kind in kinds)
    return (faster(times, "torch"), *worst)


def on_host(quick: bool) -> list[Case]:
    return [Case("1000-elements", "softmax_topk of 1000 elements", host, CALLS)]


SUITE = Suite("gpu-topk", "Softmax and the k best on a device", cases, rounds=9, seconds=0.5)
HOST = Suite("gpu-topk-host", "Calls on a device, a time for each", on_host, rounds=9, seconds=0.0)
