"""How the loops over a block are shared out: which a kernel takes, and what it has to know."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from ..._algebra.dtypes import dtype_name, dtypes_for, promoted_name
from ..._algebra.exact import record_dtype
from ..loops import NO_LOOP, Loop, longest, loops_of
from . import kernels
from .compiler import address, compiled
from .pieces import ARRAYS, Piece, cut, whole
from .protocol import ADDRESSES, LANE_BYTES, WORK, Work
from .tuning import CACHE_BYTES, FEW, LARGE_ROWS, MANY, RUN

Axes = tuple[int, ...]
Strides = tuple[int, ...]
Layout = tuple[np.dtype, Strides]
Kind = Literal["plain", "weighted", "moments", "values", "exact"]


class Plan(NamedTuple):
    """How the loops over blocks of one layout are shared out between a kernel and Python."""

    kernel: Callable[..., None]
    entry: int  # its address
    work: Work  # to be copied, with the layout in it and no arrays
    working: type
    kind: Kind
    outer: list[Loop]  # the loops that run here
    states: int  # how many of them one run of the kernel takes
    of_state: tuple[int, ...]  # the bytes of a state at each of its addresses
    order: Axes  # of the axes of flat arrays of states, in which the kernel's are fastest
    in_order: bool  # whether that is the order of the block
    kept: tuple[int, ...]  # the shape of the states as a block
    at_once: bool  # whether a slice is best reduced and mapped before the next one is
    pieces: np.ndarray  # of the kernel's loops: a record for each, with offsets for addresses
    piece_size: int  # of elements
    parts: int  # into which they cut slices


@lru_cache(maxsize=256)
def plan(
    shape: tuple[int, ...],
    reduced: tuple[bool, ...],
    x: Layout,
    b: Layout | None,
    where: Layout | None,
    y: Layout | None,
    dtype: str | None,
    kind: Kind,
    short: int,
    in_pieces: bool,
    wait: bool,
) -> Plan:
    """How to run over blocks of a shape.

    Parameters
    ----------
    shape : tuple of int
    reduced : tuple of bool
        For each axis, whether slices run along it.
    x, b, where, y : (dtype, strides)
        Of the elements, of weights or values, of the mask and of the output; None where there is
        no such array.
    dtype : str or None
        What exponentials are computed in, if not what x and b promote to.
    kind : "plain", "weighted", "moments", "values" or "exact"
        What is taken of a slice: see `columns.columns`; for "exact" see `exact_rows.exact_rows`.
    short : int
        Rows that are shorter are worked on side by side, where there are many.
    in_pieces : bool
        Whether the loops are to be cut, if they are long.
    wait : bool
        `in_memory.may_compile()`: a plan that is known has a kernel that others waited for.
    """
    layouts = (x, b, where, y)
    strides = tuple(layout[1] if layout else (0,) * len(shape) for layout in layouts)
    loops = loops_of(shape, reduced, strides)
    if sum(loop.reduced for loop in loops) > 1:
        axes = longest(loop for loop in loops if loop.reduced).axes
        one = tuple(i in axes for i in range(len(shape)))
        return plan(shape, one, *layouts, dtype, kind, short, in_pieces, wait)._replace(
            at_once=False
        )
    dtypes = tuple(layout[0] if layout else None for layout in layouts)
    joint = dtype or promoted_name(*(dtype_name(a) for a in dtypes[:2] if a is not None))
    working: type = np.dtype(dtypes_for(joint).working).type
    item = np.dtype(working).itemsize
    inner = loops[-1] if loops else NO_LOOP
    longest_kept = longest(loop for loop in loops if not loop.reduced)
    if inner.reduced:
        row, column = inner, longest_kept
        side_by_side = row.length < short and column.length >= MANY
    else:
        row = longest(loop for loop in loops if loop.reduced)
        column = inner if inner.length >= min(MANY, longest_kept.length) else longest_kept
        side_by_side = column.length * item >= FEW or row is NO_LOOP
    runs = NO_LOOP
    if (
        column is not inner
        and not inner.reduced
        and inner.length * item >= RUN
        and not (b or where or kind == "exact")
    ):
        runs, column, side_by_side = column, inner, True
    outer = [loop for loop in loops if loop not in (row, column, runs)]
    plane = NO_LOOP
    if side_by_side:
        plane = longest(outer)
        outer = [loop for loop in outer if loop is not plane]
    kept = [loop for loop in (*outer, plane, runs, column) if loop is not NO_LOOP]
    masked = where is not None
    kernel = _kernel(side_by_side, working, kind, masked)
    work = _columns(plane, row, column, runs) if side_by_side else _rows(column, row)
    _set_codecs(work, dtypes, working, kind, column if side_by_side else row)
    times = math.prod(loop.length for loop in outer)
    cheap = kind == "plain" and not side_by_side and math.prod(shape) < LARGE_ROWS
    in_pieces = in_pieces and not cheap
    pieces, parts = cut(work, item, side_by_side, times) if in_pieces else (whole(work), 1)
    states = plane.length * runs.length * column.length
    of_state = (record_dtype(working).itemsize if kind == "exact" else item, 8, 8, 8, 8)
    apart = 0 if y else states * times  # those of parts; what is written has those of slices
    whole_slices = not side_by_side or row.length * LANE_BYTES <= CACHE_BYTES
    order = tuple(axis for loop in kept for axis in loop.axes)
    return Plan(
        kernel=compiled(*kernel),
        entry=address(*kernel),
        work=work,
        working=working,
        kind=kind,
        outer=outer,
        states=states,
        order=order,
        in_order=order == tuple(sorted(order)),
        kept=tuple(n if i in order else 1 for i, n in enumerate(shape)),
        at_once=whole_slices and parts == 1,
        pieces=_records(work, pieces, of_state, apart),
        of_state=of_state,
        piece_size=math.prod(shape) // (times * len(pieces)),
        parts=parts,
    )


def _kernel(side_by_side: bool, working: type, kind: Kind, masked: bool) -> tuple[Any, ...]:
    """The factory of a kernel and its parameters."""
    if side_by_side and kind == "exact":
        return kernels.exact_columns, working, masked
    if side_by_side:
        return kernels.columns, working, kind, masked
    if kind == "exact":
        return kernels.exact_rows, working, masked
    if kind in ("moments", "values"):
        return kernels.row_sums, working, kind == "moments", masked
    return kernels.rows, working, kind == "weighted", masked


def _rows(rows: Loop, elements: Loop) -> Work:
    return _layout({"row": rows, "step": elements}, count=rows.length, length=elements.length)


def _columns(planes: Loop, rows: Loop, columns: Loop, runs: Loop) -> Work:
    loops = {"plane": planes, "row": rows, "step": columns}
    lengths = {"count": planes.length, "length": rows.length}
    if runs is NO_LOOP:
        return _layout(loops, **lengths, width=columns.length)
    width = runs.length * columns.length
    return _layout(loops | {"run": runs}, **lengths, width=width, run=columns.length)


def _layout(loops: dict[str, Loop], **lengths: int) -> Work:
    strides = {
        f"{array}_{name}": stride
        for name, loop in loops.items()
        for array, stride in zip(ARRAYS, loop.strides, strict=True)
    }
    return Work(**lengths, **strides)


def _records(
    work: Work, pieces: tuple[Piece, ...], of_state: tuple[int, ...], apart: int
) -> np.ndarray:
    """A record for each piece; the states of the parts of slices are so many ``apart``."""
    records = np.tile(np.frombuffer(bytes(work), np.int64), (len(pieces), 1))
    for record, piece in zip(records, pieces, strict=True):
        state = piece.state + piece.part * apart
        record[:ADDRESSES] = (*piece.offsets, *(state * size for size in of_state))
        record[[WORK.count, WORK.length, WORK.width]] = piece[3:]
    return records


def _set_codecs(
    work: Work, dtypes: tuple[np.dtype | None, ...], working: type, kind: Kind, lanes: Loop
) -> None:
    """Have the addresses of the functions that load x and b and store y, where they are needed."""
    x, b, _, y = dtypes
    item = np.dtype(working).itemsize
    x_step, b_step, _, y_step = (item,) * 4 if lanes is NO_LOOP else lanes.strides
    # Weights change the elements beside them, which are copied.
    if kind == "weighted" or x != working or x_step != item:
        work.load = codec(x, working)
    if kind == "weighted":
        work.load_b = codec(b, np.float64)
    elif b is not None and (b != working or b_step != item):
        work.load_b = codec(b, working)
    if y is not None and (y != working or y_step != item):
        work.store = address(kernels.store, dtype_name(y), working)


def codec(dtype: Any, working: type) -> int:
    """The address of the function that loads elements of a dtype into the working one."""
    return address(kernels.load, dtype_name(dtype), not dtype.isnative, working)
