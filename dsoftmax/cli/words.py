"""Errors of the functions in the words of the command: SRC for x, --axis for axis."""

from __future__ import annotations

import re

# What a function says, as patterns, and what the command says instead, one after the other.
_WORDS = (
    (r"\baxis (-?\d+) is out of bounds for array", r"--axis \1 is out of bounds for an array"),
    (r"'axis' \((.*?)\)", lambda found: f"--axis {found[1].replace(', ', ',')}"),
    (r"\baxis is None\b", "there is no --axis"),
    (r"\baxis=(-?\d+)", r"--axis \1"),
    (r"\b(k|size|method|axis) is\b", r"--\1 is"),
    (r'\bmethod="(\w+)"', r"--method \1"),
    (r"\breplace is False\b", "--no-replace is given"),
    (r"\bwhere=\S+", "--where MASK"),
    (r"\bby where\b", "by --where"),
    (r"\bignore_label=(-?\d+)", r"--ignore-label \1"),
    (r"\buse exact=False \(or (.*?)\)", r"set \1 to False"),
    (r"\blabels have\b", "LABELS have"),
    (r"\bby has\b", "--by has"),
    (r"\bdtypes has\b", "DTYPES has"),
    (r"\bnames or (dtypes .*), such as .*", r"\1, as in dsoftmax compile float32 int16"),
    (r"\bx\b", "SRC"),
    (r"\bv\b", "V"),
)


def in_words(key: str, message: str) -> str | None:
    """An error of the function of the command ``key`` as the command says it; None for others."""
    name, colon, text = message.partition(": ")
    if not colon or name.removeprefix("grouped.") != key.replace("-", "_"):
        return None
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return f"{key}: {text}"
