"""What the compiled kernels and their callers agree on.  Does not import Numba.

A kernel takes the address of a record of 64-bit integers.  Callers set its fields by name; kernels
read them at the same names of `WORK` and `SELECTION`, which have the places of the fields.
"""

from __future__ import annotations

from collections import namedtuple
from ctypes import Structure, addressof, c_int64, sizeof
from typing import Any

# With this the kernel of rows leaves the maxima of its tiles, row by row, on its scratch memory.
MAXIMA = 8

# A tile is what a kernel works on at a time: small enough that it stays in the first-level cache
# with all that is made of it.
TILE_BYTES = 8192
LANE_BYTES = 2048  # of one row of columns that are worked on together
# Slices of up to so many elements fit in one tile of columns; of longer ones it takes half as many
# rows, and twice as many columns.
SHORT = 16

SCRATCH_BYTES = 80 * 1024
MAXIMA_AT = 64 * 1024  # in there; 16 KiB are enough for the rows of a segment of top-k

# Of the kernels of groups: how many exponentials are taken at a time, the scratch memory for them,
# and the width of a table of states: m, w, s and its error, or with moments also t and q with
# theirs. A state does not cross a line of the cache if the table begins with one. Sums of elements
# are scaled as their exponentials are (`exp.SCALE`).
GROUP_TILE = 512
GROUP_SCRATCH_BYTES = 2 * 8 * GROUP_TILE
GROUP_STATE, GROUP_MOMENTS = 4, 8
GROUP_SCALE = 2.0**64

# Of softmax(x) @ v: the part of a row of x that is multiplied with rows of v at a time. These stay
# in the first-level cache if they are of 64 elements.
ATTENTION_TILE_BYTES = 512

# Of Gumbel noise: how many bits are compared with one limit, and by how much that is above what
# noise may be off by, which is 1e-14 at most.
RANDOM_TILE, NOISE_ROUNDINGS = 64, 1e-12


class Record(Structure):
    """Integers of 64 bits with names; what is not given is 0."""

    @property
    def address(self) -> int:
        """Where the fields are."""
        return addressof(self)


def _integers(names: str) -> list[tuple[str, type]]:
    return [(name, c_int64) for name in names.split()]


def _places(record: type[Record]) -> Any:
    names = [field[0] for field in record._fields_]
    return namedtuple(f"{record.__name__}Places", names)(*range(len(names)))


class Work(Record):
    """What the kernels of rows and of columns work on, and how it lies in memory.

    - x, b, where, y: addresses of the elements, of the weights or values, of the mask (a byte for
      each element, 0 where it is out) and of the output; 0 where there are none;
    - m, w, s, t, q: addresses of the states; sums of values are at t;
    - count, length, width: ``count`` rows of ``length``, or ``count`` planes of ``width`` columns
      of ``length``;
    - x_plane ... y_step: distances in bytes between planes, between rows, and between the elements
      of a row, which for columns is the distance of one column from the next;
    - run: how many columns are at that distance, 0 for all of them; then come as many, at a
      distance of x_run or y_run from those; with no weights, values or mask;
    - load, load_b, store: addresses of the functions of `codecs` that load and store tiles, 0 where
      elements are contiguous and of the working dtype; with weights, load and load_b are needed;
    - scratch: address of SCRATCH_BYTES, at a line of the cache;
    - mode: see `modes`, and MAXIMA.
    """

    _fields_ = _integers(
        "x b where y m w s t q count length width x_plane b_plane where_plane y_plane "
        "x_row b_row where_row y_row x_step b_step where_step y_step "
        "load load_b store scratch mode run x_run b_run where_run y_run"
    )


class Selection(Record):
    """What the kernels of top-k work on, and how it lies in memory.

    - x, values, indices: addresses of the elements and of the results, k of each slice;
    - m, w, s: addresses of the states, segment by segment, if there are to be any;
    - count, length: number and length of the slices;
    - x_row, x_step: distances in bytes between slices and between elements;
    - k: from 1 to the length;
    - segment, run: how many elements make one; together: how many slices are worked on at a time;
    - load: address of the function of `codecs` that loads a tile, or 0;
    - rows, work: addresses of the kernel of `rows` and of its `Work` record, whose arrays, count
      and length are set for each segment; 0 for no states;
    - scratch, rows_scratch: addresses of SCRATCH_BYTES each.
    """

    _fields_ = _integers(
        "x values indices m w s count length x_row x_step k segment run together "
        "load rows work scratch rows_scratch"
    )


class Running(Record):
    """What the kernel of running sums works on, and how it lies in memory.

    - x, y: addresses of the elements and of the output;
    - m, d, lost: addresses of the states of what comes before, one of each slice, in float64; they
      are written to;
    - count, length: number and length of the slices;
    - x_row, x_step, y_row, y_step: distances in bytes between slices and between elements;
    - load, store: addresses of the functions of `codecs` that load tiles of float64 and store those
      of the working dtype, 0 where elements are contiguous and of that dtype;
    - scratch: address of SCRATCH_BYTES, at a line of the cache.
    """

    _fields_ = _integers("x y m d lost count length x_row x_step y_row y_step load store scratch")


WORK, SELECTION, RUNNING = _places(Work), _places(Selection), _places(Running)
# The fields of `Work` that are addresses of arrays come first: x, b, where and y, then the states.
ADDRESSES, RECORD_BYTES = 9, sizeof(Work)
