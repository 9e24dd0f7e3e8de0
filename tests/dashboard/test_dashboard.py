"""The page /softmax: what it reads from a scheduler, what it shows, and that it costs nothing else.

What a browser makes of that is in test_browser.py.
"""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import pytest
from distributed import Event, wait

from dsoftmax import (
    cross_entropy,
    effective_sample_size,
    entropy,
    expectation,
    grouped,
    log_softmax,
    logsumexp,
    softmax,
    softmax_matmul,
    softmax_topk,
    topk,
)

pytest.importorskip("bokeh", reason="draws the page")

from distributed.diagnostics.task_stream import rectangles

from dsoftmax import dashboard
from dsoftmax._algebra.normalizer import State
from dsoftmax._kernels.groups import Groups
from dsoftmax.dashboard import _colours, _jobs, _sums
from dsoftmax.dashboard._watch import Watch

from .watching import a_cluster, bars, page, said, shown, until, watched


@pytest.fixture(scope="module")
def client():
    with a_cluster() as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_left(client):
    """Each test finds no job of another."""
    yield
    until(lambda: not client.cluster.scheduler.tasks)


def gate(block, names, block_id=None):
    """Hold up a block until the event of its name is set, if it has one."""
    if block_id is not None and block_id[0] in names:
        Event(names[block_id[0]]).wait(30)
    return block


FIRST, SECOND = "First Pass", "Second Pass"


@pytest.mark.parametrize(
    ("function", "kind", "sizes"),
    [
        (lambda x: softmax(x, split_every=2), "softmax", [8, 4, 2, 1, 8]),
        (lambda x: softmax(x + 1, reread=True), "softmax", [8, 1, 8]),
        (lambda x: log_softmax(x, split_every=4), "log_softmax", [8, 2, 1, 8]),
        (lambda x: logsumexp(x, split_every=3), "logsumexp", [8, 3, 1]),
        (lambda x: softmax_topk(x, 3)[0], "softmax_topk", [8, 1]),
        (lambda x: topk(x, 3)[1], "topk", [8, 1]),
        (lambda x: entropy(x, split_every=4), "entropy", [8, 2, 1]),
        (lambda x: entropy(x, where=x > 0), "entropy", [8, 1]),
        (lambda x: expectation(x, x, split_every=4), "expectation", [8, 2, 1]),
        (lambda x: expectation(x, (x, 1.0))[0], "expectation", [8, 1]),
        (lambda x: entropy(x[:, None], axis=1), "entropy", [8]),
        (lambda x: softmax(x, where=x > 0, split_every=4), "softmax", [8, 2, 1, 8]),
        (lambda x: softmax_matmul(x, np.ones((800, 3))), "softmax_matmul", [8, 1]),
        (lambda x: softmax_matmul(x[:, None], [1.0]), "softmax_matmul", [8]),
        (lambda x: cross_entropy(x, 7), "cross_entropy", [8, 1]),
        (lambda x: cross_entropy(x[:, None], [0] * 800), "cross_entropy", [8]),
        (lambda x: softmax(x[:, None], axis=1), "softmax", [8]),
        (lambda x: logsumexp(x[:, None], axis=1), "logsumexp", [8]),
        (lambda x: grouped.softmax(x, x > 0), "grouped.softmax", [8, 1, 8]),
        (lambda x: grouped.logsumexp(x, x > 0)[1], "grouped.logsumexp", [8, 1]),
    ],
)
def test_jobs_and_their_parts_are_found(client, function, kind, sizes):
    x = da.random.default_rng(1).normal(size=800, chunks=100)
    future = client.compute(function(x))
    wait(future)
    (job,) = _jobs.find_jobs(client.cluster.scheduler)
    assert job.function == kind
    assert job.nbytes == x.nbytes
    parts = [_jobs.progress(group) for group in job.groups]
    assert [(part.done, part.failed) for part in parts] == [(size, 0) for size in sizes]


