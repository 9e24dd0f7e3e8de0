"""A destination that appears only when it is complete."""

from __future__ import annotations

import errno
from pathlib import Path
from types import TracebackType
from typing import Any

import dask.array as da
import numpy as np
from dask.utils import format_bytes

from .formats import FORMATS, place
from .npy import NpyFile
from .staging import AtUrl, OnDisk, Uploaded
from .storage import MisuseError, StorageError, StoredArray, WritableArray, one_line, reached
from .urls import Url
from .zarr import ZarrArray, import_zarr

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Destination:
    """A .npy file or Zarr array that is put together out of sight, and appears when complete.

    A context manager: output not committed by its end is removed.

    Parameters
    ----------
    path : str
        A path or URL that ends in .npy or .zarr.
    overwrite : bool
        Whether to replace an existing array, once the new one is complete.
    *sources : StoredArray
        What is being read, which is never overwritten; the first gives names and attributes.

    Raises
    ------
    StorageError
        If the path cannot be a destination.
    """

    def __init__(self, path: str, overwrite: bool, *sources: StoredArray) -> None:
        self.path = place(path)
        self.source = sources[0]
        self.committed = False
        if self.path.suffix not in FORMATS:
            raise MisuseError(
                f"{path} ends in neither .npy nor .zarr; give DST one of these endings"
            )
        self._format = FORMATS[self.path.suffix]
        if self._format is ZarrArray:
            import_zarr()
        with reached("write", self.path):
            self._check_place(path, overwrite, sources)
            self._staging = self._stage()

    def _check_place(self, path: str, overwrite: bool, sources: tuple[StoredArray, ...]) -> None:
        if isinstance(self.path, Url):
            self.path.check_writable()
        elif not self.path.parent.is_dir():
            raise StorageError(f"cannot write {path}: {self.path.parent} is not a directory")
        for source in sources:
            _check_apart(self.path, source.path)
        self._replaces = self.path.exists()
        if self._replaces and not overwrite:
            raise StorageError(f"{path} exists; choose another name, or give --overwrite")
        if self._replaces:
            _check_replaceable(self.path, self._format)

    def _stage(self) -> OnDisk | AtUrl | Uploaded:
        if isinstance(self.path, Path):
            return OnDisk(self.path)
        return (AtUrl if self._format is ZarrArray else Uploaded)(self.path)

    def check_dtype(self, dtype: np.dtype) -> None:
        """Raise StorageError for a dtype that the format does not have."""
        self._format.check_dtype(dtype)

    def write(self, array: da.Array, dropped: tuple[int, ...] = ()) -> da.Array:
        """Make room for an array; the lazy count of its elements, which this returns, writes them.

        Parameters
        ----------
        array : dask.array.Array
        dropped : tuple of int
            Axes of the source that the array does not have.

        Returns
        -------
        dask.array.Array

        Raises
        ------
        StorageError
            If there is no room, or no permission.
        """
        partial: Any = self._staging.partial  # of the kind that the format takes
        try:
            target = self._format.create(partial, array, self.source, dropped)
        except StorageError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not isinstance(self.path, Url):
                raise
            needed = f" ({format_bytes(array.nbytes)} are needed{self._staging.note})"
            if isinstance(error, OSError) and error.errno not in _FULL:
                needed = ""
            raise StorageError(f"cannot write {self.path}: {one_line(error)}{needed}") from error
        written = array.map_blocks(
            write_block,
            target=target,
            path=str(self.path),
            chunks=tuple((1,) * len(c) for c in array.chunks),
            meta=np.empty((0,) * array.ndim, np.int64),
            token=f"write-{target.format}",
        )
        return written.sum()

    def check(self) -> None:
        """Raise StorageError if the name has been taken meanwhile."""
        with reached("write", self.path):
            appeared = not self._replaces and self.path.exists()
        if appeared:
            raise StorageError(f"{self.path} has appeared meanwhile, and is left alone")

    def commit(self) -> None:
        """Give the complete array its final name; an old array of that name is removed.

        Raises
        ------
        StorageError
            If the name has been taken meanwhile, or the rename fails.
        """
        self.check()
        self._staging.commit(self._replaces)
        self.committed = True

    def __enter__(self) -> Destination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._staging.clear(self.committed)


def commit(*destinations: Destination) -> None:
    """Give all their names, once none is taken.

    Raises
    ------
    StorageError
        As `Destination.check` and `Destination.commit`.
    """
    for destination in destinations:
        destination.check()
    for destination in destinations:
        destination.commit()


def write_block(
    block: np.ndarray, target: WritableArray, path: str, block_info: Any = None
) -> np.ndarray:
    """Write a block where it belongs, and return its size as a block; errors name ``path``."""
    where = block_info[0]["array-location"]
    try:
        target[tuple(slice(start, stop) for start, stop in where)] = block
    except OSError as error:
        error.filename = path  # writing to an open file gives no name, Zarr that of a chunk
        raise
    return np.full((1,) * block.ndim, block.size)


def _check_apart(path: Path | Url, source: str) -> None:
    """Refuse to write to what is read, or into or around it."""
    other = Url(source).innermost if "://" in source else Path(source)
    if isinstance(path, Url) and isinstance(other, Url):
        one, two = f"{path.full}/", f"{other.full}/"
        same, nested = one == two, one.startswith(two) or two.startswith(one)
    elif isinstance(path, Path) and isinstance(other, Path):
        same = path == other or (path.exists() and path.samefile(other))
        nested = path in other.parents or other in path.parents
    else:
        return
    if same:
        raise MisuseError(f"{path} is the source itself; write to another path")
    if nested:
        raise MisuseError(f"{path} and the source {source} lie within each other; write elsewhere")


def _check_replaceable(path: Path | Url, form: type[NpyFile] | type[ZarrArray]) -> None:
    """Refuse to replace a directory, with whatever it may hold, unless it is a Zarr array."""
    if path.is_dir() != (form is ZarrArray):
        kind = "a directory" if path.is_dir() else "a file"
        raise StorageError(f"--overwrite does not replace {path}: it is {kind}")
    if path.is_dir():
        try:
            ZarrArray.at(path)
        except StorageError as error:
            raise StorageError(f"--overwrite replaces arrays only: {error}") from error
