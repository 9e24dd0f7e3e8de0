"""How fast a job goes, and how long it takes; times and numbers in words."""

from __future__ import annotations

import math
from collections import deque

_WINDOW = 5.0  # seconds over which a speed is measured
_SHORTEST = 0.4  # seconds without which there is none


class Pace:
    """The number of chunks done in both passes over the last seconds."""

    def __init__(self) -> None:
        self.samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """Note how many are done; fewer than before (a worker was lost) begin anew."""
        if self.samples and done < self.samples[-1][1]:
            self.samples.clear()
        self.samples.append((now, done))
        while now - self.samples[0][0] > _WINDOW and len(self.samples) > 2:
            self.samples.popleft()

    @property
    def speed(self) -> float:
        """Chunks per second, 0 where it is not known."""
        if not self.samples:
            return 0.0
        (before, then), (now, done) = self.samples[0], self.samples[-1]
        return (done - then) / (now - before) if now - before >= _SHORTEST else 0.0

    def left(self, chunks: int) -> float:
        """Seconds for so many more chunks, inf where that is not known."""
        return chunks / self.speed if self.speed else math.inf


def duration(seconds: float) -> str:
    """A duration in words, to the second: "8 s", "1 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def roughly(seconds: float) -> str:
    """An estimated duration: "about 8 s", and "" for one that is not known."""
    if math.isinf(seconds):
        return ""
    return f"about {duration(max(round(seconds), 1)).replace('.0 s', ' s')}"


def number(value: float) -> str:
    """A number in six digits at most."""
    return f"{value:.6g}"


def count(n: int, noun: str) -> str:
    """A number of things: "1 chunk", "1,000 chunks"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
