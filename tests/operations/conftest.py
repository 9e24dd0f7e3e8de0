"""Fixtures of the tests of the operations."""

import numpy as np
import pytest

from .scipys import SHAPE


@pytest.fixture
def x():
    return np.random.default_rng(7).normal(size=SHAPE) * 10
