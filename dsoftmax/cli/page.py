"""The link to the dashboard that a command prints, and the page /softmax on it."""

from __future__ import annotations

import importlib.util

import click
from distributed import Client

from .._install import how_to_install
from .job import check_scheduler, hush
from .storage import one_line
from .workers import CONNECT_TIMEOUT, JobError


def dashboard_link(client: Client, own: bool) -> str:
    """The address of the page /softmax, or of the plain dashboard where it cannot be added.

    Where there is no dashboard, why. ``own`` says whether the scheduler is that of this process.
    """
    if own and importlib.util.find_spec("bokeh") is None:
        return f"needs bokeh: {how_to_install('dashboard')}"
    packages = ["bokeh", "dsoftmax"]
    # Asked first, since what fails on a scheduler is a traceback in its log.
    there = {} if own else client.sync(client.scheduler.versions, packages=packages)["packages"]
    if own or all(there[package] is not None for package in packages):
        try:
            return _added(client)
        except RuntimeError:
            return "none: the scheduler runs without one"
        except Exception:  # of any kind: there is another version of dsoftmax
            pass
    return client.dashboard_link


def add_page(address: str) -> None:
    """Add the page to a running scheduler and print its link; any error is one line."""
    hush()
    try:
        check_scheduler(address, "start one with `dask scheduler`")
        with Client(address, timeout=CONNECT_TIMEOUT) as client:
            link = _added(client)
    except JobError as error:
        raise click.ClickException(str(error)) from error
    except Exception as error:  # of any kind: that of the scheduler
        missing = isinstance(error, ImportError)
        hint = "; install this version of dsoftmax where the scheduler runs" if missing else ""
        raise click.ClickException(
            f"cannot add the page to {address}: {one_line(error)}{hint}"
        ) from error
    click.echo(link)


def _added(client: Client) -> str:
    from ..dashboard import show

    return show(client)