@pytest.mark.parametrize("axis", [0, 1])
def test_statistics_of_one_set_of_states_are_one_job(client, axis):
    x = da.random.default_rng(1).normal(size=(800, 3), chunks=(100, 3))
    futures = client.compute([entropy(x, axis), effective_sample_size(x, axis)])
    wait(futures)
    (job,) = _jobs.find_jobs(client.cluster.scheduler)
    assert job.function == "effective_sample_size and entropy"
    assert _jobs.progress(job.first).done == 8
    assert _colours.colour_of(job.first.prefix.name) == _colours.FIRST


def test_the_second_pass_is_found_under_another_name(client):
    x = da.random.default_rng(1).normal(size=800, chunks=100)
    future = client.compute(softmax(x, reread=True) * 2)
    wait(future)
    (job,) = _jobs.find_jobs(client.cluster.scheduler)
    assert job.second.prefix.name == "mul"
    assert _jobs.progress(job.second) == (8, 8, 0, 0)


def test_tasks_that_run_are_counted_under_either_name(client):
    """Dask fuses what makes a chunk with its first pass, and renames it, or does not."""
    names = {i: f"gate {i}" for i in range(8)}
    for name in names.values():
        Event(name, client=client).clear()
    x = da.random.default_rng(1).normal(size=800, chunks=100)
    future = client.compute(logsumexp(x.map_blocks(gate, names, dtype="f8", meta=x._meta)))
    scheduler = client.cluster.scheduler

    def running():
        jobs = _jobs.find_jobs(scheduler)
        return jobs and _jobs.progress(jobs[0].first).running

    until(lambda: running() == 8)
    (job,) = _jobs.find_jobs(scheduler)
    assert _jobs.computed_by(job.first) is not job.first
    for name in names.values():
        Event(name, client=client).set()
    wait(future)
    assert running() == 0


def test_two_jobs_are_told_apart(client):
    x = da.random.default_rng(1).normal(size=800, chunks=100)
    futures = client.compute([softmax(x), logsumexp(2 * x)])
    wait(futures)
    jobs = _jobs.find_jobs(client.cluster.scheduler)
    assert sorted(job.function for job in jobs) == ["logsumexp", "softmax"]
    assert len({job.name for job in jobs}) == 2


def test_other_work_is_no_job(client):
    future = client.compute(da.ones(800, chunks=100).sum())
    wait(future)
    assert _jobs.find_jobs(client.cluster.scheduler) == []


def look(client, job):
    """What the page would say of the sum, asked for as it does."""
    scheduler = client.cluster.scheduler

    async def seen():
        states = _sums.unmerged(scheduler, job)
        return _sums.joined(states, await _sums.fetch(scheduler, states), job.function)

    return client.sync(seen)


def started(scheduler, done):
    """The only job, once so many of its chunks are done and the rest are held up."""

    def found():
        jobs = _jobs.find_jobs(scheduler)
        busy = sum(task.state == "processing" for task in scheduler.tasks.values())
        finished = jobs and _jobs.progress(jobs[0].first).done == done
        return jobs[0] if finished and busy == 8 - done else None

    return until(found)


def by_worker(document):
    """The rows of the table of workers, each a cell by the title of its column."""
    cells = re.findall(r"<t[hd] [^>]*>([^<]*)</t", shown(document, "workers").text)
    titles, *rows = [cells[i : i + 6] for i in range(0, len(cells), 6)]
    return [dict(zip(titles, row, strict=True)) for row in rows]


@pytest.fixture
def held_up(client):
    """A chunked array of which the sixth and the eighth block wait for their release."""
    names = {5: "sixth", 7: "eighth"}

    def release():
        for name in names.values():
            Event(name, client=client).set()

    x = da.from_array(np.random.default_rng(2).normal(size=(800, 3)), chunks=(100, 3))
    for name in names.values():
        Event(name, client=client).clear()
    yield x, x.map_blocks(gate, names, dtype=x.dtype, meta=x._meta), release
    release()


