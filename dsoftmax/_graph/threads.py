"""How many threads an array in memory may use, where Dask shares out the cores."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import Any

import dask
from dask.system import CPU_COUNT

_ONE_THREAD = ("sync", "synchronous", "single-threaded")


def threads_here() -> int:
    """As many as Dask's setting ``num_workers`` says, or as there are cores for this process.

    One in a worker of Dask, whatever the scheduler, since the other cores have work of their own:
    in every thread but the first, and in the processes that another one started. And one if Dask
    is set to run its tasks in one thread. The setting ``dsoftmax.threads`` has the last word, but
    for threads of workers.

    Raises
    ------
    ValueError
        If that setting is no number of threads.
    """
    if threading.current_thread() is not threading.main_thread() or _in_a_worker():
        return 1
    setting: Any = dask.config.get("dsoftmax.threads", None)
    if setting is not None:
        if isinstance(setting, bool) or not isinstance(setting, int) or setting < 1:
            raise ValueError(
                f"Dask's setting dsoftmax.threads is {setting!r}; use an int of at least 1"
            )
        return setting
    if multiprocessing.parent_process() is not None:
        return 1
    if dask.config.get("scheduler", None) in _ONE_THREAD:
        return 1
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _in_a_worker() -> bool:
    """Whether this is a task of distributed that runs in the first thread, as coroutines may."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
