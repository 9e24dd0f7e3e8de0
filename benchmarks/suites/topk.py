"""The k best, and the figure of the paper (arXiv:1805.02867) on the CPU.

The figure is that of the repository NVIDIA/online-softmax: the time of rows of length V, in a large
and in a small batch, on one core.  Its three ways, all of them made of the kernels of dsoftmax,
differ in how often they access each element:

- safe softmax, then top-k: maximum, sum, output (read and written), top-k of the output; 5
- safe softmax fused with top-k: maximum, then sum and top-k in one pass; 2
- online softmax fused with top-k, which is dsoftmax: everything in one pass; 1
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from ..case import Case, Sides, Suite, Target, faster, within
from ..operation import Operation, suite
from ..process import imported

K = 5


def softmax_topk(x: Any, axis: int) -> Any:
    return imported("dsoftmax:softmax_topk", x, K, axis)


def topk(x: Any, axis: int) -> Any:
    return imported("dsoftmax:topk", x, K, axis)


def dask_topk(x: da.Array, axis: int) -> tuple[da.Array]:
    return (da.topk(x, K, axis=axis),)  # the values: Dask does not tell where they are


def dask_softmax_topk(x: da.Array, axis: int) -> tuple[da.Array]:
    return dask_topk(imported("scipy.special:softmax", x, axis), axis)


def torch_topk(x: Any, axis: int) -> tuple[Any, ...]:
    return tuple(x.topk(K, dim=axis))


def torch_softmax_topk(x: Any, axis: int) -> tuple[Any, ...]:
    return torch_topk(x.softmax(axis), axis)


OPTIONS: dict[str, Any] = {"layouts": ("row-1e8", "long-rows"), "dtypes": ("float32",)}
TARGETS = (faster(5, "SciPy on Dask"), faster(5, "torch"), within(1.3, "logsumexp"))
OPERATIONS = (
    Operation(
        "softmax_topk",
        softmax_topk,
        peers={
            "logsumexp": "dsoftmax:logsumexp",
            "SciPy on Dask": dask_softmax_topk,
            "torch": torch_softmax_topk,
        },
        targets={("float32", layout): TARGETS for layout in OPTIONS["layouts"]},
        yardsticks=("logsumexp",),
        **OPTIONS,
    ),
    Operation("topk", topk, peers={"Dask": dask_topk, "torch": torch_topk}, **OPTIONS),
)
SUITE = suite("topk", f"The {K} best", OPERATIONS)


# The figure of the paper.


def ways(shape: tuple[int, int], scope: ExitStack) -> Sides:
    import dsoftmax
    from dsoftmax import _kernels

    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def unfused() -> Any:
        x.max(axis=1)
        return dsoftmax.topk(_kernels.rescale(x, _kernels.of_block(x, (1,))), K, -1)

    def safe() -> Any:
        x.max(axis=1)
        return dsoftmax.softmax_topk(x, K, -1)

    return {
        "dsoftmax": lambda: partial(dsoftmax.softmax_topk, x, K, -1),
        "safe, fused": lambda: safe,
        "safe, unfused": lambda: unfused,
        "torch": lambda: partial(torch_softmax_topk, imported("torch:from_numpy", x), -1),
    }


def figure(
    sides: Callable[..., Sides],
    heading: str,
    target: Target,
    quick: bool,
    repeat: int = 1,
    **options: Any,
) -> list[Case]:
    """A case for each length, of so many calls; the target is for the longest rows."""
    return [
        Case(
            f"batch-{batch}-V-{length}",
            f"V = {length:,}",
            partial(sides, (batch, length)),
            repeat * batch * length,
            targets=(target,) if length == longest else (),
            heading=f"{heading}, float32, batch of {batch}",
            **options,
        )
        for batch, longest in (
            ((40, 126), (10, 126)) if quick else ((4000, 32_256), (10, 1_032_192))
        )
        for length in (63 * 2**i for i in range(15))
        if length <= longest
    ]


def on_one_core(quick: bool) -> list[Case]:
    return figure(ways, f"Softmax and the {K} best", faster(2, "safe, unfused"), quick, cores="one")


PAPER = Suite("paper", "The figure of the paper", on_one_core, rounds=5, seconds=1.0)
