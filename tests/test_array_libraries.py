"""The portable kernels, and what is built on them, with blocks of other array-API libraries.

array-api-strict has what the standard has and no more; torch and JAX are what people use.  JAX
has a process of its own: with its threads it warns of every fork afterwards.
"""

import itertools
import os
import re
import subprocess
import sys
import warnings

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import dsoftmax
from dsoftmax._algebra.normalizer import log_sum, merge, signed_log_sum
from dsoftmax._kernels import portable

from .oracle import EPS
from .test_kernels_cpu import RTOL, SPECIAL, every_axes
from .test_kernels_portable import ADVERSARIAL

DTYPES = ["float32", "float64", "bool", "int8", "uint8", "int16", "int32", "int64"]


class Library:
    """How to make an array of a library, and to look at one."""

    def __init__(self, name):
        self.name = name
        if name == "array_api_strict":
            self.asarray = array_api_strict.asarray
        elif name == "torch":
            self.asarray = pytest.importorskip("torch", reason="blocks of torch").asarray
        else:
            self.asarray = pytest.importorskip("jax.numpy", reason="blocks of JAX").asarray

    def numpy(self, x):
        assert not isinstance(x, np.ndarray)
        return np.asarray(x)


LIBRARIES = os.environ.get("DSOFTMAX_TEST_LIBRARIES", "array_api_strict torch").split()


def test_blocks_of_jax():
    pytest.importorskip("jaxlib", reason="blocks of JAX")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "jax and not test_blocks"]
    environment = os.environ | {"DSOFTMAX_TEST_LIBRARIES": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request):
    found = Library(request.param)
    if request.param != "jax":
        yield found
        return
    import jax

    with jax.enable_x64(True):
        yield found


@pytest.fixture
def panels(monkeypatch):
    monkeypatch.setattr(portable, "PANEL", 64)


def assert_like_numpy(library, host, axes):
    """Every kernel gives for a block of a library what it gives for one of NumPy."""
    x = library.asarray(host)
    expected, state = portable.of_block(host, axes), portable.of_block(x, axes)
    rtol = RTOL[portable.softmax(host, axes).dtype.name]
    for name, field in expected._asdict().items():
        found = library.numpy(getattr(state, name))
        assert (found.dtype, found.shape) == (field.dtype, field.shape)
        assert_allclose(found, field, rtol=rtol)
    for function in (portable.softmax, portable.log_softmax):
        y, expected_y = library.numpy(function(x, axes)), function(host, axes)
        assert (y.dtype, y.shape) == (expected_y.dtype, expected_y.shape)
        assert_allclose(y, expected_y, rtol=rtol, atol=rtol * (function is portable.log_softmax))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(200,), (12, 9)], ids=str)
def test_shapes_axes_and_dtypes(shape, dtype, library, panels):
    host = (np.random.default_rng(0).normal(size=shape) * 5).astype(dtype)
    for axes in every_axes(len(shape)):
        assert_like_numpy(library, host, axes)


