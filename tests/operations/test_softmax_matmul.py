"""softmax_matmul: products with a softmax, against mpmath and SciPy's softmax times a matrix."""

import itertools
import math
from collections import Counter

import dask
import dask.array as da
import mpmath
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import dsoftmax
from dsoftmax import softmax_matmul
from dsoftmax._kernels import matmul

from .. import oracle
from ..compare import assert_allclose, assert_array_equal
from ..processes import printed
from ..strategies import chunkings, floats

RNG = np.random.default_rng(11)
X, V = RNG.normal(size=(7, 30)) * 5, RNG.normal(size=(30, 4))


def expected(x, v):
    with np.errstate(all="ignore"):
        return special.softmax(x, axis=-1) @ v


def exact(row, column):
    """A product and the sum of its absolute terms, which errors are relative to."""
    p = oracle.softmax(row)
    terms = [q * mpmath.mpf(float(value)) for q, value in zip(p, column, strict=True)]
    return mpmath.fsum(terms), mpmath.fsum(map(abs, terms))


def largest_error(y, x, v, dtype):
    """In units of rounding of the result, relative to the sum of absolute terms."""
    errors = []
    for i, j in np.ndindex(y.shape):
        value, size = exact(x[i], v[:, j])
        errors.append(abs(mpmath.mpf(float(y[i, j])) - value) / size)
    return float(max(errors)) / (float(np.finfo(dtype).eps) / 2)


@pytest.mark.parametrize(("dtype", "units"), [("float64", 60), ("float32", 60), ("float16", 1.1)])
@pytest.mark.parametrize("chunks", [None, 700, 41])
def test_values(dtype, units, chunks):
    x = (RNG.normal(size=(2, 2000)) * 5).astype(dtype)
    v = RNG.normal(size=(2000, 2)).astype(dtype)
    arrays = (x, v) if chunks is None else (da.from_array(a, chunks=chunks) for a in (x, v))
    y, log_sum = dask.compute(*softmax_matmul(*arrays, return_logsumexp=True))
    assert y.dtype == log_sum.dtype == dtype
    # the difference x - m is rounded, by up to half its size in units, before it is exponentiated
    assert largest_error(y, x, v, dtype) < units
    assert_allclose(log_sum, dsoftmax.logsumexp(x, axis=1), rtol=2 * np.finfo(dtype).eps)


def test_many_products_are_summed_in_panels(monkeypatch):
    """10^6 equal float32: BLAS may lose digits within a panel, and none are lost between panels."""
    x, v = np.zeros((1, 10**6), np.float32), np.full((10**6, 1), 0.1, np.float32)
    assert_allclose(softmax_matmul(x, v), [[np.float32(0.1)]], rtol=4e-6)
    y = softmax_matmul(X, V)
    monkeypatch.setattr(matmul, "PANEL", 7)
    assert_allclose(softmax_matmul(X, V), y, rtol=1e-13)


SHAPES = [
    ((4, 6), (6, 5)),
    ((6,), (6, 5)),
    ((4, 6), (6,)),
    ((6,), (6,)),
    ((3, 4, 6), (6, 5)),
    ((3, 4, 6), (3, 6, 5)),
    ((3, 4, 6), (2, 1, 6, 5)),
    ((1, 4, 6), (3, 6, 5)),
    ((6,), (3, 6, 5)),
    ((2, 3, 4, 6), (6,)),
    ((0, 6), (6, 5)),
    ((4, 6), (6, 0)),
]


@pytest.mark.parametrize("lazy", ["neither", "x", "v", "both"])
@pytest.mark.parametrize(("of_x", "of_v"), SHAPES)
def test_shapes(of_x, of_v, lazy, lazily):
    x, v = RNG.normal(size=of_x), RNG.normal(size=of_v)
    x_lazy = da.from_array(x, chunks=2) if lazy in ("x", "both") else x
    v_lazy = da.from_array(v, chunks=(4,) * v.ndim) if lazy in ("v", "both") else v
    y, log_sum = lazily(softmax_matmul, x_lazy, v_lazy, return_logsumexp=True)
    product = expected(x, v)
    logs = np.broadcast_to(special.logsumexp(x, axis=-1), product.shape[: log_sum.ndim])
    assert isinstance(y, da.Array) == isinstance(log_sum, da.Array) == (lazy != "neither")
    for actual, value in ((y, product), (log_sum, logs)):
        assert actual.shape == value.shape
        assert_allclose(actual, value, rtol=1e-12, atol=1e-15)
    assert_array_equal(softmax_matmul(x_lazy, v_lazy), y)
    if lazy == "both":
        rows = () if x.ndim == 1 else x_lazy.chunks[-2:-1]
        columns = () if v.ndim == 1 else v_lazy.chunks[-1:]
        assert y.chunks[y.ndim - len(rows + columns) :] == rows + columns


