"""The runner: turns, samples and results that are compared, here and of another version."""

import os
import time
from functools import partial

import dask.array as da
import numpy as np
import pytest

from benchmarks import report, runner, timing
from benchmarks.case import Case, Suite
from benchmarks.process import Process
from benchmarks.runner import compare, measure

from .command import QUICK, run


def test_a_process_is_confined_to_its_cores():
    with Process(1) as process:
        assert process(os.getenv, "OMP_NUM_THREADS") == "1"
        if hasattr(os, "sched_getaffinity"):
            assert len(process(os.sched_getaffinity, 0)) == 1
        assert process(os.getpid) == process(os.getpid) != os.getpid()


def test_rounds_are_interleaved_and_rotate():
    order = []

    def call(name):
        order.append(name)
        return {"seconds": 1.0}

    samples, failed = timing.interleave({n: partial(call, n) for n in "abc"}, rounds=4, seconds=0)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert samples == {name: {"seconds": [1.0] * 4} for name in "abc"}
    assert failed == {}


def test_short_calls_get_more_rounds_within_a_limit(monkeypatch):
    monkeypatch.setattr(timing, "MOST_ROUNDS", 4)
    samples, _ = timing.interleave({"a": lambda: {"n": 1}}, rounds=2, seconds=60)
    assert len(samples["a"]["n"]) == 4


def test_a_call_that_fails_is_left_out_and_the_others_go_on():
    values = iter([{"n": 1}])
    calls = {"a": lambda: {"n": 1}, "b": lambda: next(values), "c": lambda: 1 / 0}
    samples, failed = timing.interleave(calls, rounds=3, seconds=0)
    assert samples == {"a": {"n": [1] * 3}, "b": {"n": [1]}}
    assert failed == {"b": "StopIteration: ", "c": "ZeroDivisionError: division by zero"}


def test_a_call_is_timed():
    assert 0.02 < timing.timed(lambda: time.sleep(0.02))["seconds"] < 20


def test_a_summary_is_the_median_and_the_quartiles():
    summary = timing.summarize([5.0, 1.0, 2.0, 4.0, 3.0], scale=10)
    assert summary == (30.0, 20.0, 40.0)
    assert summary.spread == 10.0


def test_a_ratio_pairs_the_samples_of_a_round():
    # The machine is three times slower in the second round: both of the pair are.
    assert timing.ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == (2.0, 2.0, 2.0)
    assert timing.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).median == 3.0


OURS = np.array([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: np.array([0.1, 0.2, 0.3, 0.8]), "ValueError: differs from dsoftmax by 1.0e+00"),
        (lambda: np.array([0.1, 0.2, 0.3, np.nan]), "ValueError: differs from dsoftmax by nan"),
        (lambda: np.array([0.1, 0.2, 0.3]), "ValueError: shape (3,) is not (4,)"),
        (lambda: (OURS, np.array([1, 3])), "AssertionError: \nArrays are not equal"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_results_are_failures(call, why):
    tried = runner.Tried()
    calls = {"dsoftmax": lambda: (OURS, np.array([1, 2])), "torch": call}
    assert compare(calls, ("floor",), tried) == {}
    assert list(tried.failed) == ["torch"]
    assert tried.failed["torch"].startswith(why)


def test_right_results_pass_with_their_difference():
    calls = {
        "dsoftmax": lambda: OURS,
        "floor": lambda: None,
        "torch": lambda: da.array(OURS * 1.01),
    }
    tried = runner.Tried()
    assert compare(calls, ("floor",), tried) == {"torch": pytest.approx(1e-2)}
    assert tried.failed == {}


def test_without_dsoftmax_nothing_is_measured_as_right():
    def sides(scope):
        return {"dsoftmax": lambda: lambda: 1 / 0, "torch": lambda: lambda: OURS}

    record = measure(Suite("a", "A", lambda quick: []), Case("case", "", sides), QUICK)
    assert record["failed"] == {"dsoftmax": "ZeroDivisionError: division by zero"}
    assert list(record["samples"]) == ["torch"]


def test_against_another_version(tmp_path):
    (tmp_path / "dsoftmax").mkdir()
    (tmp_path / "dsoftmax" / "__init__.py").write_text(
        "import time\n\n\ndef logsumexp(x, axis):\n    time.sleep(0.5)\n    return x.max(axis)\n"
    )
    only = ("--only", "softmax-float32-row", "--only", "logsumexp-float32-row", "--threads", "1")
    arguments = ("speed", "--quick", *only, "--json", str(tmp_path / "out.json"))
    printed = run(*arguments, "--against", str(tmp_path))
    softmax, log_softmax, logsumexp = report.read(tmp_path / "out.json")["records"]
    for record in (softmax, log_softmax):
        assert list(record["samples"]) == ["this version"]
        assert record["absent"]["the other"].startswith("AttributeError")
    assert list(logsumexp["samples"]) == ["this version", "the other"]
    for samples in logsumexp["samples"].values():
        assert {name: len(s) for name, s in samples.items()} == {
            "dsoftmax": 2,
            "dsoftmax on NumPy": 2,
        }
    assert min(logsumexp["samples"]["the other"]["dsoftmax"]) >= 0.5
    (row,) = (line for line in printed.splitlines() if "row-1e8, dsoftmax  " in line)
    assert float(row.split("|")[4]) == pytest.approx(
        timing.ratio(
            logsumexp["samples"]["the other"]["dsoftmax"],
            logsumexp["samples"]["this version"]["dsoftmax"],
        ).median,
        abs=0.001,
    )
