"""Zarr arrays, in directories and at URLs."""

from __future__ import annotations

import dataclasses
import errno
import math
from pathlib import Path
from typing import Any

import dask.array as da

from .._install import how_to_install
from .storage import StorageError, StoredArray, WritableArray, one_line, remove
from .urls import Url
from .zarr_conventions import decoding_of, dimension_names, kept_attributes

_MOST_NAMED = 10  # most arrays listed in the error for a group


class ZarrArray(WritableArray):
    """A Zarr array in a directory, or at a URL."""

    format = "zarr"

    def __getitem__(self, index: Any) -> Any:
        try:
            stored = import_zarr().open_array(self.path, mode="r")[index]
            return stored if self.decoding is None else self.decoding(stored)
        except Exception as error:  # of any kind: codecs raise their own, and none says where
            where = ", ".join(f"{i.start}:{i.stop}" for i in index)
            error.add_note(f"while reading [{where}] of {self.path}")
            raise

    def __setitem__(self, index: tuple[slice, ...], value: Any) -> None:
        import_zarr().open_array(self.path, mode="r+")[index] = value
        # A job that is aborted removes its output, and a chunk written at that moment would
        # recreate the directory: a writer that finds the metadata gone removes it again.
        place = Url(self.path) if "://" in self.path else Path(self.path)
        if not (place / "zarr.json").exists():
            remove(place)
            raise FileNotFoundError(errno.ENOENT, "removed while being written", self.path)

    @classmethod
    def at(cls, path: Path | Url) -> ZarrArray:
        """The existing array as it is stored; StorageError for a group or what is not Zarr."""
        zarr = import_zarr()
        if not any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
            problem = "the directory is not a Zarr array"
            if isinstance(path, Url):
                (path / "zarr.json").check_reachable()
                problem = "there is no Zarr array, and the name does not end in .npy"
            raise StorageError(f"cannot read {path}: {problem}")
        arrays = None
        try:
            array = zarr.open(str(path), mode="r")
            if isinstance(array, zarr.Group):
                members = array.members(max_depth=None)
                arrays = sorted(name for name, node in members if isinstance(node, zarr.Array))
        except Exception as error:  # Zarr lets the errors of its parsers through
            raise StorageError(f"cannot read {path} as Zarr: {one_line(error)}") from error
        if arrays is not None:
            raise StorageError(f"{path} is a Zarr group, not an array; {_naming(path, arrays)}")
        grain = array.shards or array.chunks
        return cls(str(path), array.shape, array.dtype, grain, tuple(range(array.ndim))[::-1])

    def decoded(self) -> ZarrArray:
        """The array of the values to which its attributes decode the stored numbers.

        Raises
        ------
        StorageError
            If an attribute is not understood.
        """
        array = import_zarr().open_array(self.path, mode="r")
        try:
            decoding = decoding_of(array)
        except ValueError as error:
            raise StorageError(
                f"cannot decode {self.path}: {error}; correct the attribute or write the values "
                "unpacked, or give --stored to take the numbers as they are stored"
            ) from error
        if decoding is None:
            return self
        return dataclasses.replace(self, dtype=decoding.dtype, decoding=decoding)

    @classmethod
    def check_dtype(cls, dtype: Any) -> None:
        """Raise StorageError for words and dates."""
        if dtype.kind in "USMmOT":  # written with a warning that others may not read it
            name = "strings" if dtype.kind in "OT" else dtype
            raise StorageError(
                f"cannot write {name} as Zarr: its format 3 has none; write a .npy file instead"
            )

    @classmethod
    def create(
        cls, path: Path | Url, array: da.Array, like: StoredArray, dropped: tuple[int, ...] = ()
    ) -> ZarrArray:
        """A new array in which no two blocks of ``array`` share a chunk.

        If ``like`` is a Zarr array, the new one takes its chunks where they fit, its attributes,
        and the names of its axes except the dropped ones.
        """
        zarr = import_zarr()
        cls.check_dtype(array.dtype)
        chunks, shards = tuple(map(_common_length, array.chunks)), None
        names, attributes = None, {}
        if isinstance(like, ZarrArray):
            source = zarr.open_array(like.path, mode="r")
            attributes = kept_attributes(source)
            names = dimension_names(source)
            if names is not None:
                names = [name for axis, name in enumerate(names) if axis not in dropped]
                names = names if len(names) == array.ndim else None  # its axis is a new one
            if _cut_between(like, array):
                chunks, shards = source.chunks, source.shards
        try:
            zarr.create_array(
                str(path),
                shape=array.shape,
                dtype=array.dtype,
                chunks=chunks,
                shards=shards,
                zarr_format=3,
                dimension_names=names,
                attributes=attributes,
            )
        except (KeyError, TypeError, ValueError) as error:  # from the dtype or the attributes
            raise StorageError(
                f"cannot write {array.dtype} as Zarr: {one_line(error)}; write a .npy file instead"
            ) from error
        return cls.at(path)


def import_zarr() -> Any:
    """Zarr 3; StorageError with the command that installs it if there is none."""
    try:
        import zarr
    except ImportError:
        zarr = None
    if not hasattr(zarr, "create_array"):
        raise StorageError(f"Zarr arrays need zarr 3: {how_to_install('zarr')}; or use .npy files")
    return zarr


def _naming(path: Path | Url, arrays: list[str]) -> str:
    """A hint at which arrays of a group can be named instead of it."""
    if not arrays:
        return "it has no arrays"
    named = ", ".join(str(path / name) for name in arrays[:_MOST_NAMED])
    more = len(arrays) - _MOST_NAMED
    return f"name one of its arrays: {named}" + (f", and {more} more" if more > 0 else "")


def _common_length(chunks: tuple[int, ...]) -> int:
    """The largest length such that every block along an axis starts at a multiple of it."""
    return max(1, math.gcd(*chunks[:-1]) or chunks[-1])


def _cut_between(grains: StoredArray, array: da.Array) -> bool:
    """Whether the blocks of an array are made of whole grains."""
    pairs = zip(grains.grain, array.chunks, strict=True)
    return grains.shape == array.shape and all(n % g == 0 for g, c in pairs for n in c[:-1])
