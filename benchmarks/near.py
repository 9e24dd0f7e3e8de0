"""Calls near a threshold of the compiled kernels, computed both ways: as below it, and as above."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from .case import Call, Case, Sides

ALWAYS, NEVER = 0, 10**12
CALLS = 10  # for one setting of a threshold, which takes the plan of the array anew

Ways = dict[str, dict[str, int]]  # values of thresholds, by title


def alternatives(name: str, always: str, never: str) -> Ways:
    return {always: {name: ALWAYS}, never: {name: NEVER}}


@dataclass(frozen=True)
class Near:
    """A function near a threshold; ``make(dtype)`` makes its data, and returns the call."""

    threshold: str
    function: str
    size: str  # for the name of the case
    title: str
    elements: int
    ways: Ways
    make: Callable[[str], Call]
    cores: Literal["most", "one"] = "one"

    def case(self, dtype: str) -> Case:
        return Case(
            f"{self.threshold}-{self.function}-{dtype}-{self.size}",
            f"{self.function} {dtype}, {self.title}",
            partial(self.sides, dtype),
            elements=CALLS * self.elements,
            cores=self.cores,
            heading=self.threshold,
        )

    def sides(self, dtype: str, scope: ExitStack) -> Sides:
        def prepare(values: dict[str, int]) -> Call:
            return partial(repeated, self.make(dtype), values)

        return {f"dsoftmax {way}": partial(prepare, values) for way, values in self.ways.items()}


def repeated(call: Call, values: dict[str, int]) -> Any:
    with tuned(values):
        for _ in range(CALLS - 1):
            call()
        return call()


@contextmanager
def tuned(values: dict[str, int]) -> Iterator[None]:
    """Thresholds of other values, wherever they are used."""
    from dsoftmax._kernels.cpu import plan, quick, topk

    def forget() -> None:
        plan.plan.cache_clear()
        quick.forget()
        topk.forget()

    loaded = {name.removeprefix("dsoftmax._kernels."): m for name, m in sys.modules.items()}
    modules = [m for name, m in loaded.items() if name.startswith(("cpu.", "in_memory", "topk"))]
    places = [(m, name) for m in modules for name in values if hasattr(m, name)]
    before = [getattr(module, name) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, values[name])
        forget()
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)
        forget()
