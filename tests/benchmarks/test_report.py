"""The report: tables, targets, remarks, and the tables of the documents."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.__main__ import DOCUMENTS, main
from benchmarks.case import faster, within

from .command import ROOT


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