@pytest.mark.parametrize(
    "view", [lambda a: a.T, lambda a: a[3:, 4:20]], ids=["transposed", "sliced"]
)
def test_layouts(view, library, panels):
    host = np.random.default_rng(0).normal(size=(20, 30))
    x = library.asarray(host)
    for axes in ((0,), (0, 1)):
        state = portable.of_block(view(x), axes)
        expected = log_sum(portable.of_block(view(host), axes))
        assert_allclose(library.numpy(log_sum(state)), expected, rtol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_at_any_place(value, dtype, library, panels):
    for position in (0, 64, 199):
        host = np.zeros((100, 2), dtype)
        host.flat[position] = value
        for axes in ((0,), (0, 1)):
            assert_like_numpy(library, host, axes)
    assert_like_numpy(library, np.full((9, 2), value, dtype), (0,))


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_long_sums(kind, library):
    host = ADVERSARIAL[kind](np.random.default_rng(0), 150_001)
    state = portable.of_block(library.asarray(host), (0,))
    exact = float(np.exp(host.astype("g") - host.max()).sum())
    # every library rounds its exponentials in its own way, to within 1 or 2 ulp
    assert abs(library.numpy(state.d).item() - exact) <= 12 * EPS * exact


def test_merging(library):
    host = np.random.default_rng(0).normal(size=(40, 3)) * 9
    parts = [portable.of_block(library.asarray(host[i : i + 7]), (0,)) for i in range(0, 40, 7)]
    expected = special.logsumexp(host, axis=0, keepdims=True)
    assert_allclose(library.numpy(log_sum(merge(*parts))), expected, rtol=1e-14)


def test_weights(library):
    pairs = np.array(list(itertools.product(SPECIAL, repeat=4)))
    a, b = pairs[:, :2], pairs[:, 2:]
    found = signed_log_sum(portable.of_block(library.asarray(a), (1,), library.asarray(b)))
    expected = signed_log_sum(portable.of_block(a, (1,), b))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(library.numpy(one), other, rtol=1e-14)


def test_empty_blocks(library):
    state = portable.of_block(library.asarray(np.empty((0, 3))), (0,))
    assert_array_equal(library.numpy(state.m), [[-np.inf] * 3])
    assert_array_equal(library.numpy(state.d), [[0.0] * 3])


@pytest.mark.parametrize("axis", [0, 1, None])
def test_public_functions(axis, library):
    host = np.random.default_rng(0).normal(size=(50, 40)) * 3
    x = library.asarray(host)
    for name in ("softmax", "log_softmax", "logsumexp"):
        found = library.numpy(getattr(dsoftmax, name)(x, axis=axis))
        assert_allclose(found, getattr(special, name)(host, axis=axis), rtol=1e-12)
    found, expected = (dsoftmax.softmax_topk(a, 4, axis=axis) for a in (x, host))
    assert_allclose(library.numpy(found.values), expected.values, rtol=1e-12)
    assert_array_equal(library.numpy(found.indices), expected.indices)
    found = library.numpy(dsoftmax.logsumexp(x, axis=axis, b=-2.5, return_sign=True)[0])
    expected = special.logsumexp(host, axis=axis, b=-2.5, return_sign=True)[0]
    assert_allclose(found, expected, rtol=1e-12)


def test_statistics_and_masks(library):
    axis = 0
    rng = np.random.default_rng(0)
    host, where = rng.normal(size=(5, 4)) * 3, rng.random((5, 4)) < 0.5
    host[~where] = np.resize([np.nan, np.inf, -np.inf, 0], (~where).sum())
    x = library.asarray(host)
    names = ("softmax", "log_softmax", "logsumexp", "entropy", "effective_sample_size")
    for name in names:
        function = getattr(dsoftmax, name)
        expected = function(host, axis, where=where)
        for mask in (where, library.asarray(where)):
            found = library.numpy(function(x, axis, where=mask))
            assert_allclose(found, expected, rtol=1e-12)
    values = (rng.normal(size=4), host, 2)
    expected = dsoftmax.expectation(host, values, axis, where=where)
    given = (values[0], library.asarray(host), 2)  # of NumPy, of the library, of Python
    for one, other in zip(dsoftmax.expectation(x, given, axis, where=where), expected, strict=True):
        assert_allclose(library.numpy(one), other, rtol=1e-12, atol=1e-14)
    found, expected = (dsoftmax.softmax_topk(a, 4, axis, where=where) for a in (x, host))
    assert_allclose(library.numpy(found.values), expected.values, rtol=1e-12)
    assert_array_equal(library.numpy(found.indices), expected.indices)


def gradient(library, function, host):
    """The gradient of a function of one array, as a library finds it."""
    if library.name == "torch":
        x = library.asarray(host).requires_grad_()
        function(x).backward()
        return x.grad.numpy()
    import jax

    return np.asarray(jax.grad(function)(library.asarray(host)))


def test_gradients(library):
    if library.name == "array_api_strict":
        return
    host = np.random.default_rng(0).normal(size=30) * 2
    v = np.random.default_rng(1).normal(size=30)
    values, first = library.asarray(v), library.asarray(np.arange(30) < 1)
    p = special.softmax(host)
    entropy, mean = -(p * np.log(p)).sum(), (p * v).sum()
    size = 1 / (p**2).sum()
    exact = {
        "logsumexp": (dsoftmax.logsumexp, p),
        "softmax": (lambda x: dsoftmax.softmax(x)[0], p[0] * ((np.arange(30) < 1) - p)),
        "log_softmax": (lambda x: dsoftmax.log_softmax(x)[0], (np.arange(30) < 1) - p),
        "entropy": (dsoftmax.entropy, -p * (np.log(p) + entropy)),
        "expectation": (lambda x: dsoftmax.expectation(x, values), p * (v - mean)),
        "effective_sample_size": (
            dsoftmax.effective_sample_size,
            2 * size * p * (1 - size * p),
        ),
        "where": (lambda x: dsoftmax.logsumexp(x, where=first), np.arange(30) < 1),
        "entropy, where": (lambda x: dsoftmax.entropy(x, where=first), np.zeros(30)),
    }
    for name, (function, expected) in exact.items():
        found = gradient(library, function, host)
        assert_allclose(found, expected, rtol=1e-10, atol=1e-14, err_msg=name)


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


if "jax" in LIBRARIES:

    def test_jax_without_float64():
        """JAX computes in float32 unless told otherwise; so does dsoftmax with its blocks then."""
        import jax.numpy as jnp

        host = np.random.default_rng(0).normal(size=(90, 20)).astype("f4") * 4
        with warnings.catch_warnings(action="ignore"):  # of the float64 that it does not have
            y = portable.softmax(jnp.asarray(host), (0,))
        assert y.dtype == np.float32
        assert_allclose(np.asarray(y), special.softmax(host, axis=0), rtol=1e-5)
