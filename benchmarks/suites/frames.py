"""The softmax within groups of a DataFrame in Parquet files, of which no worker could hold much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..case import Case, Column, Measures, Sides, Suite
from ..process import imported
from .memory import COLUMNS, MIB, TIMEOUT, on_workers

ROWS, PARTITION = 10**8, 10**6
GROUPS = 10**5
MOVING = ("shuffle", "repartition", "align")  # what Dask would name tasks that move rows


def write(folder: Path, rows: int, partition: int, groups: int) -> None:
    """Files of utilities, each with a market, in no order; rows have names of their own."""
    import pandas as pd

    folder.mkdir()
    for number, first in enumerate(range(0, rows, partition)):
        rng = np.random.default_rng(number)
        size = min(partition, rows - first)
        columns = {"market": rng.integers(groups, size=size), "u": rng.standard_normal(size)}
        index = pd.Index(7 * np.arange(first, first + size), name="row")
        pd.DataFrame(columns, index).to_parquet(folder / f"part.{number}.parquet")  # as Dask's


def softmax_of_files(folder: Path, target: Path) -> Any:
    """A column of probabilities within markets, to be written beside that of the markets."""
    import dask.dataframe as dd

    df = dd.read_parquet(folder)
    df["p"] = imported("dsoftmax.dataframe:softmax", df["u"], by=df["market"])
    return df[["market", "p"]].optimize().to_parquet(target, compute=False)


def check(folder: Path, target: Path) -> None:
    """Each row is where it was, under its name, and each market sums to 1."""
    import pandas as pd

    sums = pd.Series(dtype="f8")
    files, written = ({file.name for file in path.glob("*.parquet")} for path in (folder, target))
    assert written == files
    for name in files:
        before, after = pd.read_parquet(folder / name), pd.read_parquet(target / name)
        assert before.index.equals(after.index), "rows have lost their index"
        assert before["market"].equals(after["market"]), "rows have changed places"
        sums = sums.add(after.groupby("market")["p"].sum(), fill_value=0.0)
    assert abs(sums - 1).max() < 1e-9, "not a softmax within markets"


def of_files(folder: Path) -> Measures:
    source, target = folder / "source", folder / "target"
    graph: list[str] = []

    def run(client: Any) -> None:
        written = softmax_of_files(source, target)
        graph[:] = map(str, written.__dask_graph__())
        client.compute(written).result(timeout=TIMEOUT)

    taken = on_workers(run, folder, 1024 * MIB)
    check(source, target)
    moving = sum(any(word in key for word in MOVING) for key in graph)
    return taken | {"tasks": len(graph), "moving": moving}


def sides(rows: int, partition: int, groups: int, scope: ExitStack) -> Sides:
    folder = Path(scope.enter_context(TemporaryDirectory(prefix="dsoftmax-frames-")))
    write(folder / "source", rows, partition, groups)
    return {"dsoftmax": partial(partial, of_files, folder)}


def cases(quick: bool) -> Iterator[Case]:
    rows, partition, groups = (2 * 10**5, 10**4, 100) if quick else (ROWS, PARTITION, GROUPS)
    title = f"{rows:.0e} rows, {groups:.0e} groups"
    yield Case("parquet", title, partial(sides, rows, partition, groups))


SUITE = Suite(
    "frames",
    "softmax within groups of rows in Parquet files, on two workers of 1 GiB",
    cases,
    {name: column for name, column in COLUMNS.items() if name != "loads"}
    | {"tasks": Column("tasks", 0), "moving": Column("of which move rows", 0)},
    rounds=1,
    seconds=0.0,
)
