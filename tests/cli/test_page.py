"""The page /softmax that commands offer, on their own cluster and on that of a scheduler."""

import contextlib
import gc
import socket
import sys
import urllib.error
import urllib.request

import pytest
from distributed import Client, LocalCluster

from dsoftmax.cli import job, page

from .command import invoke

pytestmark = pytest.mark.system
pytest.importorskip("bokeh", reason="draws the dashboard")


def check_page(link, name="softmax"):
    """A link leads to a page of this name, which is in the menu, and none leads to others."""
    assert link.endswith(f"/{name}")
    with urllib.request.urlopen(link, timeout=10) as answer:
        text = answer.read().decode()
    assert f'href="{name}"' in text
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{link}es", timeout=10)


def test_on_another_port_where_the_usual_one_is_taken():
    """Without a warning, and without a socket that is left open, which would be an error here."""
    with socket.socket() as usual:
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # it is taken already
            usual.bind(("127.0.0.1", 8787))
            usual.listen()
        with job.connected(None, 1) as client:
            check_page(page.dashboard_link(client, own=True))
        assert ":8787/" not in client.dashboard_link
    gc.collect()


def test_on_its_own_cluster():
    with job.connected(None, 1) as client:
        link = page.dashboard_link(client, own=True)
        check_page(link)


def test_a_quiet_cluster_has_no_dashboard():
    """Nor does it listen where others hear, or warn of a port that is taken."""
    with socket.socket() as usual:
        with contextlib.suppress(OSError):
            usual.bind(("", 8787))
            usual.listen()
        with job.connected(None, 1, dashboard=False) as client:
            scheduler = client.cluster.scheduler
            assert scheduler.http_application.applications == []
            (listening,) = scheduler.http_server._sockets.values()
            assert listening.getsockname()[0] == "127.0.0.1"
    gc.collect()


def test_on_a_scheduler(cluster):
    with Client(cluster) as client:
        link = page.dashboard_link(client, own=False)
        assert page.dashboard_link(client, own=False) == link
    check_page(link)


def test_the_command_adds_it(cluster):
    result = invoke("dashboard", cluster.scheduler_address)
    assert (result.exit_code, result.stderr) == (0, "")
    check_page(result.stdout.strip())


@pytest.mark.parametrize("missing", ["bokeh", "dsoftmax"])
def test_the_plain_dashboard_where_the_page_cannot_be(cluster, monkeypatch, missing):
    packages = {"bokeh": "3", "dsoftmax": "0"} | {missing: None}
    answer = {"packages": packages, "host": {}}
    monkeypatch.setitem(cluster.scheduler.handlers, "versions", lambda packages=None: answer)
    monkeypatch.setattr(page, "_added", pytest.fail)  # nothing is tried that would fail there
    with Client(cluster.scheduler_address) as client:
        link = page.dashboard_link(client, own=False)
    assert link == cluster.dashboard_link
    check_page(link, "status")


def test_another_version_there(cluster, monkeypatch):
    def fail(client):
        raise AttributeError("no such class")

    monkeypatch.setattr(page, "_added", fail)
    with Client(cluster) as client:
        assert page.dashboard_link(client, own=False) == cluster.dashboard_link


def test_errors_of_the_command(cluster, monkeypatch):
    (worker,) = cluster.scheduler_info["workers"]
    for address, message in [
        ("nonsense", "no Dask scheduler answers at nonsense (missing port number"),
        (worker, f"no Dask scheduler answers at {worker} (it is a Worker); start one with"),
    ]:
        result = invoke("dashboard", address)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {message}")
    assert invoke("dashboard").exit_code == 2

    def fail(client):
        raise ModuleNotFoundError("No module named 'dsoftmax'")

    monkeypatch.setattr(page, "_added", fail)
    address = cluster.scheduler_address
    assert invoke("dashboard", address).stderr == (
        f"Error: cannot add the page to {address}: No module named 'dsoftmax'; install this "
        "version of dsoftmax where the scheduler runs\n"
    )


def test_a_scheduler_without_bokeh_has_no_dashboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        result = invoke("dashboard", address)
        with Client(cluster) as client:
            link = page.dashboard_link(client, own=False)
    assert result.exit_code == 1
    assert f"cannot add the page to {address}: the scheduler has no dashboard" in result.stderr
    assert "install bokeh where it runs" in result.stderr
    assert link == "none: the scheduler runs without one"
