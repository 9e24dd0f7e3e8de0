"""where= of softmax_matmul and cross_entropy: attention masks, and classes that take no part."""

from collections import Counter

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax import cross_entropy, log_softmax, logsumexp, softmax, softmax_matmul
from dsoftmax._kernels import matmul

from ..compare import assert_allclose, assert_array_equal
from ..strategies import arrays, chunkings

RNG = np.random.default_rng(3)
INF, NAN = np.inf, np.nan
X, V = RNG.normal(size=(6, 8)) * 5, RNG.normal(size=(8, 3))
WHERE = RNG.random((6, 8)) < 0.6
WHERE[2], WHERE[3, 5], WHERE[:, 4] = False, True, False
LABELS = np.array([0, 7, 1, 5, 2, 3])
SPOILED = X.copy()
SPOILED[~WHERE] = np.array([NAN, INF, -INF, 1e300])[np.arange((~WHERE).sum()) % 4]
CHUNKS = [None, (6, 8), (2, 3)]


def as_lazy(x, chunks):
    return x if chunks is None else da.from_array(x, chunks=chunks)


def of_unknown_rows(a, chunks):
    every = da.from_array(np.ones(a.shape[0], bool), chunks=(chunks[0],))
    return da.from_array(a, chunks=chunks)[every]


def product(x, v, where):
    """Each row of the product from the elements that are in, by the function without a mask."""
    x, where = np.broadcast_arrays(np.asarray(x), where)
    y = np.zeros((*x.shape[:-1], v.shape[-1]))
    logs = np.full(x.shape[:-1], -INF)
    for row in np.ndindex(x.shape[:-1]):
        if (kept := where[row]).any():
            y[row], logs[row] = softmax_matmul(x[row][kept], v[kept], return_logsumexp=True)
    return y, logs


