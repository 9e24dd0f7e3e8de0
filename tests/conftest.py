"""Fixtures shared by all tests."""

import importlib.util
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import dask
import pytest

FOLDERS_OF_SYSTEMS = {"cluster", "dashboard"}


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in FOLDERS_OF_SYSTEMS:
            item.add_marker(pytest.mark.system)


def _no_compute(dsk, keys, **kwargs):
    raise AssertionError(f"computed {keys} while the graph was built")


@pytest.fixture
def lazily():
    """Call a function under a scheduler that refuses to run."""

    def call(function, *args, **kwargs):
        with dask.config.set(scheduler=_no_compute):
            return function(*args, **kwargs)

    return call


@pytest.fixture(autouse=True)
def _sync_scheduler():
    """One thread unless a test asks for more: errors and timings are easier to read."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def block(request, monkeypatch):
    """The `blocks.Block` of a kind: see `blocks.over`."""
    from . import blocks
    from .emulator import Emulator, use

    kind, call = request.param, blocks.applied
    if kind.panel:
        monkeypatch.setattr(blocks.portable, "PANEL", kind.panel)
    if kind is blocks.EMULATED:
        use(monkeypatch, Emulator())
    elif kind in blocks.LIBRARIES:
        if not importlib.util.find_spec(kind.library.partition(".")[0]):
            pytest.skip(f"blocks of {kind.name}")
        if kind is blocks.JAX:
            process = request.getfixturevalue("jax_process")

            def call(*arguments):
                return process.submit(blocks.applied, *arguments).result(timeout=120)

    return blocks.Block(kind, call)


@pytest.fixture(scope="module")
def jax_process():
    """A process for JAX, whose threads would make it warn of every later fork of this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_with_float64) as process:
        yield process


def _with_float64():
    import jax

    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("error")
