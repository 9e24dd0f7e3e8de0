"""The benchmarks run, measure what they say and hide nobody; no test asserts a time."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from click.testing import CliRunner

import dsoftmax
from benchmarks import operation, report, runner, suites, timing
from benchmarks.__main__ import DOCUMENTS, main
from benchmarks.case import Case, Suite, faster, within
from benchmarks.generated import CHUNK
from benchmarks.layouts import LAYOUTS
from benchmarks.process import Process
from benchmarks.runner import Settings, compare, measure
from benchmarks.suites import SUITES, first, graphs, memory, readme

ROOT = Path(__file__).parent.parent
QUICK = Settings(quick=True, rounds=1)

PEERS = ["SciPy on Dask", "by hand on Dask", "torch", "JAX", "SciPy on NumPy"]


def run(*arguments, path=()):
    """``python -m benchmarks`` as a process, with ``path`` before the installed packages."""
    paths = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run: what it printed, and where it wrote."""
    folder = tmp_path_factory.mktemp("quick")
    arguments = ["--json", str(folder / "out.json"), "--picture", str(folder / "out.png")]
    arguments += ["--quick", "--only", "float32", "--only", "batch"]
    return run("speed", "others", "topk", "paper", *arguments), folder


@pytest.fixture(scope="module")
def records(quick):
    return report.read(quick[1] / "out.json")["records"]


def of_suite(records, suite):
    return [record for record in records if record["suite"] == suite]


def test_every_peer_is_measured(records):
    for record in of_suite(records, "speed"):
        assert list(record["samples"]) == ["dsoftmax", "floor", *PEERS, "dsoftmax on NumPy"]
        assert set(record["differences"]) == {*PEERS, "dsoftmax on NumPy"}
        assert record["absent"] == record["failed"] == {}


def test_every_sample_is_a_time(records):
    samples = [s["seconds"] for record in records for s in record["samples"].values()]
    assert {len(rounds) for rounds in samples} == {2}
    assert all(second > 0 for rounds in samples for second in rounds)


def test_every_case_is_measured(records):
    settings = Settings(quick=True, only=("float32", "batch"))
    for name in ("speed", "topk", "paper"):
        cases = {case.name for case in settings.select(SUITES[name])}
        assert {record["case"] for record in of_suite(records, name)} == cases


def test_every_operation_dtype_and_layout_is_measured():
    labels = [case.labels for case in SUITES["speed"].cases(True)]
    pairs = {(label["operation"], label["dtype"]) for label in labels}
    assert pairs == {(o, d) for o in SUITES["speed"].operations for d in operation.DTYPES}
    assert len({label["layout"] for label in labels}) == 6


def test_the_figure_of_the_paper_is_of_one_core(records):
    figure = of_suite(records, "paper")
    assert {record["threads"] for record in figure} == {1}
    for record in figure:
        assert list(record["samples"]) == ["dsoftmax", "safe, fused", "safe, unfused", "torch"]


