"""Fixtures shared by all tests."""

import dask
import pytest


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
