"""Arrays in memory: small ones do not wait for a compiler, and large ones are cut for threads."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import dask
import numpy as np
import pytest

import dsoftmax
from dsoftmax._kernels import in_memory
from dsoftmax._kernels.cpu import call
from dsoftmax._kernels.cpu.pieces import cut
from dsoftmax._kernels.cpu.protocol import Work
from dsoftmax._kernels.cpu.tuning import MOST_PIECES, PIECE

from .compiled import run

MANY = (in_memory.LARGE,)


def on(threads):
    return in_memory.InMemory(MANY, lambda: threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_as_many_threads_as_allowed_take_part(threads):
    meeting, taking_part = threading.Barrier(threads), set()

    def piece(k):
        meeting.wait(30)  # for ever, if fewer took part
        taking_part.add(threading.current_thread())

    with on(threads):
        in_memory.share_out(piece, range(3 * threads))
    assert len(taking_part) == threads
    assert threading.current_thread() in taking_part


@pytest.mark.parametrize("threads", [1, 3])
def test_every_piece_is_taken_once(threads):
    taken = []
    with on(threads):
        in_memory.share_out(taken.append, range(1000))
    assert sorted(taken) == list(range(1000))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("wrong", [0, 7, 99])
def test_an_error_ends_the_others_and_is_raised(threads, wrong):
    taken = []

    def piece(k):
        if k == wrong:
            raise ValueError(f"piece {k}")
        taken.append(k)
        if k > wrong:
            ended.wait(0.001)

    ended = threading.Event()
    with on(threads), pytest.raises(ValueError, match=f"piece {wrong}$"):
        in_memory.share_out(piece, range(10_000))
    assert len(taken) < 9000
    with on(threads):  # and the next call is as if nothing had been
        in_memory.share_out(taken.append, range(3))
    assert sorted(taken[-3:]) == [0, 1, 2]


@pytest.fixture
def _ctrl_c_raises():
    """As in a terminal; commands that a shell runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_raises")
def test_ctrl_c_ends_it():
    taken = []

    def piece(k):
        taken.append(k)
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        ended.wait(0.001)

    ended = threading.Event()
    with on(3), pytest.raises(KeyboardInterrupt):
        in_memory.share_out(piece, range(10_000))
    assert len(taken) < 9000
    before = len(taken)
    ended.wait(0.05)
    assert len(taken) == before


@pytest.mark.usefixtures("_ctrl_c_raises")
def test_ctrl_c_while_this_thread_waits_leaves_no_helper_at_work():
    """They use memory that the caller frees."""
    main, done = threading.main_thread(), []

    def piece(k):
        if threading.current_thread() is main:
            busy.wait(30)
            threading.Timer(0.2, signal.pthread_kill, (main.ident, signal.SIGINT)).start()
        else:
            busy.set()
            interrupted.wait(1)
            done.append(k)

    busy, interrupted = threading.Event(), threading.Event()
    with on(2), pytest.raises(KeyboardInterrupt):
        in_memory.share_out(piece, range(2))
    assert len(done) == 1


def test_a_piece_is_not_cut_again_in_any_thread():
    cut_again = []
    with on(3):
        in_memory.share_out(lambda k: cut_again.append(in_memory.may_cut()), range(100))
        assert in_memory.may_cut()
    assert cut_again == [False] * 100


def test_one_thread_does_it_all_where_no_other_can_be_started(monkeypatch):
    def refuse(threads):
        raise RuntimeError("can't start new thread")

    taken = []
    monkeypatch.setattr(in_memory, "_executor", refuse)
    with on(3):
        in_memory.share_out(taken.append, range(10))
    assert taken == list(range(10))


def test_a_thread_that_has_not_begun_is_not_waited_for(monkeypatch):
    class Busy:
        def submit(self, work):
            return late

    late, taken = Future(), []
    timer = threading.Timer(10, late.set_result, [None])
    timer.start()
    monkeypatch.setattr(in_memory, "_executor", lambda threads: Busy())
    with on(2):
        in_memory.share_out(taken.append, range(10))
    timer.cancel()
    assert taken == list(range(10))
    assert late.cancelled()


