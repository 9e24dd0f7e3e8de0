"""Thresholds of the compiled kernels: which loops, which kernel, how much at a time.

What the code of the kernels depends on is in `protocol`.
"""

from __future__ import annotations

# Rows shorter than this are worked on side by side if there are MANY of them; if a state is given,
# there is less to do for each row.  FEW columns are worked on one by one.
SHORT_ROW, SHORT_GIVEN, MANY, FEW = 24, 16, 16, 4

# Fewer than MANY columns of many planes are worked on side by side, if they are RUN at least; else
# one column of all planes is. Beside that, 13 columns of 7 rows take 0.9 ns for a float32 instead
# of 1.9, 8 columns of 300 a quarter of the time, and 4 or 6 columns as long or longer.
RUN = 8

# Columns that fill few vectors, or none, get so many of their rows into each row, and those again,
# as long as they are NARROW and there are LONG columns of them.
NARROW, TOGETHER, LONG = 256, 16, 64

# Of the caches: what a panel of columns may take to be read twice, and the size of a line.
CACHE_BYTES, CACHE_LINE = 1 << 19, 64

# Top-k takes a segment at a time, which stays in the second-level cache, and looks at the tiles
# that may hold one of the k best in runs of at least so many elements.
SEGMENT_BYTES = 1 << 18
SHORTEST_RUN = 128

# Arrays in memory are cut into pieces of so many elements at least, which take 20 us, and into so
# many at most; slices are cut, too, where their number gives fewer than ENOUGH for many cores.
PIECE, MOST_PIECES, ENOUGH = 1 << 16, 64, 16
