"""Fixtures of the tests of the command."""

import logging

import dask
import numpy as np
import pytest
from distributed import LocalCluster
from fsspec.implementations.memory import MemoryFileSystem

from dsoftmax.cli.npy import NpyFile


@pytest.fixture
def npy(tmp_path):
    """A .npy file of 6 x 5."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 5)))
    return tmp_path / "x.npy"


@pytest.fixture(scope="module")
def cluster():
    """A worker process that is not replaced when a task kills it too often: once."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def source(tmp_path):
    """A small .npy file, for tests of where it is not about what is read."""
    np.save(tmp_path / "source.npy", np.arange(12.0).reshape(3, 4))
    return NpyFile.at(tmp_path / "source.npy")


@pytest.fixture
def memory():
    """An empty file system in memory."""
    fs = MemoryFileSystem()
    fs.store.clear()
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
