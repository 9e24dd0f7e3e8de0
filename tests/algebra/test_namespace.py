"""The namespace of NumPy's arrays gives what array_api_compat gives, and is that of all of them."""

import array_api_strict
import numpy as np
import pytest
from array_api_compat import numpy as compat

from dsoftmax._algebra import numpy_arrays
from dsoftmax._algebra.namespace import array_namespace

X = np.random.default_rng(0).normal(size=(3, 4, 5))
AXES = [None, 0, -1, (1,), (0, 2), (0, 1, 2)]


@pytest.mark.parametrize("name", ["max", "sum", "any", "all", "count_nonzero"])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    "x", [X, X > 0.5, np.full((2, 3, 1), np.nan), np.arange(6).reshape(1, 2, 3)]
)
def test_reductions(name, axis, keepdims, x):
    ours, theirs = (
        getattr(xp, name)(x, axis=axis, keepdims=keepdims) for xp in (numpy_arrays, compat)
    )
    np.testing.assert_array_equal(ours, theirs, strict=True)


CALLS = {
    "astype": lambda xp: xp.astype(X, np.float32),
    "sum in another dtype": lambda xp: xp.sum(X > 0, axis=0, dtype=np.float64),
    "sign": lambda xp: xp.sign(np.array([-2.0, -0.0, 3, np.nan, np.inf])),
    "sign of complex": lambda xp: xp.sign(np.array([3 + 4j, -2])),
    "reshape": lambda xp: xp.reshape(X, (-1, 5)),
    "squeeze": lambda xp: xp.squeeze(X[:, :1], axis=(1,)),
    "zeros_like": lambda xp: xp.zeros_like(X.T, dtype=np.int8),
    "ones_like": lambda xp: xp.ones_like(X[:, ::2]),
    "moveaxis": lambda xp: xp.moveaxis(X, 0, -1),
    "moveaxis to where it is": lambda xp: xp.moveaxis(X, 2, -1),
    "broadcast_to": lambda xp: xp.broadcast_to(X[:1], (3, 4, 5)),
    "broadcast_to its own shape": lambda xp: xp.broadcast_to(X, (3, 4, 5)),
    "take_along_axis": lambda xp: xp.take_along_axis(X[0, 0], np.array([4, 0, -1]), axis=0),
    "take_along_axis of several": lambda xp: xp.take_along_axis(X, np.argsort(X, axis=1), axis=1),
    "what it does not define": lambda xp: xp.concat([X, X], axis=1),
}


@pytest.mark.parametrize("call", CALLS)
def test_other_functions(call):
    ours, theirs = (CALLS[call](xp) for xp in (numpy_arrays, compat))
    np.testing.assert_array_equal(ours, theirs, strict=True)


def test_arrays_in_one_shape():
    a, b = numpy_arrays.broadcast_arrays(X, X[:, :, :1])
    assert a.shape == b.shape == X.shape
    assert numpy_arrays.broadcast_arrays(X, -X)[0] is X


@pytest.mark.parametrize("x", [X, X[0, 0, 0], np.ma.array(X), np.bool_(True)], ids=type)
def test_all_of_numpy_has_one_namespace(x):
    assert array_namespace(x) is array_namespace(X, x) is numpy_arrays


def test_namespaces_of_others():
    x = array_api_strict.ones(3)
    assert array_namespace(x) is array_api_strict
    with pytest.raises(TypeError, match="Multiple namespaces"):
        array_namespace(X, x)
