"""How to install what an extra brings: the one place that says so, for errors.

dsoftmax is on no package index, where its name may be somebody else's: it is installed from a clone
of its repository.  Once it is on one, this becomes ``pip install "dsoftmax[extra]"``.
"""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """The command that installs an extra, and where to run it."""
    return f"python -m pip install '.[{extra}]' in a clone of dsoftmax's repository"
