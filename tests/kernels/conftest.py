"""Kernels for tests of blocks: of a device that is emulated, or of every kind."""

import pytest

from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cuda import block as cuda

from ..blocks import ON_HOST
from ..emulator import Emulator


@pytest.fixture
def device(monkeypatch):
    """The device that `cuda` uses; it has a list of the kernels that ran."""
    emulator = Emulator()
    monkeypatch.setattr(cuda, "device", emulator)
    return emulator


@pytest.fixture(params=["portable", "cpu", pytest.param("cuda", marks=ON_HOST)])
def kernels(request):
    """The kernels of a kind, of NumPy blocks."""
    if request.param == "cuda":
        request.getfixturevalue("device")
    return {"portable": portable, "cpu": cpu, "cuda": cuda}[request.param]