@st.composite
def cases(draw):
    rows, terms, columns = (draw(st.integers(1, 5)) for _ in range(3))
    elements = st.lists(floats(), min_size=rows * terms, max_size=rows * terms)
    x = np.array(draw(elements)).reshape(rows, terms)
    v = np.array(
        draw(st.lists(st.floats(-9, 9), min_size=terms * columns, max_size=terms * columns))
    )
    v = v.reshape(terms, columns)
    return x, v, draw(chunkings(x.shape)), draw(chunkings(v.shape))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_chunks_make_no_difference(case):
    x, v, of_x, of_v = case
    lazy = softmax_matmul(
        da.from_array(x, chunks=of_x), da.from_array(v, chunks=of_v), split_every=2
    )
    # x - m is rounded alike here and there, as both subtract before anything else
    bound = 1e-13 * np.nan_to_num(expected(x, np.abs(v)), nan=1) + 1e-300
    result, product = lazy.compute(), expected(x, v)
    assert_array_equal(np.isnan(result), np.isnan(product))
    assert (np.abs(np.nan_to_num(result) - np.nan_to_num(product)) <= bound).all()


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("chunks", [None, 2, 1, (4, 3)])
def test_special_values(chunks):
    x = np.array(
        [
            [-INF, -INF, 1.0, 2.0],  # a block of nothing, which spoils no others
            [-INF, -INF, -INF, -INF],
            [0.0, INF, 1.0, 2.0],
            [0.0, NAN, 1.0, 2.0],
            [0.0, -INF, -INF, -INF],
            [1000.0, -1000.0, -INF, 999.0],
        ]
    )
    v = np.array([[1.0, -2.0], [3.0, 0.0], [1e300, 5.0], [-1.0, 1.0]])
    arrays = (x, v) if chunks is None else (da.from_array(x, chunks=chunks), v)
    y = softmax_matmul(*arrays)
    assert_allclose(y, expected(x, v), rtol=1e-12)
    assert_array_equal(
        np.isnan(dask.compute(y)[0]).all(axis=1), [False, True, True, True, False, False]
    )


@pytest.mark.parametrize("chunks", [None, 2, 1])
def test_infinities_and_nan_in_v_count_as_in_the_product(chunks):
    x = np.array([[-INF, -INF, 1.0, 2.0], [0.0, 1.0, 2.0, -INF], [0.0, 1.0, 2.0, 3.0]])
    v = np.array([[INF, 1.0, 1.0], [1.0, NAN, 1.0], [1.0, 1.0, -INF], [1.0, 1.0, INF]])
    arrays = (x, v) if chunks is None else (da.from_array(x, chunks=chunks), v)
    assert_array_equal(softmax_matmul(*arrays), expected(x, v))


def test_masks():
    mask = RNG.random(X.shape) < 0.3
    mask[0] = True
    x = np.ma.array(X, mask=mask)
    v = np.ma.array(V, mask=RNG.random(V.shape) < 0.3)
    y = expected(np.where(mask, -INF, X), v.filled(0))
    y[0] = 0  # an empty sum
    for arrays in ((x, v), (da.from_array(x, chunks=5), da.from_array(v, chunks=3))):
        result = softmax_matmul(*arrays)
        assert_allclose(result, y, rtol=1e-12)
        assert not isinstance(dask.compute(result)[0], np.ma.MaskedArray)


