"""A page of Dask's dashboard that shows a softmax at work: ``/softmax`` on the scheduler.

To add it to a new scheduler, use ``dask scheduler --preload dsoftmax.dashboard`` (or the setting
``distributed.scheduler.preload``); to a running one, ``dsoftmax.dashboard.show(client)``. The
scheduler needs bokeh. Once the page is added, Dask's own pages draw tasks in its colours.

`_jobs` and `_sums` read the state of jobs from the scheduler, `_page` draws it. Nothing is recorded
while no page is open: then it costs nothing, and jobs that ended before are not shown.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from time import monotonic, thread_time
from typing import Any

from distributed import Client, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from ._colours import colour_tasks
from ._jobs import find_jobs
from ._sums import fetch, joined, unmerged
from ._watch import Watch

__all__ = ["dask_setup", "show"]

_logger = logging.getLogger(__name__)

ROUTE = "/softmax"
_PERIOD = 0.5  # seconds between two updates
_SHARE = 0.02  # of the scheduler's time that updates may take


def show(client: Client) -> str:
    """Add the page to the dashboard of a running scheduler.

    Parameters
    ----------
    client : distributed.Client
        Its scheduler must have dsoftmax, bokeh and a dashboard.

    Returns
    -------
    str
        The address of the page.

    Raises
    ------
    TypeError
        If client is not a client.
    RuntimeError
        If the scheduler has no dashboard.

    Examples
    --------
    >>> from distributed import Client
    >>> import dsoftmax.dashboard
    >>> with Client(processes=False, dashboard_address=":0") as client:
    ...     dsoftmax.dashboard.show(client)
    'http://...:.../softmax'
    """
    if not isinstance(client, Client):
        raise TypeError(
            f"show: client is of type {type(client).__name__}; pass a distributed.Client"
        )
    client.register_plugin(_Installer())
    return client.dashboard_link.removesuffix("/status") + ROUTE


def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask for a preloaded module; Dask starts the plugins afterwards."""
    if _dashboard(scheduler) is None:
        _logger.warning(_NO_DASHBOARD)
    else:
        scheduler.add_plugin(_Installer(), idempotent=True)


_NO_DASHBOARD = (
    f"the scheduler has no dashboard to add {ROUTE} to: install bokeh where it runs, and start it "
    "with a dashboard"
)


def _dashboard(scheduler: Scheduler) -> Any:
    """The application with Dask's own pages; None if there is none."""
    if find_spec("bokeh") is None:
        return None
    from bokeh.server.tornado import BokehTornado

    applications = scheduler.http_application.applications
    return next((each for each in applications if isinstance(each, BokehTornado)), None)


class _Installer(SchedulerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Adds the page to a scheduler, once."""

    name = "dsoftmax-dashboard"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        pages = _dashboard(scheduler)
        if pages is None:
            raise RuntimeError(_NO_DASHBOARD)
        from distributed.dashboard.core import BokehApplication
        from distributed.dashboard.scheduler import template_variables
        from tornado.ioloop import IOLoop

        application = scheduler.http_application
        variables = template_variables(scheduler)
        page = BokehApplication(
            {ROUTE: _document}, scheduler, prefix=pages.prefix, template_variables=variables
        )
        application.add_application(page)
        page.initialize(IOLoop.current())
        page.start()
        variables["pages"].append(ROUTE[1:])  # a link in the menu bar of all pages
        colour_tasks()


def _document(scheduler: Scheduler, extra: dict[str, Any], doc: Any) -> None:
    """One viewer's page; the watch on the scheduler ends with the last viewer."""
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env

    from ._page import Page

    watch = Watch.join(scheduler)
    page = Page(watch)
    next_look = 0.0

    async def look() -> None:
        nonlocal next_look
        if monotonic() < next_look:
            return
        next_look = float("inf")  # no other look starts while one takes longer than the period
        cost, start = 0.0, thread_time()  # CPU time of this thread only
        try:
            jobs = find_jobs(scheduler, watch.known)
            watch.follow(jobs)
            job = page.choose(jobs)
            if job is not None:
                watch.shown[page] = job
            seen = None
            try:
                states = None if job is None else unmerged(scheduler, job, page.below)
                cost = thread_time() - start
                values = await fetch(scheduler, states)  # meanwhile the scheduler works on
                start = thread_time()
                seen = None if job is None else joined(states, values, job.function)
            except Exception:  # of any kind: the page goes on without a sum
                if not watch.warned:
                    _logger.exception("the running sum on %s failed", ROUTE)
                watch.warned = True
            page.draw(job, seen)
        finally:
            cost += thread_time() - start
            next_look = monotonic() + cost * (1 / _SHARE - 1)

    def leave(context: Any) -> None:
        watch.leave(page)

    doc.title = "Dask: softmax"
    doc.add_root(page.root)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME
    doc.on_session_destroyed(leave)
    doc.add_periodic_callback(look, int(_PERIOD * 1000))
