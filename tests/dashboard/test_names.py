"""Jobs have names that people recognise: function, dtype, shape and axes of any operation."""

import dask.array as da
import numpy as np
import pytest
from distributed import wait

import dsoftmax
from dsoftmax import grouped
from dsoftmax.operations import OPERATIONS, Monoid, Operation, Result, reduce, rescale

pytest.importorskip("bokeh", reason="draws the page")

from dsoftmax.dashboard import _jobs, _page
from dsoftmax.dashboard._watch import Watch

from .watching import a_cluster, until


@pytest.fixture(scope="module")
def client():
    with a_cluster() as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_left(client):
    yield
    until(lambda: not client.cluster.scheduler.tasks)


X = da.from_array(np.random.default_rng(0).normal(size=(64, 6)).astype("f4"), chunks=(8, 6))


def jobs_of(client, *results):
    """The titles of the jobs that give results, with the sizes of their task groups."""
    scheduler = client.cluster.scheduler
    futures = client.compute(list(results))
    wait(futures)
    assert all(future.status == "finished" for future in futures)
    found = {
        job.title: [_jobs.progress(group).total for group in job.groups]
        for job in _jobs.find_jobs(scheduler)
    }
    del futures
    until(lambda: not scheduler.tasks)
    return found


def titles(client, *results):
    return list(jobs_of(client, *results))


LABELS = np.arange(64) % 3
OF_SEVERAL = {
    "expectation": lambda x, axis: dsoftmax.expectation(x, x, axis),
    "softmax_matmul": lambda x, axis: dsoftmax.softmax_matmul(
        x if axis else x.T, np.ones(x.shape[axis])
    ),
    "cross_entropy": lambda x, axis: dsoftmax.cross_entropy(
        x, np.zeros(x.shape[1 - axis], int), axis
    ),
}


def called(operation, x, axis):
    """What an operation of the package gives."""
    if operation.name in OF_SEVERAL:
        return OF_SEVERAL[operation.name](x, axis)
    if operation.rescale is not None:
        return rescale(operation, x, axis)
    result = reduce(operation, x, axis)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("axis", [0, 1], ids=["over a tree", "within chunks"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=[one.name for one in OPERATIONS])
def test_every_operation(client, operation, axis):
    (title,) = titles(client, called(operation, X, axis))
    expected = f"{operation.name} of float32 (64, 6) along axis {axis}"
    if operation.name == "softmax_matmul" and axis == 0:
        expected = "softmax_matmul of float32 (6, 64) along axis 1"
    assert title == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: dsoftmax.cumulative_logsumexp(x, 0), "cumulative_logsumexp of {} axis 0"),
        (lambda x: dsoftmax.cumulative_logsumexp(x, 1), "cumulative_logsumexp of {} axis 1"),
        (lambda x: grouped.softmax(x, LABELS, axis=0), "grouped.softmax of {} axis 0"),
        (lambda x: grouped.log_softmax(x, LABELS[:6], axis=1), "grouped.log_softmax of {} axis 1"),
        (lambda x: grouped.logsumexp(x, LABELS, axis=0)[1], "grouped.logsumexp of {} axis 0"),
        (lambda x: grouped.entropy(x, LABELS, axis=0)[1], "grouped.entropy of {} axis 0"),
        (lambda x: dsoftmax.gumbel_topk(x, 2, axis=0, rng=0)[1], "gumbel_topk of {} axis 0"),
        (lambda x: dsoftmax.choice(x, 2, axis=0, rng=0), "choice of {} axis 0"),
        (lambda x: dsoftmax.choice(x, 2, axis=1, rng=0, replace=False), "choice of {} axis 1"),
        (lambda x: dsoftmax.softmax(x, axis=0, where=x > 0), "softmax of {} axis 0"),
        (lambda x: dsoftmax.logsumexp(x, axis=0, b=np.ones(6)), "logsumexp of {} axis 0"),
        (lambda x: dsoftmax.Normalizer.of(x, axis=0).logsumexp(), "Normalizer of {} axis 0"),
        (lambda x: dsoftmax.Normalizer.of(x, axis=0).softmax(x), "Normalizer of {} axis 0"),
    ],
)
def test_the_other_functions(client, call, expected):
    (title,) = titles(client, call(X))
    assert title == expected.format("float32 (64, 6) along")


def test_axes_are_named_as_they_are(client):
    x = X.reshape((8, 8, 6))
    (title,) = titles(client, dsoftmax.logsumexp(x, axis=(0, 2)))
    assert title == "logsumexp of float32 (8, 8, 6) along axes 0, 2"
    (title,) = titles(client, dsoftmax.logsumexp(x, axis=None))
    assert title == "logsumexp of float32 (8, 8, 6) over all axes"
    (title,) = titles(client, dsoftmax.logsumexp(x[0, 0]))
    assert title == "logsumexp of float32 (6,) along axis 0"


def largest_of_block(block, axes):
    return block.max(axis=axes, keepdims=True)


def larger(*states):
    return np.maximum.reduce(states)


def same(state):
    return state


def test_operations_of_users_with_states_of_their_own(client):
    largest = Operation(
        "largest_logit", Monoid("maximum", largest_of_block, larger, 8), (Result(same),)
    )
    found = jobs_of(client, reduce(largest, X, 0))
    assert found == {"largest_logit of float32 (64, 6) along axis 0": [8, 1]}
    (title,) = titles(client, reduce(largest, X, 1) * 2)  # fused, and so named "mul"
    assert title == "largest_logit of float32 (64, 6) along axis 1"


