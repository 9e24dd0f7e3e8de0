"""Arrays whose chunks have unknown lengths, as those of filtered rows, beside others."""

import itertools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsoftmax import Normalizer, log_softmax, logsumexp, softmax

from ..compare import assert_allclose

X = np.random.default_rng(3).normal(size=(4, 2)) * 3


def of_unknown_lengths(x, axes):
    """The same Dask array, of whose lengths along some axes Dask does not know."""
    for axis in axes:
        every = da.from_array(np.ones(x.shape[axis], bool), chunks=(x.chunks[axis],))
        x = x[(slice(None),) * axis + (every,)]
    return x


def rows(x, chunks):
    return of_unknown_lengths(da.from_array(x, chunks=chunks), (0,))


def test_a_weight_for_each_column():
    x = np.arange(8.0).reshape(4, 2)
    weights = np.array([1.0, 3.0])
    filtered = da.from_array(x, chunks=(2, 1))[da.from_array(x[:, 0] > -1, chunks=2)]
    expected = [2.2142833, 4.2142833, 6.2142833, 8.2142833]
    for n in (logsumexp(filtered, b=weights, axis=1), Normalizer.of(filtered, 1, weights)):
        value = n.logsumexp() if isinstance(n, Normalizer) else n
        assert_allclose(value, expected, rtol=1e-7)
    along = logsumexp(filtered, b=weights, axis=0)
    assert along.shape == along.compute().shape == (2,)
    assert_allclose(along, logsumexp(x, b=weights, axis=0), rtol=1e-14)


def test_ones_for_each_column_of_other_chunks():
    x = np.random.default_rng(0).normal(size=(4, 4))
    assert_allclose(logsumexp(rows(x, (2, 2)), b=np.ones(4), axis=1), logsumexp(x, axis=1))


def test_unknown_weights_of_a_known_array():
    for a in (X[:1], X[0]):
        for axis in (0, 1, None):
            lazy = logsumexp(a, b=rows(X**2, (3, 1)), axis=axis)
            assert_allclose(lazy, logsumexp(a, b=X**2, axis=axis), rtol=1e-14)


@st.composite
def cuts(draw, n):
    """One to three blocks of n elements, none of which is empty."""
    inner = draw(st.lists(st.integers(1, n - 1), max_size=2, unique=True)) if n > 1 else []
    edges = [0, *sorted(inner), n]
    return tuple(b - a for a, b in itertools.pairwise(edges))


@st.composite
def sides(draw, shape):
    """An array, the same cut into chunks, and along which axes these are of unknown lengths."""
    values = np.array(draw(st.lists(st.floats(-3, 3), min_size=12, max_size=12)))
    x = values[: np.prod(shape, dtype=int)].reshape(shape)
    chunks = tuple(draw(cuts(n)) for n in shape)
    unknown = draw(st.sets(st.sampled_from(range(len(shape)))) if shape else st.just(set()))
    return x, chunks, of_unknown_lengths(da.from_array(x, chunks=chunks), sorted(unknown)), unknown


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([None, 0, 1, -1, (0, 1), ()]))
def test_weights_of_any_chunks_known_or_not(data, axis):
    shapes = [(4, 3), (1, 3), (4, 1), (1, 1), (3,)]
    a, a_chunks, lazy_a, a_unknown = data.draw(sides(data.draw(st.sampled_from(shapes[:4]))))
    b, b_chunks, lazy_b, b_unknown = data.draw(sides(data.draw(st.sampled_from(shapes))))
    defined = True
    for i in (-1, -2):
        if -i > b.ndim or 1 in (lazy_a.shape[i], lazy_b.shape[i]):
            continue
        unknown = (i % 2 in a_unknown) + (i % b.ndim in b_unknown)
        defined &= not unknown or (unknown == 2 and a_chunks[i] == b_chunks[i])
    for find in (
        lambda a, b: logsumexp(a, b=b, axis=axis),
        lambda a, b: Normalizer.of(a, axis, b).logsumexp(),
    ):
        if not defined:  # and if there is an answer, it is not a wrong one
            with pytest.raises(ValueError, match=r"call \.compute_chunk_sizes"):
                find(lazy_a, lazy_b).compute()
            continue
        expected = find(a, b)
        result = find(lazy_a, lazy_b)
        assert all(
            n in (m, 1) or np.isnan(m) for m, n in zip(result.shape, expected.shape, strict=True)
        )
        assert result.compute().shape == expected.shape
        assert_allclose(result, expected, rtol=1e-13, atol=1e-14)


