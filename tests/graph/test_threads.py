"""How many threads an array in memory may use, and that it gives the same bits with any number."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
from dask.system import CPU_COUNT

import dsoftmax
from dsoftmax._graph.threads import threads_here
from dsoftmax._kernels import in_memory
from dsoftmax._kernels.cpu import plan, quick
from dsoftmax._kernels.cpu.tuning import LARGE_ROWS

SETTINGS = {"scheduler": None, "num_workers": 3}
SHAPES = {
    "a row": ((600_000,), 0),
    "few rows": ((3, 100_001), 1),
    "rows": ((700, 500), 1),
    "short rows": ((40_000, 7), 1),
    "columns": ((500, 700), 0),
    "a narrow table": ((100_000, 3), 0),
    "a middle axis": ((30, 40, 300), 1),
    "axes apart": ((30, 40, 300), (0, 2)),
    "everything": ((300, 1000), None),
}


@pytest.fixture(params=[0, LARGE_ROWS], ids=["all cut", "as they are"])
def cut(request, monkeypatch):
    """Whether slices that take one thread little are cut as well."""

    def forget():
        plan.plan.cache_clear()
        quick.forget()

    for module in (plan, quick):
        monkeypatch.setattr(module, "LARGE_ROWS", request.param)
    forget()
    yield
    forget()


def everything(x, axis):
    """All that is computed of an array in memory, as bytes."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=x.shape).astype(x.dtype)
    mask = rng.random(x.shape) < 0.7
    n = dsoftmax.Normalizer.of(x, axis)
    results = [
        dsoftmax.softmax(x, axis),
        dsoftmax.log_softmax(x, axis),
        dsoftmax.logsumexp(x, axis),
        dsoftmax.logsumexp(x, axis, b=values),
        dsoftmax.softmax(x, axis, where=mask),
        dsoftmax.entropy(x, axis),
        dsoftmax.effective_sample_size(x, axis, where=mask),
        dsoftmax.expectation(x, values, axis),
        n.m,
        n.d,
        n.softmax(x),
        n.log_softmax(x),
    ]
    if not isinstance(axis, tuple):
        results += list(dsoftmax.softmax_topk(x, 3, axis))
    return [np.asarray(a).tobytes() for a in results]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", SHAPES)
def test_the_bits_are_those_of_one_thread(layout, dtype, cut):
    shape, axis = SHAPES[layout]
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    found = []
    for threads in (1, 2, 5):
        with dask.config.set(SETTINGS | {"num_workers": threads}):
            found.append(everything(x, axis))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("layout", SHAPES)
def test_what_is_cut_is_as_exact(layout, cut):
    shape, axis = SHAPES[layout]
    x = np.random.default_rng(0).normal(size=shape)
    wide = x.astype("g")
    m = wide.max(axis, keepdims=True)
    total = np.exp(wide - m).sum(axis, keepdims=True)
    np.testing.assert_allclose(dsoftmax.softmax(x, axis), np.exp(wide - m) / total, rtol=3e-15)
    found = dsoftmax.logsumexp(x, axis, keepdims=True)
    np.testing.assert_allclose(found, np.log(total) + m, rtol=5e-16)


@pytest.fixture
def threads_used(monkeypatch):
    """How many threads were asked for, of the library's own."""
    used, executor = [], in_memory._executor

    def counted(threads):
        used.append(threads)
        return executor(threads)

    monkeypatch.setattr(in_memory, "_executor", counted)
    return used


def test_settings_are_followed(threads_used):
    x = np.zeros(LARGE_ROWS)
    for settings, threads in (
        ({"num_workers": 3}, 3),
        ({"num_workers": 1}, 1),
        ({"num_workers": None}, CPU_COUNT),
        ({"num_workers": 3, "scheduler": "threads"}, 3),
        ({"num_workers": 3, "scheduler": "synchronous"}, 1),
        ({"num_workers": 3, "scheduler": "single-threaded"}, 1),
        ({"num_workers": 3, "dsoftmax.threads": 1}, 1),
        ({"scheduler": "synchronous", "dsoftmax.threads": 2}, 2),
    ):
        threads_used.clear()
        with dask.config.set({"scheduler": None} | settings):
            assert threads_here() == threads
            dsoftmax.softmax(x)
        assert set(threads_used) == ({threads - 1} if threads > 1 else set())


@pytest.mark.parametrize("setting", [0, -1, True, 2.0, "all"])
def test_a_setting_that_is_no_number_of_threads(setting):
    message = f"dsoftmax.threads is {setting!r}; use an int of at least 1"
    with dask.config.set({"dsoftmax.threads": setting}), pytest.raises(ValueError, match=message):
        dsoftmax.softmax(np.zeros(LARGE_ROWS))


def test_other_threads_use_only_themselves():
    found = []
    other = threading.Thread(target=lambda: found.append(threads_here()))
    with dask.config.set(SETTINGS):
        other.start()
        other.join()
        assert threads_here() == 3
    assert found == [1]


def test_tasks_of_the_threaded_scheduler_use_only_their_own(threads_used):
    x = da.zeros((2, 1_100_000), chunks=(1, -1))
    with dask.config.set(SETTINGS | {"scheduler": "threads"}):
        dsoftmax.softmax(x, 1).compute()
        x.map_blocks(dsoftmax.softmax, axis=1, meta=x._meta).compute()
        assert threads_used == []
        dsoftmax.softmax(x.compute(), 1)
    assert set(threads_used) == {2}


def test_no_stage_uses_more_than_its_own_in_the_first_thread_either(threads_used, monkeypatch):
    x = da.zeros((2, 1_100_000), chunks=(1, -1))
    y = dsoftmax.softmax(x, 1)
    with dask.config.set(SETTINGS):
        y.compute(scheduler="synchronous")
    assert threads_used == []


def test_a_task_of_distributed_in_the_first_thread(monkeypatch):
    distributed = pytest.importorskip("distributed")
    with dask.config.set(SETTINGS):
        assert threads_here() == 3
        monkeypatch.setattr(distributed, "get_worker", object)
        assert threads_here() == 1


@pytest.mark.system
def test_processes_that_were_started_use_one():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(threads_here).result(60) == 1
