"""Thresholds of the compiled kernels: which loops, which kernel, how much at a time.

What the code of the kernels depends on is in `protocol`.
"""

from __future__ import annotations

# Rows shorter than this are worked on side by side if there are MANY of them. If a state is given,
# there is less to do for each row: then those of fewer bytes than SHORT_GIVEN, a vector.
SHORT_ROW, SHORT_GIVEN, MANY = 24, 64, 16

# Columns of which a row has fewer bytes than FEW are worked on one by one: 8 of float32 take 2.4 ns
# for an element instead of 4.7, and 8 of float64 4.7 instead of 2.5.
FEW = 64

# Fewer than MANY columns of many planes are worked on side by side, if they are RUN bytes at least;
# else one column of all planes is. 8 of float32 and 4 of float64 take as long either way, 13 of
# float32 half the time.
RUN = 32

# Rows of a table of fewer bytes than NARROW get so many of them TOGETHER into each row, if there
# are LONG elements: a call more, and a merge.
NARROW, TOGETHER, LONG = 64, 16, 1 << 19

# Of the caches: what a panel of columns may take to be read twice, and the size of a line.
CACHE_BYTES, CACHE_LINE = 1 << 19, 64

# Top-k takes a segment at a time, which stays in the second-level cache, and looks at the tiles
# that may hold one of the k best in runs of at least so many elements.
SEGMENT_BYTES = 1 << 18
SHORTEST_RUN = 128

# Arrays in memory are cut into pieces of so many elements at least, which take 20 us, and into so
# many at most; slices are cut, too, where their number gives fewer than ENOUGH for many cores.
PIECE, MOST_PIECES, ENOUGH = 1 << 16, 64, 16

# Plain slices along the fastest axis take so little, 0.3 to 0.9 ns an element, that one thread is
# done with fewer elements than LARGE_ROWS before two are: these have to be woken up, and what their
# pieces give is to be merged.
LARGE_ROWS = 1 << 20

# A thread takes as many pieces, before it is back in Python, as have MOST_AT_A_TIME elements, which
# take 5 ms; and records are made for as many passes of the outer loops at a time as MOST_PASSES.
MOST_AT_A_TIME, MOST_PASSES = 1 << 23, 1 << 10
