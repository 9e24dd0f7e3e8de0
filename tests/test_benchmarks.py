"""The benchmarks run, measure what they say and hide nobody; no test asserts a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import cases, first, measure, memory, scale, timing
from benchmarks.__main__ import main

ROOT = Path(__file__).parent.parent

PEERS = {
    "dsoftmax",
    "floor",
    "scipy-dask",
    "by-hand",
    "torch",
    "jax",
    "scipy-numpy",
    "dsoftmax-numpy",
}
CASE = cases.Case("softmax", "float32", cases.Layout("row", "one row", (4,), 0, (2,)))


def run(*arguments, path=()):
    """``python -m benchmarks`` as a process, with ``path`` before the installed packages."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A whole quick run: what it printed, and where it wrote."""
    folder = tmp_path_factory.mktemp("quick")
    arguments = ["--json", str(folder / "out.json"), "--picture", str(folder / "out.png")]
    process = run("--quick", *arguments)
    assert process.returncode == 0, process.stderr
    return process.stdout, folder


@pytest.fixture(scope="module")
def results(quick):
    return json.loads((quick[1] / "out.json").read_text())


@pytest.fixture
def saved(tmp_path):
    """A results file as an earlier run could have left: two rounds, and these times."""

    def save(seconds, failures=(), **case):
        case = {
            "case": "softmax-float32-row-1e8",
            "function": "softmax",
            "dtype": "float32",
            "layout": "row-1e8",
            "title": "one row, 10^8",
            "elements": 10**8,
            "differences": {},
            "seconds": {name: [s, s] for name, s in seconds.items()},
        } | case
        machine = {"cpu": "an abacus", "cores": 2, "memory_gib": 1.0, "system": "wood"}
        results = {
            "date": "1959-05-01T00:00:00+00:00",
            "machine": machine,
            "versions": {"dsoftmax": "0", "torch": None},
            "runs": [{"threads": 2, "cases": [case], "absent": [], "failures": failures}],
            "first": [],
        }
        path = tmp_path / "results.json"
        path.write_text(json.dumps(results))
        return str(path)

    return save


def test_every_peer_is_measured_or_reported(results):
    for one in results["runs"]:
        absent = {entry["peer"] for entry in one["absent"]}
        for case in one["cases"]:
            assert set(case["seconds"]) == PEERS - absent
        assert one["failures"] == []


def test_every_sample_is_a_time(results):
    samples = [s for r in results["runs"] for c in r["cases"] for s in c["seconds"].values()]
    assert {len(rounds) for rounds in samples} == {2}
    assert all(second > 0 for rounds in samples for second in rounds)


def test_every_function_dtype_and_layout_is_measured(results):
    measured = results["runs"][-1]["cases"]
    pairs = {(case["function"], case["dtype"]) for case in measured}
    assert pairs == {(f, d) for f in cases.FUNCTIONS for d in cases.DTYPES}
    assert {case["layout"] for case in measured} == {c.name for c in cases.QUICK_LAYOUTS}


def test_each_number_of_cores_has_a_process_confined_to_it(results):
    cores = [n for n in (1, 2) if n <= results["machine"]["cores"]]
    assert [one["threads"] for one in results["runs"]] == cores
    confined = [one["pinned_to"] for one in results["runs"] if one["pinned_to"] is not None]
    assert [len(cpus) for cpus in confined] == cores[: len(confined)]


def test_first_use_is_measured_without_and_with_compiled_code(results):
    sides = [(side["peer"], side["cache"]) for side in results["first"]]
    assert sides[:2] == [("dsoftmax", "empty"), ("dsoftmax", "filled")]
    assert all(
        second > 0 for side in results["first"] for s in side["seconds"].values() for second in s
    )


def test_the_table_names_machine_versions_and_cases(quick, results):
    printed = quick[0]
    assert results["machine"]["cpu"] in printed
    assert f"numpy {np.__version__}" in printed
    assert f"{results['runs'][-1]['threads']} core" in printed
    for case in results["runs"][-1]["cases"]:
        assert f"{case['function']} {case['dtype']}" in printed
        assert case["title"] in printed