class TestSoftmaxMatmul:
    @pytest.mark.parametrize("lazy_v", [False, True])
    @pytest.mark.parametrize("where_chunks", [None, (6, 8), (6, 1)])
    @pytest.mark.parametrize("chunks", CHUNKS)
    def test_equals_the_product_of_what_is_in(self, chunks, where_chunks, lazy_v, lazily):
        x, where = as_lazy(SPOILED, chunks), as_lazy(WHERE, where_chunks)
        v = da.from_array(V, chunks=(5, 2)) if lazy_v else V
        y, logs = lazily(softmax_matmul, x, v, where=where, return_logsumexp=True)
        lazy = chunks is not None or where_chunks is not None or lazy_v
        assert isinstance(y, da.Array) == isinstance(logs, da.Array) == lazy
        right, right_logs = product(X, V, WHERE)
        assert_allclose(y, right, rtol=1e-13, atol=1e-14)
        assert_allclose(logs, right_logs, rtol=1e-13)
        assert_array_equal(dask.compute(y)[0][2], [0, 0, 0])
        assert_array_equal(softmax_matmul(x, v, where=where), y)
        assert_allclose(y, dask.compute(softmax(x, 1, where=where))[0] @ V, rtol=1e-13, atol=1e-14)

    @pytest.mark.parametrize("chunks", [None, 2, (4, 5)])
    def test_causal(self, chunks):
        n = 9
        scores, values = RNG.normal(size=(n, n)), RNG.normal(size=(n, 2))
        causal = np.tril(np.ones((n, n), bool))
        y = dask.compute(softmax_matmul(as_lazy(scores, chunks), values, where=causal))[0]
        for q in range(n):
            assert_allclose(y[q], softmax_matmul(scores[q, : q + 1], values[: q + 1]), rtol=1e-13)
        index = da.arange(n, chunks=4)
        lazy = softmax_matmul(as_lazy(scores, chunks), values, where=index[:, None] >= index)
        assert_allclose(lazy, y, rtol=1e-13)

    @pytest.mark.parametrize("lazy", ["none", "x", "v", "where", "all"])
    @pytest.mark.parametrize(
        ("of_x", "of_where", "of_v"),
        [
            ((6, 8), (8,), (8, 3)),
            ((6, 8), (1, 8), (8, 3)),
            ((6, 8), (6, 1), (8, 3)),
            ((6, 8), (), (8, 3)),
            ((8,), (8,), (8, 3)),
            ((8,), (6, 8), (8, 3)),
            ((1, 8), (6, 1), (8,)),
            ((6, 8), (4, 1, 8), (8, 3)),
            ((4, 6, 8), (6, 8), (4, 8, 3)),
            ((2, 4, 6, 8), (2, 1, 1, 8), (4, 8, 3)),
            ((6, 1), (6, 8), (8, 3)),
        ],
    )
    def test_it_broadcasts_both_ways(self, of_x, of_where, of_v, lazy):
        x, v = RNG.normal(size=of_x), RNG.normal(size=of_v)
        where = RNG.random(of_where) < 0.7
        together = np.broadcast_arrays(x, where)
        whole = softmax(together[0], -1, where=together[1]) @ v
        given_arrays = {"x": x, "v": v, "where": where}
        for name, a in given_arrays.items():
            if lazy in (name, "all"):
                given_arrays[name] = da.from_array(a, chunks=tuple(min(3, n) for n in a.shape))
        y, logs = softmax_matmul(**given_arrays, return_logsumexp=True)
        assert isinstance(y, da.Array) == (lazy != "none")
        assert y.shape == whole.shape
        assert_allclose(y, whole, rtol=1e-12, atol=1e-14)
        right = logsumexp(together[0], -1, where=together[1])
        assert_allclose(logs, np.broadcast_to(right, logs.shape), rtol=1e-13)

    @pytest.mark.parametrize("chunks", [None, 2, 1, (3, 2)])
    def test_special_values(self, chunks):
        x = np.array(
            [
                [-INF, -INF, 1.0, 2.0],  # all that is in is -inf
                [-INF, 0.0, 1.0, 2.0],
                [NAN, 0.0, INF, 2.0],
                [NAN, 0.0, INF, 2.0],  # NaN in
                [0.0, 1.0, INF, 2.0],  # +inf in
                [0.0, 1.0, 2.0, 3.0],  # nothing in
            ]
        )
        where = np.array(
            [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
        ).astype(bool)
        v = np.array([[1.0], [2.0], [3.0], [4.0]])
        y, logs = softmax_matmul(as_lazy(x, chunks), v, where=where, return_logsumexp=True)
        p = 1 / (1 + np.exp(-2.0))
        assert_allclose(y, [[NAN], [2.0], [2 + 2 * p], [NAN], [NAN], [0.0]], rtol=1e-14)
        assert_allclose(logs, [-INF, 0, np.log(1 + np.exp(2)), NAN, INF, -INF], rtol=1e-14)

    @pytest.mark.parametrize("panel", [matmul.PANEL, 2])
    @pytest.mark.parametrize("chunks", [None, 1, (2, 3), (4, 3)])
    def test_v_at_a_place_that_is_out_does_not_matter(self, chunks, panel, monkeypatch):
        monkeypatch.setattr(matmul, "PANEL", panel)
        x = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, -INF], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        where = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]], bool)
        v = np.array([[1.0, -INF, INF, 2.0], [3.0, 1.0, 1.0, 1.0], [NAN, 1.0, -INF, INF]])
        p = softmax(x[0, :2])
        right = [
            [p @ v[:2, 0], -INF, INF, p @ v[:2, 3]],
            [NAN, 1.0, NAN, NAN],  # probability 0 that is in, times infinity
            [NAN, -INF, NAN, INF],
            [0.0, 0.0, 0.0, 0.0],
        ]
        y = softmax_matmul(as_lazy(x, chunks), v, where=where)
        assert_allclose(y, right, rtol=1e-14)

    def test_masked_scores_are_out(self):
        masked = np.ma.masked_array(X, mask=RNG.random(X.shape) < 0.3)
        right = product(X, V, WHERE & ~masked.mask)[0]
        for x in (masked, da.from_array(masked, chunks=3)):
            assert_allclose(softmax_matmul(x, V, where=WHERE), right, rtol=1e-13, atol=1e-14)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
    def test_dtypes(self, dtype):
        x, v = X.astype(dtype), V.astype(dtype)
        found = softmax_matmul(x, v, where=WHERE)
        result = "float64" if dtype == "int8" else dtype
        assert found.dtype == result
        right = product(x.astype("f8"), v.astype("f8"), WHERE)[0]
        assert_allclose(found, right, atol=20 * np.finfo(result).eps)

    def test_unknown_lengths(self):
        right = product(X, V, WHERE)[0]
        x = of_unknown_rows(SPOILED, (2, 3))
        y = softmax_matmul(x, V, where=of_unknown_rows(WHERE, (2, 8)))
        assert np.isnan(y.shape[0])
        assert_allclose(y, right, rtol=1e-13, atol=1e-14)
        keys = np.array([True] * 5 + [False] * 3)
        y = softmax_matmul(of_unknown_rows(X, (2, 3)), da.from_array(V, chunks=3), where=keys)
        assert_allclose(y, product(X, V, keys)[0], rtol=1e-13, atol=1e-14)
        other = of_unknown_rows(WHERE, ((1, 3, 2), (8,)))
        message = "softmax_matmul: a block of x of shape .* beside a block of where of shape"
        with pytest.raises(ValueError, match=message):
            softmax_matmul(x, V, where=other).compute()
        message = "the chunk sizes of x, of shape .* or where, of shape .* are unknown"
        with pytest.raises(ValueError, match=message):
            softmax_matmul(x, V, where=of_unknown_rows(WHERE, (3, 8)))

    def test_errors(self):
        with pytest.raises(TypeError, match="softmax_matmul: where has dtype int64; pass a mask"):
            softmax_matmul(X, V, where=WHERE.astype(int))
        message = r"softmax_matmul: where of shape \(5,\) does not broadcast with x of shape"
        with pytest.raises(ValueError, match=message):
            softmax_matmul(X, V, where=[True] * 5)


