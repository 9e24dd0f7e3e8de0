"""Workers are lost, frozen, paused and cut off, and reads fail: the result is right or an error."""

import os
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.utils import key_split
from distributed import Client, LocalCluster, Status
from distributed.diagnostics.plugin import SchedulerPlugin
from numpy.testing import assert_allclose
from scipy import special

from dsoftmax import softmax

CHUNKS = 40
DATA = np.random.default_rng(8).normal(size=100 * CHUNKS)
EXPECTED = special.softmax(DATA)


class Slow:
    """A source that takes its time, so that there is some to strike in."""

    shape, dtype, ndim = DATA.shape, DATA.dtype, 1

    def __getitem__(self, index):
        time.sleep(0.03)
        return DATA[index]


class Broken(Slow):
    """A source in which one chunk cannot be read: so many times, in all processes together."""

    def __init__(self, folder, times, good=0):
        self.folder, self.failures = folder, range(good, good + times)

    def __getitem__(self, index):
        if index[0].start == 1700:
            attempt = len(list(self.folder.iterdir()))
            (self.folder / str(attempt)).touch()
            if attempt in self.failures:
                raise OSError(f"cannot read elements {index[0].start} to {index[0].stop}")
        return DATA[index]


class SlowAndBroken(Broken):
    def __getitem__(self, index):
        time.sleep(0.03)
        return super().__getitem__(index)


class Memory(Slow):
    def __getitem__(self, index):
        return DATA[index]


def stored(source):
    return da.from_array(source, chunks=100, meta=np.empty(0))


class Watch(SchedulerPlugin):
    """Tells which worker is the one to have or to finish the nth task of a kind."""

    name = "watch"

    def __init__(self, scheduler, stage, nth, finish):
        self.scheduler, self.stage, self.left, self.finish = scheduler, stage, nth, finish
        self.address, self.seen = None, threading.Event()

    def transition(self, key, start, finish, *args, **kwargs):
        if self.stage in key_split(key) and finish == self.finish:
            self.left -= 1
            if self.left == 0:
                task = self.scheduler.tasks[key]
                worker = task.processing_on or next(iter(task.who_has))
                self.address = worker.address
                self.seen.set()


@contextmanager
def cluster(n_workers, **settings):
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit="1GiB",
            dashboard_address=":0",
        ) as local,
        Client(local) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with cluster(3) as client:
        yield client


@pytest.fixture
def workers(client):
    """The process of each worker, when all are there."""
    try:
        client.wait_for_workers(3, timeout=20)
    except TimeoutError:  # one was lost for good
        client.cluster.scale(len(client.cluster.workers) + 1)
        client.wait_for_workers(3, timeout=60)
    return client.run(os.getpid)


# What befalls a worker; each gives what brings it back afterwards.


def kill(client, address, pid):
    os.kill(pid, signal.SIGKILL)
    return nothing


def restart(client, address, pid):
    # Now and then Dask loses a busy worker that it restarts: its nanny takes it for closed.
    client.restart_workers([address], timeout=20, raise_for_error=False)
    return nothing


def freeze(client, address, pid):
    """As when the machine swaps, or the container is suspended."""
    os.kill(pid, signal.SIGSTOP)
    thaw = threading.Timer(1, os.kill, (pid, signal.SIGCONT))
    thaw.start()
    return thaw.join


def pause(client, address, pid):
    """As a worker does by itself at 80 % of its memory."""
    client.run(_set_status, Status.paused, workers=[address])
    return partial(client.run, _set_status, Status.running, workers=[address])


def disconnect(client, address, pid):
    scheduler = client.cluster.scheduler
    scheduler.loop.add_callback(scheduler.stream_comms[address].abort)
    return nothing


def nothing():
    pass


def _set_status(status, dask_worker):
    dask_worker.status = status


MOMENTS = {
    "in the first pass": ("softmax-normalizer", 10, "processing"),
    "in the tree": ("softmax-merge", 1, "processing"),
    "with a state of the tree": ("softmax-merge", 1, "memory"),
    "with the normalizer": ("softmax-merge-aggregate", 1, "memory"),
    "in the second pass": ("softmax-rescale", 10, "processing"),
}


