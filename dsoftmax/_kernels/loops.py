"""The axes of a block as loops: the fastest last, joined where they run through memory as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Axes = tuple[int, ...]
Strides = tuple[int, ...]


class Loop(NamedTuple):
    """Axes that run through memory as one, with the strides in bytes of each array."""

    length: int
    strides: Strides
    reduced: bool
    axes: Axes


NO_LOOP = Loop(1, (0,) * 4, True, ())


def loops_of(
    shape: tuple[int, ...], reduced: tuple[bool, ...], strides: tuple[Strides, ...]
) -> list[Loop]:
    """The axes as loops from the slowest to the fastest, joined where that is possible."""
    loops = [
        Loop(n, tuple(s[i] for s in strides), reduced[i], (i,))
        for i, n in enumerate(shape)
        if n > 1
    ]
    loops.sort(key=lambda loop: -max(map(abs, loop.strides)))
    joined: list[Loop] = []
    for loop in loops:
        if joined and _continues(joined[-1], loop):
            outer = joined.pop()
            loop = loop._replace(length=outer.length * loop.length, axes=outer.axes + loop.axes)
        joined.append(loop)
    return joined


def longest(loops: Iterable[Loop]) -> Loop:
    """The longest loop; `NO_LOOP` if there is none."""
    return max(loops, key=lambda loop: loop.length, default=NO_LOOP)


def _continues(outer: Loop, inner: Loop) -> bool:
    """Whether a step of the outer loop leads to where the inner one ends."""
    return outer.reduced == inner.reduced and all(
        a == b * inner.length for a, b in zip(outer.strides, inner.strides, strict=True)
    )
