"""Which kernels take a block: compiled ones, CUDA's, or those of any array library."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import portable
from .cpu import block as on_cpu
from .cpu.compiler import CannotCompileError
from .cuda import block as on_cuda

Array = Any

# Groups of fewer elements are not worth a compiled kernel.
FEWEST_LABELLED = 1 << 12


def kernels_for(*blocks: Array) -> ModuleType:
    """The module of the kernels that take all of these blocks."""
    if not all(map(on_cpu.supports, blocks)):
        return on_cuda if all(map(on_cuda.supports, blocks)) else portable
    return on_cpu if can_compile() else portable


def can_compile() -> bool:
    """Whether there are compiled kernels here, as far as is known; one warning if not."""
    try:
        on_cpu.compile_something()
    except CannotCompileError:
        return False
    return True
