"""Arrays in .npy files."""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.lib.format import MAGIC_PREFIX, open_memmap

from .storage import StorageError, StoredArray, WritableArray, one_line

_CONTIGUOUS_RUN = 2**16  # bytes: the least worth reading along the contiguous axis


class NpyFile(WritableArray):
    """A .npy file; reading maps it into memory and never unpickles."""

    format = "npy"

    def __getitem__(self, index: Any) -> Any:
        return open_memmap(self.path, mode="r")[index]

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        # Written, not mapped: measured 3 times as fast into fresh pages; a full disk raises
        # OSError, not SIGBUS; and hosts that share a file system do not share pages.
        block = np.asarray(value, self.dtype, order="C")
        if block.dtype.kind in "Mm":  # of which NumPy gives no buffer
            block = block.view(np.int64)
        partly = [i for i, n in enumerate(self.shape) if block.shape[i] != n]
        lead = max(partly, default=0)  # the axes from here on are contiguous, in block and file
        strides = [self.dtype.itemsize * math.prod(self.shape[i + 1 :]) for i in range(self.ndim)]
        start = sum(s.start * stride for s, stride in zip(index, strides, strict=True))
        start += os.path.getsize(self.path) - self.nbytes  # the header
        with open(self.path, "r+b") as file:
            for position in np.ndindex(*block.shape[:lead]):
                file.seek(start + sum(map(operator.mul, position, strides)))
                file.write(block[position].data)

    @classmethod
    def at(cls, path: Path) -> NpyFile:
        """The existing file; StorageError if it is not a .npy file or would need pickle."""
        try:
            array = open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            problem = one_line(error)
            if isinstance(error, ValueError):
                with path.open("rb") as file:
                    problem = npy_problem(file.read(len(MAGIC_PREFIX)), error)
            raise StorageError(f"cannot read {path}: {problem}") from error
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        nearest = tuple(range(array.ndim))[:: 1 if fortran else -1]
        run = max(1, _CONTIGUOUS_RUN // max(1, array.dtype.itemsize))
        grain = tuple(run if axis in nearest[:1] else 1 for axis in range(array.ndim))
        return cls(str(path), array.shape, array.dtype, grain, nearest)

    @classmethod
    def create(
        cls, path: Path, array: da.Array, like: StoredArray, dropped: tuple[int, ...] = ()
    ) -> NpyFile:
        """A new file with room for ``array``: a full disk is an error here, not hours later."""
        open_memmap(path, mode="w+", dtype=array.dtype, shape=array.shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file, _unless(errno.EOPNOTSUPP, errno.EINVAL):
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return cls.at(path)


@contextlib.contextmanager
def _unless(*numbers: int) -> Any:
    """Ignore OSErrors with these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def npy_problem(start: bytes, error: Exception) -> str:
    """Why a file that starts so cannot be read, in clearer words than NumPy's."""
    if start.startswith(b"\x80"):
        return "it is a pickle, and those are never loaded; save it as an array with numpy.save"
    if start.startswith(b"PK"):
        return "it is a .npz archive; name one of its arrays, as in zip://arr_0.npy::archive.npz"
    if not start.startswith(MAGIC_PREFIX):
        return "it is not in the .npy format"
    if "Python objects" in str(error):
        return "it holds pickled Python objects, which are never loaded; save an array of numbers"
    if "mmap length" in str(error) or "EOF" in str(error):
        return "it is shorter than its header says; it was not written to the end"
    return one_line(error)
