"""Arrays on disk, and disks that are full."""

import contextlib
import io

import numpy as np
import pytest
import zarr

from dsoftmax.cli.destination import Destination

resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")

MIB = 2**20


@contextlib.contextmanager
def file_size_limit(nbytes):
    """No file can grow further, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(path, array, **options):
    """An array as .npy or Zarr, as the suffix says."""
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        zarr.create_array(path, data=array, **options)


def put(fs, name, array, **options):
    """An array as .npy or Zarr, as the name says, in a file system in memory."""
    if name.endswith(".npy"):
        file = io.BytesIO()
        np.save(file, array, **options)
        fs.pipe_file(name, file.getvalue())
    else:
        zarr.create_array(f"memory://{name}", data=array, **options)


def stored(path, array, source):
    """Write an array to a destination."""
    with Destination(str(path), False, source) as destination:
        count = destination.write(array)
        assert count.compute(scheduler="threads") == array.size
        destination.commit()


def raising(method, text, error):
    """A method of paths that fails for those with ``text`` in their name."""

    def fail(path):
        raise error

    return lambda path, *arguments: fail(path) if text in path.name else method(path, *arguments)
