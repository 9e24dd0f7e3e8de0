"""The registry: all suites, in the order of their tables."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..case import Case, Suite
from ..operation import Operation, suite
from . import (
    bits,
    dashboard,
    draws,
    exact,
    first,
    frames,
    gpu,
    gpu_shapes,
    gpu_topk,
    graphs,
    groups,
    lazy,
    memory,
    products,
    readme,
    sampling,
    small,
    speed,
    statistics,
    tails,
    tasks,
    thresholds,
    topk,
)


def default(operation: Any) -> Operation:
    """How an operation is measured that has no suite: beside the floor."""
    from dsoftmax.operations import reduce, rescale

    function = partial(reduce if operation.results else rescale, operation)
    return Operation(operation.name, function, writes=not operation.results)


def others(quick: bool) -> list[Case]:
    """Those of `dsoftmax.operations.OPERATIONS`, of one array, that no suite has."""
    from dsoftmax.operations import OPERATIONS

    named = {name for suite in SUITES.values() for name in suite.operations}
    rest = map(default, (op for op in OPERATIONS if op.arrays == 1 and op.name not in named))
    return list(suite("others", "", rest).cases(quick))


OTHERS = Suite("others", "Operations without a suite of their own", others)

SUITES = {
    suite.name: suite
    for suite in (
        speed.SUITE,
        statistics.SUITE,
        products.SUITE,
        groups.SUITE,
        OTHERS,
        first.SUITE,
        small.SUITE,
        sampling.SUITE,
        tasks.SUITE,
        thresholds.SUITE,
        topk.SUITE,
        topk.PAPER,
        draws.SUITE,
        tails.SUITE,
        exact.SUITE,
        bits.SUITE,
        memory.SUITE,
        lazy.SUITE,
        frames.SUITE,
        readme.SUITE,
        graphs.SUITE,
        graphs.HUGE,
        dashboard.SUITE,
        gpu.PASSES,
        gpu.WHOLE,
        gpu.PAPER,
        gpu_shapes.ROWS_SUITE,
        gpu_shapes.COLUMNS_SUITE,
        gpu_shapes.HOST,
        gpu_topk.SUITE,
        gpu_topk.HOST,
    )
}
DEFAULT = ("speed", "others", "first")
