"""The operation that DESIGN.md adds, built of public names alone, is right everywhere."""

import re
import sys
import types
from pathlib import Path

import array_api_strict
import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait
from scipy import special

from ..compare import assert_allclose
from ..processes import printed

DESIGN = Path(__file__).parents[2] / "DESIGN.md"
(SOURCE,) = re.findall(r"```python\n(.*?)```", DESIGN.read_text(), re.DOTALL)
X = np.random.default_rng(0).normal(size=(6, 8)) * 9


@pytest.fixture(scope="module")
def log_mean_exp():
    module = types.ModuleType("log_mean_exp")
    sys.modules["log_mean_exp"] = module  # where Dask finds the functions of its tasks
    exec(SOURCE, module.__dict__)
    yield module.log_mean_exp
    del sys.modules["log_mean_exp"]


def expected(x, axis):
    n = x.size if axis is None else x.shape[axis]
    return special.logsumexp(x, axis=axis) - np.log(n)


def test_it_is_short_and_of_public_names():
    assert SOURCE.count("\n") <= 60
    assert not re.search(r"[ .]_\w", SOURCE)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("chunks", [None, (6, 8), (2, 3), 1])
def test_in_memory_in_one_block_and_over_the_tree(log_mean_exp, axis, chunks, lazily):
    x = X if chunks is None else da.from_array(X, chunks=chunks)
    result = lazily(log_mean_exp, x, axis)
    assert isinstance(result, da.Array) == (chunks is not None)
    assert_allclose(result, expected(X, axis), rtol=1e-14)
    assert log_mean_exp(x, axis, keepdims=True).shape == X.mean(axis=axis, keepdims=True).shape


@pytest.mark.parametrize("chunks", [None, 2])
def test_masked_entries_take_no_part(log_mean_exp, chunks):
    x = np.ma.masked_greater(X, 5)
    given = x if chunks is None else da.from_array(x, chunks=chunks)
    means = [expected(row.compressed(), None) for row in x]
    assert_allclose(log_mean_exp(given, 1), means, rtol=1e-14)


def test_unknown_lengths(log_mean_exp):
    every = da.from_array(np.ones(6, bool), chunks=2)
    for chunks in ((2, 3), (2, 8)):
        rows = da.from_array(X, chunks=chunks)[every]
        for axis in (0, 1, None):
            assert_allclose(log_mean_exp(rows, axis), expected(X, axis), rtol=1e-14)


def test_other_libraries(log_mean_exp):
    result = log_mean_exp(array_api_strict.asarray(X), 1)
    assert isinstance(result, type(array_api_strict.asarray(X)))
    assert_allclose(np.from_dlpack(result), expected(X, 1), rtol=1e-14)


def test_keys_are_deterministic(log_mean_exp):
    x = da.from_array(X, chunks=2)
    assert log_mean_exp(x, 1).name == log_mean_exp(x, 1).name != log_mean_exp(x, 0).name


def test_the_array_expression_mode():
    program = f"""{SOURCE}
import dask.array as da
x = da.from_array(np.arange(24.0).reshape(4, 6), chunks=(2, 3))
from scipy.special import logsumexp
for axis in (0, 1):
    found = log_mean_exp(x, axis).compute()
    np.testing.assert_allclose(found, logsumexp(x.compute(), axis=axis) - np.log(x.shape[axis]))
print(da.array_expr_enabled())
"""
    assert printed(program, expressions=True) == "True\n"


@pytest.mark.filterwarnings("ignore:Port .* is already in use")
def test_the_dashboard(log_mean_exp):
    from dsoftmax.dashboard import _jobs

    with Client(processes=False, dashboard_address=":0", n_workers=1) as client:
        future = client.compute(log_mean_exp(da.from_array(X, chunks=(2, 3))))
        wait(future)
        (job,) = _jobs.find_jobs(client.cluster.scheduler)
        assert (job.function, _jobs.progress(job.first).done) == ("log_mean_exp", 9)
        assert len(job.levels) >= 1
        assert future.result() == pytest.approx(expected(X, None))
