"""choice and gumbel_topk: the same indices whatever the chunks, with the right probabilities."""

from collections import Counter
from unittest.mock import patch

import dask
import dask.array as da
import mpmath
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import dsoftmax
from dsoftmax import choice, gumbel_topk, softmax
from dsoftmax._kernels import gumbel, inversion, pieces
from dsoftmax._kernels.gumbel import Placed
from dsoftmax._kernels.noise import noise

from ..compare import assert_allclose, assert_array_equal
from ..strategies import arrays, chunkings

WITH = ("multinomial", "systematic", "stratified")
METHODS = (*WITH, "without")


def tasks(*results):
    """The number of tasks of each name, after Dask has fused them."""
    keys = {key for result in dask.optimize(*results) for key in dict(result.dask)}
    return Counter(map(key_split, keys))


def drawn(x, size, axis=None, method="multinomial", **options):
    """`choice` by the name of a method, of which draws without replacement are one."""
    if method == "without":
        return choice(x, size, axis, replace=False, **options)
    return choice(x, size, axis, method=method, **options)


@st.composite
def cases(draw):
    """(x, chunks, axis, mask or None)."""
    x = draw(arrays(special=False, max_side=4))
    axis = draw(st.sampled_from([None, *range(x.ndim)]))
    where = None
    if draw(st.booleans()):
        where = np.random.default_rng(draw(st.integers(0, 99))).random(x.shape) < 0.7
        first = () if axis is None else (slice(None),) * axis
        where[(*first, 0)] = True  # something is left of each slice
    return x, draw(chunkings(x.shape)), axis, where


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=50, derandomize=True)
@given(cases(), st.integers(1, 4), st.integers(0, 2**64))
def test_the_same_indices_whatever_the_chunks(method, case, threads, seed):
    x, chunks, axis, where = case
    positive = np.ones_like(x, bool) if where is None else where
    size = 7 if method != "without" else int(positive.sum(axis=axis).min())
    expected = drawn(x, size, axis, method, where=where, rng=seed)
    lazy = drawn(da.from_array(x, chunks=chunks), size, axis, method, where=where, rng=seed)
    scheduler = {"scheduler": "threads", "num_workers": threads} if threads > 1 else {}
    with patch.multiple(pieces, PIECE=2, TILE=threads), patch.multiple(gumbel, PANEL=threads):
        found = lazy.compute(**scheduler)
    assert found.shape == expected.shape == lazy.shape
    assert found.dtype == expected.dtype == lazy.dtype == np.int64
    assert_array_equal(found, expected)
    taken = positive.ravel()[found] if axis is None else np.take_along_axis(positive, found, axis)
    assert taken.all()


