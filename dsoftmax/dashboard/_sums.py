"""The sum over the chunks that are done: the states that workers hold now, fetched and merged."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import numpy as np
from distributed import Scheduler
from distributed.protocol.serialize import deserialize
from distributed.scheduler import TaskState
from distributed.utils_comm import gather_from_workers

from .._algebra.moments import Moments
from .._algebra.normalizer import State, log_d, log_sum, merge
from .._algebra.sums import Sums
from .._graph.dask_private import Alias
from .._kernels.groups import Groups
from ..operations import LOGSUMEXP
from ._jobs import Job, any_task

_LARGEST_STATE = 2**16  # bytes; larger ones are not fetched
_MOST_STATES = 256  # most states fetched at a time
_PATIENCE = 2.0  # seconds for a worker to answer


class Unmerged(NamedTuple):
    """The tasks of a job whose states are on the workers and not merged into another yet.

    For the first slice only. ``tasks`` has the number of chunks in each state, ``chunks`` that of
    the slice.
    """

    tasks: dict[TaskState, int]
    chunks: int


class Seen(NamedTuple):
    """The sum over the chunks whose states are on the workers now, for the first slice.

    ``m`` and ``log_d`` are None if the workers have only the finished log-sum-exp.
    """

    chunks: int
    of: int
    m: float | None
    log_d: float | None
    logsumexp: float
    slices: int


def _root(scheduler: Scheduler, job: Job) -> TaskState | None:
    """The task that merges all of the first slice.

    Found from the leaves, as its key may be anything if Dask has fused it with what follows.
    """
    task = any_task(scheduler, job.first) if job.levels else None
    for level in job.levels:
        if task is not None:
            task = next((other for other in task.dependents if other.group is level), None)
    return task


def _holder(task: TaskState) -> TaskState:
    """The task that has its value: itself, or an alias if Dask has renamed it."""
    aliases = (other for other in task.dependents if isinstance(other.run_spec, Alias))
    return next(aliases, task)


def unmerged(
    scheduler: Scheduler, job: Job, below: dict[TaskState, int] | None = None
) -> Unmerged | None:
    """The states to fetch; None if the job has no sum, or is forgotten.

    ``below`` keeps the number of chunks below each merge of a job, to count them once.
    """
    root = _root(scheduler, job) if job.has_sum else None
    if root is None:
        return None
    groups = {job.first, *job.levels}
    chunks = {} if below is None else below

    def parts(task: TaskState) -> list[TaskState]:
        return [other for other in task.dependencies if other.group in groups]

    def chunks_below(task: TaskState) -> int:
        if task.group is job.first:
            return 1
        if task not in chunks:
            chunks[task] = sum(map(chunks_below, parts(task)))
        return chunks[task]

    found: dict[TaskState, int] = {}
    ahead = [root]
    while ahead and len(found) < _MOST_STATES:
        task = ahead.pop()
        if task.state not in ("memory", "released"):
            if task.group is not job.first:
                ahead.extend(parts(task))
            continue
        holder = _holder(task)
        if holder.state == "memory" and holder.nbytes <= _LARGEST_STATE:
            found[holder] = chunks_below(task)
    return Unmerged(found, chunks_below(root))


async def fetch(scheduler: Scheduler, states: Unmerged | None) -> dict[Any, Any]:
    """The values, by key and as sent, of those tasks that the workers still have."""
    if states is None or not states.tasks:
        return {}
    who_has = {task.key: [ws.address for ws in task.who_has or ()] for task in states.tasks}
    try:
        gathered = gather_from_workers(who_has, rpc=scheduler.rpc)
        values, *_ = await asyncio.wait_for(gathered, _PATIENCE)
    except TimeoutError:
        return {}
    return values


def joined(states: Unmerged | None, values: dict[Any, Any], function: str) -> Seen | None:
    """The sum over all states, None if there are none; ``function`` is that of the job."""
    if states is None:
        return None
    found, chunks = [], 0
    for task, below in states.tasks.items():
        value = _deserialized(values.get(task.key))
        finished = isinstance(value, (np.ndarray, np.generic)) and value.size
        if finished and function == LOGSUMEXP.name:  # the root's
            return Seen(below, states.chunks, None, None, _first(value), value.size)
        state = _normalizer_in(value)
        if state is not None and isinstance(state.m, (np.ndarray, np.generic)):
            found.append(state)
            chunks += below
    if not found or np.size(found[0].m) == 0:
        return None
    total = merge(*found)
    m, logarithm, result = map(_first, (total.m, log_d(total), log_sum(total)))
    return Seen(chunks, states.chunks, m, logarithm, result, np.size(total.m))


def _normalizer_in(value: Any) -> State | None:
    """The normalizer in a state: the state itself, or a part, as for top-k; None without one.

    Nor do those of groups have one: chunks may have others, which do not merge place by place.
    """
    if isinstance(value, Groups):
        return None
    if isinstance(value, State):
        return value
    if isinstance(value, (Moments, Sums)):
        return value.normalizer
    parts = value if isinstance(value, tuple) else ()
    return next((found for part in parts if (found := _normalizer_in(part)) is not None), None)


def _first(value: Any) -> float:
    """The value of the first slice; the real part of a complex logarithm."""
    return float(np.real(np.ravel(value)[0]))


def _deserialized(sent: Any) -> Any:
    """The object that a worker sent; None if the scheduler does not have its library."""
    try:
        return deserialize(sent.header, sent.frames) if hasattr(sent, "frames") else sent
    except ImportError:
        return None