def test_a_part_of_the_result_has_the_name_of_the_whole(client):
    (title,) = titles(client, dsoftmax.softmax(X, axis=1)[40:])
    assert title == "softmax of float32 (64, 6) along axis 1"
    (title,) = titles(client, dsoftmax.softmax(X, axis=0)[40:])
    assert title == "softmax of float32 (64, 6) along axis 0"


def test_one_after_the_other_are_two_jobs(client):
    x = X.map_blocks(np.abs, dtype="f4").rechunk((8, 3))
    found = titles(client, dsoftmax.softmax(dsoftmax.log_softmax(x, axis=1), axis=0))
    assert sorted(found) == [
        "log_softmax of float32 (64, 6) along axis 1",
        "softmax of float32 (64, 6) along axis 0",
    ]


def test_a_softmax_of_a_softmax_within_chunks_is_the_outer_one(client):
    y = dsoftmax.softmax(dsoftmax.log_softmax(X * 2, axis=1), axis=0, reread=True)
    (title,) = titles(client, y)
    assert title == "softmax of float32 (64, 6) along axis 0"


def test_what_merges_chunks_of_results_is_no_part_of_the_tree(client):
    rows = da.from_array(np.ones((8, 64), "f4"), chunks=(2, 8))
    found = jobs_of(client, dsoftmax.logsumexp(rows, axis=1).rechunk(8))
    assert list(found.values()) == [[32, 4]]


def test_nothing_is_computed_for_a_name(lazily):
    lazily(dsoftmax.softmax, X, axis=0)


def test_a_name_does_not_change_keys():
    """Softmax and a normalizer of one array have tasks in common."""
    one, other = dsoftmax.Normalizer.of(X, axis=0).logsumexp(), dsoftmax.softmax(X, axis=0)
    names = [
        {name for name in y.dask.layers if name.startswith("softmax-normalizer")}
        for y in (one, other)
    ]
    assert names[0] == names[1] != set()


def test_no_task_is_inspected_twice(client, monkeypatch):
    scheduler, known = client.cluster.scheduler, {}
    futures = client.compute([dsoftmax.softmax(X, axis=0), da.ones(8, chunks=2).sum()])
    wait(futures)
    (job,) = _jobs.find_jobs(scheduler, known)
    monkeypatch.setattr(_jobs, "_found", None)
    assert _jobs.find_jobs(scheduler, known) == [job]


def test_what_is_gone_is_not_kept(client):
    known = {str(i): None for i in range(1000)}
    _jobs.find_jobs(client.cluster.scheduler, known)
    assert not known


def test_large_tasks_are_inspected_in_part():
    values = list(range(10**6))
    assert list(_jobs._stages([values] * 1000)) == []


class Page(_page.Page):
    """The choice of a page alone."""

    def __init__(self):
        self.labels, self.known, self.below, self.job = {}, {}, {}, None
        self.select = _page.Select(options=[])


def test_jobs_of_one_title_are_numbered_and_the_newest_is_shown(client):
    page, scheduler = Page(), client.cluster.scheduler
    first = client.compute(dsoftmax.logsumexp(X, axis=0))
    wait(first)
    assert page.choose(_jobs.find_jobs(scheduler)).title.startswith("logsumexp")
    second = client.compute(dsoftmax.logsumexp(X + 1, axis=0))
    wait(second)
    shown = page.choose(_jobs.find_jobs(scheduler))
    title = "logsumexp of float32 (64, 6) along axis 0"
    assert [label for _, label in page.select.options] == [title, f"{title} #2"]
    assert page.select.value == shown.name == page.select.options[1][0]
    assert page.select.visible


def test_the_same_job_once_more_begins_anew(client):
    page, scheduler = Page(), client.cluster.scheduler
    watch, since = Watch(scheduler), []
    for _ in range(2):
        future = client.compute(dsoftmax.logsumexp(X, axis=0))
        wait(future)
        job = page.choose(_jobs.find_jobs(scheduler))
        assert job is not None
        assert page.job is None or page.job.first is not job.first
        watch.follow([job])
        assert not watch.by_worker(job.first)
        watch.finished[job.first.name]["a worker"] += 8
        watch.follow([job])
        assert watch.by_worker(job.first) == {"a worker": 8}
        since.append(watch.since[job.name])
        page.job = job
        future.release()
        until(lambda: not scheduler.tasks)
        assert page.choose([]) is None
        assert [label for _, label in page.select.options] == [job.title]
    assert since[0] < since[1]


def test_a_page_that_is_open_for_long_keeps_the_jobs_that_it_shows(client):
    page, scheduler = Page(), client.cluster.scheduler
    watch, titles = Watch(scheduler), []
    for i in range(6):
        future = client.compute(dsoftmax.softmax(X + i, axis=0, reread=False))
        wait(future)
        jobs = _jobs.find_jobs(scheduler)
        watch.follow(jobs)
        page.job = watch.shown[page] = page.choose(jobs)
        titles.append(page.labels[page.job.name].removeprefix(page.job.title))
        future.release()
        until(lambda: not scheduler.tasks)
        watch.follow([])
        page.choose([])
        groups = {group.name for group in page.job.groups}
        assert watch.followed.keys() == watch.last.keys() == watch.finished.keys() == groups
        assert watch.since.keys() == page.labels.keys() == {page.job.name}
        assert watch.progress(page.job.second).total == 8
    assert titles == ["", " #2"] * 3
    watch.leave(page)
    watch.follow([])
    for names in (watch.followed, watch.last, watch.finished, watch.since):
        assert not names
