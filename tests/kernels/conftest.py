"""Kernels for tests of blocks: of an emulated device, of those that are compiled, of every kind."""

import pytest

from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cuda import block as cuda

from ..blocks import ON_HOST
from ..emulator import Emulator, use

COMPILED = [pytest.param(cpu, id="cpu"), pytest.param(cuda, id="cuda", marks=ON_HOST)]


@pytest.fixture
def device(monkeypatch):
    """The device that `cuda` uses; it has a list of the kernels that ran."""
    emulator = Emulator()
    use(monkeypatch, emulator)
    return emulator


@pytest.fixture(params=COMPILED)
def compiled(request):
    """Kernels whose oracle are the portable ones."""
    return _ready(request)


@pytest.fixture(params=[pytest.param(portable, id="portable"), *COMPILED])
def kernels(request):
    """Kernels of every kind for NumPy blocks."""
    return _ready(request)


def _ready(request):
    if request.param is cuda:
        request.getfixturevalue("device")
    return request.param
