"""The CUDA kernels beside a copy in the device's memory, and beside other libraries.

- gpu-passes: a pass of dsoftmax reads a block ("state"), or reads and writes it as the copy does;
  the first case is the one huge vector that the paper leaves out
- gpu: whole softmaxes
- gpu-paper: the figure of the paper; "safe" is a maximum before dsoftmax's two passes, one more
  access to each element

Times are those until the device has finished a few calls in a row, launches included: of a single
one, up to half of a millisecond would be the host's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pkgutil import resolve_name
from typing import Any

from ..case import Call, Case, Sides, Suite, Target, faster, within
from ..device import SECOND, block, device, finished, passes, with_torch
from .topk import figure

VECTOR = "one-vector-1e9-float32"
BLOCKS = {  # shape, axis, dtype
    VECTOR: ((10**9,), 0, "float32"),
    "one-vector-1e9-float16": ((10**9,), 0, "float16"),
    "one-vector-5e8-float64": ((5 * 10**8,), 0, "float64"),
    "rows-of-1000-float32": ((10**6, 1000), 1, "float32"),
    "rows-of-10-float32": ((10**8, 10), 1, "float32"),
    "columns-of-1e6-float32": ((10**6, 1000), 0, "float32"),
}
SMALL = {"one-vector": ((10_007,), 0, "float32"), "rows": ((40, 50), 1, "float64")}
REPEAT = 4  # calls in a row
BANDWIDTH, OVER_SAFE = (0.8, 1.3)  # of a copy, which accesses each element twice; times as fast


def both_passes(shape: tuple[int, ...], axis: int, dtype: str, scope: ExitStack) -> Sides:
    return finished(passes(block(shape, dtype), axis, *SECOND), REPEAT)


def everyone(x: Any, axis: int, name: str, other: Call) -> Sides:
    """The softmax of each library."""
    calls: dict[str, Callable[[], Call]] = {
        "dsoftmax": lambda: partial(resolve_name("dsoftmax:softmax"), x, axis=axis),
        "cupyx": lambda: partial(resolve_name("cupyx.scipy.special:softmax"), x, axis=axis),
        "torch": lambda: with_torch("softmax", x, axis),
        name: lambda: other,
    }
    return finished(calls, REPEAT)


def whole(shape: tuple[int, ...], axis: int, dtype: str, scope: ExitStack) -> Sides:
    x = block(shape, dtype)

    def by_hand() -> Any:
        e = device().exp(x - x.max(axis=axis, keepdims=True))
        e /= e.sum(axis=axis, keepdims=True)
        return e

    return everyone(x, axis, "by hand", by_hand)


def paper(shape: tuple[int, int], scope: ExitStack) -> Sides:
    from dsoftmax import _kernels

    x = block(shape, "float32")

    def safe() -> Any:
        x.max(axis=1)
        return _kernels.rescale(x, _kernels.of_block(x, (1,)))

    return everyone(x, 1, "safe", safe)


def cases(sides: Callable[..., Sides], targets: tuple[Target, ...], quick: bool) -> list[Case]:
    return [
        Case(
            name,
            name.replace("-", " "),
            partial(sides, shape, axis, dtype),
            REPEAT * math.prod(shape),
            targets=targets if name == VECTOR else (),
        )
        for name, (shape, axis, dtype) in (SMALL if quick else BLOCKS).items()
    ]


OVER_COPY = (
    within(0.5 / BANDWIDTH, "copy", of="dsoftmax: state"),
    within(1 / BANDWIDTH, "copy", of="dsoftmax: softmax from a state"),
    within(1 / BANDWIDTH, "copy", of="dsoftmax: log-softmax from a state"),
)
EXACT: dict[str, Any] = {"rounds": 9, "seconds": 1.0}
PASSES = Suite("gpu-passes", "Passes on a device", partial(cases, both_passes, OVER_COPY), **EXACT)
WHOLE = Suite("gpu", "softmax on a device", partial(cases, whole, ()), **EXACT)
FIGURE = partial(figure, paper, "softmax on a device", faster(OVER_SAFE, "safe"), repeat=REPEAT)
PAPER = Suite("gpu-paper", "The figure of the paper on a device", FIGURE, **EXACT)
