"""Fresh processes, each confined to some cores, and clusters of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar
from unittest.mock import patch

from . import machine

Result = TypeVar("Result")


class Process:
    """A new Python that runs one function after another: ``process(function, *arguments)``.

    Libraries find as many cores as it is told when they are imported.  With ``checkout``, the
    folder of another version of dsoftmax, that one is imported.
    """

    def __init__(
        self, threads: int, checkout: Path | None = None, variables: dict[str, str] | None = None
    ) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (threads, checkout))
        names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        cores = dict.fromkeys(names, str(threads))  # NPROC is for JAX
        libraries = {"SCIPY_ARRAY_API": "1", "JAX_PLATFORMS": "cpu"}
        with patch.dict(os.environ, cores | libraries | (variables or {})):
            self(os.getpid)  # which starts it

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return self._pool.submit(function, *arguments).result()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()


def _begin(threads: int, checkout: Path | None) -> None:
    machine.pin(threads)
    if checkout is not None:
        sys.path.insert(0, str(checkout))


def alone(function: Callable[..., Result], *arguments: Any, **variables: str) -> Result:
    """What a function returns in a process of its own."""
    with Process(machine.available_cores(), variables=variables) as process:
        return process(function, *arguments)


def imported(name: str, *arguments: Any, **options: Any) -> Any:
    """Call a function, as "module:name", of a library that is imported now."""
    return resolve_name(name)(*arguments, **options)


@contextmanager
def cluster(**options: Any) -> Iterator[Any]:
    """The client of two workers with one thread each, or of what the options say."""
    from distributed import Client, LocalCluster

    defaults = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**defaults | options) as workers, Client(workers) as client:
        yield client
