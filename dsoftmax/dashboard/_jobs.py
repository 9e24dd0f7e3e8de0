"""Find the softmaxes that a scheduler runs, and how far they are.

A job is found by the names that `dsoftmax._engine` gives its task groups: a first pass, the levels
of the tree, and a second pass, which Dask may have fused with what follows and renamed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from distributed import Scheduler
from distributed.protocol.serialize import deserialize
from distributed.scheduler import TaskGroup, TaskState
from distributed.utils_comm import gather_from_workers

from .._algebra.moments import Moments
from .._algebra.normalizer import State, log_d, log_sum, merge
from .._algebra.sums import Sums
from .._graph.dask_private import Alias
from .._graph.stage import Stage
from ..operations import CUMULATIVE_LOGSUMEXP, LOGSUMEXP, NORMALIZER, OPERATIONS

# Dask prefixes the names of tasks fused before ours: match the longest of our names.
_ALL = (*OPERATIONS, CUMULATIVE_LOGSUMEXP)
_KEYS = "|".join(sorted({operation.key for operation in _ALL}, key=len, reverse=True))
_ENDS = "|".join({operation.monoid.name for operation in OPERATIONS})
_SHARING = sorted(operation.key for operation in OPERATIONS if operation.states)
_SHARED = tuple({f"{one.states}-{one.monoid.name}" for one in OPERATIONS if one.states})
_KEYS = f"(?:grouped-)?(?:{_KEYS})"  # of groups the functions have the same names
_FIRST = re.compile(rf"({_KEYS})-({_ENDS})$")
_FIRST_OF_OTHERS = re.compile(rf"(.+)-{NORMALIZER.name}$")
_WITHIN = re.compile(rf"({_KEYS})$")
_AHEAD = ("memory", "released", "forgotten")
_LARGEST_STATE = 2**16  # bytes; larger ones are not fetched
_MOST_STATES = 256  # most states fetched at a time
_PATIENCE = 2.0  # seconds for a worker to answer


class Progress(NamedTuple):
    """How many tasks of a group are done, and how many have failed for good."""

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Job:
    """The task groups of one softmax; the levels of the tree go from the leaves to the root.

    ``nbytes`` is the size of the input array, NaN if its shape is unknown.
    """

    kind: str
    first: TaskGroup
    levels: tuple[TaskGroup, ...]
    second: TaskGroup | None
    nbytes: float

    @property
    def name(self) -> str:
        """The name of its first pass, which no other job has."""
        return self.first.name

    @property
    def groups(self) -> tuple[TaskGroup, ...]:
        """All its task groups, in the order in which they run."""
        return (self.first, *self.levels, *([self.second] if self.second else []))


def progress(group: TaskGroup) -> Progress:
    """The progress of a group. Released tasks are done; those to come are waiting or queued."""
    done = sum(group.states[state] for state in _AHEAD)
    return Progress(done, sum(group.states.values()), group.states["erred"])


def find_jobs(scheduler: Scheduler) -> list[Job]:
    """The jobs that have tasks on the scheduler, oldest first."""
    used_by: dict[str, list[TaskGroup]] = {}
    for group in scheduler.task_groups.values():
        for other in group.dependencies:
            used_by.setdefault(other.name, []).append(group)
    jobs = []
    for group in scheduler.task_groups.values():
        # Tasks that Dask has fused and renamed appear again under the name that others use.
        if any(group.name.endswith(f"-{other.name}") for other in used_by.get(group.name, ())):
            continue
        name = group.prefix.name
        if found := _FIRST.search(name) or _FIRST_OF_OTHERS.search(name):
            levels: list[TaskGroup] = []
            last = group
            # The merges of running sums, of which each takes the last one, use themselves.
            while after := [
                g for g in used_by.get(last.name, ()) if "-merge" in g.prefix.name and g is not last
            ]:
                last = after[0]
                levels.append(last)
            kind = found[1]
            if name.endswith(_SHARED):
                kind = _results([last, *used_by.get(last.name, ())]) or kind
            uses = [g for g in used_by.get(last.name, ()) if g is not last]
            maps = _maps_as_well if kind == CUMULATIVE_LOGSUMEXP.key else _maps
            second = next((g for g in uses if maps(g, group)), None)
        elif found := _WITHIN.search(name):
            if any(map(_makes_states, group.dependencies)):
                continue  # the end of a job
            kind, levels, second = found[1], [], None
        else:
            continue
        jobs.append(Job(kind, group, tuple(levels), second, _nbytes(scheduler, group)))
    return jobs


def _makes_states(group: TaskGroup) -> bool:
    return "-merge" in group.prefix.name or bool(_FIRST.search(group.prefix.name))


def _results(groups: Iterable[TaskGroup]) -> str:
    """The operations that finish the states of a job, where several have these in common."""
    return " and ".join(key for key in _SHARING if any(key in g.prefix.name for g in groups))


def _maps(group: TaskGroup, first: TaskGroup) -> bool:
    """Whether a group that uses the root has a task for each chunk; a reduction has not."""
    return progress(group).total == progress(first).total > 1


def _maps_as_well(group: TaskGroup, first: TaskGroup) -> bool:
    """The same where no state is needed of the last chunk, and a barrier has as many tasks."""
    barrier = group.prefix.name.startswith("checkpoint")
    return progress(group).total > progress(first).total and not barrier


def _any_task(scheduler: Scheduler, group: TaskGroup) -> TaskState | None:
    """The first task of a group."""
    keys = ((group.name, *(0,) * ndim) for ndim in range(1, 33))
    return next((scheduler.tasks[key] for key in keys if key in scheduler.tasks), None)


def _nbytes(scheduler: Scheduler, group: TaskGroup) -> float:
    """The size of the input array in bytes, from the stage of the first pass."""
    task = _any_task(scheduler, group)
    tasks = [] if task is None else [task, *task.dependencies]
    stages = _stages([task.run_spec for task in tasks])
    return next((stage.nbytes for stage in stages if stage.nbytes is not None), float("nan"))


def _stages(part: Any, depth: int = 8) -> Iterator[Stage]:
    """The stages in the specification of a task, into which Dask may have fused others."""
    if isinstance(part, Stage):
        yield part
    elif depth:
        if isinstance(part, dict):
            parts = list(part.values())
        elif isinstance(part, (list, tuple)):
            parts = list(part)
        else:
            parts = [getattr(part, name, None) for name in ("func", "args", "kwargs")]
            parts = [inner for inner in parts if inner is not None]
        for inner in parts:
            yield from _stages(inner, depth - 1)


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
    task = _any_task(scheduler, job.first) if job.levels else None
    for level in job.levels:
        if task is not None:
            task = next((other for other in task.dependents if other.group is level), None)
    return task


def _holder(task: TaskState) -> TaskState:
    """The task that has its value: itself, or an alias if Dask has renamed it."""
    aliases = (other for other in task.dependents if isinstance(other.run_spec, Alias))
    return next(aliases, task)


def unmerged(scheduler: Scheduler, job: Job) -> Unmerged | None:
    """The states to fetch; None if the job has no tree, or is forgotten."""
    # Running sums never have the state of the whole.
    root = None if job.kind == CUMULATIVE_LOGSUMEXP.key else _root(scheduler, job)
    if root is None:
        return None
    groups = {job.first, *job.levels}
    chunks: dict[TaskState, int] = {}

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
        holder = _holder(task)
        if holder.state == "memory":
            if holder.nbytes <= _LARGEST_STATE:
                found[holder] = chunks_below(task)
        elif task.state != "released":
            ahead.extend(parts(task))
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


def joined(states: Unmerged | None, values: dict[Any, Any], kind: str) -> Seen | None:
    """The sum over all states, None if there are none; ``kind`` is that of the job."""
    if states is None:
        return None
    found, chunks = [], 0
    for task, below in states.tasks.items():
        value = _deserialized(values.get(task.key))
        finished = isinstance(value, (np.ndarray, np.generic)) and value.size
        if finished and kind == LOGSUMEXP.key:  # the root's
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
    """The normalizer in a state: the state itself, or a part, as for top-k; None without one."""
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