@pytest.mark.parametrize(
    ("of_x", "of_v", "result"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float16", "float16", "float16"),
        ("float16", "float32", "float32"),
        ("int8", "uint8", "float64"),
        ("bool", "float32", "float32"),
        ("int64", "float32", "float64"),
        ("float64", "bool", "float64"),
        ("longdouble", "float32", np.dtype("longdouble").name),
    ],
)
def test_dtypes(of_x, of_v, result):
    x, v = (X * 2).astype(of_x), np.abs(V * 5).astype(of_v)
    y = expected(x.astype("longdouble"), v.astype("longdouble"))
    lazy = softmax_matmul(da.from_array(x, chunks=6), v)
    for actual in (softmax_matmul(x, v), lazy):
        assert actual.dtype == result
        assert dask.compute(actual)[0].dtype == result
        assert_allclose(actual, y.astype(result), rtol=20 * np.finfo(result).eps)


def test_half_precision_is_computed_in_float32():
    """65,520 equal terms exceed float16 when summed in it."""
    x, v = np.zeros((1, 70_000), np.float16), np.full((70_000, 1), 3, np.float16)
    assert softmax_matmul(x, v).item() == 3
    assert softmax_matmul(da.from_array(x, chunks=20_000), v).compute().item() == 3


def test_inputs_stay_as_they_are():
    x, v = X.copy(), V.copy()
    x[2, 3:] = -INF
    kept = x.copy()
    y = softmax_matmul(x, v)
    softmax_matmul(da.from_array(x, chunks=3), v).compute()
    assert_array_equal(x, kept)
    assert_array_equal(v, V)
    assert not np.shares_memory(y, v)


class Noted:
    """Arrays whose blocks note that they are read."""

    def __init__(self):
        self.read = []

    def array(self, name, shape, chunks):
        x = da.zeros(shape, chunks=chunks)
        options = {"dtype": float, "meta": np.empty((0,) * len(shape))}
        return x.map_blocks(self._note, name=None, **options, label=name)

    def _note(self, block, label):
        self.read.append(label)
        return block


@pytest.mark.parametrize(
    ("of_x", "of_v"),
    [((4, 2), (2, 8)), ((2, 2), (2, 8)), ((4, 2), (2, 4)), ((2, 3), (3, 4)), ((4, 6), (6, 8))],
)
@pytest.mark.parametrize("both", [False, True])
def test_x_and_v_are_read_once(of_x, of_v, both, lazily):
    noted = Noted()
    x, v = noted.array("x", (4, 6), of_x), noted.array("v", (6, 8), of_v)
    assert noted.read == []
    dask.compute(lazily(softmax_matmul, x, v, return_logsumexp=both))
    assert sorted(noted.read) == ["v"] * v.npartitions + ["x"] * x.npartitions


def names(x):
    """How many tasks there are of each name, and aliases of blocks that several share."""
    return Counter(map(key_split, dask.optimize(x)[0].__dask_graph__()))


def test_tasks():
    x, v = da.zeros((4, 640), chunks=(4, 10)), da.zeros((640, 8), chunks=(10, 8))
    # what loads both is fused, and 16 states are merged at once
    merges = {"softmax-matmul-merge-partial": 4, "softmax-matmul-merge-aggregate": 1}
    assert names(softmax_matmul(x, v)) == {"softmax-matmul-normalizer": 64} | merges
    rows = names(softmax_matmul(da.zeros((4, 640), chunks=(2, 10)), v))
    assert rows.pop("softmax-matmul-normalizer") == 128
    assert {name: rows.pop(name) for name in merges} == {n: 2 * k for n, k in merges.items()}
    assert rows.total() == 2 * 64  # to make blocks of v, and to share them
    whole = names(softmax_matmul(da.zeros((4, 640), chunks=(2, 640)), np.zeros((640, 8))))
    assert whole["softmax-matmul"] == 2


def test_keys_are_deterministic():
    x, v = da.zeros((4, 6), chunks=2), da.zeros((6, 3), chunks=3)
    assert softmax_matmul(x, v).name == softmax_matmul(x, v).name
    assert softmax_matmul(x, v).name != softmax_matmul(x + 1, v).name


