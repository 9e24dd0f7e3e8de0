"""Arrays on disk: .npy files and Zarr arrays that are read and written block by block.

What travels to workers is a path. A memory map would be pickled with all its data.
"""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import numpy as np
from numpy.lib.format import MAGIC_PREFIX, open_memmap

_MIB = 2**20
_CONTIGUOUS_RUN = 2**16  # bytes: the least to read at a time along the contiguous axis of a .npy


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
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    grain: tuple[int, ...]
    nearest: tuple[int, ...]

    format: ClassVar[str]

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
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


class NpyFile(StoredArray):
    """A .npy file; reading maps it into memory and never unpickles."""

    format = "npy"

    def __getitem__(self, index: Any) -> Any:
        return open_memmap(self.path, mode="r")[index]

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        # Written, not mapped: measured 3 times as fast into fresh pages; a full disk is an OSError
        # and no SIGBUS; and hosts that share a file system do not share pages.
        block = np.asarray(value, self.dtype, order="C")
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
        """The existing file, or StorageError for what is no .npy or would need pickle."""
        try:
            array = open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot read {path}: {_npy_problem(path, error)}") from error
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        nearest = tuple(range(array.ndim))[:: 1 if fortran else -1]
        run = max(1, _CONTIGUOUS_RUN // max(1, array.dtype.itemsize))
        grain = tuple(run if axis in nearest[:1] else 1 for axis in range(array.ndim))
        return cls(str(path), array.shape, array.dtype, grain, nearest)

    @classmethod
    def create(cls, path: Path, array: da.Array, like: StoredArray) -> NpyFile:
        """A new file with room for ``array``: a full disk is an error here, not hours later."""
        open_memmap(path, mode="w+", dtype=array.dtype, shape=array.shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file, _unless(errno.EOPNOTSUPP, errno.EINVAL):
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return cls.at(path)


class ZarrArray(StoredArray):
    """A Zarr array in a directory."""

    format = "zarr"

    def __getitem__(self, index: Any) -> Any:
        try:
            return import_zarr().open_array(self.path, mode="r")[index]
        except Exception as error:  # of any kind: codecs raise their own, and none says where
            where = ", ".join(f"{i.start}:{i.stop}" for i in index)
            error.add_note(f"while reading [{where}] of {self.path}")
            raise

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        import_zarr().open_array(self.path, mode="r+")[index] = value
        # A job that was given up removes its output, and a chunk written at that moment would bring
        # the directory back: a writer that finds the metadata gone clears up behind itself.
        if not Path(self.path, "zarr.json").exists():
            remove(Path(self.path))
            raise FileNotFoundError(errno.ENOENT, "removed while being written", self.path)

    @classmethod
    def at(cls, path: Path) -> ZarrArray:
        """The existing array, or StorageError for a group and what is no Zarr."""
        zarr = import_zarr()
        if not any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
            raise StorageError(f"cannot read {path}: the directory is no Zarr array")
        try:
            array = zarr.open(str(path), mode="r")
        except Exception as error:  # Zarr lets the errors of its parsers through
            raise StorageError(f"cannot read {path} as Zarr: {one_line(error)}") from error
        if isinstance(array, zarr.Group):
            arrays = sorted(str(path / name) for name, _ in array.arrays())
            hint = f"name one of its arrays: {', '.join(arrays)}" if arrays else "it has no arrays"
            raise StorageError(f"{path} is a Zarr group, not an array; {hint}")
        grain = array.shards or array.chunks
        return cls(str(path), array.shape, array.dtype, grain, tuple(range(array.ndim))[::-1])

    @classmethod
    def create(cls, path: Path, array: da.Array, like: StoredArray) -> ZarrArray:
        """A new array in which no two blocks of ``array`` share a chunk.

        It gets the chunks of a like Zarr array where these will do.
        """
        zarr = import_zarr()
        chunks, shards = tuple(map(_common_length, array.chunks)), None
        if isinstance(like, ZarrArray) and _cut_between(like, array):
            source = zarr.open_array(like.path, mode="r")
            chunks, shards = source.chunks, source.shards
        try:
            zarr.create_array(
                str(path),
                shape=array.shape,
                dtype=array.dtype,
                chunks=chunks,
                shards=shards,
                zarr_format=3,
            )
        except (TypeError, ValueError) as error:
            raise StorageError(
                f"Zarr cannot store {array.dtype}; write a .npy file instead"
            ) from error
        return cls.at(path)


FORMATS: dict[str, type[NpyFile] | type[ZarrArray]] = {".npy": NpyFile, ".zarr": ZarrArray}


def open_source(path: str) -> NpyFile | ZarrArray:
    """What can be read at a path: a .npy file, or the directory of a Zarr array.

    Raises
    ------
    StorageError
        If there is nothing, or something else.
    """
    where = local_path(path)
    if where.is_dir():
        return ZarrArray.at(where)
    if where.exists() and where.suffix != ".npy":
        raise StorageError(f"{path} is neither a .npy file nor the directory of a Zarr array")
    return NpyFile.at(where)


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


def import_zarr() -> Any:
    """Zarr 3, or StorageError with the line that installs it."""
    try:
        import zarr
    except ImportError:
        zarr = None
    if not hasattr(zarr, "create_array"):
        raise StorageError(
            'Zarr arrays need zarr 3: python -m pip install "dsoftmax[zarr]", or use .npy files'
        )
    return zarr


def one_line(error: BaseException) -> str:
    """What an exception and its notes say, on one line and without the number of an OSError."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
    return "; ".join([message, *getattr(error, "__notes__", ())])


@contextlib.contextmanager
def _unless(*numbers: int) -> Any:
    """Ignore the OSErrors of these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _common_length(chunks: tuple[int, ...]) -> int:
    """The largest length of which every block along an axis starts at a multiple."""
    return max(1, math.gcd(*chunks[:-1]) or chunks[-1])


def _cut_between(grains: StoredArray, array: da.Array) -> bool:
    """Whether the blocks of an array are made of whole grains."""
    pairs = zip(grains.grain, array.chunks, strict=True)
    return grains.shape == array.shape and all(n % g == 0 for g, c in pairs for n in c[:-1])


def _npy_problem(path: Path, error: Exception) -> str:
    """Why a file cannot be mapped, in other words than NumPy's."""
    if isinstance(error, OSError):
        return one_line(error)
    with path.open("rb") as file:
        start = file.read(len(MAGIC_PREFIX))
    if start.startswith(b"\x80"):
        return "it is a pickle, and those are never loaded; save it as an array with numpy.save"
    if start.startswith(b"PK"):
        return "it is a .npz archive; save its arrays one by one with numpy.save"
    if start != MAGIC_PREFIX:
        return "it is not in the .npy format"
    if "Python objects" in str(error):
        return "it holds pickled Python objects, which are never loaded; save an array of numbers"
    if "mmap length" in str(error) or "EOF" in str(error):
        return "it is shorter than its header says; it was not written to the end"
    return one_line(error)