def test_the_tables_name_machine_versions_cases_and_sides(quick, records):
    printed = quick[0]
    assert f"numpy {np.__version__}" in printed
    for record in records:
        assert record["title"] in printed
        assert all(side in printed for side in record["samples"])
    assert (quick[1] / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_process_is_confined_to_its_cores():
    with Process(1) as process:
        assert process(os.getenv, "OMP_NUM_THREADS") == "1"
        if hasattr(os, "sched_getaffinity"):
            assert len(process(os.sched_getaffinity, 0)) == 1
        assert process(os.getpid) == process(os.getpid) != os.getpid()


def test_a_missing_library_is_reported(tmp_path):
    for name in ("torch", "jax"):
        (tmp_path / f"{name}.py").write_text(f'raise ModuleNotFoundError("No module named {name}")')
    sides = ("--side", "torch", "--side", "JAX")
    only = ("speed", "--only", "softmax-float32-row", "--threads", "1", *sides)
    output = tmp_path / "out.json"
    printed = run("--quick", *only, "--json", str(output), path=[tmp_path])
    ours = ["dsoftmax", "dsoftmax on NumPy"]
    assert "Not measured: torch (No module named torch)" in printed
    assert "Not measured: JAX (No module named jax)" in printed
    assert all(list(record["samples"]) == ours for record in report.read(output)["records"])


# The registry.


def test_every_operation_of_the_package_is_measured():
    measured = {name for suite in SUITES.values() for name in suite.operations}
    measured |= {case.labels["operation"] for case in SUITES["others"].cases(True)}
    named = {op.name for op in dsoftmax.operations.OPERATIONS}
    assert measured >= named, "needs a suite, see benchmarks/README.md"


def test_a_new_operation_is_measured_beside_the_floor(monkeypatch):
    new = (
        dsoftmax.operations.Operation(
            "log_mean_exp", dsoftmax.operations.NORMALIZER, dsoftmax.operations.LOGSUMEXP.results
        ),
        dsoftmax.operations.Operation(
            "hardness", dsoftmax.operations.NORMALIZER, rescale=dsoftmax.operations.SOFTMAX.rescale
        ),
    )
    monkeypatch.setattr(dsoftmax.operations, "OPERATIONS", (*dsoftmax.operations.OPERATIONS, *new))
    cases = SUITES["others"].cases(True)
    cases = [case for case in cases if case.labels["operation"] in ("log_mean_exp", "hardness")]
    assert {case.labels["operation"] for case in cases} == {"log_mean_exp", "hardness"}
    for case in (case for case in cases if "row-1e8" in case.name):
        record = measure(SUITES["others"], case, QUICK)
        assert record["failed"] == {}
        assert list(record["samples"]) == ["dsoftmax", "floor", "dsoftmax on NumPy"]


def mean(x, weights, axis):
    return (dsoftmax.softmax(x, axis) * weights).sum(axis)


def mean_by_hand(x, weights, axis):
    e = np.exp(x)
    return (e * weights).sum(axis) / e.sum(axis)


def two_normal(layout, dtype):
    (x,) = operation.normal(layout, dtype)
    return x, x[::-1] + 3


def test_a_suite_of_an_operation_of_two_arrays():
    peers = {"by hand on Dask": mean_by_hand, "torch": "no_such_module:mean"}
    target = {("float32", "long-rows"): (faster(2, "by hand on Dask"),)}
    one = operation.Operation("mean", mean, peers=peers, inputs=two_normal, targets=target)
    suite = operation.suite("mean", "Means", [one])
    (case,) = (case for case in suite.cases(True) if case.name == "mean-float64-row-1e8")
    record = measure(suite, case, QUICK)
    assert record["failed"] == {}
    assert record["absent"] == {"torch": "No module named 'no_such_module'"}
    assert record["differences"]["by hand on Dask"] < 1e-12
    (large,) = (case for case in suite.cases(False) if case.name == "mean-float32-long-rows")
    assert large.targets == target["float32", "long-rows"]


def test_all_sides_give_the_softmax_within_groups():
    for case in SUITES["groups"].cases(True):
        if "float64" in case.name:
            record = measure(SUITES["groups"], case, QUICK)
            assert record["failed"] == record["absent"] == {}
            assert max(record["differences"].values()) < 1e-12


def test_names_are_unique_and_chunks_are_several():
    for suite in SUITES.values():
        for quick in (False, True):
            names = [case.name for case in suite.cases(quick)]
            assert len(set(names)) == len(names) > 0 or suite.name == "others"
    for layout in LAYOUTS.values():
        assert np.prod(layout.blocks) in (8, 16)
        for shape in filter(None, (layout.shape, layout.small)):
            assert all(n % m == 0 for n, m in zip(shape, layout.blocks, strict=True))


@pytest.mark.parametrize("name", ["fortran", "transposed", "every-second"])
def test_layouts_in_memory_are_those_of_blocks_and_of_the_whole(name):
    layout = LAYOUTS[name]
    layout = replace(layout, shape=tuple(2 * n for n in layout.blocks))
    data = operation.Data(operation.normal(layout, "float64"), layout)
    (chunked,), (whole,) = data.chunked, data.whole
    for x in (whole, chunked.to_delayed().ravel()[0].compute()):
        assert not x.flags.c_contiguous
        np.testing.assert_array_equal(layout.lay(x), x)
        assert layout.lay(x).strides == x.strides
    np.testing.assert_array_equal(whole, chunked.compute())


def test_every_target_has_a_case():
    cases = [case for suite in SUITES.values() for case in suite.cases(False)]
    assert sum(len(case.targets) for case in cases) == 218
    for case in SUITES["speed"].cases(False):
        with ExitStack() as scope:
            sides = case.sides(scope)
        assert {name for target in case.targets for name in target.than} <= set(sides)


# The runner.


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


# Beside another version.


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


# The report.


@pytest.fixture
def saved(tmp_path):
    """A results file as an earlier run could have left: two rounds, and these times."""

    def save(seconds, **record):
        record = {
            "suite": "speed",
            "case": "softmax-float32-row-1e8",
            "title": "softmax float32, one row, 10^8",
            "heading": "Softmax",
            "threads": 2,
            "elements": 10**8,
            "labels": {"operation": "softmax", "dtype": "float32", "layout": "one row"},
            "targets": [
                vars(faster(2.5, "SciPy on Dask", "by hand on Dask")),
                vars(within(1.5, "floor")),
            ],
            "samples": {name: {"seconds": [s, s]} for name, s in seconds.items()},
            "differences": {},
            "absent": {},
            "failed": {},
        } | record
        results = {
            "date": "1959-05-01T00:00:00+00:00",
            "machine": {"cpu": "an abacus", "cores": 2, "memory_gib": 1.0, "system": "wood"},
            "versions": {"dsoftmax": "0", "torch": None},
            "against": None,
            "records": [record],
        }
        path = tmp_path / "results.json"
        report.write(results, path)
        assert report.read(path) == json.loads(json.dumps(results))
        return str(path)

    return save


def test_the_table_shows_times_ratios_and_targets(saved):
    seconds = {"dsoftmax": 0.1, "floor": 0.05, "SciPy on Dask": 0.4, "by hand on Dask": 0.3}
    shown = CliRunner().invoke(main, ["--from", saved(seconds)])
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    for expected in (
        "an abacus, 2 cores, 1.0 GiB, wood, 1959-05-01; dsoftmax 0",
        "Softmax, on 2 cores, in ns per element",
        "| 1 ±0 (2.00 floors) |",
        "| 0.5 ±0 |",  # the floor
        "| 4 ±0 (4.00) |",  # SciPy on Dask beside dsoftmax
        "at least 2.5 times SciPy on Dask, by hand on Dask: 3.00, met",
        "at most 1.5 times floor: 2.00, MISSED",
    ):
        assert expected in words


def test_targets_of_sides_that_were_not_measured_are_not_shown(saved):
    shown = CliRunner().invoke(main, ["--from", saved({"dsoftmax": 0.1})])
    assert "targets" not in shown.output


def test_poor_results_are_named(saved):
    path = saved({"dsoftmax": 0.1, "torch": 0.2}, differences={"torch": 0.02, "JAX": 1e-5})
    shown = CliRunner().invoke(main, ["--from", path])
    where = "speed softmax-float32-row-1e8 on 2 cores"
    assert f"Inexact: torch, {where}, differs from dsoftmax by 2.0e-02" in shown.output
    assert "JAX" not in shown.output


def test_a_failed_peer_fails_the_run(saved):
    path = saved({"dsoftmax": 0.1}, failed={"JAX": "ValueError: broken"})
    shown = CliRunner().invoke(main, ["--from", path])
    assert "FAILED: JAX, speed softmax-float32-row-1e8 on 2 cores: ValueError: broken" in (
        shown.output
    )
    assert shown.exit_code == 1


def test_measures_have_units_and_are_reduced():
    samples = {"dsoftmax": {"seconds": [1.0, 3.0, 2.0], "peak": [1 * 2**20, 3 * 2**20, 2 * 2**20]}}
    record = {"suite": "memory", "title": "1 GB", "samples": samples}
    row = report.measures([record]).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["1 GB", "dsoftmax", "2.0", "3"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_of_documents_are_those_of_recorded_results(document):
    path = ROOT / document
    assert report.filled(path) == path.read_text(encoding="utf-8")


def test_a_document_gets_the_tables_that_it_names(saved, tmp_path):
    saved({"dsoftmax": 0.1})
    document = tmp_path / "a.md"
    document.write_text("A\n<!-- table: results.json speed -->\nold\n<!-- end of table -->\nB\n")
    text = report.filled(document)
    assert text.startswith("A\n<!-- table: results.json speed -->\nSoftmax, on 2 cores")
    assert "| softmax float32, one row, 10^8 | 1 ±0       |" in text
    assert "an abacus" in text
    assert "old" not in text
    document.write_text(text)
    assert report.filled(document) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "softmin"], "no case has softmin in its name"),
        (["nope"], "'nope' is not one of 'speed'"),
        (["--threads", "1000000"], "1000000 is more than the"),
        (["--threads", "0"], "0 is not in the range"),
        (["--json", "no/such/folder/out.json"], "there is no folder"),
        (["--picture", "out.bmp"], "out.bmp ends in none of .png, .svg, .pdf"),
        (["--from", "no-such-file.json"], "does not exist"),
        (["--from", __file__], "does not hold results; name a file that --json wrote"),
        (["--against", str(ROOT / "docs")], "has no dsoftmax/__init__.py; name a checkout"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(arguments, message):
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())


