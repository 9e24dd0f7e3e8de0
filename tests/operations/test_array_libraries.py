"""The public functions of arrays of other array-API libraries.

array-api-strict has what the standard has and no more; torch and JAX are what people use. Their
blocks are among those of `tests/kernels/test_blocks.py`.
"""

import warnings
from functools import partial

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax._kernels import portable

from ..blocks import JAX, LIBRARIES, RTOL, TORCH, every_axes, over
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


@over(kinds=LIBRARIES)
def test_statistics_and_masks(block):
    axis = 0
    rng = np.random.default_rng(0)
    host, where = rng.normal(size=(5, 4)) * 3, rng.random((5, 4)) < 0.5
    host[~where] = np.resize([np.nan, np.inf, -np.inf, 0], (~where).sum())
    for name in ("softmax", "log_softmax", "logsumexp", "entropy", "effective_sample_size"):
        function = getattr(dsoftmax, name)
        found = block.run(partial(_with_mask, function), host, where, axis)
        assert_allclose(found, function(host, axis, where=where), rtol=1e-12)
    values = (rng.normal(size=4), host, 2)
    found = block.run(partial(_expectations, values), host, where, axis)
    expected = dsoftmax.expectation(host, values, axis, where=where)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    found = block.run(_topk_with_mask, host, where, axis)
    expected = dsoftmax.softmax_topk(host, 4, axis, where=where)
    assert_allclose(found[0], expected.values, rtol=1e-12)
    assert_array_equal(found[1], expected.indices)


def _with_mask(function, x, where, axis):
    return function(x, axis, where=where)


def _expectations(values, x, where, axis):
    given = (values[0], x, values[2])  # of NumPy, of the library, of Python
    return dsoftmax.expectation(x, given, axis, where=where)


def _topk_with_mask(x, where, axis):
    return tuple(dsoftmax.softmax_topk(x, 4, axis, where=where))


def _torch_gradient(function, x):
    x = x.clone().requires_grad_()
    function(x).backward()
    return x.grad


def _jax_gradient(function, x):
    import jax

    return jax.grad(function)(x)


def _gradients(name, x, v):
    """The gradients of what follows, as a library finds them."""
    gradient = {"torch": _torch_gradient, "jax": _jax_gradient}[name]
    first = np.arange(30) < 1
    functions = (
        dsoftmax.logsumexp,
        lambda x: dsoftmax.softmax(x)[0],
        lambda x: dsoftmax.log_softmax(x)[0],
        dsoftmax.entropy,
        lambda x: dsoftmax.expectation(x, v),
        dsoftmax.effective_sample_size,
        lambda x: dsoftmax.logsumexp(x, where=first),
        lambda x: dsoftmax.entropy(x, where=first),
        lambda x: dsoftmax.cross_entropy(x, 0),
        lambda x: dsoftmax.softmax_matmul(x, v),
    )
    if name == "torch":  # JAX would compile for half a minute
        functions += (
            lambda x: dsoftmax.cumulative_logsumexp(x)[-1],
            lambda x: dsoftmax.softmax_topk(x, 1)[0][0],
        )
    return tuple(gradient(function, x) for function in functions)


@over(kinds=[TORCH, JAX])
def test_gradients(block):
    x = np.random.default_rng(0).normal(size=30) * 2
    v = np.random.default_rng(1).normal(size=30)
    p, first = special.softmax(x), np.arange(30) < 1
    entropy, mean, size = -(p * np.log(p)).sum(), (p * v).sum(), 1 / (p**2).sum()
    exact = (
        p,
        p[0] * (first - p),
        first - p,
        -p * (np.log(p) + entropy),
        p * (v - mean),
        2 * size * p * (1 - size * p),
        first,
        np.zeros(30),
        p - first,
        p * (v - mean),
        p,
        p.max() * ((x == x.max()) - p),
    )
    found = block.run(partial(_gradients, block.kind.name), x, v)
    exact = exact if block.kind is TORCH else exact[:-2]
    for one, other in zip(found, exact, strict=True):
        assert_allclose(one, other, rtol=1e-10, atol=1e-14)


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


def test_torch_beside_dask():
    torch = pytest.importorskip("torch")
    x, t = da.zeros((4, 3), chunks=2), torch.zeros(4, 3, dtype=torch.float64)
    mask, labels = torch.ones(4, 3, dtype=torch.bool), torch.zeros(4, dtype=torch.int64)
    for name, call in {
        "logsumexp: a": lambda: dsoftmax.logsumexp(t, b=x),
        "softmax: where": lambda: dsoftmax.softmax(x, where=mask),
        "softmax_topk: where": lambda: dsoftmax.softmax_topk(x, 2, 1, where=mask),
        r"expectation: values\[1\]": lambda: dsoftmax.expectation(x, (x, t)),
        "softmax_matmul: v": lambda: dsoftmax.softmax_matmul(x, t.T),
        "cross_entropy: labels": lambda: dsoftmax.cross_entropy(x, labels),
        "Normalizer.softmax: x": lambda: dsoftmax.Normalizer.of(x, 1).softmax(t),
    }.items():
        with pytest.raises(TypeError, match=f"{name} is of type torch Tensor, beside a Dask"):
            call()
