"""Where a result is put together, out of sight, and how it takes its place when it is complete.

Temporary names are beside the final one and start with a dot, so that what a killed process leaves
is not taken for a result.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path

from .storage import StorageError, one_line, remove
from .urls import Url


class OnDisk:
    """Under a temporary name in the same directory, which is then renamed.

    Attributes
    ----------
    partial : Path or Url
        Where it is put together.
    note : str
        What to say besides where there is no room.
    """

    note = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        token = secrets.token_hex(4)
        self.partial = path.with_name(f".{path.name}.partial-{token}")
        self._replaced = path.with_name(f".{path.name}.replaced-{token}")

    def commit(self, replaces: bool) -> None:
        """Give it its name, which may be that of another array; StorageError if that fails."""
        try:
            if replaces and self.partial.is_dir():  # no rename replaces a directory
                self.path.rename(self._replaced)
                try:
                    self.partial.rename(self.path)
                except OSError:
                    self._replaced.rename(self.path)
                    raise
                remove(self._replaced)
            else:
                self.partial.replace(self.path)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {one_line(error)}") from error

    def clear(self, committed: bool) -> None:
        """Remove what is left of it, as far as that is possible."""
        if not committed:
            with contextlib.suppress(OSError):  # it would hide the error that led here
                remove(self.partial)


class AtUrl:
    """A Zarr array at a URL: under a temporary name beside it, then moved, metadata last.

    Nothing exchanges two arrays at once there: an old one is gone when the new one is moved.
    """

    note = ""

    def __init__(self, url: Url) -> None:
        self.url = url
        self.partial = url.with_name(f".{url.name}.partial-{secrets.token_hex(4)}")

    def commit(self, replaces: bool) -> None:
        """Give it its name; StorageError if that fails."""
        if replaces:
            self.url.remove()
        self.partial.rename(self.url)

    def clear(self, committed: bool) -> None:
        """Remove what is left of it, as far as that is possible."""
        if not committed:
            with contextlib.suppress(StorageError):  # it would hide the error that led here
                self.partial.remove()


class Uploaded:
    """A .npy file for a URL: in a temporary directory of this machine, then uploaded."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self.directory = Path(tempfile.mkdtemp(prefix="dsoftmax-"))
        self.partial = self.directory / url.name
        self.note = f" in {tempfile.gettempdir()}; TMPDIR can name another directory"

    def commit(self, replaces: bool) -> None:
        """Give it its name; StorageError if that fails."""
        self.url.upload(self.partial, f".{self.url.name}.partial-{secrets.token_hex(4)}")

    def clear(self, committed: bool) -> None:
        """Remove what is left of it."""
        shutil.rmtree(self.directory, ignore_errors=True)