def softmax_with(strike, moment, client, workers):
    """The softmax of DATA, with a strike against the worker that reaches a moment."""
    scheduler = client.cluster.scheduler
    watch = Watch(scheduler, *MOMENTS[moment])
    scheduler.add_plugin(watch)
    try:
        future = client.compute(softmax(stored(Slow()), reread=True, split_every=4))
        assert watch.seen.wait(60)
        undo = strike(client, watch.address, workers[watch.address])
        result = future.result(timeout=60)
        undo()
        return result
    finally:
        scheduler.remove_plugin(watch.name)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_is_killed(moment, client, workers):
    assert_allclose(softmax_with(kill, moment, client, workers), EXPECTED)


@pytest.mark.parametrize("strike", [freeze, pause, restart])
def test_a_worker_is_not_there_for_a_while(strike, client, workers):
    moment = "in the second pass"
    assert_allclose(softmax_with(strike, moment, client, workers), EXPECTED)


def test_several_faults_befall_one_job(client, workers, tmp_path):
    """The output is to the last bit that of an undisturbed job."""
    (tmp_path / "reads").mkdir()
    target = zarr.create_array(tmp_path / "target", shape=DATA.shape, chunks=100, dtype="f8")
    source = stored(SlowAndBroken(tmp_path / "reads", 1))
    writing = da.store(
        softmax(source, reread=True, split_every=4), target, lock=False, compute=False
    )
    writes = ("store-map", 10, "processing")  # the second pass is fused with them
    faults = {MOMENTS["in the first pass"]: kill, writes: freeze}
    scheduler, future, undo = client.cluster.scheduler, None, []
    for moment, fault in faults.items():
        watch = Watch(scheduler, *moment)
        scheduler.add_plugin(watch)
        future = future or client.compute(writing, retries=2)
        assert watch.seen.wait(60)
        scheduler.remove_plugin(watch.name)
        pid = client.run(os.getpid, workers=[watch.address])[watch.address]
        undo.append(fault(client, watch.address, pid))
    future.result(timeout=60)
    for bring_back in undo:
        bring_back()
    undisturbed = softmax(stored(Memory()), reread=True, split_every=4)
    np.testing.assert_array_equal(target[:], undisturbed.compute(scheduler="synchronous"))


def test_the_scheduler_loses_a_connection():
    with cluster(2) as client:
        workers = client.run(os.getpid)
        assert_allclose(softmax_with(disconnect, "in the second pass", client, workers), EXPECTED)
        assert len(client.run(os.getpid)) == 1  # for good: its nanny takes it for closed


def test_workers_spill():
    with cluster(1, **{"distributed.worker.memory.target": 1e-9}) as client:
        y = client.persist(softmax(stored(Slow()), reread=True, split_every=4))
        assert_allclose(y.compute(), EXPECTED)
        (spilled,) = client.run(lambda dask_worker: dask_worker.data.spilled_total.disk).values()
        assert spilled > DATA.nbytes


@pytest.mark.parametrize("times", [1, 2])
def test_a_read_fails_and_is_retried(times, client, workers, tmp_path):
    y = softmax(stored(Broken(tmp_path, times)), reread=True)
    assert_allclose(client.compute(y, retries=2).result(timeout=60), EXPECTED)
    assert len(list(tmp_path.iterdir())) == times + 2


@pytest.mark.parametrize("reread", [True, False])
def test_a_read_fails_always(reread, client, workers, tmp_path):
    target = np.full(DATA.shape, np.nan)
    y = softmax(stored(Broken(tmp_path, 100)), reread=reread)
    with pytest.raises(OSError, match="cannot read elements 1700 to 1800"):
        client.compute(y, retries=2).result(timeout=60)
    with pytest.raises(OSError, match="cannot read elements 1700 to 1800"):
        da.store(y, target, scheduler="threads")
    assert np.isnan(target).all()  # nothing is written before everything has been read


def test_a_read_fails_in_the_second_pass(client, workers, tmp_path):
    y = softmax(stored(Broken(tmp_path, 100, good=1)), reread=True)
    with pytest.raises(OSError, match="cannot read elements 1700 to 1800"):
        client.compute(y).result(timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