@pytest.mark.parametrize("function", [entropy, lambda x, *a, **k: expectation(x, 1, *a, **k)])
def test_statistics_have_a_running_sum(client, held_up, function):
    x, slowly, release = held_up
    future = client.compute(function(slowly, 0, split_every=2))
    seen = look(client, started(client.cluster.scheduler, done=6))
    done = np.delete(x.compute(), np.r_[500:600, 700:800], axis=0)
    assert seen.logsumexp == pytest.approx(logsumexp(done[:, 0]), rel=1e-15)
    release()
    wait(future)


def test_the_running_sum_is_that_of_the_chunks_that_are_done(client, held_up):
    x, slowly, release = held_up
    future = client.compute(logsumexp(slowly, axis=0, split_every=2))
    seen = look(client, started(client.cluster.scheduler, done=6))
    done = np.delete(x.compute(), np.r_[500:600, 700:800], axis=0)
    assert (seen.chunks, seen.of, seen.slices) == (6, 8, 3)
    assert seen.m == done[:, 0].max()
    assert seen.logsumexp == pytest.approx(logsumexp(done[:, 0]), rel=1e-15)
    assert seen.log_d == pytest.approx(seen.logsumexp - seen.m, rel=1e-14)

    release()
    wait(future)
    seen = look(client, _jobs.find_jobs(client.cluster.scheduler)[0])
    assert (seen.chunks, seen.of, seen.m, seen.log_d) == (8, 8, None, None)
    assert seen.logsumexp == future.result()[0]


def test_a_softmax_has_its_sum_while_the_second_pass_needs_it(client):
    x = da.random.default_rng(3).normal(size=800, chunks=100)
    held = softmax(x, reread=True).map_blocks(gate, {3: "fourth"}, dtype="f8", meta=x._meta)
    Event("fourth", client=client).clear()
    future = client.compute(held)
    seen = until(lambda: _complete(client))
    assert seen.logsumexp == pytest.approx(logsumexp(x).compute(), rel=1e-15)
    Event("fourth", client=client).set()
    wait(future)


def _complete(client):
    jobs = _jobs.find_jobs(client.cluster.scheduler)
    seen = look(client, jobs[0]) if jobs else None
    return seen if seen and seen.chunks == 8 else None


def test_large_states_are_not_fetched(client):
    x = da.zeros((8, 20_000), chunks=(1, 20_000))
    future = client.compute(logsumexp(x, axis=0))
    wait(future)
    assert look(client, _jobs.find_jobs(client.cluster.scheduler)[0]) is None


AS_MANY, MORE = [0, 1] * 200 + [2, 3] * 200, [0] * 300 + [0, 1] * 250


@pytest.mark.parametrize("labels", [AS_MANY, MORE], ids=["as many", "more"])
@pytest.mark.parametrize("expected", [None, range(4)])
def test_groups_have_no_running_sum(client, held_up, labels, expected):
    """Chunks may have other groups, in other places."""
    _, slowly, release = held_up
    by = da.from_array(np.array(labels), chunks=100)
    result = grouped.softmax(slowly, by, axis=0, expected_groups=expected)
    with watched(client) as document:
        future = client.compute(result)
        until(lambda: bars(document).get(FIRST, "").startswith("6 of 8"))
        assert look(client, _jobs.find_jobs(client.cluster.scheduler)[0]) is None
        assert shown(document, "sum").text == ""
        release()
        until(lambda: bars(document).get(FIRST) == "8 of 8")
        wait(future)


@pytest.mark.parametrize("labels", [[0], [0, 1]])
def test_states_of_groups_are_not_merged(labels):
    state = State(*np.ones((3, len(labels)), "f8"))
    assert _sums._normalizer_in(state) is state
    assert _sums._normalizer_in((Groups((np.array(labels),), state),)) is None


def test_the_page_goes_on_without_a_sum(client, held_up, monkeypatch, caplog):
    def fails(*args):
        raise ValueError("not broadcast together")

    monkeypatch.setattr(dashboard, "joined", fails)
    _, slowly, release = held_up
    with watched(client) as document:
        future = client.compute(logsumexp(slowly, axis=0))
        until(lambda: bars(document).get(FIRST, "").startswith("6 of 8"))
        release()
        until(lambda: bars(document).get(FIRST) == "8 of 8")
        wait(future)
    assert caplog.text.count("the running sum on /softmax failed") == 1