@pytest.mark.parametrize("split_every", [2, 3, {1: 2}, {-1: 5}, {0: 4}])
def test_split_every(split_every):
    x = da.from_array(X, chunks=(3, 2))
    y = softmax_matmul(x, V, split_every=split_every)
    assert_allclose(y, expected(X, V), rtol=1e-12)
    bound = split_every if isinstance(split_every, int) else {1: 2, -1: 5}.get(*split_every, 2)
    graph = dask.optimize(y)[0].__dask_graph__()
    merges = [task for key, task in graph.items() if "softmax-matmul-merge" in key_split(key)]
    assert max(len(task.dependencies) for task in merges) == bound


def of_unknown_lengths(x, axis):
    every = da.from_array(np.ones(x.shape[axis], bool), chunks=(x.chunks[axis],))
    return x[(slice(None),) * axis + (every,)]


def test_unknown_lengths():
    x, v = da.from_array(X, chunks=(3, 8)), da.from_array(V, chunks=(8, 3))
    for of_x, of_v in itertools.product([(), (0,), (1,), (0, 1)], [(), (0,), (1,), (0, 1)]):
        filtered_x, filtered_v = x, v
        for axis in of_x:
            filtered_x = of_unknown_lengths(filtered_x, axis)
        for axis in of_v:
            filtered_v = of_unknown_lengths(filtered_v, axis)
        if (1 in of_x) != (0 in of_v):
            with pytest.raises(
                ValueError,
                match=r"softmax_matmul: the chunk sizes of x, of shape .*"
                r" are unknown and may not agree; call .compute_chunk_sizes\(\)",
            ):
                softmax_matmul(filtered_x, filtered_v)
            continue
        y = softmax_matmul(filtered_x, filtered_v)
        assert math.isnan(y.shape[0]) == (0 in of_x)
        assert math.isnan(y.shape[1]) == (1 in of_v)
        assert_allclose(y, expected(X, V), rtol=1e-12)


def test_unknown_lengths_that_do_not_agree():
    x = of_unknown_lengths(da.from_array(X, chunks=(7, (10, 20))), 1)
    v = of_unknown_lengths(da.from_array(V, chunks=((20, 10), 4)), 0)
    message = (
        r"softmax_matmul: a block of x of shape \(7, .0\) beside a block of v of shape \(.0, 4\): "
        r"the lengths of their chunks do not agree; call .compute_chunk_sizes\(\)"
    )
    with pytest.raises(ValueError, match=message):
        softmax_matmul(x, v).compute()
    with pytest.raises(ValueError, match="unknown and may not agree"):
        softmax_matmul(x, of_unknown_lengths(da.from_array(V, chunks=10), 0))


def test_x_of_other_chunks_is_not_cut():
    x = da.from_array(X, chunks=(7, (11, 19)))
    y = softmax_matmul(x, da.from_array(V, chunks=4))
    assert names(y)["softmax-matmul-normalizer"] == 2
    assert_allclose(y, expected(X, V), rtol=1e-12)


def test_results_of_parts_merge_to_the_whole():
    """As of key blocks on several machines: exp(logsumexp) are the weights."""
    parts = [
        softmax_matmul(X[:, s], V[s], return_logsumexp=True) for s in (slice(11), slice(11, 30))
    ]
    y, logs = (np.stack(part) for part in zip(*parts, strict=True))
    weights = dsoftmax.softmax(logs, axis=0)
    assert_allclose((weights[..., None] * y).sum(axis=0), expected(X, V), rtol=1e-12)


def test_lists():
    assert_allclose(softmax_matmul([[0.0, 0.0]], [[1], [3]]), [[2.0]])
    assert softmax_matmul([0.0, 0.0], [1, 3]) == 2.0


@pytest.mark.parametrize(
    ("x", "v", "error", "message"),
    [
        (X * 1j, V, TypeError, "softmax_matmul: x has dtype complex128"),
        (
            X,
            V * 1j,
            TypeError,
            "softmax_matmul: v has dtype complex128; pass a real array, as v.re",
        ),
        (X, V.astype(str), TypeError, "softmax_matmul: v has dtype str"),
        (1.0, V, ValueError, "softmax_matmul: x is a scalar; pass an array of one axis or more"),
        (X, 1.0, ValueError, "softmax_matmul: v is a scalar"),
        (
            X,
            V[1:],
            ValueError,
            r"x of shape \(7, 30\) and v of shape \(29, 4\) do not fit; the last",
        ),
        (X, V[:1], ValueError, r"x of shape \(7, 30\) and v of shape \(1, 4\) do not fit"),
        (np.zeros((2, 7, 30)), np.zeros((3, 30, 4)), ValueError, "do not fit"),
        (
            np.zeros((2, 0)),
            np.zeros((0, 2)),
            ValueError,
            r"softmax_matmul: x has shape \(2, 0\), emp",
        ),
        (X, [V[1:], V[1:]], ValueError, "do not fit"),
        ([da.zeros(3)], V, TypeError, "softmax_matmul: x is a list of Dask arrays"),
    ],
)
def test_wrong_arguments(x, v, error, message):
    with pytest.raises(error, match=message):
        softmax_matmul(x, v)


