"""Places that are URLs: the part of pathlib's interface that files and Zarr arrays need, by fsspec.

https://filesystem-spec.readthedocs.io says what there is, and how to give credentials and options.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from .storage import MisuseError, StorageError, one_line

_READ_ONLY = ("http", "https")


@contextlib.contextmanager
def reported(verb: str, url: Any) -> Iterator[None]:
    """Turn errors of any kind, as each file system raises its own, into a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        missing = isinstance(error, FileNotFoundError) and verb == "read"
        problem = "there is no such file" if missing else one_line(error)
        raise StorageError(f"cannot {verb} {url}: {problem}") from error


@dataclass(frozen=True)
class Url:
    """A file, or what has the role of a directory, on a file system that fsspec knows.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    """

    url: str

    @classmethod
    def of(cls, url: str) -> Url:
        """The place; StorageError if the package that its file system needs is not installed."""
        place = cls(url.rstrip("/"))
        with reported("open", url):
            try:
                url_to_fs(place.url)
            except ImportError as error:
                package = getattr(error.__cause__, "name", None) or "another package"
                raise StorageError(
                    f"{url} needs {package}: python -m pip install {package}"
                ) from error
            except ValueError as error:
                if "rotocol not known" not in str(error):
                    raise
                protocol = url.partition("://")[0]
                raise MisuseError(
                    f"{url} begins with {protocol}://, which fsspec does not know; use a path, or "
                    "a URL such as s3://bucket/x.zarr"
                ) from error
        return place

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.url}/{name}")

    @property
    def fs(self) -> Any:
        """The file system, of which fsspec keeps one for each process."""
        return url_to_fs(self.url)[0]

    @property
    def path(self) -> str:
        """The name of the file to the file system."""
        return str(url_to_fs(self.url)[1])

    @property
    def full(self) -> str:
        """The URL as the file system writes it, however it was given."""
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def innermost(self) -> Path | Url:
        """What the bytes come from: of simplecache::file:///x.npy the path /x.npy."""
        last = Url(self.url.rpartition("::")[2])
        return Path(last.path).resolve() if isinstance(last.fs, LocalFileSystem) else last

    @property
    def name(self) -> str:
        """The last part of the path, without what a query adds to it."""
        # Of simplecache::https://host/x.npy?a=b, or zip://x.npy::s3://bucket/y.zip, it is x.npy.
        first = next(part for part in self.url.split("::") if "://" in part)
        path = urlsplit(first).path if first.startswith("http") else first
        return PurePosixPath(path).name

    @property
    def suffix(self) -> str:
        """The end of the name, from the last dot on."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> Url:
        """A place beside it."""
        return Url(f"{self.url.rpartition('/')[0]}/{name}")

    def exists(self) -> bool:
        """Whether there is a file, or something in a directory."""
        with reported("read", self):
            self.fs.invalidate_cache()  # of listings
            return bool(self.fs.exists(self.path))

    def check_reachable(self) -> None:
        """Raise StorageError for what hides whether there is a file, as a host that is away."""
        with reported("read", self), contextlib.suppress(FileNotFoundError):
            self.fs.cat_file(self.path, start=0, end=1)

    def is_dir(self) -> bool:
        """Whether there is something in it."""
        with reported("read", self):
            return bool(self.fs.isdir(self.path))

    def check_writable(self) -> None:
        """Raise MisuseError if nothing can be written at places of this kind."""
        if "::" in self.url or self.url.partition("://")[0] in _READ_ONLY:
            raise MisuseError(f"{self.url} can only be read; write to a path or a bucket")

    def remove(self) -> None:
        """Remove a file, or all in a directory, with the metadata of a Zarr array first."""
        with reported("remove", self):
            fs, path = self.fs, self.path
            with contextlib.suppress(FileNotFoundError):
                fs.rm(f"{path}/zarr.json")
            with contextlib.suppress(FileNotFoundError):
                fs.rm(path, recursive=True)

    def rename(self, new: Url) -> None:
        """Move it, where there is nothing yet; of a directory ``zarr.json`` comes last.

        File systems that rename do so at once. Object stores copy object by object on their
        servers, and an array without its metadata cannot be taken for a complete one.
        """
        with reported("write", new):
            fs, old, path = self.fs, self.path, new.path
            if type(fs).mv is not AbstractFileSystem.mv:
                fs.mv(old, path)
                return
            names = sorted(fs.find(old), key=lambda name: name.endswith("/zarr.json"))
            targets = [path + name[name.index(old) + len(old) :] for name in names]
            for part in (slice(None, -1), slice(-1, None)):
                if names[part]:
                    fs.copy(names[part], targets[part], on_error="raise")
            fs.rm(old, recursive=True)

    def upload(self, file: Path, partial: str) -> None:
        """Put a local file there, which appears when it is complete.

        On object stores by itself; elsewhere it has the name ``partial`` until then.
        """
        with reported("write", self):
            fs = self.fs
            if type(fs).mv is AbstractFileSystem.mv:
                fs.put_file(str(file), self.path)
                return
            beside = self.with_name(partial).path
            try:
                fs.put_file(str(file), beside)
                fs.mv(beside, self.path)
            except BaseException:
                with contextlib.suppress(Exception):
                    fs.rm(beside)
                raise