def test_the_page_follows_a_job_to_its_end(client, held_up):
    x, slowly, release = held_up
    with watched(client) as document:
        assert "No softmax is running" in said(document, "head")
        stored = client.compute(softmax(slowly, axis=0).sum())
        until(lambda: bars(document).get(FIRST, "").startswith("6 of 8"))
        head = said(document, "head")
        assert head.startswith("softmax of float64 (800, 3) along axis 0")
        assert "First pass: 6 of 8 chunks are done. Workers hold" in head
        assert "of an array of 18.75 kiB" in head
        assert shown(document, "size").location == x.nbytes
        part = np.delete(x.compute(), np.r_[500:600, 700:800], axis=0)[:, 0]
        text = until(lambda: shown(document, "sum").text)
        assert text.startswith("6 of 8 chunks seen: m = ")
        printed = float(re.search(r"log-sum-exp = (\S+)</b>", text)[1])
        assert printed == pytest.approx(logsumexp(part), rel=1e-5)

        release()
        assert stored.result() == pytest.approx(3)
        del stored
        # The parts of the page are drawn one after the other.
        until(lambda: "Complete; its tasks have left the scheduler" in said(document, "head"))
        until(lambda: bars(document)[FIRST] == "8 of 8")
        # Those that were held up have been finished, and by some worker.
        until(lambda: sum(int(row["First Pass"]) for row in by_worker(document)) >= 2)
        assert sum(int(row["Share"].rstrip("%")) for row in by_worker(document)) in (99, 100, 101)


def test_the_page_says_what_was_not_finished(client, held_up):
    _, slowly, release = held_up
    with watched(client) as document:
        future = client.compute(softmax(slowly, axis=0))
        until(lambda: bars(document).get(FIRST, "").startswith("6 of 8"))
        future.cancel()
        del future
        until(lambda: "Not complete; its tasks have left" in said(document, "head"))
        assert bars(document)[FIRST] == "6 of 8"
        elapsed = re.search(r"Elapsed[\d.]+ s", said(document, "head"))[0]
        drawn = len(shown(document, "held").data["seconds"])
        release()
        time.sleep(1.5)
        assert elapsed in said(document, "head")
        assert len(shown(document, "held").data["seconds"]) == drawn


def test_the_page_counts_what_failed(client):
    def fails(block):
        raise OSError("no such chunk")

    x = da.ones(800, chunks=100).map_blocks(fails, dtype="f8", meta=np.ones(0))
    with watched(client) as document:
        future = client.compute(logsumexp(x))
        until(lambda: "failed" in bars(document).get(FIRST, ""))
        assert future.status == "error"
        assert "failed; asking for the result raises the error" in said(document, "head")
        assert "Time Left" not in said(document, "head")


def fails_at(block, names, block_id=None):
    """Fail at the eighth block, once it is released."""
    block = gate(block, names, block_id)
    if block_id is not None and block_id[0] == 7:
        raise OSError("no such chunk")
    return block


def test_what_never_ran_is_not_done(client, monkeypatch):
    """After a failure the scheduler releases what nobody waits for any more."""
    monkeypatch.setattr(dashboard, "_SHARE", 1.0)  # a slow look does not put off the next
    Event("the one that fails", client=client).clear()
    x = da.ones(20_000, chunks=100)
    x = x.map_blocks(fails_at, {7: "the one that fails"}, dtype="f8", meta=np.ones(0))
    scheduler = client.cluster.scheduler
    with watched(client) as document:
        future = client.compute(softmax(x, reread=False))
        # All chunks but one, and all runs of 16 but that of this one.
        ends = {FIRST: "199 of 200", "Merges, Level 1": "12 of 13"}
        until(
            lambda: all(bars(document).get(part, "").startswith(ends[part]) for part in ends),
            seconds=60,
        )
        ran = bars(document)
        Event("the one that fails", client=client).set()
        until(lambda: "failed" in said(document, "head"), seconds=60)
        assert future.status == "error"
        (job,) = _jobs.find_jobs(scheduler)
        assert _jobs.progress(job.second).done > 0  # so many are released
        # Whether its state failed too, or is released like others, depends on which comes first.
        until(lambda: "1 failed" in bars(document)[SECOND], seconds=60)
        after = bars(document)
        done = {part: int(text.split(" of ")[0]) for part, text in after.items()}
        assert done == {part: int(text.split(" of ")[0]) for part, text in ran.items()}
        assert done[SECOND] == 0
        later = Watch(scheduler)  # that did not see which have run
        later.follow([job])
        assert later.progress(job.second) == (0, 200, 1, 0)


