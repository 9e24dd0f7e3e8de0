"""The private parts of Dask used here: the nodes of its graphs, and arguments for partitions.

Tested with dask 2025.11 to 2026.8.
"""

from typing import Any

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_task

__all__ = [
    "Alias",
    "DataNode",
    "GraphNode",
    "Task",
    "TaskRef",
    "convert_legacy_task",
    "for_partitions",
]


def for_partitions(values: list[Any]) -> Any:
    """What `map_partitions` takes besides columns: one Delayed for all partitions, or for each.

    There is no public form of the latter that goes with the columns row by row, as a scalar does.
    """
    if len(values) == 1:
        return values[0]
    from dask.dataframe.dask_expr._expr import DelayedsExpr

    return DelayedsExpr(*values)
