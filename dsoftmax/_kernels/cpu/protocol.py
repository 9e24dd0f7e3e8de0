"""What the compiled kernels and their callers agree on.  Does not import Numba."""

from __future__ import annotations

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
