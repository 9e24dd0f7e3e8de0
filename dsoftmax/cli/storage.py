"""Arrays on disk, whatever their format: what they have in common, and chunks to read them in.

What travels to workers is a path. A memory map would be pickled with all its data.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import numpy as np

from .zarr_conventions import Decoding

_MIB = 2**20


class StorageError(Exception):
    """A file that cannot be read or written: one sentence that names it and says what to do."""


@dataclass(frozen=True)
class StoredArray:
    """An array on disk: indexing reads and assigning to an index writes, wherever it is done.

    Attributes
    ----------
    path : str
        Absolute, so that it means the same in every process.
    shape : tuple of int
    dtype : numpy.dtype
    grain : tuple of int
        The smallest block that is read whole at no loss.
    nearest : tuple of int
        The axes, from the one whose neighbours lie next to each other on disk.
    decoding : Decoding, optional
        What makes values of the numbers on disk, if these are not the values.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    grain: tuple[int, ...]
    nearest: tuple[int, ...]
    decoding: Decoding | None = None

    format: ClassVar[str]

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The size of the array in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, chunks: tuple[int, ...]) -> da.Array:
        """A Dask array of the file.

        Its keys are new each time: on a scheduler with several users no job can be given chunks
        that another one read before the file changed.
        """
        return da.from_array(
            self,
            chunks=chunks,
            name=f"read-{self.format}-{secrets.token_hex(16)}",
            meta=np.empty((0,) * self.ndim, self.dtype),
            asarray=True,
            inline_array=True,
        )


def local_path(path: str) -> Path:
    """The path, absolute and without links; StorageError for a URL and for an empty path."""
    if not path:
        raise StorageError("a path is empty; name a .npy file or the directory of a Zarr array")
    if "://" in path:
        raise StorageError(f"{path} is a URL; only local paths are read and written")
    return Path(path).resolve()


def plan_chunks(
    shape: tuple[int, ...],
    itemsize: int,
    limit: int,
    grain: tuple[int, ...] = (),
    order: Iterable[int] = (),
) -> tuple[int, ...]:
    """Chunks of at most ``limit`` bytes that are made of whole grains, at least of one.

    They grow axis by axis in the given ``order``, and each to the full length before the next. By
    default a grain is one element, and the order is that of C.
    """
    grain = grain or (1,) * len(shape)
    order = order or tuple(range(len(shape)))[::-1]
    chunks = [max(1, min(pair)) for pair in zip(grain, shape, strict=True)]
    for axis in order:
        room = max(1, limit // (math.prod(chunks) * itemsize))
        grains = math.ceil(shape[axis] / chunks[axis])
        pieces = max(1, math.ceil(grains / room))
        chunks[axis] = max(1, min(shape[axis], chunks[axis] * math.ceil(grains / pieces)))
    return tuple(chunks)


def default_limit(source: StoredArray, axes: Iterable[int], most: int) -> int:
    """Bytes of a chunk: ``most``, or less of an array of which that would give under 16 chunks.

    Down to 4 are taken if their slices along ``axes`` are whole then: these are read only once.
    """
    limit = min(most, max(_MIB, source.nbytes // 16))
    pairs = enumerate(zip(source.grain, source.shape, strict=True))
    slices = math.prod(n if axis in axes else min(g, n) for axis, (g, n) in pairs)
    slices *= source.dtype.itemsize
    return slices if limit < slices <= min(most, source.nbytes // 4) else limit


def remove(path: Path) -> None:
    """Remove a file or directory, if it is there; of a Zarr array the metadata first."""
    if path.is_dir():
        (path / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def one_line(error: BaseException) -> str:
    """What an exception and its notes say, on one line and without the number of an OSError."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
    return "; ".join([message, *getattr(error, "__notes__", ())])
