"""A quick run of the command: it measures what it says, hides nobody, and refuses nonsense."""

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import operation, report
from benchmarks.__main__ import main
from benchmarks.runner import Settings
from benchmarks.suites import SUITES

from .command import ROOT, run

PEERS = ["SciPy on Dask", "by hand on Dask", "torch", "JAX", "SciPy on NumPy"]


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
