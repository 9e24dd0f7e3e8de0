"""Count the finished tasks of the jobs that somebody looks at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time
from distributed.scheduler import TaskGroup

from ._jobs import Job, Known, Progress, computed_by, progress


class Watch(SchedulerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Counts the finished tasks of the jobs that are followed, as long as there are viewers."""

    name = "dsoftmax-watch"

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.viewers = 0
        self.warned = False  # of a sum that failed, once and not at each look
        self.known: Known = {}
        self.followed: dict[str, TaskGroup] = {}
        self.since: dict[str, float] = {}  # when each job was first followed, by its name
        self.last: dict[str, Progress] = {}  # of each followed group, its tasks counted as they end
        self.finished: dict[str, Counter[str]] = {}  # of each followed group, by worker
        self.shown: dict[Hashable, Job] = {}  # of each viewer, also after its tasks are gone

    @classmethod
    def join(cls, scheduler: Scheduler) -> Watch:
        """The scheduler's watch, with one more viewer."""
        watch = scheduler.plugins.get(cls.name)
        if watch is None:
            watch = cls(scheduler)
            scheduler.add_plugin(watch, name=cls.name)
        watch.viewers += 1
        return watch

    def leave(self, viewer: Hashable) -> None:
        """Remove a viewer; the last one ends the watch."""
        self.shown.pop(viewer, None)
        self.viewers -= 1
        if self.viewers == 0:
            self.scheduler.remove_plugin(self.name)

    def follow(self, jobs: Iterable[Job]) -> None:
        """Count the tasks of these jobs from now on."""
        for job in jobs:
            if self.followed.get(job.name) is not job.first:  # or it runs once more
                self.since[job.name] = time()
            failed = any(progress(group).failed for group in job.groups)
            for group in job.groups:
                if self.followed.get(group.name) is not group:
                    self.followed[group.name] = group
                    self.last[group.name] = progress(group)
                    if failed:  # of released tasks nobody knows which have run
                        held = group.states["memory"]
                        self.last[group.name] = self.last[group.name]._replace(done=held)
                    self.finished[group.name] = Counter()
                self.last[group.name] = self.progress(group)
        self._forget()

    def _forget(self) -> None:
        """Drop what is gone from the scheduler and not shown any more."""
        shown = {group.name for job in self.shown.values() for group in job.groups}
        for name in self.followed.keys() - self.scheduler.task_groups.keys() - shown:
            del self.followed[name], self.last[name], self.finished[name]
            self.since.pop(name, None)  # of first passes only

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by the scheduler for each change of a task."""
        if finish == "memory":
            group = self.scheduler.tasks[key].group
            if group.name in self.followed:
                last = self.last[group.name]
                self.last[group.name] = last._replace(done=last.done + 1)
                self.finished[group.name][kwargs.get("worker", "")] += 1

    def progress(self, group: TaskGroup) -> Progress:
        """The progress of a group: now, or when the scheduler last knew it.

        Where a task failed, others are released that never ran. Where a worker was lost, tasks are
        counted once more. So the count of those that ended and what is released are both bounds.
        """
        now = progress(group)
        last = self.last.get(group.name, Progress(0, now.total, 0, 0))
        if self.scheduler.task_groups.get(group.name) is not group:
            return last._replace(done=min(last.done, last.total), running=0)
        return now._replace(done=min(now.done, last.done))

    def began(self, job: Job) -> float:
        """When a job began: its first task, or when it was first followed if that was before."""
        starts = [start for g in job.groups if (start := computed_by(g).start)]
        return min([self.since.get(job.name, time()), *starts])

    def by_worker(self, group: TaskGroup | None) -> dict[str, int]:
        """The number of tasks of a group that each worker has finished since it was followed."""
        return {} if group is None else dict(self.finished.get(group.name, {}))
