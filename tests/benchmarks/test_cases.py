"""The registry: every operation, layout and target has its case; no test asserts a time."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

import dsoftmax
from benchmarks import operation, suites
from benchmarks.case import faster
from benchmarks.layouts import LAYOUTS
from benchmarks.runner import measure
from benchmarks.suites import SUITES

from .command import QUICK


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


def test_the_registry_has_the_default_suites():
    assert set(suites.DEFAULT) <= set(SUITES)
