"""softmax, log_softmax and logsumexp: the main table, and the picture."""

from __future__ import annotations

from typing import Any

from .. import by_hand
from ..case import Target, faster, within
from ..layouts import LAYOUTS
from ..operation import DTYPES, MOST, Function, Operation, suite

BY_DASK = ("SciPy on Dask", "by hand on Dask")
LIBRARIES = ("torch", "JAX", "SciPy on Dask")
TARGETS = {
    ("softmax", "float32", "row-1e8"): (faster(2.5, *BY_DASK), within(1.5, "floor")),
    ("softmax", "float64", "row-1e8"): (faster(3, *BY_DASK), within(1.5, "floor")),
    ("logsumexp", "float32", "row-1e8"): (
        faster(10, "SciPy on Dask"),
        faster(4, "by hand on Dask"),
        faster(5, "torch"),
        within(2, "floor"),
    ),
    ("logsumexp", "float64", "row-1e8"): (
        faster(10, "SciPy on Dask"),
        faster(4, "by hand on Dask"),
        faster(5, "torch"),
    ),
} | {
    ("softmax", dtype, layout): (faster(2, *LIBRARIES),)
    for dtype in DTYPES
    for layout in ("long-rows", "short-rows", "columns")
}
# An array in memory, on all cores, beside libraries that use them all.
IN_MEMORY = (Target(1, ("torch", "JAX"), at_least=True, of="dsoftmax on NumPy"),)


def operation(name: str, jax: str, **options: Any) -> Operation:
    peers: dict[str, Function] = {
        "SciPy on Dask": f"scipy.special:{name}",
        "by hand on Dask": getattr(by_hand, name),
        "torch": f"torch:{name}",
        "JAX": f"{jax}:{name}",
        "SciPy on NumPy": f"scipy.special:{name}",
    }
    targets = {
        (dtype, layout): TARGETS.get((name, dtype, layout), ())
        + (IN_MEMORY if LAYOUTS[layout].elements <= MOST else ())
        for dtype in DTYPES
        for layout in options["layouts"]
    }
    return Operation(name, f"dsoftmax:{name}", peers=peers, targets=targets, **options)


ALL = tuple(name for name in LAYOUTS if name != "labels-1e7")  # for groups
ROWS = ("row-1e6", "row-1e7", "row-1e8")
SMALLER = tuple(name for name in ALL if name != "row-5e8")
OPERATIONS = (
    operation("softmax", "jax.nn", writes=True, layouts=ALL, each=(*ROWS, "long-rows")),
    operation("log_softmax", "jax.nn", writes=True, layouts=SMALLER, each=ROWS[:2]),
    operation("logsumexp", "jax.scipy.special", layouts=ALL, each=ROWS),
)
SUITE = suite("speed", "softmax, log_softmax, logsumexp", OPERATIONS)
