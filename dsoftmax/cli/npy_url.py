"""Arrays in .npy files at URLs, of which only the bytes that are needed are read."""

from __future__ import annotations

import io
import itertools
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .npy import npy_problem
from .storage import StorageError, StoredArray
from .urls import Url, reported

_HEAD = 2**16  # bytes: what is read to find the header
_RUN = 2**20  # bytes: the least worth a request, along the contiguous axis
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class NpyUrl(StoredArray):
    """A .npy file at a URL; each block is read by requests for ranges of bytes.

    Attributes
    ----------
    start : int
        Where the elements begin, in bytes.
    fortran : bool
        Whether the first axis is the contiguous one.
    """

    start: int = 0
    fortran: bool = False

    format = "npy"

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        index += (slice(None),) * (self.ndim - len(index))
        taken = [range(n)[i] for n, i in zip(self.shape, index, strict=True)]
        # All from the first to the last that is taken, and which of them are.
        block, within = [], []
        for one in taken:
            ends = (one[0], one[-1]) if isinstance(one, range) and one else (one, one)
            empty = isinstance(one, range) and not one
            block.append(slice(0, 0) if empty else slice(min(ends), max(ends) + 1))
            within.append(slice(None, None, one.step) if isinstance(one, range) else 0)
        return self._block(block)[tuple(within)]

    def _block(self, block: list[slice]) -> np.ndarray:
        """The elements of a block, in one request for each run of contiguous bytes."""
        turn = slice(None, None, -1 if self.fortran else 1)
        shape, block = self.shape[turn], block[turn]
        lengths = tuple(one.stop - one.start for one in block)
        if not math.prod(lengths):
            return np.empty(lengths[turn], self.dtype)
        partly = [i for i, n in enumerate(shape) if lengths[i] != n]
        lead = max(partly, default=0)  # the axes from here on are contiguous
        strides = [self.dtype.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
        first = self.start + sum(one.start * n for one, n in zip(block, strides, strict=True))
        places = itertools.product(*(range(n) for n in lengths[:lead]))
        starts = [first + sum(map(operator.mul, place, strides)) for place in places]
        size = self.dtype.itemsize * math.prod(lengths[lead:])
        url = Url(self.path)
        fs, name = url.fs, url.path
        ends = [start + size for start in starts]
        parts = fs.cat_ranges([name] * len(starts), starts, ends, on_error="raise")
        if any(len(part) != size for part in parts):
            given = next(len(part) for part in parts if len(part) != size)
            raise OSError(
                f"{self.path} gave {given:,} bytes instead of {size:,}: its server sends whole "
                "files only, or the file is cut off"
            )
        found = np.frombuffer(b"".join(parts), self.dtype).reshape(lengths)
        return found.T if self.fortran else found

    @classmethod
    def at(cls, url: Url) -> NpyUrl:
        """The existing file; StorageError if it is not a .npy file or would need pickle."""
        with reported("read", url):
            head = url.fs.cat_file(url.path, start=0, end=_HEAD)
            size = url.fs.info(url.path).get("size")
        if len(head) > _HEAD:
            raise StorageError(
                f"cannot read {url}: its server sends whole files only, and no parts; download the "
                "file, and give its path"
            )
        file = io.BytesIO(head)
        try:
            version = npy.read_magic(file)
            if version not in _READERS:  # of structured dtypes alone
                raise ValueError(f"version {version[0]} of the format is not supported")
            shape, fortran, dtype = _READERS[version](file)
            if dtype.hasobject:
                raise ValueError("Python objects")
            start = file.tell()
            if size is not None and size < start + math.prod(shape) * dtype.itemsize:
                raise ValueError("EOF")
        except ValueError as error:
            raise StorageError(f"cannot read {url}: {npy_problem(head, error)}") from error
        fortran = fortran and len(shape) > 1
        nearest = tuple(range(len(shape)))[:: 1 if fortran else -1]
        run = max(1, _RUN // max(1, dtype.itemsize))
        grain = tuple(run if axis in nearest[:1] else 1 for axis in range(len(shape)))
        return cls(str(url), shape, dtype, grain, nearest, start=start, fortran=fortran)
