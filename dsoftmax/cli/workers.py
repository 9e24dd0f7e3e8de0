"""What the scheduler and the workers say: which dsoftmax they have, and that kernels are compiled.

Whatever runs there for it is pickled as code, and not by its name, since who has no dsoftmax has to
read it, too.  It is therefore defined within functions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from distributed import Client, Worker, WorkerPlugin

from .. import __version__

CONNECT_TIMEOUT = 10  # seconds
_PARTING = 1  # second at the end of a job, at most


class JobError(Exception):
    """Why the job failed, in one sentence."""


def _asking() -> Callable[[], str]:
    def version() -> str:
        try:
            import dsoftmax
        except ImportError:
            return ""
        return dsoftmax.__version__

    return version


def check_software(client: Client) -> None:
    """Raise JobError unless the scheduler and the workers there are have this version of dsoftmax.

    Without it they would be waited for in vain: a worker that cannot read a task closes, and only
    its log says why.
    """

    async def ask() -> tuple[dict[str, str], str]:
        version = _asking()
        asked = client.run(version, on_error="ignore"), client.run_on_scheduler(version)
        return await asyncio.wait_for(asyncio.gather(*asked), CONNECT_TIMEOUT)

    try:
        found, there = client.sync(ask)
    except TimeoutError:  # whoever is that busy has work that it can read
        return
    address = client.scheduler.address
    for who, one in [("scheduler", {address: there}), ("worker", found)]:
        others = [where for where, has in one.items() if has != __version__]
        if others:
            count = f" (as {len(others)} of {len(one)})" if len(one) > 1 else ""
            raise JobError(_other(f"{who} at {others[0]}{count}", one[others[0]]))


def _other(who: str, version: str) -> str:
    has = f"dsoftmax {version}" if version else "no dsoftmax"
    return (
        f"the {who} has {has}, and this is {__version__}; install the same version on the "
        "scheduler and on all workers"
    )


class News:
    """What workers have said since the job began.

    Attributes
    ----------
    problem : str
        Why the job cannot go on: a worker that has come meanwhile is not fit for it.
    compiling : bool
        Whether a kernel was compiled, or is.
    """

    problem = ""
    compiling = False

    def hear(self, event: tuple[float, dict[str, str]]) -> None:
        """Take in what a worker says; called in the thread of the client's event loop."""
        _, said = event
        if "version" in said:
            self.problem = _other(f"worker at {said['worker']}", said["version"])
        else:
            self.compiling = True


@contextlib.contextmanager
def listening(client: Client) -> Iterator[News]:
    """The news of the workers there are, and of those to come, until the end."""
    news, topic = News(), f"dsoftmax-{client.id}"

    def run(method: Callable[..., Any], *arguments: Any, timeout: int) -> None:
        async def call() -> None:
            await asyncio.wait_for(method(*arguments), timeout)

        with contextlib.suppress(OSError):  # busy workers answer later, and lost ones never
            client.sync(call)

    client.subscribe_topic(topic, news.hear)
    run(client.register_plugin, _reporter(topic), topic, timeout=CONNECT_TIMEOUT)
    try:
        yield news
    finally:
        with contextlib.suppress(Exception):  # of any kind: if it is lost, the job has said so
            run(client.unregister_worker_plugin, topic, timeout=_PARTING)


def _reporter(topic: str) -> WorkerPlugin:
    """A plugin that says that a worker is not fit, before it reads a task, or that it compiles."""
    version, wanted = _asking(), __version__

    class Reporter(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
        async def setup(self, worker: Worker) -> None:
            self.forget: Callable[[], None] = lambda: None
            if (has := version()) != wanted:
                # By a call that is answered: what else it sends may be lost when it closes.
                said = {"worker": worker.address, "version": has}
                await worker.scheduler.log_event(topic=topic, msg=said)
                return
            from dsoftmax._kernels.cpu.compiler import listeners

            def tell() -> None:
                listeners.discard(tell)  # once is enough
                worker.log_event(topic, {})

            listeners.add(tell)
            self.forget = lambda: listeners.discard(tell)

        def teardown(self, worker: Worker) -> None:
            self.forget()

    return Reporter()
