"""What a command prints when it has ended: JSON, bare numbers, a summary."""

import json
import math
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest

import dsoftmax
from dsoftmax.cli import output
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.output import Outcome
from dsoftmax.cli.plan import Sources, plan

from .command import invoke


def outcome(tmp_path, x, key, full=True, **options):
    """What there is to print of a command on an array."""
    np.save(tmp_path / "x.npy", x)
    planned = plan(key, Sources(open_source(str(tmp_path / "x.npy"))), None, options)
    named = output.named(key, planned.found.results) if full else {}
    extremes, results = dask.compute(list(planned.extremes), named, scheduler="sync")
    written = () if full else ("y.npy",)
    return Outcome(key, "x.npy", planned, extremes, results, written, 0.5, compiled=False)


def printed_json(capsys, *arguments, **options):
    output.print_json(outcome(*arguments, **options))
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_json_of_one_number(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(6, 5))
    found = printed_json(capsys, tmp_path, x, "logsumexp", axis=None, keepdims=False)
    value = float(np.logaddexp.reduce(x, axis=None))
    exact = found["results"].pop("logsumexp")
    assert exact == pytest.approx(value, rel=1e-15)
    assert found == {
        "operation": "logsumexp",
        "source": "x.npy",
        "shape": [6, 5],
        "dtype": "float64",
        "axis": [0, 1],
        "chunks": [6, 5],
        "summary": {"of": "logsumexp", "slices": 1, "min": exact, "max": exact, "nan": 0},
        "results": None if found["results"] is None else {},
        "destination": [],
        "seconds": 0.5,
    }


def test_json_of_an_array_that_is_written(tmp_path, capsys):
    found = printed_json(capsys, tmp_path, np.zeros((2, 3)), "softmax", full=False, axis=(1,))
    log = dsoftmax.logsumexp(da.zeros(3, chunks=3)).compute()  # within an ulp of math.log(3)
    assert found["summary"] == {"of": "logsumexp", "slices": 2, "min": log, "max": log, "nan": 0}
    assert (found["results"], found["destination"]) == (None, ["y.npy"])


def test_json_of_two_arrays(tmp_path, capsys):
    found = printed_json(capsys, tmp_path, np.array([[1, 5], [7, 2]]), "topk", axis=1, k=1)
    assert found["results"] == {"values": [[5], [7]], "indices": [[1], [0]]}
    assert found["summary"]["of"] == "largest element"


def test_json_of_draws(tmp_path, capsys):
    options = {"axis": None, "size": 4, "no_replace": False, "method": "systematic", "seed": 1}
    found = printed_json(capsys, tmp_path, np.zeros(4), "choice", **options)
    assert (found["results"], found["summary"]) == ({"indices": [0, 1, 2, 3]}, None)
    assert (found["axis"], found["dtype"]) == (None, "int64")


@pytest.mark.parametrize(
    ("x", "written", "summary"),
    [
        (
            [[math.inf, 0], [-math.inf] * 2, [math.nan, 0], [0, -math.inf]],
            ["inf", "-inf", "nan", 0.0],
            ("-inf", "inf", 1),
        ),
        ([[math.nan, 0], [0, math.nan]], ["nan", "nan"], (None, None, 2)),
        ([[math.nan, 0]], ["nan"], (None, None, 1)),
        (np.zeros((0, 2)), [], (None, None, 0)),
    ],
)
def test_json_has_strings_for_what_its_numbers_cannot_hold(tmp_path, capsys, x, written, summary):
    found = printed_json(capsys, tmp_path, np.array(x), "logsumexp", axis=(1,), keepdims=False)
    assert found["results"] == {"logsumexp": written}
    assert tuple(found["summary"][name] for name in ("min", "max", "nan")) == summary


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_numbers_have_all_their_digits(tmp_path, capsys, dtype):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(dtype)
    options = {"axis": (1,), "keepdims": False}
    found = printed_json(capsys, tmp_path, x, "logsumexp", **options)["results"]["logsumexp"]
    output.print_numbers(outcome(tmp_path, x, "logsumexp", **options))
    lines = capsys.readouterr().out.splitlines()
    (right,) = outcome(tmp_path, x, "logsumexp", **options).results.values()
    scalar = np.dtype(dtype).type
    np.testing.assert_array_equal([scalar(one) for one in found], right)
    np.testing.assert_array_equal([scalar(line) for line in lines], right)
    assert all(isinstance(one, str if dtype == "g" else float) for one in found)


def test_bare_numbers_of_several_arrays_are_side_by_side(tmp_path, capsys):
    x = np.array([[1, 5, 6], [7, 2, 0]])
    output.print_numbers(outcome(tmp_path, x, "topk", axis=1, k=2))
    assert capsys.readouterr().out == "6 2\n5 1\n7 0\n2 1\n"


def test_bare_numbers_of_what_is_written_are_none(tmp_path, capsys):
    output.print_numbers(outcome(tmp_path, np.zeros(3), "softmax", full=False, axis=None))
    assert capsys.readouterr().out == ""


def test_a_summary_says_that_kernels_were_compiled(tmp_path, capsys):
    found = outcome(tmp_path, np.zeros(3), "logsumexp", axis=None, keepdims=False)
    output.print_summary(replace(found, compiled=True))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("time"))
    assert line == "time                 0.5 s, kernels were compiled meanwhile"


def test_a_summary_of_few_elements(tmp_path, capsys):
    output.print_summary(outcome(tmp_path, np.array([1, 5, 6]), "topk", axis=None, k=2))
    assert capsys.readouterr().out.splitlines() == [
        "shape                (3,)",
        "dtype                int64",
        "chunks               (3,), 1 in all",
        "largest element      6",
        "values               [6 5]",
        "indices              [2 1]",
        "time                 0.5 s, 6 elements per second",
    ]
    output.print_summary(outcome(tmp_path, np.eye(2), "topk", axis=1, k=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:6] == [
        "largest element      1.0 to 1.0, of 2 slices",
        "values               [[1.]",
        "                      [1.]]",
    ]


def test_the_digits_of_a_range_are_those_of_its_dtype():
    extremes = [np.array(0.1, "f4"), np.float32(0.2), np.array(0)]
    assert output.range_of(extremes, 3) == "0.1 to 0.2, of 3 slices"
    assert output.range_of([np.array(0.1, "f4")], 1) == "0.1"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["topk", "--k", "5001"], 10002),
        (["choice", "--size", "10001", "--json"], 10001),
        (["entropy", "--axis", "1", "--quiet"], 10001),
    ],
)
def test_more_numbers_than_are_printed(tmp_path, arguments, count):
    np.save(tmp_path / "x.npy", np.zeros((10001, 1)))
    key, *options = arguments
    result = invoke(key, tmp_path / "x.npy", *options)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        f"Error: {key}: there are {count} numbers, and at most 10000 are printed; name DST",
    )