def entropies(x, labels, where):
    """By the function without a mask, of the classes of each row that are in."""
    found = []
    for row, label, kept in zip(x, labels, where, strict=True):
        inside = kept[label]
        found.append(cross_entropy(row[kept], kept[:label].sum()) if inside else INF)
    return np.array(found)


class TestCrossEntropy:
    @pytest.mark.parametrize("lazy_labels", [False, True])
    @pytest.mark.parametrize("where_chunks", [None, (6, 8), (6, 1)])
    @pytest.mark.parametrize("chunks", CHUNKS)
    def test_equals_that_of_what_is_in(self, chunks, where_chunks, lazy_labels, lazily):
        x, where = as_lazy(SPOILED, chunks), as_lazy(WHERE, where_chunks)
        labels = da.from_array(LABELS, chunks=4) if lazy_labels else LABELS
        found = lazily(cross_entropy, x, labels, where=where)
        lazy = chunks is not None or where_chunks is not None or lazy_labels
        assert isinstance(found, da.Array) == lazy
        right = entropies(X, LABELS, WHERE)
        assert 0 < np.isinf(right).sum() < 5
        assert_allclose(found, right, rtol=1e-14)
        logs = dask.compute(log_softmax(x, 1, where=where))[0]
        assert_allclose(found, -logs[np.arange(6), LABELS], rtol=1e-13)

    @pytest.mark.parametrize("chunks", [None, 2, 1, (7, 2)])
    def test_special_values(self, chunks):
        x = np.array(
            [
                [-INF, -INF, 1.0, 2.0],  # all that is in is -inf
                [-INF, -INF, 1.0, 2.0],
                [NAN, 0.0, 1.0, 2.0],  # NaN in
                [NAN, 0.0, 1.0, 2.0],
                [0.0, INF, 1.0, 2.0],  # +inf in
                [0.0, 1.0, 2.0, 3.0],  # nothing in
                [0.0, 1.0, 2.0, 3.0],  # nothing in, and ignored
            ]
        )
        where = np.array([[1, 1, 0, 0]] * 5 + [[0, 0, 0, 0]] * 2).astype(bool)
        labels = [0, 2, 1, 3, 0, 0, -1]
        found = cross_entropy(as_lazy(x, chunks), labels, where=where, ignore_label=-1)
        assert_array_equal(found, [NAN, INF, NAN, INF, INF, INF, 0])

    @pytest.mark.parametrize("lazy", ["none", "x", "labels", "where", "all"])
    @pytest.mark.parametrize(
        ("of_x", "of_where", "axis"),
        [
            ((6, 8), (8,), -1),
            ((6, 8), (6, 1), 1),
            ((6, 8), (), 0),
            ((8,), (8,), 0),
            ((8,), (6, 8), 1),
            ((6, 1), (6, 8), -1),
            ((4, 8, 5), (8, 1), 1),
            ((4, 1, 1), (8, 5), -2),
        ],
    )
    def test_it_broadcasts_both_ways(self, of_x, of_where, axis, lazy):
        x, where = RNG.normal(size=of_x), RNG.random(of_where) < 0.7
        together = np.broadcast_arrays(x, where)
        logs = np.moveaxis(log_softmax(together[0], axis, where=together[1]), axis, -1)
        labels = RNG.integers(0, logs.shape[-1], size=logs.shape[:-1])
        right = -np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]
        given_arrays = {"x": x, "labels": labels, "where": where}
        for name, a in given_arrays.items():
            if lazy in (name, "all"):
                given_arrays[name] = da.from_array(a, chunks=tuple(min(3, n) for n in a.shape))
        found = cross_entropy(**given_arrays, axis=axis)
        assert isinstance(found, da.Array) == (lazy != "none")
        assert found.shape == right.shape
        assert_allclose(found, right, rtol=1e-13)

    def test_masked_scores_are_out(self):
        masked = np.ma.masked_array(X, mask=RNG.random(X.shape) < 0.3)
        right = entropies(X, LABELS, WHERE & ~masked.mask)
        for x in (masked, da.from_array(masked, chunks=3)):
            assert_allclose(cross_entropy(x, LABELS, where=WHERE), right, rtol=1e-13)

    def test_unknown_lengths(self):
        x, labels = of_unknown_rows(SPOILED, (2, 3)), of_unknown_rows(LABELS, (2,))
        found = cross_entropy(x, labels, where=of_unknown_rows(WHERE, (2, 8)))
        assert_allclose(found, entropies(X, LABELS, WHERE), rtol=1e-13)
        message = "the chunk sizes of where along axis 0 are unknown.* call where.compute_chunk"
        with pytest.raises(ValueError, match=message):
            cross_entropy(X[:1], LABELS, 0, where=of_unknown_rows(WHERE, (2, 8)))

    def test_errors(self):
        with pytest.raises(TypeError, match="cross_entropy: where has dtype int64; pass a mask"):
            cross_entropy(X, LABELS, where=WHERE.astype(int))
        message = r"cross_entropy: where of shape \(5,\) does not broadcast with x of shape"
        with pytest.raises(ValueError, match=message):
            cross_entropy(X, LABELS, where=[True] * 5)
        message = r"labels have shape \(6,\), and x without axis 2 has shape \(4, 6\)"
        with pytest.raises(ValueError, match=message):
            cross_entropy(X, LABELS, where=np.ones((4, 1, 1), bool))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_chunks_do_not_matter(data):
    x = data.draw(arrays(max_dims=2, special=True))
    x = x if x.ndim == 2 else x[None]
    where = np.array(data.draw(st.lists(st.booleans(), min_size=x.size, max_size=x.size)))
    where = where.reshape(x.shape)
    lazy, mask = (da.from_array(a, chunks=data.draw(chunkings(x.shape))) for a in (x, where))
    v = np.linspace(-1, 1, x.shape[1])[:, None]
    whole = softmax_matmul(x, v, where=where)
    assert_allclose(softmax_matmul(lazy, v, where=mask), whole, rtol=1e-11, atol=1e-13)
    labels = np.arange(x.shape[0]) % x.shape[1]
    whole = cross_entropy(x, labels, where=where)
    assert_allclose(cross_entropy(lazy, labels, where=mask), whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["array_api_strict", "torch"])
