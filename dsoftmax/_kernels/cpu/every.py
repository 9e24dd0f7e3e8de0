"""Which kernels blocks of some dtypes need, to compile them ahead, in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..._algebra.dtypes import dtype_of, dtypes_for
from . import kept_code, kernels
from .compiler import kept, name_of
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


def compile_all(names: Sequence[str], processes: int = 1) -> tuple[int, int]:
    """Compile and keep the kernels that blocks of dtypes need: how many, and how many are on disk.

    Several processes leave it to this one to load and test them all, and to compile what is left.

    Raises
    ------
    CannotCompileError
        Where kernels cannot be compiled.
    """
    wanted = needed(names)
    missing = [kernel for kernel in wanted if not _on_disk(kernel)]
    # Where the first cannot be compiled or kept, nor can the others.
    if processes > 1 and len(missing) > 1 and kept(*missing[0]):
        _compile(names, {*missing[1:]}, processes)
    on_disk = [kept(*kernel) for kernel in wanted]
    return len(on_disk), sum(on_disk)


def _parts(names: Sequence[str]) -> list[list[Needed]]:
    """All kernels, those together that share most of what they are made of; the longest first."""
    alike: dict[Needed, list[Needed]] = {}
    for kernel in needed(names):
        alike.setdefault(kernel[:2], []).append(kernel)
    return sorted(alike.values(), key=len, reverse=True)


def _compile(names: Sequence[str], missing: set[Needed], processes: int) -> None:
    """Have processes compile and keep what is missing; they take the parts one after the other.

    The numbers of the parts, a byte each, are in a pipe that is the standard input of them all.
    """
    numbers = [i for i, part in enumerate(_parts(names)) if missing.intersection(part)]
    code = f"from {__name__} import _work; _work({os.getpid()}, {[*names]})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started: list[subprocess.Popen[bytes]] = []
    reading, writing = os.pipe()
    try:
        os.write(writing, bytes(numbers))
        os.close(writing)
        with suppress(OSError):  # no more can be started
            for _ in range(min(processes, len(numbers))):
                command = [sys.executable, "-P", "-c", code]
                # What is printed is of errors, which this process meets as well.
                child = subprocess.Popen(
                    command, stdin=reading, stderr=subprocess.DEVNULL, env=environment
                )
                started.append(child)
        for child in started:
            child.wait()
    finally:
        os.close(reading)
        for child in started:  # after Ctrl-C
            child.kill()
            child.wait()


def _work(parent: int, names: Sequence[str]) -> None:
    """Compile and keep parts until none is left, or this process is left alone."""
    parts = _parts(names)
    while os.getppid() == parent and (number := os.read(0, 1)):
        for kernel in parts[number[0]]:
            kept(*kernel)


def _on_disk(kernel: Needed) -> bool:
    return any(True for _ in kept_code.read(name_of(*kernel)))


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
