"""One colour for each part of the algorithm, on the page, on Dask's pages and in the docs."""

from __future__ import annotations

from ..operations import CUMULATIVE_LOGSUMEXP, OPERATIONS

# Told apart with any colour vision, and from the red and orange that Dask has for transfers and for
# the disk (tests/dashboard/test_colours.py). The second pass has the colour that Dask gives to
# ``store-map``, the name of its tasks if Dask has fused them with the writes of a store.
FIRST, TREE, SECOND = "#0072b2", "#882255", "#2eb27c"
FAILED, NOTHING = "#d55e00", "#e6e6e6"


def colour_of(name: str) -> str | None:
    """The colour of a task by its name without the token, None if it is not one of ours."""
    operations = (*OPERATIONS, CUMULATIVE_LOGSUMEXP)
    ends = tuple(f"-{operation.monoid.name}" for operation in operations)
    if not any(operation.key in name for operation in operations):
        return None
    if "-merge" in name:
        return TREE
    return FIRST if name.endswith(ends) else SECOND


def colour_tasks() -> None:
    """Let Dask's pages use these colours in this process.

    Dask picks one of its 80 by a hash of the name, which gives the same for ``softmax-normalizer``,
    ``softmax-merge-aggregate`` and ``softmax-rescale``.
    """
    from distributed.dashboard.components import scheduler as pages
    from distributed.diagnostics import progress_stream, task_stream
    from distributed.utils import color_of

    def colour(name: str) -> str:
        return colour_of(str(name)) or color_of(name)

    progress_stream.color_of = colour
    task_stream.color_of = colour
    pages.color_of = colour
    pages.ts_color_of = colour
