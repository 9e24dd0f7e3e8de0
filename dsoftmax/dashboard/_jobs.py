"""Find the jobs that a scheduler runs, what they compute, and how far they are.

The stage that reads the array carries its `Call`: wherever Dask has put that stage, its tasks are
the first pass of a job. The levels of the tree are found by their names, and the second pass, which
Dask may have fused with what follows and renamed, by its dependencies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from distributed import Scheduler
from distributed.scheduler import TaskGroup, TaskState

from .._graph.dask_private import Alias, Task
from .._graph.stage import Call, Stage
from ..operations import CUMULATIVE_LOGSUMEXP, OPERATIONS

_SHARING = sorted((one for one in OPERATIONS if one.states), key=lambda one: one.name)
_SHARED = tuple({f"{one.states}-{one.monoid.name}" for one in _SHARING})
_GROUPED = "grouped."
_AHEAD = ("memory", "released", "forgotten")
_MOST_AXES = 8  # of arrays whose first task is looked up by its key
_MOST_PARTS = 512  # of a task that are inspected


class Progress(NamedTuple):
    """How many tasks of a group are done, have failed for good, and run now."""

    done: int
    total: int
    failed: int
    running: int


class Found(NamedTuple):
    """The stage that reads the array of a job: its name, and the call that it belongs to."""

    stage: str
    call: Call


Known = dict[str, Found | None]  # what groups have been found to hold, by their names


@dataclass(frozen=True)
class Job:
    """The task groups of one call; the levels of the tree go from the leaves to the root."""

    function: str
    call: Call
    first: TaskGroup
    levels: tuple[TaskGroup, ...]
    second: TaskGroup | None

    @property
    def name(self) -> str:
        """The name of its first pass, which no other job has."""
        return self.first.name

    @property
    def groups(self) -> tuple[TaskGroup, ...]:
        """All its task groups, in the order in which they run."""
        return (self.first, *self.levels, *([self.second] if self.second else []))

    @property
    def passes(self) -> tuple[TaskGroup, ...]:
        """Those with a task for each chunk."""
        return (self.first, self.second) if self.second else (self.first,)

    @property
    def has_sum(self) -> bool:
        """Whether its states are those of parts of the whole, and merge into a running sum.

        Within chunks there are no states, those of running sums are never those of the whole, and
        those of groups have the groups of their chunk, which may be others than in the next.
        """
        without = self.function.startswith(_GROUPED) or self.function == CUMULATIVE_LOGSUMEXP.name
        return bool(self.levels) and not without

    @property
    def nbytes(self) -> float:
        """The size of the array, NaN if its shape is unknown."""
        return self.call.nbytes

    @property
    def title(self) -> str:
        """What it computes, as in "softmax of float32 (1000, 500) along axis 1"."""
        return f"{self.function} of {self.slices}"

    @property
    def slices(self) -> str:
        """Its array and axes, as in "float32 (1000, 500) along axis 1"."""
        axes, ndim = self.call.axes, len(self.call.shape)
        if ndim > 1 and len(axes) == ndim:
            along = "over all axes"
        else:
            along = "along " + ("axis " if len(axes) == 1 else "axes ") + ", ".join(map(str, axes))
        return f"{self.call.dtype} {self.call.shape} {along}"


def progress(group: TaskGroup) -> Progress:
    """The progress of a group. Released tasks are done; those to come are waiting or queued."""
    states = group.states
    done = sum(states[state] for state in _AHEAD)
    running = computed_by(group).states["processing"]
    return Progress(done, sum(states.values()), states["erred"], running)


def computed_by(group: TaskGroup) -> TaskGroup:
    """The group whose tasks do the work of a group: another if Dask has fused and renamed them."""
    end = f"-{group.name}"
    return next((other for other in group.dependencies if other.name.endswith(end)), group)


def find_jobs(scheduler: Scheduler, known: Known | None = None) -> list[Job]:
    """The jobs that have tasks on the scheduler, oldest first.

    ``known`` keeps what has been found, so that no task is inspected twice.
    """
    known = {} if known is None else known
    if len(known) > 2 * len(scheduler.task_groups):
        for name in known.keys() - scheduler.task_groups.keys():
            del known[name]
    used_by: dict[str, list[TaskGroup]] = {}
    for group in scheduler.task_groups.values():
        for other in group.dependencies:
            used_by.setdefault(other.name, []).append(group)
    jobs = []
    for group in scheduler.task_groups.values():
        if group.name not in known:
            known[group.name] = _found(scheduler, group)
        found, users = known[group.name], used_by.get(group.name, ())
        # Tasks that Dask has fused and renamed appear again under the name that others use.
        if found and not any(computed_by(other) is group for other in users):
            jobs.append(_job(group, found, used_by))
    # A second pass has stages of calls that its array is made by.
    later = {group for job in jobs for group in job.groups[1:]}
    return [job for job in jobs if job.first not in later]


def _job(group: TaskGroup, found: Found, used_by: dict[str, list[TaskGroup]]) -> Job:
    """The job whose first pass is a group."""
    levels: list[TaskGroup] = []
    last = group
    # The merges of running sums, of which each takes the last one, use themselves.
    while after := [
        g for g in used_by.get(last.name, ()) if _merges(g, found.stage) and g is not last
    ]:
        last = after[0]
        levels.append(last)
    function = found.call.function
    if found.stage.endswith(_SHARED):
        function = _results([last, *used_by.get(last.name, ())], function) or function
    uses = [g for g in used_by.get(last.name, ()) if g is not last]
    maps = _maps_as_well if function == CUMULATIVE_LOGSUMEXP.name else _maps
    second = next((g for g in uses if levels and maps(g, group)), None)
    return Job(function, found.call, group, tuple(levels), second)


def _merges(group: TaskGroup, stage: str) -> bool:
    """Whether a group merges what a stage makes: softmax-merge goes with softmax-normalizer."""
    words = stage.split("-")
    prefixes = ("-".join(words[:i]) for i in range(1, len(words)))
    return any(f"{prefix}-merge" in group.prefix.name for prefix in prefixes)


def _results(groups: Iterable[TaskGroup], function: str) -> str:
    """The operations that finish the states of a job, where several have these in common."""
    grouped = _GROUPED if function.startswith(_GROUPED) else ""
    groups = list(groups)
    return " and ".join(
        grouped + one.name for one in _SHARING if any(one.key in g.prefix.name for g in groups)
    )


def _maps(group: TaskGroup, first: TaskGroup) -> bool:
    """Whether a group that uses the root has a task for each chunk; a reduction has not."""
    return progress(group).total == progress(first).total > 1


def _maps_as_well(group: TaskGroup, first: TaskGroup) -> bool:
    """The same where no state is needed of the last chunk, and a barrier has as many tasks."""
    barrier = group.prefix.name.startswith("checkpoint")
    return progress(group).total > progress(first).total and not barrier


def any_task(scheduler: Scheduler, group: TaskGroup) -> TaskState | None:
    """The task of the first chunk of a group."""
    tasks = scheduler.tasks
    keys = ((group.name, *(0,) * ndim) for ndim in range(_MOST_AXES + 1))
    return next((tasks[key] for key in keys if key in tasks), None)


def _found(scheduler: Scheduler, group: TaskGroup) -> Found | None:
    """The stage that reads the array of a job, None if the tasks of a group have none."""
    if group.name in scheduler.tasks:  # its only task, and no chunk
        return None
    task = any_task(scheduler, group)
    if task is None:  # the first chunk is not computed
        task = next((one for one in scheduler.tasks.values() if one.group is group), None)
    if task is not None and isinstance(task.run_spec, Alias):
        task = scheduler.tasks.get(task.run_spec.target)
    if task is None:
        return None
    stages = _stages(task.run_spec)
    found = [Found(stage.__name__, stage.call) for stage in stages if stage.call is not None]
    # The last of several: the others make its array, within chunks.
    found.sort(key=lambda one: group.prefix.name.endswith(one.stage))
    return found[-1] if found else None


def _stages(task: Any) -> Iterator[Stage]:
    """The stages in the specification of a task, into which Dask may have fused others."""
    ahead = deque([task])
    for _ in range(_MOST_PARTS):
        if not ahead:
            return
        part = ahead.popleft()
        if isinstance(part, Stage):
            yield part
        elif isinstance(part, Task):
            ahead.extend((part.func, *islice(part.args, _MOST_PARTS), part.kwargs))
        elif isinstance(part, partial):
            ahead.extend((part.func, *part.args))
        elif isinstance(part, dict):
            ahead.extend(islice(part.values(), _MOST_PARTS))
        elif isinstance(part, (list, tuple)):
            ahead.extend(islice(part, _MOST_PARTS))
