"""The CUDA sources as they go to the compiler, and what the kernels and their callers agree on.

The files in ``src`` need no header, so that any NVRTC compiles them.  Every kernel is compiled by
itself when it is first called for: their common source, and a line that asks for this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np

from ..modes import REDUCE

FILES = (
    "state.cuh",
    "elements.cuh",
    "teams.cuh",
    "typed.cuh",
    "mixed.cuh",
    "kernels.cu",
    "warps.cuh",
    "rows.cuh",
    "tiny.cuh",
    "long.cuh",
    "columns.cuh",
    "finish.cuh",
    "staged.cuh",
    "best.cuh",
    "topk_tiny.cuh",
    "topk_rows.cuh",
    "candidates.cuh",
    "topk.cuh",
    "draws.cuh",
    "running.cuh",
    "exact_sums.cuh",
    "exact.cuh",
    "exact_finish.cuh",
)

# No --use_fast_math: its exponentials are not within 2 ulp, and it flushes subnormal numbers.
OPTIONS = ("-std=c++17",)
# Of kernels whose bits are to be those of the CPU: nothing is fused that is not written so.
UNFUSED = ("-fmad=false",)

# The names of the dtypes in CUDA, in the order in which `load_any` numbers them.
ELEMENTS = {
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "float32": "Float32",
    "float64": "Float64",
    "bool": "Bool",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
}
# Those with kernels of their own for contiguous blocks, and the bytes of an element.
ITEM = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

CONTIGUOUS, STRIDED, MASKED, WEIGHTED = 0, 1, 2, 3

# Those with kernels of their own beside masks, weights and values, and for moments.
TYPED = ("float32", "float64")

# What a state has, and how it is called in CUDA: (m, w, s); with moments (t, q); with a sum of
# values, which is at the place of t.
Kind = Literal["plain", "moments", "values"]
KINDS: dict[Kind, str] = {"plain": "PLAIN", "moments": "MOMENTS", "values": "VALUES"}
FIELDS = ("m", "w", "s", "t", "q")
NUMBERS_OF_FIELDS: dict[Kind, int] = {"plain": 3, "moments": 5, "values": 4}

MAX_LOOPS = 8
THREADS = 256
WARP = 32
PIECE = 16  # bytes that a thread accesses at a time
UNITED = 16  # states that are merged at a time
TINY_THREADS = 64  # two warps, whose rows take 48 KB of shared memory at most

_LOOP = [(name, "i8") for name in ("length", "x", "b", "y", "where")]
LOOPS = np.dtype([("count", "i8"), ("loop", _LOOP, MAX_LOOPS)])
_ADDRESSES = ("x", "b", "y", "where", *FIELDS)
_NUMBERS = ("x_dtype", "b_dtype", "slices", "parts", "length", "portion", "portions")
_TEAMS = ("lanes", "team", "members_adjacent", "logarithm")
CALL = np.dtype(
    [(name, "i8") for name in (*_ADDRESSES, *_NUMBERS, *_TEAMS)]
    + [(name, LOOPS) for name in ("kept", "outer", "inner")]
)
_FROM_AND_TO = (*FIELDS, *(f"to_{name}" for name in FIELDS))
MERGE = np.dtype([(name, "i8") for name in (*_FROM_AND_TO, "slices", "parts", "lanes", "team")])

# The call of top-k, and of its end; what a thread block of a long row loads at a time.
TOPK_ADDRESSES = ("x", "values", "indices", "m", "w", "s")
TOPK_PARTS = ("part_orders", "part_indices", "part_m", "part_w", "part_s")
TOPK_NUMBERS = ("probabilities", "rows", "length", "stride", "k", "parts", "portion", "smallest")
TOPK_NAMES = (*TOPK_ADDRESSES, *TOPK_PARTS, *TOPK_NUMBERS)
TOPK_AT = {name: i for i, name in enumerate(TOPK_NAMES)}
TOPK = np.dtype([(name, "i8") for name in TOPK_NAMES])
TOPK_END = np.dtype([(n, "i8") for n in ("values", "y", "m", "w", "s", "rows", "k", "logarithm")])
MOST_K, TOPK_ROWS_THREADS = 64, 128
TOPK_PIECES = 2  # of a tile, for a thread
TILE_BYTES = TOPK_PIECES * PIECE * THREADS

# The threads of a team that holds a row, and how many elements each of them has at most.
_SHORT = ((2, 16), (8, 16), (32, 16))
TEAMS: dict[str, tuple[tuple[int, int], ...]] = dict.fromkeys(
    ("float16", "bfloat16", "float32"), (*_SHORT, (32, 32))
)
TEAMS["float64"] = _SHORT


# What kernels are told, by what makes them.
_ARGUMENTS = {"SLICES": "Call", "MERGE": "Merge", "UNITE": "Union", "TOPK_END": "TopKEnd"}
_ARGUMENTS |= {"EXACT": "Call", "EXACT_MERGE": "ExactMerge", "EXACT_FINISH": "ExactFinish"}
_ARGUMENTS |= dict.fromkeys(("TOPK_TINY", "TOPK_ROWS", "TOPK_PART", "TOPK_MERGE"), "TopK")
_ARGUMENTS |= {"KEYS": "Keys", "DRAWS_PART": "Draws", "DRAWS_MERGE": "Draws"}
_ARGUMENTS |= dict.fromkeys(("RUN_SUMS", "RUN_PARTS", "RUN_RESULTS"), "Run")


# What `ROWS` and `TINY` are told, and what they give.
_ROWS = ("x", "y", *FIELDS, "rows", "length", "parts", "done", "count", "gives")
ROWS = np.dtype([(name, "i8") for name in _ROWS])
ROWS_AT = {name: i for i, name in enumerate(_ROWS)}
_FIELDS = [(name, "i8") for name in FIELDS]
UNION = np.dtype([("count", "i8"), ("size", "i8"), ("to", _FIELDS), ("from", _FIELDS, UNITED)])
OUTPUTS = ("state", "softmax", "log_softmax", "logsumexp")
OF_MOMENTS = ("entropy", "effective_sample_size")  # numbered after these


class Kernel(NamedTuple):
    """One kernel: its name, and the line of CUDA that makes it."""

    name: str
    line: str

    @property
    def argument(self) -> str:
        """The type of its argument in CUDA."""
        return _ARGUMENTS.get(self._macro, "Rows")

    @property
    def options(self) -> tuple[str, ...]:
        """What the compiler is told."""
        return (*OPTIONS, *UNFUSED) if self._macro.startswith("EXACT") else OPTIONS

    @property
    def _macro(self) -> str:
        return self.line.partition("(")[0]


def slices_kernel(
    dtype: str, working: str, layout: int, mode: int = REDUCE, kind: Kind = "plain"
) -> Kernel:
    """The kernel for blocks of a dtype, computed in ``working``, of any layout."""
    name, element = f"slices_{dtype}_{layout}_{mode}", ELEMENTS[dtype]
    if beside_others(layout, kind) and not (dtype == working in TYPED):
        name = f"slices_any_{working}_{layout}_{mode}"
        element = f"Any<{ELEMENTS[working]}::Real>"
    if kind != "plain":
        name = name.replace("slices", kind)
    return Kernel(name, f"SLICES({name}, {element}, {layout}, {mode}, {KINDS[kind]})")


def beside_others(layout: int, kind: Kind) -> bool:
    """Whether few dtypes have kernels of their own, and the others share some."""
    return layout in (MASKED, WEIGHTED) or kind != "plain"


def merge_kernel(working: str, kind: Kind = "plain") -> Kernel:
    """The kernel that merges states of a kind whose maxima are of the dtype ``working``."""
    name = f"merge_{working}" if kind == "plain" else f"merge_{kind}_{working}"
    return Kernel(name, f"MERGE({name}, {ELEMENTS[working]}::Real, {KINDS[kind]})")


def rows_kernel(dtype: str, output: str, pieces: int, team: int, blocks: int) -> Kernel:
    """The kernel for rows in registers: so many pieces for each of a team, or fewer.

    At least so many thread blocks have to find room on a multiprocessor.
    """
    name = f"rows_{dtype}_{team}_{output}_{pieces}"
    what = f"{ELEMENTS[dtype]}, {output.upper()}, {pieces}, {team}"
    return Kernel(name, f"ROWS({name}, {what}, {rows_threads(team)}, {blocks})")


def rows_threads(team: int) -> int:
    """The size of a thread block of such teams."""
    return max(team, 128) if team <= WARP else team


def tiny_kernel(dtype: str, output: str, length: int, each: int, blocks: int) -> Kernel:
    """The kernel for rows of so many elements, so many rows a thread."""
    name = f"tiny_{dtype}_{length}_{output}"
    what = f"{ELEMENTS[dtype]}, {output.upper()}, {length}, {each}, {TINY_THREADS}"
    return Kernel(name, f"TINY({name}, {what}, {blocks})")


def long_kernel(dtype: str) -> Kernel:
    """The kernel for states, and what is made of them, of long rows that blocks may share."""
    name, pieces = f"long_{dtype}", max(2, ITEM[dtype]) if ITEM[dtype] < 4 else 4
    return Kernel(name, f"LONG({name}, {ELEMENTS[dtype]}, {pieces})")


def apply_kernel(dtype: str, output: str) -> Kernel:
    """The kernel for the softmax or its logarithm of rows with given states."""
    name = f"apply_{dtype}_{output}"
    return Kernel(name, f"APPLY_ROWS({name}, {ELEMENTS[dtype]}, {output.upper()})")


def apply_short_kernel(dtype: str, output: str) -> Kernel:
    """The same for rows of few pieces."""
    name = f"applyshort_{dtype}_{output}"
    return Kernel(name, f"APPLY_SHORT({name}, {ELEMENTS[dtype]}, {output.upper()})")


def columns_kernel(dtype: str, each: int, rows: int, blocks: int) -> Kernel:
    """The kernel for the states of columns: so many side by side for a thread, and rows at once."""
    name = f"columns_{dtype}"
    return Kernel(name, f"COLUMNS({name}, {ELEMENTS[dtype]}, {each}, {rows}, {blocks})")


def apply_columns_kernel(dtype: str, output: str, rows: int) -> Kernel:
    """The kernel for the softmax or its logarithm of columns with given states."""
    name = f"applycolumns_{dtype}_{output}"
    line = f"APPLY_COLUMNS({name}, {ELEMENTS[dtype]}, {output.upper()}, {rows})"
    return Kernel(name, line)


def staged_kernel(dtype: str, output: str, size: int, blocks: int) -> Kernel:
    """The kernel for rows in shared memory, by thread blocks of a size."""
    name = f"staged_{dtype}_{size}_{output}"
    what = f"{ELEMENTS[dtype]}, {output.upper()}, {size}, {blocks}"
    return Kernel(name, f"STAGED({name}, {what})")


def unite_kernel(working: str) -> Kernel:
    """The kernel that merges some states of the same slices."""
    name = f"unite_{working}"
    return Kernel(name, f"UNITE({name}, {ELEMENTS[working]}::Real)")


def finish_kernel(working: str) -> Kernel:
    """The kernel for the logarithms of states whose maxima are of the dtype ``working``."""
    name = f"finish_{working}"
    return Kernel(name, f"FINISH({name}, {ELEMENTS[working]}::Real)")


def topk_kernel(step: str, dtype: str) -> Kernel:
    """The kernel for a step of top-k of blocks of a dtype: a part, a merge or the end."""
    name = f"topk_{step}_{dtype}"
    what = f"{ELEMENTS[dtype]}, {TOPK_PIECES}" if step == "part" else ELEMENTS[dtype]
    return Kernel(name, f"TOPK_{step.upper()}({name}, {what})")


def topk_rows_kernel(dtype: str, team: int, each: int) -> Kernel:
    """The kernel for top-k of rows that teams of so many threads hold, each so many elements."""
    name = f"topk_rows_{dtype}_{team}_{each}"
    return Kernel(name, f"TOPK_ROWS({name}, {ELEMENTS[dtype]}, {team}, {each})")


def topk_tiny_kernel(dtype: str, given: str, length: int, k: int, blocks: int) -> Kernel:
    """The kernel for top-k of rows of a length, by a thread each; "values" or "probabilities"."""
    name = f"topk_tiny_{dtype}_{given}_{length}_{k}"
    probabilities = "true" if given == "probabilities" else "false"
    what = f"{ELEMENTS[dtype]}, {probabilities}, {length}, {k}, {TINY_THREADS}, {blocks}"
    return Kernel(name, f"TOPK_TINY({name}, {what})")


def source(kernels: Iterable[Kernel]) -> str:
    """The CUDA source of some kernels."""
    return "\n".join([*map(text, FILES), *(kernel.line for kernel in kernels), ""])


@cache
def text(name: str) -> str:
    """What is in one of the `FILES`."""
    return files(__package__).joinpath("src", name).read_text(encoding="utf-8")
