"""Machine code on disk: a file for each kernel, which every process can read and write at any time.

The name of a file says all that its content depends on, so whoever writes it writes the same, and
it is given that name when it is complete.  It ends with a checksum over its name and the code: a
file that was damaged, cut short, renamed or never meant for this place is as good as none.  What is
before the checksum is an object file, for the tools that read these.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from sys import implementation

import llvmlite
import numpy as np
import platformdirs

from .machine_code import MachineCode, target

_CHECKSUM, _COUNT = hashlib.sha256().digest_size, 2  # sizes in bytes of what follows the code


def folders() -> Iterator[Path]:
    """The folders in which files are looked for; they are written to the first that allows it.

    They are one next to the sources and, for where that is read-only, one in the user's cache
    directory; ``NUMBA_CACHE_DIR`` overrides both.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        yield Path(chosen) / "dsoftmax"
        return
    yield Path(__file__).parent / "__pycache__"
    users = platformdirs.user_cache_path("dsoftmax", appauthor=False)
    if users.is_absolute():  # not so where nobody's home is known
        yield users


def read(name: str) -> Iterator[MachineCode]:
    """The code that was kept under a name, from each folder that has it undamaged."""
    for folder in folders():
        try:
            content = (folder / f"{name}.o").read_bytes()
        except OSError:
            continue
        code, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
        if checksum == _checksum(name, code):
            count = int.from_bytes(code[-_COUNT:], "little")
            yield MachineCode(name, count, code[:-_COUNT])


def write(code: MachineCode) -> None:
    """Keep code under the name of its entry, if there is room for it anywhere."""
    content = code.object_file + code.arguments.to_bytes(_COUNT, "little")
    content += _checksum(code.entry, content)
    for folder in folders():
        unfinished = folder / f"{code.entry}.{uuid.uuid4().hex}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(content)
            unfinished.replace(folder / f"{code.entry}.o")
        except OSError:  # read-only, or no room
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        else:
            return


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + content).digest()


@cache
def fingerprint() -> str | None:
    """A digest of all that the code of kernels depends on; None where that is not known.

    That is the sources, the versions of what compiles them, the processor, and Numba's settings in
    the environment, some of which change its code (the others are not worth telling apart).
    """
    try:
        packages = (__package__, __package__.rpartition(".")[0])
        files = [file for package in packages for file in resources.files(package).iterdir()]
        files = sorted((file for file in files if file.name.endswith(".py")), key=str)
        sources = [file.read_bytes() for file in files]
        numba = metadata.version("numba")  # without an import, which takes longer than all else
    except (OSError, metadata.PackageNotFoundError):  # as where programs are frozen into one file
        return None
    versions = (implementation.cache_tag, numba, llvmlite.__version__, np.__version__)
    settings = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name not in ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
    )
    digest = hashlib.sha256(repr((target(), versions, settings)).encode())
    for source in sources:
        digest.update(source)
    return digest.hexdigest()[:16] if sources else None