# The suites of whole jobs, each on something small.


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    output = tmp_path_factory.mktemp("jobs") / "out.json"
    names = ("memory", "graphs", "dashboard")
    arguments = ("--quick", "--rounds", "1", "--side", "/softmax")  # and those of dsoftmax
    run(*names, *arguments, "--json", str(output))
    records = report.read(output)["records"]
    assert all(record["failed"] == record["absent"] == {} for record in records)
    return {(r["suite"], r["case"]): r["samples"] for r in records}


def test_memory(jobs):
    stored, generated = (jobs["memory", f"{k}-0.05GB"] for k in ("stored", "generated"))
    assert list(stored) == ["dsoftmax", "dsoftmax, reread=False"]
    assert list(generated) == list(memory.GENERATED)
    for taken in (*stored.values(), *generated.values()):
        assert list(taken) == list(memory.COLUMNS)
        assert taken["loads"] == [1]  # three chunks are held
        assert taken["highest"][0] > taken["peak"][0] / 2 > 2**24
        assert taken["deaths"] == [0]


def test_what_is_generated_is_read_once():
    for case in SUITES["lazy"].cases(True):
        record = measure(SUITES["lazy"], case, replace(QUICK, sides=("dsoftmax",)))
        assert record["failed"] == {}
        taken = record["samples"]["dsoftmax"]
        assert taken["loads"] == [1]
        assert taken["peak"][0] > 4 * CHUNK
        assert taken.get("spilled", [0]) == [0]


