"""The private parts of Dask used here: the nodes of its graphs, to copy and inspect them.

Tested with dask 2025.11 to 2026.8.
"""

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_task

__all__ = ["Alias", "DataNode", "GraphNode", "Task", "TaskRef", "convert_legacy_task"]