def test_wrong_split_every():
    with pytest.raises(
        ValueError, match="softmax_matmul: split_every is 1; use an int of at least 2"
    ):
        softmax_matmul(X, V, split_every=1)


def test_blocks_that_are_no_arrays():
    x = da.from_array(X, chunks=15).map_blocks(lambda block: {}, meta=np.empty((0, 0)))
    with pytest.raises(
        TypeError, match="a block is of type dict, not an array; make arrays of the blocks"
    ):
        softmax_matmul(x, V).compute()


@pytest.mark.parametrize("name", ["array_api_strict", "torch"])
def test_blocks_of_other_libraries(name):
    xp = pytest.importorskip(name, reason="blocks of other libraries")
    x, v = xp.asarray(X), xp.asarray(V)
    y, log_sum = softmax_matmul(x, v, return_logsumexp=True)
    assert type(y) is type(log_sum) is type(x)
    assert_allclose(np.asarray(y), expected(X, V), rtol=1e-12)
    assert_allclose(np.asarray(log_sum), special.logsumexp(X, axis=1), rtol=1e-12)
    assert_allclose(np.asarray(softmax_matmul(x, V)), expected(X, V), rtol=1e-12)
    with pytest.raises(TypeError, match="softmax_matmul: arrays of different libraries"):
        softmax_matmul(X, v)
    if name == "torch":  # the dtypes of the other one have no size, which Dask asks for
        lazy = [da.from_array(a, chunks=9).map_blocks(xp.asarray) for a in (X, V)]
        assert_allclose(np.asarray(softmax_matmul(*lazy).compute()), expected(X, V), rtol=1e-12)
        with pytest.raises(TypeError, match="blocks of .* do not mix; convert all to one kind"):
            softmax_matmul(lazy[0], V).compute()


JAX = """
import dask.array as da, jax, jax.numpy as jnp, numpy as np
from dsoftmax import softmax_matmul
jax.config.update("jax_enable_x64", True)
x, v = (np.random.default_rng(0).normal(size=s) for s in ((7, 30), (30, 4)))
expected = softmax_matmul(x, v, return_logsumexp=True)
lazy = [da.from_array(a, chunks=c).map_blocks(jnp.asarray) for a, c in ((x, (7, 9)), (v, (9, 4)))]
for given in (map(jnp.asarray, (x, v)), (jnp.asarray(x), v), lazy):
    for result, value in zip(softmax_matmul(*given, return_logsumexp=True), expected):
        result = result.compute(scheduler="sync") if isinstance(result, da.Array) else result
        assert isinstance(result, jnp.ndarray)
        np.testing.assert_allclose(result, value, rtol=1e-13)
"""


def test_blocks_of_jax():
    """In a process of its own: with its threads JAX warns of every fork afterwards."""
    pytest.importorskip("jaxlib", reason="blocks of JAX")
    assert printed(JAX) == ""


EXPRESSIONS = """
import dask.array as da, numpy as np
from dsoftmax import softmax_matmul
x, v = (np.random.default_rng(0).normal(size=s) for s in ((7, 30), (30, 4)))
lazy = (da.from_array(x, chunks=(3, 9)), da.from_array(v, chunks=(7, 2)))
both = (softmax_matmul(*arrays, return_logsumexp=True) for arrays in (lazy, (x, v)))
for result, expected in zip(*both):
    np.testing.assert_allclose(result.compute(), expected, rtol=1e-13)
print(da.array_expr_enabled())
"""


def test_the_array_expression_mode():
    assert printed(EXPRESSIONS, expressions=True) == "True\n"
