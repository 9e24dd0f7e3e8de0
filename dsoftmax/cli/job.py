"""Run a job on a Dask cluster for a command: connect, show progress, handle signals, report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from errno import ENOENT
from typing import Any

import click
import dask.array as da
from dask.system import CPU_COUNT
from dask.utils import key_split
from distributed import Client, KilledWorker, LocalCluster, Security, performance_report, rpc
from distributed.comm import CommClosedError
from distributed.diagnostics.progressbar import ProgressBar

from .storage import one_line
from .words import in_words
from .workers import CONNECT_TIMEOUT, JobError, News, check_software, listening

_LOST = "the connection to the scheduler is lost, or the scheduler gave up the job"
_COMPILING = (
    "compiling kernels, which takes seconds; each only once, if its code can be kept on disk"
)
_CLEAR = "\r\033[K"  # the line of a terminal
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextlib.contextmanager
def connected(
    scheduler: str | None, threads: int | None, dashboard: bool = True
) -> Iterator[Client]:
    """A client of the scheduler, or of a cluster in this process; closed at the end."""
    hush()
    # That workers pause for lack of memory is only logged.
    logging.getLogger("distributed.worker.memory").setLevel(logging.WARNING)
    if scheduler is not None:
        check_scheduler(scheduler, "start one with `dask scheduler`, or leave out --scheduler")
        with Client(scheduler, timeout=CONNECT_TIMEOUT) as client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=threads or CPU_COUNT,
        processes=False,
        protocol="tcp",  # on the loopback interface, like the dashboard
        dashboard_address=f"127.0.0.1:{_port() if dashboard else 0}",  # never of all interfaces
        scheduler_kwargs={"dashboard": dashboard},
        silence_logs=False,
    )
    with cluster, Client(cluster) as client:
        yield client


def hush() -> None:
    """Keep logs off the terminal that say what is raised, too, or is left unfinished at the end.

    Of asyncio it is a timeout that nobody waits for, if a loop stops just when it has passed.
    """
    for name in ("distributed", "distributed.client", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _port() -> int:
    """The usual port of a dashboard, or 0 for any other if it is taken.

    Dask would look for another one, too, but warns, and leaves a socket open.
    """
    with socket.socket() as usual:
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Dask's does
        try:
            usual.bind(("127.0.0.1", 8787))
        except OSError:
            return 0
    return 8787


def check_scheduler(address: str, hint: str) -> None:
    """Raise JobError if no scheduler answers; it ends in the hint.

    A client waits forever for a peer that accepts the connection and says nothing.
    """

    async def identity() -> dict[str, Any]:
        arguments = Security().get_connection_args("client")
        async with rpc(address, connection_args=arguments) as scheduler:
            return await asyncio.wait_for(scheduler.identity(), CONNECT_TIMEOUT)

    try:
        answer = asyncio.run(identity())
        problem = "" if answer["type"] == "Scheduler" else f"it is a {answer['type']}"
    except TimeoutError:
        problem = f"no answer within {CONNECT_TIMEOUT} s"
    except Exception as error:  # whatever the answer of another protocol causes
        problem = one_line(error)
    if problem:
        if address.startswith(("http://", "https://")):
            hint = "this is an address of a dashboard; give the scheduler's, e.g. tcp://host:8786"
        raise JobError(f"no Dask scheduler answers at {address} ({problem}); {hint}")


class ReportError(Exception):
    """The report cannot be written; the job itself has succeeded."""


@contextlib.contextmanager
def reported(filename: str | None) -> Iterator[None]:
    """Write the performance report of a job that succeeds; ReportError if that fails."""
    if filename is None:
        yield
        return
    report = performance_report(filename)
    report.__enter__()
    yield
    try:
        report.__exit__(None, None, None)
    except OSError as error:
        raise ReportError(f"cannot write the report {filename}: {one_line(error)}") from error


def compute(
    operation: str, client: Client, jobs: list[da.Array], quiet: bool = False
) -> tuple[list[Any], bool]:
    """The values of the jobs, as one graph, and whether kernels were compiled for them.

    There is a progress bar unless ``quiet``.
    """
    try:
        _prepare(client, quiet)
        with listening(client) as news, _bar(operation, quiet) as bar:
            futures = client.compute(jobs)
            client.sync(Progress(futures, news, bar).listen)
            return client.gather(futures), news.compiling
    except JobError:
        raise
    except KilledWorker as error:
        raise JobError(
            f"{error.allowed_failures + 1} workers died in a task ({key_split(error.task)}), "
            "probably for lack of memory; try a smaller --chunk-size, or see the workers' logs"
        ) from error
    except (CommClosedError, CancelledError) as error:
        raise JobError(_LOST) from error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        hint = "; all workers have to see SRC and DST" if error.errno == ENOENT else ""
        raise JobError(f"{operation} failed: {one_line(error)}{where}{hint}") from error
    except Exception as error:  # of any kind: Zarr's codecs, for example, raise their own
        problem = in_words(operation, one_line(error))
        kind = type(error).__name__
        raise JobError(problem or f"{operation} failed: {kind}: {one_line(error)}") from error


def _prepare(client: Client, quiet: bool) -> None:
    """Wait for a worker, and ask whether there is what the job needs."""
    try:
        if not client.scheduler_info()["workers"]:
            if not quiet:
                message = "the scheduler has no workers; waiting for one (Ctrl-C gives up)"
                click.echo(message, err=True)
            client.wait_for_workers(1)
        check_software(client)
    except OSError as error:  # time is out for the scheduler; a worker has all that it needs
        raise JobError(_LOST) from error


def _bar(operation: str, quiet: bool) -> contextlib.AbstractContextManager[Any]:
    if quiet:
        return contextlib.nullcontext()
    return click.progressbar(length=100, label=operation, file=sys.stderr)


class Progress(ProgressBar):  # type: ignore[misc]  # distributed is not typed
    """Dask's count of finished tasks: on Click's bar in a terminal, else a line for each tenth.

    A line says that kernels are compiled. Without a bar nothing is drawn; and what workers say that
    ends the job raises JobError, either way.
    """

    def __init__(self, futures: list[Any], news: News, bar: Any) -> None:
        super().__init__(futures)
        self.news = news
        self.bar = bar
        self.told = False
        self.tenth = -1

    def _draw_bar(self, remaining: int, all: int, **kwargs: Any) -> None:  # noqa: A002  # Dask has these
        if self.news.problem:
            raise JobError(self.news.problem)
        if self.bar is None:
            return
        percent, terminal = 100 * (all - remaining) // max(all, 1), self.bar.file.isatty()
        if self.news.compiling and not self.told:
            self.told = True
            click.echo(f"{_CLEAR if terminal else ''}{_COMPILING}", file=self.bar.file)
        if terminal:
            self.bar.update(percent - self.bar.pos)
        elif percent // 10 > self.tenth:
            self.tenth = percent // 10
            line = f"{percent:>3}% of {all} tasks, {self.elapsed:.1f} s"
            click.echo(line, file=self.bar.file)


class Interrupted(KeyboardInterrupt):
    """Raised when a signal asks to stop; Dask cleans up after a KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Raise Interrupted at the first signal only, so that a second does not disturb the clean-up.

    Yields a function that ignores further signals from then on.
    """
    # A signal that is already ignored, as under nohup, stays so.
    heeded = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]

    def ignore() -> None:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number: int, frame: Any) -> None:
        ignore()
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
