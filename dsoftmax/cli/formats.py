"""The formats of arrays on disk, and how to tell which one a path has."""

from __future__ import annotations

from .npy import NpyFile
from .storage import StorageError, local_path
from .zarr import ZarrArray

FORMATS: dict[str, type[NpyFile] | type[ZarrArray]] = {".npy": NpyFile, ".zarr": ZarrArray}


def open_source(path: str, stored: bool = False) -> NpyFile | ZarrArray:
    """The array at a path: a .npy file, or the directory of a Zarr array.

    A packed Zarr array is decoded, unless ``stored`` asks for its numbers as they are.

    Raises
    ------
    StorageError
        If there is no such array.
    """
    where = local_path(path)
    if where.is_dir():
        array = ZarrArray.at(where)
        return array if stored else array.decoded()
    if where.exists() and where.suffix != ".npy":
        raise StorageError(f"{path} is neither a .npy file nor the directory of a Zarr array")
    return NpyFile.at(where)
