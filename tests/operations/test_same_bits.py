"""The bits of a result do not depend on the chunks: given (m, d), every block is computed alike."""

from operator import itemgetter

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.core import slices_from_chunks
from hypothesis import given, settings
from hypothesis import strategies as st

import dsoftmax
from dsoftmax import _kernels
from dsoftmax._algebra.states import mapped
from dsoftmax._kernels.cpu.block import NAMES

from ..strategies import chunkings

SHAPE = (30, 25, 20)  # more than 4096 elements
FUNCTIONS = ("softmax", "log_softmax")


def scores(dtype, shape=SHAPE):
    x = np.random.default_rng(0).normal(scale=20, size=shape)
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    kind = np.dtype(dtype).kind
    return (x > 0 if kind == "b" else abs(x) if kind == "u" else x).astype(dtype)


@pytest.mark.parametrize("dtype", sorted(NAMES))
@settings(deadline=None, max_examples=15, derandomize=True)
@given(chunks=chunkings(SHAPE), axes=st.sampled_from([(0, 1, 2), (0,), (1,), (2,), (0, 2)]))
def test_blocks_of_any_size(dtype, chunks, axes):
    x = scores(dtype)
    state = _kernels.of_block(x, axes)
    for function in (_kernels.rescale, _kernels.log_rescale):
        whole = function(x, state)
        for part in slices_from_chunks(chunks):
            kept = tuple(slice(None) if i in axes else part[i] for i in range(x.ndim))
            found = function(x[part], mapped(itemgetter(kept), state))
            assert found.dtype == whole.dtype
            assert found.tobytes() == whole[part].tobytes()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_in_memory(dtype, function):
    x = scores(dtype, (5000,))
    apply = getattr(dsoftmax.Normalizer.of(x), function)
    whole = apply(x)
    for size in (1, 7, 100, 4095):
        parts = [apply(x[i : i + size]) for i in range(0, x.size, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", [1, 50, 299])
def test_whole_slices_in_small_and_large_blocks(cut, dtype):
    x = scores(dtype, (300, 100))
    blocks = da.from_array(x, chunks=((cut, 300 - cut), 100))
    for function in (*FUNCTIONS, "logsumexp"):
        whole = getattr(dsoftmax, function)(da.from_array(x, chunks=-1), 1).compute()
        assert getattr(dsoftmax, function)(blocks, 1).compute().tobytes() == whole.tobytes()


@pytest.mark.parametrize("special", [-np.inf, np.inf, np.nan])
def test_a_slice_without_a_logarithm_leaves_the_others_their_bits(special):
    x = scores("float64", (400, 3))
    total = _kernels.logsumexp(x, (1,))[:, 0]
    x[7] = special
    found = _kernels.logsumexp(x, (1,))[:, 0]
    assert np.delete(found, 7).tobytes() == np.delete(total, 7).tobytes()


@pytest.mark.parametrize("threads", [2, 3])
def test_top_k_has_the_same_bits_for_any_number_of_threads(threads):
    x = np.random.default_rng(0).normal(size=(1 << 17, 20)) * 3
    with dask.config.set({"dsoftmax.threads": 1}):
        expected = dsoftmax.softmax_topk(x, 3, axis=0)
    for _ in range(3):
        with dask.config.set({"dsoftmax.threads": threads}):
            found = dsoftmax.softmax_topk(x, 3, axis=0)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (20,), (5, 7), (4097,)])
def test_a_normalizer_of_one_slice_whether_x_is_contiguous_or_not(shape, dtype):
    x = scores(dtype, shape)
    n = dsoftmax.Normalizer.of(x)
    apart = np.stack([x, x], axis=-1)[..., 0]
    assert not apart.flags.c_contiguous or x.size == 1
    assert n.softmax(x).tobytes() == n.softmax(apart).tobytes()
