"""What the page says: times, speeds, sizes and where a job is."""

import math
import re
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster

pytest.importorskip("bokeh", reason="draws the page")

from dsoftmax.dashboard import _html, _pace
from dsoftmax.dashboard._jobs import Progress

from .watching import said, until, watched


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (80, "1 min 20 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (10**6, "277 h 47 min"),
    ],
)
def test_durations(seconds, text):
    assert _pace.duration(seconds) == text


def test_estimates_are_rough():
    assert _pace.roughly(8.4) == "about 8 s"
    assert _pace.roughly(0.01) == "about 1 s"
    assert _pace.roughly(80.2) == "about 1 min 20 s"
    assert _pace.roughly(math.inf) == ""


@pytest.mark.parametrize("value", [28.00915923188371, -1e-300 / 3, 1234567.89, math.pi, math.inf])
def test_numbers_have_six_digits_at_most(value):
    text = _pace.number(value)
    assert len(re.sub(r"e.*|\D", "", text)) <= 6
    assert float(text) == pytest.approx(value, rel=1e-5)


def test_the_pace_is_that_of_the_last_seconds():
    pace = _pace.Pace()
    assert pace.speed == 0
    assert pace.left(10) == math.inf
    for second in range(20):
        pace.add(float(second), 2 * second if second < 10 else 20 + 5 * (second - 10))
    assert pace.speed == 5
    assert pace.left(100) == 20


def test_a_pace_of_moments_is_none_and_a_lost_worker_begins_anew():
    pace = _pace.Pace()
    pace.add(0.0, 0)
    pace.add(0.1, 50)
    assert pace.speed == 0
    pace.add(1.0, 100)
    assert pace.speed == 100
    pace.add(2.0, 40)
    assert pace.speed == 0
    pace.add(3.0, 50)
    assert pace.speed == 10


def job(levels=1, second=True):
    return SimpleNamespace(levels=[None] * levels, second=second or None)


NONE, ALL = Progress(0, 8, 0, 0), Progress(8, 8, 0, 0)
ROOT = Progress(1, 1, 0, 0)


@pytest.mark.parametrize(
    ("parts", "workers", "busy", "sentence"),
    [
        ([NONE, Progress(0, 1, 0, 0), NONE], 0, 0, "Waiting for workers: the cluster has none."),
        ([NONE, Progress(0, 1, 0, 0), NONE], 2, 0, "Waiting for a worker to begin."),
        ([NONE, Progress(0, 1, 0, 0), NONE], 2, 3, "Waiting for other tasks, such as"),
        (
            [NONE._replace(running=2), Progress(0, 1, 0, 0), NONE],
            2,
            2,
            "2 tasks are running, and no chunk is done yet. The first ones take longer: each "
            "worker imports its libraries, and loads or compiles its kernels.",
        ),
        ([NONE._replace(running=1), Progress(0, 1, 0, 0), NONE], 2, 2, "1 task is running, and"),
        ([NONE._replace(done=3), Progress(0, 1, 0, 0), NONE], 2, 2, "First pass: 3 of 8 chunks"),
        ([ALL, Progress(0, 1, 0, 1), NONE], 2, 1, "All chunks are read; their states are being"),
        ([ALL, ROOT, NONE._replace(running=1)], 2, 1, "Second pass: 0 of 8 chunks are done."),
        ([ALL, ROOT, NONE._replace(done=5)], 2, 1, "Second pass: 5 of 8 chunks are done."),
        ([ALL, ROOT, ALL], 2, 0, "Complete."),
        (
            [NONE._replace(done=3, failed=1), ROOT, NONE],
            2,
            2,
            "1 task failed; asking for the result raises the error.",
        ),
    ],
)
def test_where_a_job_is(parts, workers, busy, sentence):
    assert _html.status(job(), parts, workers, busy).startswith(sentence)


def test_one_pass_has_no_number():
    sentence = _html.status(job(0, False), [NONE._replace(done=3)], 2, 2)
    assert sentence == "3 of 8 chunks are done."


def test_what_is_held_is_said_in_binary_units():
    assert _html.held(12 * 2**20, 2.24 * 2**30) == "12.00 MiB of 2.24 GiB"
    assert _html.held(5, math.nan) == "5 B"


def test_names_of_users_are_text_and_not_html():
    html = _html.head("<b>f</b>", "float64 (8,) along axis 0", "", "a < b", [("<", ">")])
    assert "<b>" not in html
    assert "a &lt; b" in html
    assert "<script>" not in _html.workers(["Worker"], [["<script>"]])


def test_a_table_of_many_workers_is_bounded():
    html = _html.workers(["Worker"], [[str(i)] for i in range(1000)])
    assert html.count("<tr>") == 21
    assert "And 980 more workers." in html


def test_what_the_empty_page_says_to_paste_runs():
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"preload": ["dsoftmax.dashboard"]},
        ) as cluster,
        Client(cluster) as client,
        watched(client) as document,
    ):
        text = said(document, "head")
        assert text.strip().startswith("No softmax is running on this cluster")
        code = re.search(r'<pre id="example"[^>]*>(.*)</pre>', document_text(document), re.DOTALL)
        lines = code[1].replace("&quot;", '"').replace("000_000,", "00,").replace("000_000)", "00)")
        assert cluster.scheduler_address in lines
        names = {}
        exec(lines, names)
        with names["client"]:
            until(lambda: said(document, "head").startswith("softmax of float64"))


def document_text(document):
    return document.get_model_by_name("head").text
