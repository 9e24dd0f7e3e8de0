"""The public functions of arrays of other array-API libraries.

array-api-strict has what the standard has and no more; torch and JAX are what people use. Their
blocks are among those of `tests/kernels/test_blocks.py`.
"""

import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax._kernels import portable

from ..blocks import JAX, LIBRARIES, RTOL, every_axes, over
from .scipys import FUNCTIONS


@pytest.mark.parametrize("axis", [0, 1, None])
@over(kinds=LIBRARIES)
def test_public_functions(block, axis):
    x = np.random.default_rng(0).normal(size=(50, 40)) * 3
    for name in FUNCTIONS:
        found = block.run(getattr(dsoftmax, name), x, axis)
        assert_allclose(found, getattr(special, name)(x, axis=axis), rtol=1e-12)
    values, indices = block.run(dsoftmax.softmax_topk, x, 4, axis)
    expected = dsoftmax.softmax_topk(x, 4, axis)
    assert_allclose(values, expected.values, rtol=1e-12)
    assert_array_equal(indices, expected.indices)
    found, _ = block.run(partial(dsoftmax.logsumexp, return_sign=True), x, axis, -2.5)
    expected, _ = special.logsumexp(x, axis=axis, b=-2.5, return_sign=True)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_of_torch(dtype):
    torch = pytest.importorskip("torch", reason="blocks of torch")
    host = np.random.default_rng(0).normal(size=(90, 20)).astype("f4") * 4
    x = torch.asarray(host).to(getattr(torch, dtype))
    for axes in every_axes(2):
        y, exact = portable.softmax(x, axes), portable.softmax(x.double().numpy(), axes)
        assert y.dtype == x.dtype
        assert_allclose(y.double().numpy(), exact, rtol=RTOL[dtype], atol=1e-7)
        assert portable.of_block(x, axes).m.dtype == torch.float32


def softmax_without_float64(x):
    import jax

    with jax.enable_x64(False), warnings.catch_warnings(action="ignore"):  # of the missing float64
        return portable.softmax(jax.numpy.asarray(x), (0,))


@over(kinds=[JAX])
def test_jax_without_float64(block):
    """JAX computes in float32 unless told otherwise; so does dsoftmax with its blocks then."""
    x = np.random.default_rng(0).normal(size=(90, 20)).astype("f4") * 4
    y = block.run(softmax_without_float64, x)
    assert y.dtype == np.float32
    assert_allclose(y, special.softmax(x, axis=0), rtol=1e-5)
