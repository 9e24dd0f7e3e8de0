"""Layers that may be expensive to compute and so are held, as products, and those that are not."""

import operator

import dask
import dask.array as da
import numpy as np
import pytest
from numba import njit

from dsoftmax import softmax

from .sources import LARGE, virtual, why_held

pytestmark = pytest.mark.filterwarnings("ignore:Increasing number of chunks")

# Attention: queries and keys in rows, the features of both in one chunk.
Q = virtual(80_000, 64, chunks=(10_000, 64))
K = virtual(50_000, 64, chunks=(10_000, 64))
MASK = virtual(80_000, 50_000, chunks=(10_000, 10_000)) > 0
BATCHED = virtual(3, 80_000, 64, chunks=(1, 10_000, 64))
ROWS = LARGE.rechunk((1_000, 10_000))
WEIGHTS = np.ones((64, 50_000), "f4")


def opaque(*blocks):
    """As a compiled function is: its name says nothing."""


PRODUCTS = {
    "@": lambda: Q @ K.T,
    "matmul": lambda: np.matmul(Q, K.T),
    "plus a bias": lambda: Q @ K.T + np.ones(50_000, "f4"),
    "scaled": lambda: (Q @ K.T) / 8,
    "masked": lambda: da.where(MASK, Q @ K.T, -np.inf),
    "sliced": lambda: (Q @ K.T)[5:],
    "converted": lambda: (Q @ K.T).astype("f8"),
    "transposed": lambda: (K @ Q.T).T,
    "rechunked": lambda: (Q @ K.T).rechunk((5_000, 10_000)),
    "mapped": lambda: (Q @ K.T).map_blocks(np.exp),
    "overlapping": lambda: (Q @ K.T).map_overlap(neighbours, depth=1, boundary="none"),
    "concatenated": lambda: da.concatenate([MASK * np.float32(1), Q @ K.T]),
    "batched": lambda: BATCHED @ BATCHED.transpose(0, 2, 1),
    "batched queries": lambda: BATCHED @ K.T,
    "of weights": lambda: Q @ da.from_array(WEIGHTS, chunks=(64, 10_000)),
    "of two chunks": lambda: Q.rechunk((10_000, 32)) @ K.T,
    "dot": lambda: da.dot(Q, K.T),
    "tensordot": lambda: da.tensordot(Q, K, axes=(1, 1)),
    "einsum": lambda: da.einsum("ik,jk->ij", Q, K),
    "einsum, not summed": lambda: da.einsum("ik,jk->ikj", Q, K),
    "blockwise": lambda: da.blockwise(np.matmul, "ij", Q, "ik", K.T, "kj", dtype="f4"),
    "map_blocks": lambda: da.map_blocks(operator.matmul, Q, K.T, chunks=MASK.chunks, dtype="f4"),
}
OF_FUNCTIONS = {  # whatever the function is
    "summed": lambda: da.blockwise(opaque, "ij", Q, "ik", K, "jk", dtype="f4", meta=Q._meta),
    "not summed": lambda: da.blockwise(
        opaque, "ikj", Q, "ik", K, "jk", dtype="f4", meta=BATCHED._meta
    ),
    "one axis less": lambda: virtual(10**9, 2, chunks=(10**7, 2)).map_blocks(
        opaque, drop_axis=1, meta=np.empty(0, "f4")
    ),
    "gufunc": lambda: da.apply_gufunc(np.sort, "(i)->(i)", ROWS),
    "gufunc of two": lambda: da.apply_gufunc(
        opaque, "(k),(j,k)->(j)", Q, WEIGHTS.T, output_dtypes="f4"
    ),
    "da.fft": lambda: da.fft.fft(ROWS),
    "da.frompyfunc": lambda: da.frompyfunc(abs, 1, 1)(LARGE).astype("f4"),
}


@pytest.mark.parametrize("kind", PRODUCTS | OF_FUNCTIONS)
def test_products_are_held(kind):
    assert " below it may be expensive to compute" in why_held((PRODUCTS | OF_FUNCTIONS)[kind]())


@pytest.mark.parametrize(
    "kind",
    [kind for kind in PRODUCTS if "einsum" not in kind],  # which have many chunks
)
def test_optimized_products_are_held(kind):
    (x,) = dask.optimize(PRODUCTS[kind]())
    assert " below it may be expensive to compute, as it uses " in why_held(x)