def test_the_tails_of_few_draws():
    (case,) = SUITES["tails"].cases(True)
    record = measure(SUITES["tails"], case, QUICK)
    assert record["failed"] == {}
    assert all(min(taken["p"]) > 1e-3 for taken in record["samples"].values())
    assert record["samples"]["with replacement"]["expected"][0] == pytest.approx(10, rel=1e-5)


def test_graphs(jobs):
    for way in graphs.WAYS:
        assert list(jobs["graphs", f"{way}-50"]) == ["dsoftmax", "dsoftmax.logsumexp"]
        tasks = jobs["graphs", f"{way}-50"]["dsoftmax.logsumexp"].get("tasks", [1.1])
        assert 1 < tasks[0] < 1.2
    fans = [samples["tasks"][0] for samples in jobs["graphs", "fan-in-workers-50"].values()]
    assert fans[0] > fans[1] > fans[2]


def test_every_side_gives_the_softmax():
    x = np.random.default_rng(0).standard_normal(60)
    expected = dsoftmax.softmax(x)
    chunked = da.from_array(x, chunks=20)
    with Process(1) as process:  # SciPy is told to take Dask arrays
        for function in (*memory.STORED.values(), *map(graphs.FUNCTIONS.get, memory.STORED)):
            if function is not None:
                np.testing.assert_allclose(process(function, chunked).compute(), expected)


def test_dashboard(jobs):
    assert list(jobs["dashboard", "looking"]) == ["dsoftmax, nobody looks", "/softmax"]


def test_the_table_of_the_readme():
    (case,) = (case for case in SUITES["readme"].cases(True) if case.name == "softmax")
    record = measure(SUITES["readme"], case, QUICK)
    assert record["failed"] == {}
    ours, scipy, by_hand = record["samples"]
    assert ours.startswith("dsoftmax.softmax")
    assert "loads" in scipy  # which is asserted where it is measured
    assert "da.exp" in by_hand
    for taken in record["samples"].values():
        assert list(taken) == list(readme.COLUMNS)
        assert taken["peak"][0] > 2**24


def test_first_calls_are_of_compiled_code(tmp_path):
    taken = first.alone(first.steps, "dsoftmax", NUMBA_CACHE_DIR=str(tmp_path))
    assert list(taken) == list(first.COLUMNS)
    assert all(seconds > 0 for seconds in taken.values())
    for dtype in operation.DTYPES:
        assert list(tmp_path.rglob(f"rows-{dtype}-*.o"))


def test_first_use_is_measured_without_and_with_compiled_code():
    with ExitStack() as scope:
        assert list(first.sides(scope)) == [
            "dsoftmax on a new machine",
            "dsoftmax",
            *first.LIBRARIES,
        ]


def test_the_registry_has_the_default_suites():
    assert set(suites.DEFAULT) <= set(SUITES)
