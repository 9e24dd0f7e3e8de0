"""The suites of whole jobs, each on something small."""

from contextlib import ExitStack
from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import dsoftmax
from benchmarks import operation, report
from benchmarks.generated import CHUNK
from benchmarks.process import Process
from benchmarks.runner import measure
from benchmarks.suites import SUITES, first, frames, graphs, memory, readme

from .command import QUICK, run


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


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")  # in Dask
def test_a_frame_of_files():
    (case,) = SUITES["frames"].cases(True)
    record = measure(SUITES["frames"], case, QUICK)
    assert record["failed"] == {}
    taken = record["samples"]["dsoftmax"]
    assert list(taken) == list(frames.SUITE.columns)
    assert taken["spilled"] == taken["deaths"] == taken["moving"] == [0]
    assert taken["tasks"][0] > 2 * 20  # partitions, read twice


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda df: df.reset_index(drop=True), "lost their index"),
        (lambda df: df.iloc[::-1].set_axis(df.index), "changed places"),
        (lambda df: df.assign(p=0.1), "not a softmax"),
    ],
)
def test_what_is_wrong_with_a_frame_is_noticed(tmp_path, wrong, message):
    frames.write(tmp_path / "source", 100, 100, 10)
    (file,) = (tmp_path / "source").glob("*")
    df = pd.read_parquet(file)
    df["p"] = dsoftmax.dataframe.softmax(df["u"], by=df["market"])
    (tmp_path / "target").mkdir()
    df.to_parquet(tmp_path / "target" / file.name)
    frames.check(tmp_path / "source", tmp_path / "target")
    wrong(df).to_parquet(tmp_path / "target" / file.name)
    with pytest.raises(AssertionError, match=message):
        frames.check(tmp_path / "source", tmp_path / "target")


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