def test_the_report_says_what_is_dear():
    assert why_held(LARGE.map_blocks(np.linalg.svd, meta=LARGE._meta)) == (
        "'svd' below it may be expensive to compute, as it uses numpy.linalg.svd (reread=True "
        "does so twice)"
    )
    assert why_held(OF_FUNCTIONS["summed"]()) == (
        "'opaque' below it may be expensive to compute (reread=True does so twice)"
    )


@pytest.mark.parametrize(("reread", "times"), [("auto", 1), (False, 1), (True, 2)])
def test_a_product_is_computed_once(monkeypatch, reread, times):
    data = np.random.default_rng(5).normal(size=(12, 3))
    x = da.from_array(data, chunks=(2, 3)) @ da.from_array(data, chunks=(2, 3)).T
    with dask.config.set({"array.chunk-size": 1}):
        y = softmax(x, axis=1, reread=reread)
    products, matmul = [], np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b: products.append(a) or matmul(a, b))
    y.compute()
    assert len(products) == times * 36


def test_a_function_is_called_once():
    calls = []

    def smooth(block):
        calls.append(block.shape)
        return np.convolve(block, [0.25, 0.5, 0.25], mode="same")

    x = da.ones(100, chunks=10).map_overlap(smooth, 1, boundary=0, meta=np.empty(0))
    with dask.config.set({"array.chunk-size": 1}):
        softmax(x).compute()
    assert calls == [(12,)] * 10


# What is cheap.


def neighbours(block):
    """Averages without a product."""
    padded = np.pad(block, 1, mode="edge")
    return (padded[:-2, 1:-1] + padded[1:-1, 1:-1] + padded[2:, 1:-1]) / 3


def decorated(function):
    def inner(block):
        return function(block)

    return inner


@njit
def compiled_sum(block):
    return block + 1


COLUMN, ROW = LARGE[:, :1], LARGE[:1].rechunk((1, 1000))
CHEAP = {
    "arithmetic": lambda: 2 * LARGE + 1,
    "powers": lambda: LARGE**2 % 3,
    "ufuncs": lambda: np.exp(np.abs(LARGE)),
    "where": lambda: da.where(LARGE > 0, LARGE, 0),
    "clip": lambda: da.clip(LARGE, 0, 1).round(2),
    "broadcast": lambda: COLUMN - ROW[0],
    "outer differences": lambda: np.subtract.outer(COLUMN[:, 0], ROW[0]),
    "an outer product": lambda: da.outer(COLUMN[:, 0], ROW[0]),
    "a grid": lambda: da.fromfunction(lambda i, j: i + j, shape=(10**5, 10**4), chunks=10**3),
    "triangular": lambda: da.tril(LARGE),
    "digitized": lambda: da.digitize(LARGE, np.arange(9)),
    "no arrays": lambda: da.map_blocks(
        lambda block_id: np.ones(10**7), chunks=((10**7,) * 20,), dtype="f8", meta=np.empty(0)
    ),
    "one axis more": lambda: da.map_blocks(
        lambda a, b: np.stack([a, b], axis=2),
        *(LARGE, LARGE),
        new_axis=2,
        chunks=(10**4, 10**3, 2),
        meta=BATCHED._meta,
    ),
    "of two": lambda: da.map_blocks(np.hypot, LARGE, LARGE, dtype="f4"),
    "with a small one": lambda: da.map_blocks(np.hypot, LARGE, COLUMN, dtype="f4"),
    "overlapping": lambda: LARGE.map_overlap(neighbours, depth=1, boundary="none"),
    "overlapping, in a lambda": lambda: LARGE.map_overlap(
        lambda b: (b[:-2] + b[1:-1] + b[2:]) / 3, depth={0: 1}, trim=False, meta=LARGE._meta
    ),
    "compiled": lambda: LARGE.map_blocks(compiled_sum, meta=LARGE._meta),
    "decorated": lambda: LARGE.map_blocks(decorated(np.exp), meta=LARGE._meta),
    "text": lambda: LARGE.map_blocks(np.add, "numpy.linalg.svd", meta=LARGE._meta),
    "sorted": lambda: LARGE.map_blocks(np.sort),
    "optimized": lambda: dask.optimize(np.exp(virtual(10**9, chunks=10**7)))[0],
}


@pytest.mark.parametrize("kind", CHEAP)
def test_cheap_functions_are_read_again(kind):
    assert why_held(CHEAP[kind]()) is None
