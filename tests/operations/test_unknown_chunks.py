"""Chunks of unknown length work where the answer is defined."""

import dask.array as da
import numpy as np
import pytest
from scipy import special

from dsoftmax import Normalizer, logsumexp

from ..compare import assert_allclose
from .scipys import FUNCTIONS, assert_same, both


class TestUnknownChunks:
    @pytest.fixture
    def unknown(self, x):
        rows = da.from_array(x[:, 0], chunks=(2, 5))
        return rows[da.from_array(x[:, 0, 0], chunks=2) > -1000]

    @pytest.mark.parametrize("axis", [None, 0, 1])
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_work_where_the_answer_is_defined(self, name, axis, unknown, x):
        ours, scipys = both(name)
        assert np.isnan(unknown.shape[0])
        assert_same(ours(unknown, axis=axis).compute(), scipys(x[:, 0], axis=axis))

    def test_weights_of_the_same_blocks(self, unknown, x):
        y = logsumexp(unknown, axis=0, b=unknown * unknown)
        expected = special.logsumexp(x[:, 0], axis=0, b=x[:, 0] ** 2)
        assert_same(y.compute(), expected)
        assert_same(
            logsumexp(unknown, b=[1, 2, 3, 4, 5]).compute(),
            special.logsumexp(x[:, 0], b=[1, 2, 3, 4, 5]),
        )


def test_normalizers():
    data = np.random.default_rng(0).normal(size=(6, 4)) * 5
    x = da.from_array(data, chunks=(2, 3))
    x = x[x[:, 0] > -1e9]
    n = Normalizer.of(x, axis=1)
    assert_allclose(n.softmax(x).compute(), special.softmax(data, axis=1), rtol=1e-13)
    assert_allclose(n.merge(n).logsumexp().compute(), special.logsumexp(data, axis=1) + np.log(2))
