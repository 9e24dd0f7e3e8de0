"""What differs for an array in memory that is no block of a larger one.

A small one does not wait for the compiler, which takes seconds where no code was kept.  Blocks do,
however small they are: else the bits of their results would depend on the chunks.

A large one is cut, always in the same pieces, and these are shared out among threads.  Blocks are
not: they have their own thread each, and Dask has the others.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TypeVar

Piece = TypeVar("Piece")

# Of elements: without a compiler so many take 0.2 ms at most; and from how many on it is worth
# waking up a thread, which takes 50 us.
SMALL, LARGE = 1 << 12, 1 << 18


class _Local(threading.local):
    may_compile = True
    threads = 0  # as many as pieces are shared out among, 0 where nothing is cut


class InMemory:
    """While it is entered, this thread computes on arrays of a shape that are no blocks.

    ``threads`` is asked for how many threads may be used, this one included, if there are pieces
    for them. A small array waits for the compiler if ``wait`` says so.
    """

    def __init__(
        self, shape: Sequence[int], threads: Callable[[], int], *, wait: bool = False
    ) -> None:
        self._shape, self._threads, self._wait = shape, threads, wait

    def __enter__(self) -> None:
        size = math.prod(self._shape)
        self._before = _local.may_compile, _local.threads
        if size < SMALL:
            _local.may_compile = self._wait
        elif size >= LARGE:
            _local.threads = 1 if _forked else max(self._threads(), 1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.may_compile, _local.threads = self._before


def may_compile() -> bool:
    """Whether this thread waits for kernels whose code is neither loaded nor on disk."""
    return _local.may_compile


@contextmanager
def waiting() -> Iterator[None]:
    """While it is entered, this thread waits for the compiler after all."""
    before, _local.may_compile = _local.may_compile, True
    try:
        yield
    finally:
        _local.may_compile = before


def may_cut() -> bool:
    """Whether what this thread computes on is to be cut."""
    return _local.threads > 0


def share_out(function: Callable[[Piece], object], pieces: Sequence[Piece]) -> None:
    """Call a function, which lets other threads run, with each of some pieces: see `take_turns`."""
    queue, lock = iter(pieces), threading.Lock()

    def turn() -> bool:
        with lock:
            piece = next(queue, None)
        if piece is not None:
            function(piece)
        return piece is not None

    take_turns(turn, len(pieces))


def take_turns(turn: Callable[[], bool], most: int) -> None:
    """Call a function, which lets other threads run, until it says that nothing is left.

    This thread takes part, and so do as many others as it may use and as can be started, but not
    more than ``most``; until nothing is left or one raises an error. What they do is not cut again,
    and all have come to their end, also after Ctrl-C, since they use memory that the caller frees.
    """
    if most < 2:
        while turn():
            pass
        return
    threads = min(_local.threads, most)
    errors: list[BaseException] = []
    helpers: list[Future[None]] = []

    def work() -> None:
        before, _local.threads = _local.threads, 0
        try:
            while not errors and turn():
                pass
        except BaseException as error:  # of any kind: Ctrl-C comes to the main thread
            errors.append(error)
        finally:
            _local.threads = before

    try:
        with suppress(RuntimeError):  # no more threads can be started, as at the end of a process
            for _ in range(threads - 1):
                helpers.append(_executor(threads - 1).submit(work))
        work()
    except BaseException as error:  # Ctrl-C between the lines
        errors.append(error)
    _wait_for(helpers, errors)
    if errors:
        raise errors[0]


def _wait_for(helpers: list[Future[None]], errors: list[BaseException]) -> None:
    """Wait until all have come to their end, however often that is interrupted.

    Those that have not begun never will: nothing is left for them.
    """
    while True:
        try:
            wait([helper for helper in helpers if not helper.cancel()])
            return
        except BaseException as error:
            errors.append(error)


_local = _Local()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_pool_lock = threading.Lock()
_forked = False


def _executor(threads: int) -> ThreadPoolExecutor:
    """Threads of the library's own, as many at least."""
    global _pool, _pool_size
    with _pool_lock:
        if _pool is None or _pool_size < threads:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(threads, "dsoftmax"), threads
        return _pool


def _in_a_fork() -> None:
    """A fork has none of its parent's threads, and starts none: its parent may have many forks."""
    global _pool, _pool_size, _pool_lock, _forked
    _pool, _pool_size, _pool_lock, _forked = None, 0, threading.Lock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)