def test_nothing_is_cut_outside_or_where_it_is_small():
    assert not in_memory.may_cut()
    with in_memory.InMemory((in_memory.LARGE - 1,), lambda: 2):
        assert not in_memory.may_cut()
        assert in_memory.may_compile()
    with in_memory.InMemory((in_memory.SMALL - 1,), lambda: 2):
        assert not in_memory.may_compile()
    with in_memory.InMemory((in_memory.SMALL - 1,), lambda: 2, wait=True):
        assert in_memory.may_compile()
    with on(2):
        assert in_memory.may_cut()
    assert not in_memory.may_cut()
    assert in_memory.may_compile()


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("count", [1, 3, 20, 3000])
@pytest.mark.parametrize("length", [1, 40, 5000, 10**7])
@pytest.mark.parametrize("width", [1, 700, 10**5])
@pytest.mark.parametrize("times", [1, 3])
def test_pieces_are_all_of_it_and_of_about_one_size(count, length, width, side_by_side, times):
    width = width if side_by_side else 1
    steps = {"x_row": 4 * length, "x_step": 4}
    if side_by_side:
        steps = {"x_plane": 4 * length * width, "x_row": 4 * width, "x_step": 4}
    work = Work(count=count, length=length, width=width, **steps)
    pieces, parts = cut(work, 4, side_by_side, times)
    assert sum(p.number * p.length * p.width for p in pieces) == count * length * width
    assert len({p.offsets for p in pieces}) == len(pieces)
    assert len(pieces) * times <= 2 * MOST_PIECES + times
    assert parts == 1 + max(p.part for p in pieces)
    assert len({(p.state, p.part) for p in pieces}) == len(pieces)
    whole = count * length * width
    if whole * times >= 64 * MOST_PIECES * PIECE and times == 1:
        assert len(pieces) >= 16
        assert max(p.number * p.length * p.width for p in pieces) <= whole / 8


FORK = """
import os, signal, numpy as np, dsoftmax, dask
dask.config.set(num_workers=3)
x = np.random.default_rng(0).normal(size=1_200_000)
expected = dsoftmax.softmax(x).tobytes()
from dsoftmax._kernels import in_memory
assert in_memory._pool is not None
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    signal.alarm(60)
    same = dsoftmax.softmax(x).tobytes() == expected
    os._exit(0 if same and in_memory._pool is None else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork here")
def test_a_fork_computes_the_same_with_one_thread():
    command = [sys.executable, "-c", FORK]
    assert subprocess.run(command, check=True, capture_output=True, timeout=300).stdout == b"0\n"


ALONE = """
import sys, dask, dask.array as da, numpy as np, dsoftmax
x = np.random.default_rng(0).normal(size=1000)
def results():
    n = dsoftmax.Normalizer.of(x)
    return [dsoftmax.softmax(x), dsoftmax.log_softmax(x), dsoftmax.entropy(x), n.d, n.logsumexp()]
first = results()
print("numba" in sys.modules)
dsoftmax.softmax(np.tile(x, 10))
dask.compute(dsoftmax.softmax(da.from_array(x)), dsoftmax.entropy(da.from_array(x)))
print("numba" in sys.modules)
print([a.tobytes() for a in first] == [a.tobytes() for a in results()])
"""


@pytest.mark.system
def test_a_small_array_does_not_wait_for_a_compiler(tmp_path):
    assert run(ALONE, tmp_path).split() == ["False", "True", "True"]


def test_it_is_about_one_thread():
    seen = []
    other = threading.Thread(target=lambda: seen.append(in_memory.may_cut()))
    with on(2):
        other.start()
        other.join()
    assert seen == [False]


@pytest.mark.parametrize(("shape", "axis"), [((1 << 19,), 0), ((1 << 12, 100), 1)])
def test_cheap_slices_are_not_cut_where_one_thread_is_as_fast(shape, axis, monkeypatch):
    """And the ways to the same result, with a look-up or without, give the same bits."""
    monkeypatch.setattr(call, "take_turns", None)
    x = np.random.default_rng(0).normal(size=shape)
    assert x.size >= in_memory.LARGE
    with dask.config.set({"dsoftmax.threads": 3}):
        for function in (dsoftmax.softmax, dsoftmax.log_softmax, dsoftmax.logsumexp):
            everywhere = function(x, axis, where=np.True_)
            assert function(x, axis).tobytes() == function(x, (axis,)).tobytes()
            np.testing.assert_allclose(function(x, axis), everywhere, rtol=1e-13)
