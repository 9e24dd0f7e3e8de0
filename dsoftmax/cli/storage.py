"""The common parts of all array formats on disk, and the chunks to read arrays in.

Only a path travels to workers. A memory map would be pickled with all its data.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import numpy as np

from .zarr_conventions import Decoding

_MIB = 2**20


class StorageError(Exception):
    """A file that cannot be read or written: one sentence that names it and says what to do."""


class MisuseError(StorageError):
    """A name or an argument that could not be right whatever the files hold."""


@contextlib.contextmanager
def reached(verb: str, path: Any) -> Iterator[None]:
    """Turn an OSError, as of a directory that may not be entered, into a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {verb} {path}: {one_line(error)}") from error


@dataclass(frozen=True)
class StoredArray(ABC):
    """An array on disk or at a URL: indexing reads it, in any process.

    Attributes
    ----------
    path : str
        Absolute, so that it means the same in every process.
    shape : tuple of int
    dtype : numpy.dtype
    grain : tuple of int
        The smallest block that can be read without waste.
    nearest : tuple of int
        The axes, from the one whose neighbours are adjacent on disk.
    decoding : Decoding, optional
        How to turn the numbers on disk into values, if they are not the values.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    grain: tuple[int, ...]
    nearest: tuple[int, ...]
    decoding: Decoding | None = None

    format: ClassVar[str]

    @abstractmethod
    def __getitem__(self, index: Any) -> Any: ...

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

        Its keys are new each time: on a shared scheduler, no job can be given chunks that another
        one read before the file changed.
        """
        return da.from_array(
            self,
            chunks=chunks,
            name=f"read-{self.format}-{secrets.token_hex(16)}",
            meta=np.empty((0,) * self.ndim, self.dtype),
            asarray=True,
            inline_array=True,
        )


class WritableArray(StoredArray):
    """One that can be a destination: assigning to an index writes, in any process."""

    @abstractmethod
    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None: ...

    @classmethod
    def check_dtype(cls, dtype: np.dtype) -> None:
        """Raise StorageError for a dtype that the format does not have."""


def plan_chunks(
    shape: tuple[int, ...],
    itemsize: int,
    limit: int,
    grain: tuple[int, ...] = (),
    order: Iterable[int] = (),
) -> tuple[int, ...]:
    """Chunks of at most ``limit`` bytes, made of whole grains, of at least one.

    They grow axis by axis in the given ``order``, each to its full length before the next. By
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
    """The size of a chunk in bytes: ``most``, or less if that would give fewer than 16 chunks.

    As few as 4 will do if they then hold whole slices along ``axes``, which are read only once.
    """
    limit = min(most, max(_MIB, source.nbytes // 16))
    pairs = enumerate(zip(source.grain, source.shape, strict=True))
    slices = math.prod(n if axis in axes else min(g, n) for axis, (g, n) in pairs)
    slices *= source.dtype.itemsize
    return slices if limit < slices <= min(most, source.nbytes // 4) else limit


def remove(path: Any) -> None:
    """Remove a file or directory if it exists; for a Zarr array, the metadata first."""
    if not isinstance(path, Path):
        path.remove()
    elif path.is_dir():
        (path / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def one_line(error: BaseException) -> str:
    """The message and notes of an exception, on one line, without the number of an OSError."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
    return "; ".join([message, *getattr(error, "__notes__", ())])