def test_the_picture_is_drawn(quick):
    assert (quick[1] / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_library_is_reported(tmp_path):
    for name in ("torch", "jax"):
        (tmp_path / f"{name}.py").write_text(f'raise ModuleNotFoundError("No module named {name}")')
    only = ("--only", "softmax-float32-row", "--threads", "1", "--no-first")
    process = run("--quick", *only, "--json", str(tmp_path / "out.json"), path=[tmp_path])
    assert process.returncode == 0, process.stderr
    assert "Not measured: torch (No module named torch)" in process.stdout
    assert "Not measured: JAX (No module named jax)" in process.stdout
    (one,) = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert all(set(case["seconds"]) == PEERS - {"torch", "jax"} for case in one["cases"])


def test_the_table_shows_times_ratios_and_targets(saved):
    seconds = {"dsoftmax": 0.1, "floor": 0.05, "scipy-dask": 0.4, "by-hand": 0.3}
    shown = CliRunner().invoke(main, ["--from", saved(seconds)])
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    for expected in (
        "an abacus, 2 cores, 1.0 GiB, wood, 1959-05-01",
        "torch not installed",
        "1.00 ±0.00",  # dsoftmax, ns per element
        "2.00 x floor",
        "0.50 ±0.00",  # the floor
        "4.0 x",  # SciPy on Dask beside dsoftmax
        "3.00 met",  # at least 2.5 times faster than the best of the two
        "2.00 MISSED",  # at most 1.5 times the floor
    ):
        assert expected in words


def test_no_target_is_held_against_small_arrays(saved):
    path = saved({"dsoftmax": 0.1, "floor": 0.05}, elements=10**6)
    shown = CliRunner().invoke(main, ["--from", path])
    assert "floor" in shown.output
    assert "at most" not in shown.output


def test_poor_results_are_named(saved):
    path = saved({"dsoftmax": 0.1, "floor": 0.05, "torch": 0.2}, differences={"torch": 0.02})
    shown = CliRunner().invoke(main, ["--from", path])
    assert (
        "Inexact: torch, softmax-float32-row-1e8, differs from dsoftmax by 2.0e-02" in shown.output
    )


def test_a_failed_peer_fails_the_run(saved):
    failure = {"peer": "jax", "case": "a-case", "threads": 2, "reason": "broken"}
    path = saved({"dsoftmax": 0.1, "floor": 0.05}, failures=[failure])
    shown = CliRunner().invoke(main, ["--from", path])
    assert "FAILED: JAX, a-case, 2 cores: broken" in shown.output
    assert shown.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "softmin"], "no case has softmin in its name"),
        (["--threads", "1000000"], "1000000 is more than the"),
        (["--threads", "0"], "0 is not in the range"),
        (["--json", "no/such/folder/out.json"], "there is no folder"),
        (["--picture", "out.bmp"], "out.bmp ends in none of .png, .svg, .pdf"),
        (["--from", "no-such-file.json"], "does not exist"),
        (["--from", __file__], "does not hold results; name a file that --json wrote"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(arguments, message):
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())


def test_rounds_are_interleaved_and_rotate():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    samples = timing.interleave(calls, rounds=4, seconds=0)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(times) for name, times in samples.items()} == dict.fromkeys("abc", 4)


def test_short_calls_get_more_rounds_within_a_limit(monkeypatch):
    monkeypatch.setattr(timing, "MOST_ROUNDS", 4)
    samples = timing.interleave({"a": lambda: None}, rounds=2, seconds=60)
    assert len(samples["a"]) == 4


def test_a_summary_is_the_median_and_the_quartiles():
    summary = timing.summarize([5.0, 1.0, 2.0, 4.0, 3.0], scale=10)
    assert summary == (30.0, 20.0, 40.0)
    assert summary.spread == 10.0