def cut_otherwise():
    """Two arrays of zeros with as many blocks, of other lengths, which Dask does not know."""
    return (rows(np.zeros((4, 2)), (cut, 2)) for cut in ((1, 3), (3, 1)))


@pytest.mark.parametrize(
    ("find", "names"),
    [
        (lambda a, b: logsumexp(a, b=b + 1, axis=1), ("a", "b")),
        (lambda a, b: Normalizer.of(a, 1, b + 1).d, ("x", "b")),
        (lambda a, b: Normalizer.of(a, 1).softmax(b), ("x", "the normalizer")),
        (lambda a, b: Normalizer.of(a, 1).log_softmax(b), ("x", "the normalizer")),
        (lambda a, b: Normalizer.of(a, 1).merge(Normalizer.of(b, 1)).d, ("normalizer 1", "2")),
    ],
)
def test_blocks_that_do_not_agree_are_found_by_the_worker(find, names, lazily):
    lazy = lazily(find, *cut_otherwise())
    shapes = rf"block of {names[0]} of shape \(\d, \d\) .*{names[1]} of shape \(\d, \d\)"
    with pytest.raises(ValueError, match=rf"{shapes}: .* call .compute_chunk_sizes\(\)"):
        lazy.compute()


def test_rows_that_a_known_array_and_a_normalizer_cut_otherwise():
    a, b = cut_otherwise()
    known = da.zeros((4, 2), chunks=((1, 3), 2))
    with pytest.raises(ValueError, match="do not agree"):
        Normalizer.of(known, axis=1).softmax(b).compute()
    assert Normalizer.of(known, axis=1).softmax(a).compute().shape == (4, 2)


KINDS = {
    "unknown": lambda x: rows(x, (2, 1)),
    "unknown, other blocks": lambda x: rows(x, (1, 2)),
    "unknown, one block": lambda x: rows(x, (4, 1)),
    "known since": lambda x: rows(x, (2, 1)).compute_chunk_sizes(),
    "known": lambda x: da.from_array(x, chunks=((1, 1, 2), 1)),
    "in memory": np.asarray,
}


