"""Which kernels take a block: compiled ones, CUDA's, or those of any array library."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from . import portable
from .cpu import block as on_cpu
from .cpu.compiler import CannotCompileError
from .cuda import block as on_cuda

Array = Any

# Smaller blocks are not worth a compiler, which takes seconds where code was not kept: without it
# they take 0.2 ms at most.
SMALL = 1 << 12


def kernels_for(*blocks: Array) -> ModuleType:
    """The module of the kernels that take all of these blocks."""
    x = blocks[0]
    if isinstance(x, np.ndarray) and x.size < SMALL and _numba_is_installed():
        return portable
    if not all(map(on_cpu.supports, blocks)):
        return on_cuda if all(map(on_cuda.supports, blocks)) else portable
    return on_cpu if can_compile() else portable


@cache
def _numba_is_installed() -> bool:
    try:
        return find_spec("numba") is not None
    except (ImportError, ValueError):  # it is kept from being imported
        return False


def can_compile() -> bool:
    """Whether kernels can be compiled here, as far as is known; one warning if not."""
    try:
        on_cpu.compile_something()
    except CannotCompileError:
        return False
    return True
