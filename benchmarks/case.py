"""What a benchmark is made of: suites of cases, each of several sides that are run in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Call = Callable[[], Any]
Measures = dict[str, float]
Sides = Mapping[str, Callable[[], Call]]


@dataclass(frozen=True)
class Target:
    """The side ``of`` is ``at_least`` so many times as fast as each of ``than``, or else it takes
    at most so many times as long.
    """

    factor: float
    than: tuple[str, ...]
    at_least: bool
    of: str = "dsoftmax"


def faster(factor: float, *than: str) -> Target:
    return Target(factor, than, at_least=True)


def within(factor: float, than: str, of: str = "dsoftmax") -> Target:
    return Target(factor, (than,), at_least=False, of=of)


@dataclass(frozen=True)
class Case:
    """Something that several sides do.

    ``sides(scope)`` maps the name of each to a function that prepares it, outside the clock, and
    returns the call to measure; ImportError says that a library is missing.  What is entered into
    the `ExitStack` is closed after the case.  Results are compared with those of the side
    "dsoftmax", but for the ``yardsticks``, which compute something else.  ``cores`` are those on
    which a case is measured, of the numbers asked for.
    """

    name: str  # what --only selects by
    title: str  # of its row in a table
    sides: Callable[[ExitStack], Sides]
    elements: int = 1  # that its times are divided by
    cores: Literal["most", "each", "one"] = "most"
    targets: tuple[Target, ...] = ()
    yardsticks: tuple[str, ...] = ("floor",)
    heading: str = ""  # of its table, if that is not the suite's title
    labels: Mapping[str, str] = field(default_factory=dict)  # for the picture


@dataclass(frozen=True)
class Column:
    """How a measure is shown: as ``of`` all samples, in units of ``unit``."""

    title: str
    digits: int = 1
    unit: float = 1.0
    of: Callable[[list[float]], float] = median

    def show(self, samples: list[float]) -> str:
        return f"{self.of(samples) / self.unit:,.{self.digits}f}"


@dataclass(frozen=True)
class Suite:
    """Cases that share a table; with ``columns`` the calls measure themselves, else they are timed.

    There are ``rounds`` at least, and more until ``seconds`` have passed.
    """

    name: str
    title: str
    cases: Callable[[bool], Iterable[Case]]  # of whether it has to be quick
    columns: Mapping[str, Column] = field(default_factory=dict)
    rounds: int = 3
    seconds: float = 5.0
    may_fail: bool = False  # a side that fails is a result
    operations: tuple[str, ...] = ()
