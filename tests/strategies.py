"""Hypothesis strategies: arrays with special values, chunkings, axes."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SPECIAL = (0.0, -0.0, 1.0, 745.0, -745.0, 1e300, -1e300, 5e-324)
INFINITE = (np.inf, -np.inf, np.nan)
# Slices of whose states the laws are tried: every kind of maximum, ties, and nothing.
STATES = ([0.0], [-np.inf], [np.inf], [np.nan], [], [1.0, 1.0], [2.0, -np.inf], [-745.0, 3.0])


def floats(*, special=True, width=64):
    """Mostly moderate numbers, some extreme ones and, if wanted, infinities and NaN."""
    moderate = st.floats(-50, 50, width=width)
    extreme = st.sampled_from(
        [v for v in SPECIAL if np.isfinite(np.dtype(f"f{width // 8}").type(v))]
    )
    choices = [moderate, moderate, moderate, extreme]
    if special:
        choices.append(st.sampled_from(INFINITE))
    return st.one_of(choices)


@st.composite
def arrays(draw, *, min_dims=1, max_dims=3, max_side=6, min_side=1, special=True):
    shape = draw(
        hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)
    )
    return draw(hnp.arrays(np.float64, shape, elements=floats(special=special)))


@st.composite
def chunkings(draw, shape):
    """Any way to cut a shape, blocks of length 0 included."""

    def cut(n):
        sizes = []
        while n > 0:
            sizes.append(draw(st.integers(0, n)) if len(sizes) < 8 else n)
            n -= sizes[-1]
        return tuple(sizes) or (0,)

    return tuple(cut(n) for n in shape)


@st.composite
def axes(draw, ndim):
    """None, an int or a tuple of ints, of either sign."""
    if draw(st.booleans()):
        return None
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True))
    signed = tuple(i - ndim if draw(st.booleans()) else i for i in chosen)
    return signed[0] if len(signed) == 1 and draw(st.booleans()) else signed


@st.composite
def chunked_arrays(draw, **kwargs):
    """(NumPy array, chunks, axis)."""
    x = draw(arrays(**kwargs))
    return x, draw(chunkings(x.shape)), draw(axes(x.ndim))