def test_blocks_of_other_libraries(name):
    xp = pytest.importorskip(name, reason="blocks of other libraries")
    x, v = xp.asarray(SPOILED), V.copy()
    v[4, 0] = NAN  # beside no score that is in
    for where in (WHERE, xp.asarray(WHERE)):
        y = softmax_matmul(x, xp.asarray(v), where=where)
        assert type(y) is type(x)
        assert_allclose(np.asarray(y), product(X, V, WHERE)[0], rtol=1e-13, atol=1e-14)
        found = cross_entropy(x, LABELS, where=where)
        assert type(found) is type(x)
        assert_allclose(np.asarray(found), entropies(X, LABELS, WHERE), rtol=1e-13)
    for function, other in ((softmax_matmul, V), (cross_entropy, LABELS)):
        with pytest.raises(TypeError, match="arrays of different libraries"):
            function(X, other, where=array_api_strict.asarray(WHERE))


class TestPlan:
    @pytest.fixture
    def source(self):
        read = []

        def load(block, which):
            read.append(which)
            return block.copy()

        def make(a, which, chunks):
            lazy = da.from_array(a, chunks=chunks)
            return lazy.map_blocks(
                load, which, dtype=a.dtype, meta=np.empty((0,) * a.ndim, a.dtype)
            )

        return read, make

    @pytest.mark.parametrize("of_where", [(slice(None),) * 2, (slice(1),), (..., slice(1))])
    def test_each_is_read_once(self, source, of_where, lazily):
        """Also a mask of one row, or column, which all blocks share."""
        read, make = source
        x, where = make(X, "x", (2, 3)), WHERE[of_where]
        mask = make(where, "mask", tuple(map(min, (2, 3), where.shape)))
        functions = [
            lambda x, where: softmax_matmul(x, V, where=where, return_logsumexp=True),
            lambda x, where: cross_entropy(x, LABELS, where=where),
        ]
        for function in functions:
            lazy = lazily(function, x, mask)
            assert read == []
            results = dask.compute(lazy)[0]
            assert Counter(read) == {"x": 9, "mask": mask.npartitions}
            read.clear()
            for one, other in zip(results, function(X, where), strict=True):
                assert_allclose(one, other, rtol=1e-13)

    def test_the_mask_is_applied_in_the_task_that_reduces(self):
        x, where = da.zeros((4, 640), chunks=(4, 10)), da.ones((4, 640), chunks=(4, 10), dtype=bool)
        graph = dask.optimize(softmax_matmul(x, da.zeros((640, 2), chunks=(10, 2)), where=where))[0]
        tasks = Counter(map(key_split, graph.__dask_graph__()))
        merges = {"softmax-matmul-merge-partial": 4, "softmax-matmul-merge-aggregate": 1}
        assert tasks == {"softmax-matmul-normalizer": 64} | merges

    def test_keys_are_deterministic(self):
        x, where = da.from_array(X, chunks=(2, 3)), da.from_array(WHERE, chunks=(2, 3))
        for function, other in ((softmax_matmul, V), (cross_entropy, LABELS)):
            one, again = (function(x, other, where=where) for _ in range(2))
            assert one.name == again.name != function(x, other).name
            assert one.name != function(x, other, where=~where).name
