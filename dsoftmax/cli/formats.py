"""Where arrays are, paths or URLs, and in which formats."""

from __future__ import annotations

from pathlib import Path
from urllib.request import url2pathname
from zipfile import BadZipFile, ZipFile

from .npy import NpyFile
from .npy_url import NpyUrl
from .storage import MisuseError, StorageError, StoredArray, reached
from .urls import Url, reported
from .zarr import ZarrArray

FORMATS: dict[str, type[NpyFile] | type[ZarrArray]] = {".npy": NpyFile, ".zarr": ZarrArray}

_TABLE = "; in Python, dsoftmax.dataframe takes the columns of tables"
_HINTS = {
    ".npz": "; name one of the arrays in it, as in zip://{name}::{path}",
    ".parquet": _TABLE,
    ".csv": _TABLE,
}


def place(path: str) -> Path | Url:
    """A path, absolute and without links, or a URL.

    Raises
    ------
    StorageError
        If it is empty, or a URL that needs a package that is not installed.
    """
    if not path:
        raise MisuseError("a path is empty; name a .npy file or the directory of a Zarr array")
    if path.startswith(("file://", "local://")):
        path = url2pathname(path.partition("://")[2])
    if "://" in path:
        return Url.of(path)
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # from Python before 3.13
        raise StorageError(f"cannot open {path}: its links lead in a circle") from error


def open_source(path: str, stored: bool = False) -> StoredArray:
    """The array at a path or URL: a .npy file, or the directory of a Zarr array.

    A packed Zarr array is decoded, unless ``stored`` asks for its numbers as they are.

    Raises
    ------
    StorageError
        If there is no such array.
    """
    where = place(path)
    if isinstance(where, Url):
        with reported("read", where):
            return NpyUrl.at(where) if where.suffix == ".npy" else _zarr(where, stored)
    with reached("read", where):
        if where.is_dir():
            return _zarr(where, stored)
        if where.exists() and where.suffix != ".npy":
            hint = _HINTS.get(where.suffix, "; save it as one of these")
            hint = hint.format(path=path, name=_array_in(where) if where.suffix == ".npz" else "")
            raise StorageError(
                f"{path} is neither a .npy file nor the directory of a Zarr array{hint}"
            )
        return NpyFile.at(where)


def _array_in(archive: Path) -> str:
    """The first array in a .npz archive, or what stands for its name."""
    try:
        with ZipFile(archive) as opened:
            return next((name for name in opened.namelist() if name.endswith(".npy")), "NAME.npy")
    except (OSError, BadZipFile):
        return "NAME.npy"


def _zarr(where: Path | Url, stored: bool) -> ZarrArray:
    array = ZarrArray.at(where)
    return array if stored else array.decoded()