def test_sizes_that_are_not_known_are_not_made_up(client):
    x = da.arange(800, chunks=100)
    with watched(client) as document:
        future = client.compute(logsumexp(x[x > 150].astype("f8")))
        until(lambda: bars(document).get(FIRST) == "8 of 8")
        assert "of float64 (nan,) along axis 0" in said(document, "head")
        assert shown(document, "size").location is None
        wait(future)


def test_nobody_pays_for_a_page_that_nobody_looks_at(client):
    scheduler = client.cluster.scheduler
    until(lambda: "dsoftmax-watch" not in scheduler.plugins, seconds=60)
    with watched(client), watched(client):
        until(lambda: "dsoftmax-watch" in scheduler.plugins)
    until(lambda: "dsoftmax-watch" not in scheduler.plugins, seconds=60)


def test_it_goes_on_after_a_restart_of_the_workers():
    with a_cluster(processes=True, threads_per_worker=1) as client, watched(client) as document:
        client.restart()
        future = client.compute(logsumexp(da.zeros(800, chunks=100)))
        until(lambda: bars(document).get(FIRST) == "8 of 8")
        wait(future)


def test_tasks_have_one_colour_for_each_part_on_all_pages(client):
    names = ["softmax-normalizer", "softmax-merge-aggregate", "softmax-rescale", "inc"]
    messages = [
        {"key": (f"{name}-{'0' * 32}", 0), "status": "OK", "worker": "w", "thread": 1}
        | {"startstops": [{"action": "compute", "start": 0, "stop": 1}]}
        for name in names
    ]
    *ours, other = rectangles(messages)["color"]
    assert ours == [_colours.FIRST, _colours.TREE, _colours.SECOND]
    assert other not in ours


def get(address):
    """The status and the text of a page."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_a_running_scheduler_gets_the_page_once():
    with a_cluster(scheduler_kwargs={}) as client:
        assert get(page(client))[0] == 404
        assert dashboard.show(client) == dashboard.show(client) == page(client)
        assert get(page(client))[0] == 200
        _, status = get(client.dashboard_link)
        assert status.count('href="softmax"') == 1


def test_what_show_needs():
    with pytest.raises(TypeError, match=r"show: client is of type str; pass a distributed.Client"):
        dashboard.show("tcp://127.0.0.1:8786")
    with (
        a_cluster(scheduler_kwargs={"dashboard": False}) as client,
        pytest.raises(RuntimeError, match="the scheduler has no dashboard to add /softmax to"),
    ):
        dashboard.show(client)


def test_a_preload_without_a_dashboard_says_so(caplog):
    without = {"dashboard": False, "preload": ["dsoftmax.dashboard"]}
    with a_cluster(scheduler_kwargs=without):
        assert "the scheduler has no dashboard to add /softmax to" in caplog.text


def free_ports(number):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def a_scheduler(port, dashboard_port):
    """A scheduler as a process of its own, with the page."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dashboard-address", f"127.0.0.1:{dashboard_port}"]
    command += ["--preload", "dsoftmax.dashboard"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            next(line for line in process.stderr if "Scheduler at" in line)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()


def test_it_is_there_again_after_a_restart_of_the_scheduler():
    ports = free_ports(2)
    for _ in range(2):
        with a_scheduler(*ports):
            assert until(lambda: get(f"http://127.0.0.1:{ports[1]}/softmax"))[0] == 200
            assert 'href="softmax"' in get(f"http://127.0.0.1:{ports[1]}/status")[1]