def test_a_ratio_pairs_the_samples_of_a_round():
    # The machine is three times slower in the second round: both of the pair are.
    assert timing.ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == 2.0
    assert timing.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: np.array([0.1, 0.2, 0.3, 0.8]), "differs from dsoftmax by 1.0e+00"),
        (lambda: np.array([0.1, 0.2, 0.3, np.nan]), "differs from dsoftmax by nan"),
        (lambda: np.array([0.1, 0.2, 0.3]), "ValueError: shape (3,) is not (4,)"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_results_are_failures(call, reason):
    ours = np.array([0.1, 0.2, 0.3, 0.4])
    _, failed = measure.check(CASE, {"dsoftmax": lambda: ours, "torch": call})
    assert failed == {"torch": reason}


def test_right_results_pass_with_their_difference():
    ours = np.array([0.1, 0.2, 0.3, 0.4])
    calls = {"dsoftmax": lambda: ours, "floor": lambda: None, "torch": lambda: ours * (1 + 1e-3)}
    differences, failed = measure.check(CASE, calls)
    assert failed == {}
    assert differences == {"torch": pytest.approx(1e-3)}


def test_names_are_unique_and_chunks_are_several():
    for quick in (False, True):
        selected = cases.select(quick, most_cores=True)
        assert len({case.name for case in selected}) == len(selected)
    for layout in cases.LAYOUTS + cases.QUICK_LAYOUTS:
        blocks = [n / chunk for n, chunk in zip(layout.shape, layout.chunks, strict=True)]
        assert np.prod(blocks) >= 4
        assert all(block.is_integer() for block in blocks)
    one_chunk = ("long-rows", "short-rows", "columns", "middle-axis")
    for layout in (layout for layout in cases.LAYOUTS if layout.name in one_chunk):
        assert layout.chunks[layout.axis] == layout.shape[layout.axis]


def test_every_target_has_a_case():
    selected = {(c.function, c.dtype, c.layout.name): c for c in cases.select(False, True)}
    with_target = {key for key, c in selected.items() if cases.targets(*key, c.layout.elements)}
    assert with_target == set(cases._TARGETS)


# The other benchmarks, each on something small.


def run_module(name, *arguments):
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    process = subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=True
    )
    return process.stdout


def rows(table):
    """The cells of a Markdown table without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_memory(tmp_path):
    arguments = ["--stored", "0.05", "--generated", "0.05", "--rounds", "1"]
    table = rows(run_module("memory", *arguments, "--json", str(tmp_path / "out.json")))
    assert [row[1] for row in table] == list(memory.PEERS)
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert len(results) == 5
    for result in results:
        assert result["error"] is None
        assert result["peak"] > result["idle"] > 2**26
        assert result["peak"] > result["highest"] > result["idle"] / 2
        assert result["loads"] == 1  # three chunks are held


def test_scale():
    arguments = ["--chunks", "50", "--build-only", "100", "--threads", "60", "--scheduler", "70"]
    table = rows(run_module("scale", *arguments, "--rounds", "1"))
    ways = [("50", "on workers"), ("100", "optimised"), ("60", "on threads"), ("70", "on a sched")]
    assert [(row[0], row[1], row[2][:10]) for row in table] == [
        (name, *way) for way in ways for name in scale.FUNCTIONS
    ]
    tasks = {row[2]: float(row[6]) for row in table if row[0] == "logsumexp" and row[6]}
    assert set(tasks) == {"on workers", "optimised", "on a scheduler"}
    assert all(1 < n < 1.2 for n in tasks.values())


def test_scale_of_the_tree():
    table = rows(run_module("scale", "--chunks", "64", "--fan-in", "4,16", "--rounds", "1"))
    assert [row[0] for row in table] == [f"logsumexp, split_every={n}" for n in (4, 16)]
    assert float(table[0][6]) > float(table[1][6])


def test_chaos():
    printed = run_module("chaos", "--rounds", "1", "--faults", "1", "--chunks", "20")
    assert printed.splitlines()[-1] == "1 of 1"


def test_topk():
    assert "dsoftmax" in run_module("topk", "--quick", "--rounds", "1")


def test_first_calls_are_of_compiled_code(tmp_path):
    seconds = first._fresh("dsoftmax", 1, str(tmp_path))
    assert len(seconds) == len(first.STEPS)
    for dtype in cases.DTYPES:
        assert list(tmp_path.rglob(f"rows-{dtype}-*.o"))


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (memory, ["--stored", "abc"], "'--stored': 'abc' is not a number of GB"),
        (memory, ["--generated", "1,-2"], "'--generated': -2 GB is not a size"),
        (memory, ["--peers", "nope"], "'--peers': there is no 'nope'; use dsoftmax, "),
        (scale, ["--chunks", "1e3"], "'--chunks': '1e3' is not a number of chunks"),
        (scale, ["--functions", "nope"], "there is no 'nope'; use softmax, logsumexp"),
    ],
)
def test_bad_arguments_of_other_benchmarks(command, arguments, message):
    refused = CliRunner().invoke(command.main, arguments)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())
