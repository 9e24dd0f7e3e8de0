"""Clusters that can be looked into, and viewers of the page.

`watched` opens the page with Bokeh's own client, and reads what the scheduler draws for it.
"""

import contextlib
import re
import time

import pytest
from bokeh.client import pull_session
from bokeh.server.tornado import BokehTornado
from distributed import Client, LocalCluster


@contextlib.contextmanager
def a_cluster(**options):
    """A client of threads in this process, whose scheduler can be looked into."""
    arguments = {
        "n_workers": 2,
        "threads_per_worker": 4,  # two of which may be held up
        "processes": False,
        "protocol": "tcp",
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"preload": ["dsoftmax.dashboard"]},
    }
    with LocalCluster(**arguments | options) as cluster, Client(cluster) as client:
        yield client


def until(true, seconds=20):
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > end:
            pytest.fail(f"it does not happen within {seconds} s")
        time.sleep(0.05)
    return value


def page(client):
    return client.dashboard_link.replace("/status", "/softmax")


@contextlib.contextmanager
def watched(client):
    """The document of a viewer who looks at the page, as the scheduler draws it."""
    session = pull_session(url=page(client))
    applications = client.cluster.scheduler.http_application.applications
    sessions = {
        drawn.id: drawn
        for application in applications
        if isinstance(application, BokehTornado) and "/softmax" in application.app_paths
        for drawn in application.get_sessions("/softmax")
    }
    try:
        yield sessions[session.id].document
    finally:
        session.close()


def shown(document, name):
    return document.get_model_by_name(name)


def said(document, name):
    """What a part of the page says, without tags."""
    return re.sub(r"<[^>]*>", "", shown(document, name).text)


def bars(document):
    """The parts of the job that is shown and how many of their tasks are done."""
    data = shown(document, "parts").data
    return dict(zip(data["part"], data["text"], strict=True))
