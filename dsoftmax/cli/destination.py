"""A destination on disk that appears only when it is complete."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

import dask.array as da
import numpy as np
from dask.utils import format_bytes

from .formats import FORMATS
from .npy import NpyFile
from .storage import StorageError, StoredArray, local_path, one_line, remove
from .zarr import ZarrArray, import_zarr


class Destination:
    """A .npy file or Zarr array that is written under a temporary name, and renamed when complete.

    A context manager: output not committed by its end is removed. The temporary name is in the same
    directory and starts with a dot, so that what a killed process leaves is not taken for a result.

    Parameters
    ----------
    path : str
        Ends in .npy or .zarr.
    overwrite : bool
        Whether to replace an existing array, once the new one is complete.
    source : StoredArray
        What is being read; it is never overwritten.

    Raises
    ------
    StorageError
        If the path cannot be a destination.
    """

    def __init__(self, path: str, overwrite: bool, source: StoredArray) -> None:
        self.path = local_path(path)
        self.source = source
        self.committed = False
        if self.path.suffix not in FORMATS:
            raise StorageError(f"{path} ends in neither .npy nor .zarr, the formats to write")
        self._format = FORMATS[self.path.suffix]
        if self._format is ZarrArray:
            import_zarr()
        if not self.path.parent.is_dir():
            raise StorageError(f"cannot write {path}: {self.path.parent} is not a directory")
        _check_apart(self.path, Path(source.path))
        self._replaces = self.path.exists()
        if self._replaces and not overwrite:
            raise StorageError(f"{path} exists; choose another name, or give --overwrite")
        if self._replaces:
            _check_replaceable(self.path, self._format)
        token = secrets.token_hex(4)
        self._partial = self.path.with_name(f".{self.path.name}.partial-{token}")
        self._replaced = self.path.with_name(f".{self.path.name}.replaced-{token}")

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
        try:
            target = self._format.create(self._partial, array, self.source, dropped)
        except OSError as error:
            needed = f"{format_bytes(array.nbytes)} are needed"
            raise StorageError(f"cannot write {self.path}: {one_line(error)} ({needed})") from error
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
        if not self._replaces and self.path.exists():
            raise StorageError(f"{self.path} has appeared meanwhile, and is left alone")

    def commit(self) -> None:
        """Give the complete array its final name; an old array of that name is removed.

        Raises
        ------
        StorageError
            If the name has been taken meanwhile, or the rename fails.
        """
        self.check()
        try:
            if self._replaces and self._partial.is_dir():  # no rename replaces a directory
                self.path.rename(self._replaced)
                try:
                    self._partial.rename(self.path)
                except OSError:
                    self._replaced.rename(self.path)
                    raise
                remove(self._replaced)
            else:
                self._partial.replace(self.path)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {one_line(error)}") from error
        self.committed = True

    def __enter__(self) -> Destination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.committed:
            remove(self._partial)


def write_block(
    block: np.ndarray, target: StoredArray, path: str, block_info: Any = None
) -> np.ndarray:
    """Write a block where it belongs, and return its size as a block; errors name ``path``."""
    where = block_info[0]["array-location"]
    try:
        target[tuple(slice(start, stop) for start, stop in where)] = block
    except OSError as error:
        error.filename = path  # writing to an open file gives no name, Zarr that of a chunk
        raise
    return np.full((1,) * block.ndim, block.size)


def _check_apart(path: Path, source: Path) -> None:
    if path == source or (path.exists() and path.samefile(source)):
        raise StorageError(f"{path} is the source itself; write to another path")
    if path in source.parents or source in path.parents:
        raise StorageError(f"{path} and the source {source} lie within each other; write elsewhere")


def _check_replaceable(path: Path, form: type[NpyFile] | type[ZarrArray]) -> None:
    """Refuse to replace a directory, with whatever it may hold, unless it is a Zarr array."""
    if path.is_dir() != (form is ZarrArray):
        kind = "a directory" if path.is_dir() else "a file"
        raise StorageError(f"--overwrite does not replace {path}: it is {kind}")
    if path.is_dir():
        try:
            form.at(path)
        except StorageError as error:
            raise StorageError(f"--overwrite replaces arrays only: {error}") from error