X = np.random.default_rng(0).normal(size=(60, 70)) * 3
PINNED = {
    "multinomial": (
        [3900, 1806, 219, 3323, 3801, 541],
        [[66, 47, 6, 49], [21, 48, 9, 21], [32, 28, 28, 24]],
    ),
    "systematic": (
        [757, 1525, 2339, 3154, 3755, 4173],
        [[41, 47, 49, 67], [4, 9, 21, 66], [24, 28, 47, 55]],
    ),
    "stratified": (
        [757, 1094, 1584, 3019, 3586, 3801],
        [[41, 47, 47, 66], [4, 9, 19, 66], [24, 28, 37, 55]],
    ),
    "without": (
        [848, 1513, 3352, 2563, 293, 1051],
        [[62, 6, 47, 21], [9, 63, 19, 2], [52, 24, 1, 55]],
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_pinned_indices(method):
    assert_array_equal(drawn(X, 6, method=method, rng=2026), PINNED[method][0])
    assert_array_equal(drawn(X[:3], 4, 1, method, rng=2026), PINNED[method][1])


@pytest.mark.expressions
@pytest.mark.parametrize("method", METHODS)
def test_the_same_indices_beside_compiled_kernels(method):
    x = np.random.default_rng(0).normal(size=9000).astype("f4")
    chunks = (5000, 100, 3900)  # the small one is summed by the portable kernel
    expected = drawn(x.astype("f8"), 50, method=method, rng=1)
    assert_array_equal(drawn(x, 50, method=method, rng=1), expected)
    assert_array_equal(
        drawn(da.from_array(x, chunks=(chunks,)), 50, method=method, rng=1), expected
    )


def test_the_same_indices_in_processes():
    lazy = da.from_array(X, chunks=40)
    both = choice(lazy, 9, rng=1), choice(lazy, 9, replace=False, rng=1)
    expected = choice(X, 9, rng=1), choice(X, 9, replace=False, rng=1)
    for one, other in zip(
        dask.compute(*both, scheduler="processes", num_workers=2), expected, strict=True
    ):
        assert_array_equal(one, other)


def p_value(counts, probabilities):
    expected = counts.sum() * probabilities
    return stats.chisquare(counts, expected).pvalue


ROW = np.array([0.0, 2.0, -1.0, 1.5, -4.0, 0.5, -np.inf, 1.0])
MANY = 20_000


class TestProbabilities:
    """Of many slices that are all the same, and of one."""

    @pytest.mark.parametrize("method", WITH)
    def test_each_draw_of_a_slice(self, method):
        size, p = 3, softmax(ROW)
        rows = da.from_array(np.tile(ROW, (MANY, 1)), chunks=(MANY // 2, 3))
        found = choice(rows, size, 1, method=method, rng=5).compute()
        edges = np.concatenate([[0.0], np.cumsum(p)])
        for t in range(size):
            low, high = (0, 1) if method == "multinomial" else (t / size, (t + 1) / size)
            part = np.diff(edges.clip(low, high)) / (high - low)
            counts = np.bincount(found[:, t], minlength=ROW.size)
            assert counts[part < 1e-12].sum() == 0
            assert p_value(counts[part > 1e-12], part[part > 1e-12]) > 1e-3

    def test_draws_of_a_slice_are_independent(self):
        p = softmax(ROW)
        found = choice(np.tile(ROW, (MANY, 1)), 2, 1, rng=6)
        counts = np.bincount(found[:, 0] * ROW.size + found[:, 1], minlength=ROW.size**2)
        pairs = np.outer(p, p).ravel()
        assert p_value(counts[pairs > 0], pairs[pairs > 0]) > 1e-3

    @pytest.mark.parametrize("method", WITH)
    def test_many_draws_of_one_slice(self, method):
        p = softmax(X.ravel()[:300])
        counts = np.bincount(choice(X.ravel()[:300], 100_000, method=method, rng=7), minlength=300)
        assert p_value(counts, p) > 1e-3
        if method == "systematic":
            assert np.all(abs(counts - 100_000 * p) < 1)
        else:
            assert np.any(abs(counts - 100_000 * p) > 1)

    def test_pairs_without_replacement_against_exact_enumeration(self):
        p = softmax(ROW)
        found = choice(np.tile(ROW, (MANY, 1)), 2, 1, replace=False, rng=8)
        counts = np.bincount(found[:, 0] * ROW.size + found[:, 1], minlength=ROW.size**2)
        pairs = np.outer(p, p) / (1 - p)[:, None]
        np.fill_diagonal(pairs, 0)
        pairs = pairs.ravel()
        assert counts[pairs == 0].sum() == 0
        assert p_value(counts[pairs > 0], pairs[pairs > 0]) > 1e-3

    def test_a_weight_of_1e_minus_12_has_its_share_of_the_integers(self):
        x = np.log(np.array([1.0, 1e-12, 0.4]))
        layout = inversion.Layout((3,), (0,), (0,), (0,))
        state = dsoftmax.Normalizer.of(x)
        state = dsoftmax.operations.NORMALIZER.of_block(x, (0,))
        total, others = (
            int(inversion.totals(inversion.sums(part, state, layout))[0]) for part in (x, x[[0, 2]])
        )
        small = total - others
        assert 2**60 < total < 2**62
        assert small / total == pytest.approx(1e-12 / 1.4, rel=1e-6)

    def test_elements_of_weight_1e_minus_12_are_drawn_as_seldom_as_they_should(self):
        """Of 5 million of them 20; `benchmarks/suites/tails.py` has 10^9 draws."""
        rare, size = 5_000_000, 4_000_000
        x = np.full(rare + 1, np.log(1e-12))
        x[0] = 0
        found = choice(x, size, rng=11)
        counts = np.bincount((found[found > 0] - 1) * 4 // rare, minlength=4)
        expected = size * 1e-12 * rare / (1 + 1e-12 * rare) / 4
        assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), 4) > 1e-3

    def test_the_largest_of_many_keys_are_a_poisson_process(self):
        """The steps between n exp(-key) are exponential, however far in the tail of the noise."""
        n, k = 10**7, 1000
        keys = gumbel_topk(np.zeros(n, "f4"), k, rng=12).keys
        steps = np.diff(n * np.exp(-keys), prepend=0)
        assert stats.kstest(steps, "expon").pvalue > 1e-3

    def test_the_noise_at_its_ends(self):
        last = 2**53 - 1
        for bits, v in ((0, mpmath.mpf(2) ** -54), (1, 1), (last // 3, last // 3), (last, last)):
            with mpmath.workdps(60):
                v = v if bits == 0 else mpmath.mpf(v) / 2**53
                exact = float(-mpmath.log(-mpmath.log(1 - v)))
            found = noise(np.array([bits]))[0]
            assert_allclose(found, exact, rtol=4e-16, atol=4e-16)

    def test_keys_are_gumbel_distributed(self):
        keys = gumbel_topk(np.zeros(MANY), MANY, rng=9).keys
        assert stats.kstest(keys, stats.gumbel_r.cdf).pvalue > 1e-3


def test_random_numbers_belong_to_the_index_beyond_32_bits():
    start, shape = 2**40 - 3, (2**41,)
    keys = gumbel.keys(Placed(np.zeros(8), (start,)), shape, (1, 2))
    index = np.arange(start, start + 8)
    assert_array_equal(keys, noise(gumbel.philox.bits(index, (1, 2))))
    assert len(set(keys)) == 8


@pytest.mark.expressions
def test_gumbel_topk_is_the_same_draw_with_its_keys():
    x = da.from_array(X, chunks=(20, 30))
    for axis in (None, 0, 1):
        keys, indices = dask.compute(*gumbel_topk(x, 5, axis, rng=3, split_every=2))
        assert_array_equal(indices, choice(X, 5, axis, replace=False, rng=3))
        assert_array_equal(keys, gumbel_topk(X, 5, axis, rng=3).keys)
        along = X.ravel() if axis is None else X
        noise = keys - np.take_along_axis(along, indices, axis or 0)
        assert np.all(np.diff(keys, axis=axis or 0) < 0)
        assert noise.min() > -4
        assert noise.max() < 40
    assert gumbel_topk([1.0], 1)._fields == ("keys", "indices")
    assert type(gumbel_topk([1.0], 1)) is dsoftmax.GumbelTopK


class TestSeeds:
    def test_equal_seeds_give_equal_task_names(self):
        x = da.from_array(X, chunks=40)
        for method in METHODS:
            one, other = (drawn(x, 3, method=method, rng=1) for _ in range(2))
            assert one.name == other.name
            assert drawn(x, 3, method=method, rng=2).name != one.name
            assert drawn(x, 3, method=method).name != drawn(x, 3, method=method).name

    def test_an_int_is_the_seed_of_a_seed_sequence(self):
        for method in METHODS:
            expected = drawn(X, 5, method=method, rng=4)
            found = drawn(X, 5, method=method, rng=np.random.SeedSequence(4))
            assert_array_equal(found, expected)

    def test_a_generator_is_drawn_from(self):
        one, other = (np.random.default_rng(4) for _ in range(2))
        first, second = (choice(X, 50, rng=one) for _ in range(2))
        assert_array_equal(choice(X, 50, rng=other), first)
        assert np.any(first != second)
        assert choice(X, 3, rng=np.random.PCG64(1)).shape == (3,)

    def test_slices_have_draws_of_their_own(self):
        same = np.tile(ROW, (50, 1))
        for method in METHODS:
            assert len({tuple(row) for row in drawn(same, 5, 1, method, rng=1)}) > 4


class TestPlan:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("axis", [None, 0, 1])
    def test_nothing_is_computed_while_building(self, method, axis, lazily):
        x = da.from_array(X, chunks=(20, 30))
        result = lazily(drawn, x, 3, axis, method, where=x > 0, rng=1)
        assert isinstance(result, da.Array)
        assert type(result._meta) is np.ndarray
        assert result.numblocks == ((1,) if axis is None else (1, 3) if axis == 0 else (3, 1))

    @pytest.mark.parametrize(("method", "reads"), [("without", 1), ("multinomial", 3)])
    def test_readings(self, method, reads):
        read = []

        def note(block):
            read.append(block)
            return block

        x = da.from_array(X, chunks=(20, 30)).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
        with dask.config.set({"dsoftmax.reread": True}):
            found = drawn(x, 3, method=method, rng=1).compute()
        assert_array_equal(found, drawn(X, 3, method=method, rng=1))
        assert len(read) == reads * x.npartitions
        read.clear()
        drawn(x, 3, method=method, rng=1).compute()  # little enough to be held
        assert len(read) == x.npartitions

    @pytest.mark.parametrize("piece", [3, 100])
    def test_only_pieces_with_draws_are_computed_again(self, piece, monkeypatch):
        x = np.where(np.arange(60) < 50, -np.inf, 0.0)
        x[57:] = -np.inf
        worked, weights = [], inversion.piece_weights
        monkeypatch.setattr(pieces, "PIECE", piece)
        monkeypatch.setattr(
            inversion, "piece_weights", lambda *given: worked.append(given[1]) or weights(*given)
        )
        found = choice(da.from_array(x, chunks=10), 50, rng=0).compute()
        assert set(found) == set(range(50, 57))
        (numbers,) = worked  # in one block
        assert numbers.tolist() == ([0, 1, 2] if piece == 3 else [0])

    @pytest.mark.parametrize(("axis", "groups"), [(None, 1), (0, 3), (1, 3)])
    def test_draws_are_made_once_for_all_blocks_of_a_slice(self, axis, groups, monkeypatch):
        made = []
        targets = inversion.targets
        monkeypatch.setattr(
            inversion, "targets", lambda *given: made.append(given) or targets(*given)
        )
        choice(da.from_array(X, chunks=(20, 30)), 5, axis, rng=0).compute()
        assert len(made) == groups

    def test_names_and_number_of_tasks(self):
        x = da.from_array(X, chunks=(1, 70)).map_blocks(np.copy)
        with dask.config.set({"dsoftmax.reread": True}):
            names = tasks(choice(x, 3))
        chunks = {f"choice-{part}": 60 for part in ("normalizer", "sums", "totals", "block")}
        assert {name: names[name] for name in chunks} == chunks
        assert names["choice-merge-partial"] == 2 * 4
        assert sum(names[name] for name in names if "array" not in name) <= 4 * 60 + 2 * 4 + 6
        names = tasks(*gumbel_topk(x, 3))
        assert names["gumbel-topk-block"] == 60
        assert names["gumbel-topk-merge-partial"] == 4
        assert names["gumbel-topk-keys"] == names["gumbel-topk-indices"] == 1