class TestNormalizers:
    """Every way in which lengths are known to one side, to both or to none."""

    @pytest.fixture(params=KINDS)
    def kind(self, request):
        return KINDS[request.param]

    @pytest.mark.parametrize("other", KINDS)
    def test_merge(self, kind, other, lazily):
        a, b = Normalizer.of(kind(X), axis=1), Normalizer.of(KINDS[other](X - 1), axis=1)
        expected = np.logaddexp(logsumexp(X, axis=1), logsumexp(X - 1, axis=1))
        for merged in (lazily(a.merge, b), b + a):
            assert_allclose(merged.logsumexp(), expected, rtol=1e-14)

    def test_merge_with_an_identity(self, kind):
        n, neutral = Normalizer.of(kind(X), axis=1), Normalizer.identity((4, 2), axis=1)
        for merged in (n.merge(neutral), neutral.merge(n)):
            assert merged.shape == (4, 1)
            assert_allclose(merged.logsumexp(), logsumexp(X, axis=1), rtol=1e-14)

    @pytest.mark.parametrize("other", KINDS)
    @pytest.mark.parametrize("reread", [True, False])
    def test_apply(self, kind, other, reread, lazily):
        n, x = Normalizer.of(kind(X), axis=1), KINDS[other](X - 1)
        y = lazily(n.softmax, x, reread=reread)
        if isinstance(x, da.Array):
            assert len(y.chunks[0]) == len(x.chunks[0])
        assert_allclose(y, np.exp(X - 1 - logsumexp(X, axis=1, keepdims=True)), rtol=1e-14)
        assert_allclose(n.log_softmax(x), X - 1 - logsumexp(X, axis=1, keepdims=True), rtol=1e-13)

    @pytest.mark.parametrize(
        "use",
        [
            lambda n: n.softmax(np.zeros((5, 2))),
            lambda n: n.merge(Normalizer.identity((5, 2), axis=1)).d,
            lambda n: n.merge(Normalizer.of(np.zeros((5, 2)), axis=1)).d,
            lambda n: n.softmax(da.zeros((5, 2), chunks=((1, 1, 3), 2))),
        ],
    )
    @pytest.mark.parametrize("chunks", [(2, 1), (4, 2)])
    def test_other_numbers_of_slices(self, use, chunks, lazily):
        lazy = lazily(use, Normalizer.of(rows(X, chunks), axis=1))
        with pytest.raises(ValueError, match="of 4 slices along axis 0 meets .* of 5; use it with"):
            lazy.compute()
        with pytest.raises(ValueError, match=r"\(4, 1\)"):  # which is known at once
            use(Normalizer.of(X, axis=1))

    def test_rows_of_a_normalizer_in_memory(self):
        n = Normalizer.of(np.zeros((5, 2)), axis=1)
        with pytest.raises(ValueError, match="of 5 slices along axis 0 meets .* of 4"):
            n.softmax(rows(X, (2, 1))).compute()

    def test_several_axes_that_stay(self):
        x = np.random.default_rng(1).normal(size=(4, 3, 5))
        lazy = of_unknown_lengths(da.from_array(x, chunks=(3, 2, 2)), (0, 2))
        others = (da.from_array(x, chunks=(1, 3, 1)), x, lazy.rechunk({1: 3}))
        for n in (Normalizer.of(lazy, axis=1), Normalizer.of(x, axis=1)):
            for other in (*others, lazy):
                assert_allclose(n.softmax(other), softmax(x, axis=1), rtol=1e-13)
                total = n.merge(Normalizer.of(other, axis=1)).logsumexp()
                assert_allclose(total, logsumexp(x, axis=1) + np.log(2), rtol=1e-13)

    def test_reduced_axes_may_be_unknown(self):
        lazy = rows(X, (2, 1))
        n = Normalizer.of(lazy, axis=0)
        assert_allclose(n.log_softmax(lazy), log_softmax(X, axis=0), rtol=1e-13, atol=1e-14)
        assert_allclose(n.merge(Normalizer.of(X, axis=0)).d, 2 * Normalizer.of(X, axis=0).d)

    def test_keys_are_deterministic(self):
        n, x = Normalizer.of(X, axis=1), rows(X, (2, 1))
        assert n.softmax(x).name == n.softmax(x).name
        assert n.merge(Normalizer.of(x, 1)).d.name == n.merge(Normalizer.of(x, 1)).d.name


@pytest.mark.parametrize("chunks", [((0, 1), 2), ((1, 0), 1), ((0, 1, 0), 4)])
def test_an_axis_of_length_one_in_several_chunks(chunks):
    zeros, ones = da.zeros((1, 4), chunks=chunks), da.ones((1, 4), chunks=chunks)
    assert_allclose(logsumexp(zeros, b=np.ones((3, 4))), np.log(12))
    assert_allclose(logsumexp(np.zeros((3, 4)), b=ones, axis=1), [np.log(4)] * 3)
    assert_allclose(logsumexp(zeros, b=ones), np.log(4))
    assert_allclose(logsumexp(rows(np.zeros((3, 4)), 2), b=ones, axis=0), [np.log(3)] * 4)
    assert_allclose(softmax(zeros, axis=0), np.ones((1, 4)))
    assert_allclose(Normalizer.of(zeros, axis=1).softmax(zeros), np.full((1, 4), 0.25))
