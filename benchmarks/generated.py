"""Arrays that are generated where they are read, or stored in Zarr, and count their readings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from .process import imported

CHUNK = 5 * 10**6  # elements of float32: 20 MB


class Source:
    """An array, stored or drawn where it is read, that notes each reading of a chunk in a file."""

    dtype, ndim = np.dtype("f4"), 1

    def __init__(self, elements: int, log: Path, array: Any = None) -> None:
        self.shape, self.log, self.array = (elements,), log, array

    def __getitem__(self, index: Any) -> np.ndarray:
        with self.log.open("ab") as log:
            log.write(b".")
        if self.array is not None:
            return self.array[index]
        start, stop, _ = index[0].indices(self.shape[0])
        return np.random.default_rng(start).standard_normal(stop - start, dtype="f4")

    def lazy(self) -> da.Array:
        return da.from_array(self, chunks=CHUNK, meta=np.empty(0, "f4"))

    def forget(self) -> None:
        """Count from here."""
        self.log.write_bytes(b"")

    def loads(self) -> float:
        """Readings per chunk."""
        return self.log.stat().st_size / math.ceil(self.shape[0] / CHUNK)


class Nowhere:
    """A target that forgets what is written to it."""

    def __setitem__(self, index: Any, value: Any) -> None:
        pass


def zarr_array(path: Path, shape: tuple[int, ...], chunk: int = CHUNK) -> Any:
    """Of float32, and uncompressed: normal numbers would not get smaller."""
    options: dict[str, Any] = {"dtype": "f4", "compressors": None, "overwrite": True}
    chunks = tuple(min(chunk, n) for n in shape)
    return imported("zarr:create_array", path, shape=shape, chunks=chunks, **options)
