"""Which kernels blocks of some dtypes need, to compile them ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_of, dtypes_for
from . import kernels
from .compiler import kept
from .exact import can_fuse

Needed = tuple[Any, ...]  # a factory and its parameters


def needed(names: Iterable[str]) -> list[Needed]:
    """The kernels for blocks of dtypes, alone or with masks, weights and values of these."""
    found: dict[Needed, None] = {}
    workings = dict.fromkeys(dtype_of(np, dtypes_for(name).working).type for name in names)
    for name in names:
        found |= dict.fromkeys(_of_elements(name, workings))
    for working in workings:
        found |= dict.fromkeys(_of_slices(working))
    found[kernels.log_sums, np.float64] = None  # of a few states, whatever their dtype
    for factory in (kernels.gumbel_noise, kernels.in_turns, kernels.random_bits):
        found[factory,] = None
    found[kernels.noisy_candidates, np.float64] = None  # of other dtypes, and with masks
    found |= dict.fromkeys((kernels.group_labels, w) for w in (np.uint8, np.uint32, np.uint64))
    found |= dict.fromkeys((kernels.group_join, w) for w in (np.int64, np.uint64, np.float64))
    for kernel in (kernels.group_merge, kernels.group_present):
        found |= dict.fromkeys((kernel, moments) for moments in (False, True))
    return list(found)


def compile_all(names: Iterable[str]) -> tuple[int, int]:
    """Compile and keep the kernels that blocks of dtypes need: how many, and how many are on disk.

    Raises
    ------
    CannotCompileError
        Where kernels cannot be compiled.
    """
    on_disk = [kept(*kernel) for kernel in needed(tuple(names))]
    return len(on_disk), sum(on_disk)


def _of_slices(working: type) -> Iterator[Needed]:
    yield kernels.rows, working, True, False
    yield kernels.columns, working, "weighted", False
    for masked in (False, True):
        yield kernels.rows, working, False, masked
        if can_fuse():
            yield kernels.exact_rows, working, masked
            yield kernels.exact_columns, working, masked
        for moments in (False, True):
            yield kernels.row_sums, working, moments, masked
        for kind in ("plain", "moments", "values"):
            yield kernels.columns, working, kind, masked
    for kernel in (
        kernels.group_scatter,
        kernels.best_rows,
        kernels.best_columns,
        kernels.exact_finish,
        kernels.integer_weights,
        kernels.log_sums,
        kernels.noisy_candidates,
        kernels.products,
        kernels.running_sums,
    ):
        yield kernel, working
    for either in (False, True):
        yield kernels.group_states, working, either
        yield kernels.group_map, working, either


def _of_elements(name: str, workings: Iterable[type]) -> Iterator[Needed]:
    """What loads a dtype into tiles of its own working dtype, and of wider ones, and stores it."""
    own = dtype_of(np, dtypes_for(name).working).type
    for working in (own, np.float64):  # of running sums, and of weights
        yield kernels.load, name, False, working
    if dtypes_for(name).is_inexact:
        yield kernels.store, name, own
    else:
        yield kernels.store, "float64", np.float64
