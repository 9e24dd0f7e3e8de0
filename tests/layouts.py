"""Arrays with the same elements at other places in memory, for any array library."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace


class Layout(NamedTuple):
    """Where in memory the elements of an array are: ``view(lay(x), x.shape)`` has those of x."""

    lay: Callable = np.ascontiguousarray  # by NumPy
    view: Callable = lambda base, shape: base  # by any library


def _transposed(base, shape):
    return array_namespace(base).permute_dims(base, tuple(range(base.ndim))[::-1])


def _unaligned(base, shape):
    return array_namespace(base).reshape(base[3:], shape)


def _first_column(base, shape):
    """Of all columns; these elements are others than those of the array."""
    return array_namespace(base).broadcast_to(base[:, :1, ...], shape)


LAYOUTS = {
    "C": Layout(),
    "Fortran": Layout(np.asfortranarray),
    "transposed": Layout(lambda x: np.ascontiguousarray(x.T), _transposed),
    "sliced": Layout(
        lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=2),
        lambda base, shape: base[::2, :, ::3],
    ),
    "negative strides": Layout(
        lambda x: np.ascontiguousarray(x[::-1, :, ::-1]),
        lambda base, shape: base[::-1, :, ::-1],
    ),
    "unaligned": Layout(lambda x: np.concatenate([np.zeros(3, x.dtype), x.ravel()]), _unaligned),
    "byte-swapped": Layout(lambda x: x.astype(x.dtype.newbyteorder())),
    "broadcast": Layout(view=_first_column),
}


class Laid:
    """An array for a `Block` whose library is to lay it out as a `Layout` says."""

    def __init__(self, x, layout):
        self.base, self.layout, self.shape = LAYOUTS[layout].lay(x), layout, x.shape

    def viewed(self, base):
        return LAYOUTS[self.layout].view(base, self.shape)

    def numpy(self):
        x = self.viewed(self.base)
        x.flags.writeable = False
        return x


# Reduced axes that do not run through memory as one.
APART = [
    ((2000, 3, 50), (0, 2)),
    ((50, 3, 2000), (0, 2)),
    ((3, 2000, 3), (0, 2)),
    ((3, 20, 70), (0, 2)),
    ((70, 2, 30, 2, 20, 2), (0, 2, 4)),
    ((12, 11, 10, 9, 8), (0, 2, 4)),
    ((12, 11, 10, 9, 8), (1, 3)),
    ((100, 1, 50, 3, 1, 7), (0, 1, 5)),
]
