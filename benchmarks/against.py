"""Two versions of dsoftmax: each is a side, whose samples are those of its own sides."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from . import timing
from .case import Call, Column, Measures, Sides, Suite
from .process import Process
from .runner import OURS, Record, Settings, begin, find, freeze, measure

_ours: dict[str, Callable[[], Measures]] = {}
_scope = ExitStack()


def against(
    suite: Suite, settings: Settings, threads: int, here: Path, there: Path
) -> Iterator[Record]:
    """Each case of this version and of the one at ``there`` in turn, in two lasting processes."""
    rounds, cases = settings.rounds or max(9, suite.rounds), settings.select(suite)
    threads = 1 if all(case.cores == "one" for case in cases) else threads
    timed = replace(suite, columns=suite.columns or {"seconds": Column("seconds")}, rounds=rounds)
    with Process(threads, here) as one, Process(threads, there) as other:
        for process, path in ((one, here), (other, there)):
            process(begin, threads)
            if not Path(process(home)).is_relative_to(path):
                raise RuntimeError(f"dsoftmax is not imported from {path}")

        def sides(name: str, scope: ExitStack) -> Sides:
            return {
                "this version": partial(remote, one, Exception, suite.name, name, settings),
                # It may lack what this version has.
                "the other": partial(remote, other, ImportError, suite.name, name, settings),
            }

        for case in cases:
            both = replace(case, sides=partial(sides, case.name), targets=())
            yield measure(timed, both, replace(settings, sides=())) | {"threads": threads}


def remote(process: Process, failure: type[Exception], *case: Any) -> Call:
    try:
        process(prepare, *case)
    except Exception as error:
        raise failure(timing.reason(error)) from error
    return partial(process, take)


def home() -> str:
    import dsoftmax

    return str(Path(dsoftmax.__file__).resolve())


def prepare(suite_name: str, case_name: str, settings: Settings) -> None:
    """Make the sides of a case that are dsoftmax ready for `take`."""
    _ours.clear()
    _scope.close()
    suite, case = find(suite_name, case_name, settings.quick)
    for name, make in case.sides(_scope).items():
        if name.startswith(OURS):
            call = make()
            if not suite.columns:
                call()
            _ours[name] = call if suite.columns else partial(timing.timed, call)
    freeze()


def take() -> Measures:
    """The first measure, mostly seconds, of each of our sides."""
    taken = {}
    for name, call in _ours.items():
        gc.collect()
        taken[name] = next(iter(call().values()))
    return taken
