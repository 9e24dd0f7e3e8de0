"""Labels of every kind, scores in groups, and what is right of them, group by group."""

import numpy as np
from hypothesis import strategies as st

from ..strategies import chunkings, floats

# x - m is 745 at most where its exponential is not 0, and its rounding is an error of that.
ROUNDED = 745 * 2**-53 + 1e-15

# Labels of every kind, made of small integers whose order they keep.
KINDS = {
    "int64": lambda k: k - 2,
    "far": lambda k: k * 10**15,
    "uint64": lambda k: k.astype("u8") + np.uint64(2**63),
    "int8": lambda k: k.astype("i1"),
    "bool": lambda k: k > 2,
    "float": lambda k: k / 4 - 0.5,
    "float32": lambda k: k.astype("f4"),
    "str": lambda k: np.array(["", "a", "aa", "b", "ü", "z"])[k],
    "long str": lambda k: np.array(["0", "1" * 9, "2", "3", "4", "5"])[k],
    "bytes": lambda k: np.array([b"", b"a", b"aa", b"b", b"c", b"z"])[k],
    "objects": lambda k: np.array(["", "a", "aa", "b", "ü", "z"], object)[k],
    "string": lambda k: np.array(["", "a", "aa", "b", "ü", "z"], np.dtypes.StringDType())[k],
    "date": lambda k: k.astype("M8[D]"),
    "time": lambda k: (k * 10**12).astype("M8[ns]"),
    "difference": lambda k: k.astype("m8[s]"),
    "swapped": lambda k: k.astype(">i4"),
}


def slices(x, *keys):
    """The labels and places of each group, in the order of the labels."""
    places = {}
    for i, label in enumerate(zip(*(key.tolist() for key in keys), strict=True)):
        places.setdefault(label, []).append(i)
    return [(label, places[label]) for label in sorted(places)]


def expected_softmax(x, *keys):
    """In longdouble, group by group."""
    y = np.full(x.shape, np.nan, np.longdouble)
    with np.errstate(all="ignore"):
        for _, places in slices(x, *keys):
            own = x[places].astype(np.longdouble)
            e = np.exp(own - own.max())
            y[places] = e / e.sum()
    return y


def expected_logsumexp(x, *keys):
    values = []
    with np.errstate(all="ignore"):
        for _, places in slices(x, *keys):
            own = x[places].astype(np.longdouble)
            m = own.max()
            finite = np.isfinite(m)
            values.append(m + np.log(np.exp(own - m).sum()) if finite else m)
    return np.array(values, np.longdouble)


def beside_infinity(x, by):
    """Of the elements of groups without softmax, which have +inf and not NaN beside them."""
    found = np.zeros(x.shape, bool)
    for _, places in slices(x, by):
        found[places] = (x[places].max() == np.inf) & (x[places] != np.inf)
    return found[np.isnan(expected_softmax(x, by))]


@st.composite
def labelled(draw):
    """Scores, numbers of groups below 6, and chunks."""
    n = draw(st.integers(1, 12))
    x = np.array(draw(st.lists(floats(), min_size=n, max_size=n)))
    k = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)))
    return x, k, draw(chunkings((n,)))
