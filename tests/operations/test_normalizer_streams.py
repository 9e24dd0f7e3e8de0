"""Normalizers of one slice, and of blocks that come one after another."""

import weakref

import array_api_strict
import dask.array as da
import mpmath
import numpy as np
import pytest
from scipy import special

from dsoftmax import Normalizer, cumulative_logsumexp, logsumexp
from dsoftmax._kernels import running

from ..compare import assert_allclose, assert_array_equal
from ..oracle import EPS
from .kinds import KINDS, X

pytestmark = pytest.mark.expressions


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


class TestOfOneSlice:
    """All of the data are one slice: numbers for m, w, s and d, whatever the dimensions."""

    def test_numbers(self, kind):
        n = Normalizer.of(kind(X))
        total = special.logsumexp(X)
        assert float(n) == pytest.approx(total, rel=1e-14)
        assert float(n.m.compute() if n._lazy else n.m) == X.max()
        assert_allclose(n.d, np.exp(X - X.max()).sum(), rtol=1e-14)
        assert (n.shape, n.axis) == ((), None)
        assert n.logsumexp(keepdims=True).shape == (1, 1)
        assert [part.shape for part in n.logsumexp(True, return_sign=True)] == [(1, 1)] * 2

    def test_only_one_number_is_a_float(self):
        assert float(Normalizer.of(X[:1], axis=1)) == pytest.approx(special.logsumexp(X[0]))
        with pytest.raises(TypeError, match=r"shape \(1, 4\), has several slices.*logsumexp\(\)"):
            float(Normalizer.of(X, axis=0))
        with pytest.raises(TypeError, match="complex"):
            float(Normalizer.of([1j]))

    def test_the_identity_needs_no_shape(self, kind):
        neutral, n = Normalizer.identity(), Normalizer.of(kind(X))
        assert neutral == Normalizer.identity(())
        assert float(neutral) == -np.inf
        assert neutral.merge(n) == n + neutral == n if not n._lazy else True
        assert_allclose(neutral.merge(n).logsumexp(), special.logsumexp(X), rtol=1e-14)
        with pytest.raises(TypeError, match="identity: axis is 0 without a shape"):
            Normalizer.identity(axis=0)
        with pytest.raises(ValueError, match=r"merge: normalizers of shape \(\) over axis None"):
            neutral.merge(Normalizer.of(X, axis=0))

    def test_an_axis_that_is_named_is_kept(self):
        n = Normalizer.of(X[0], axis=0)
        assert (n.shape, n.axis) == ((1,), (0,))
        for use in (n.softmax, n.update, lambda x: n.merge(Normalizer.of(x))):
            with pytest.raises(ValueError, match="shape"):
                use(X)

    def test_equal_whatever_the_dimensions(self):
        assert Normalizer.of(X) == Normalizer.of(X.reshape(2, 12)) == Normalizer.of(X.ravel())
        assert Normalizer.identity((2, 3)) + Normalizer.of(X[0]) == Normalizer.of(X[0])

    @pytest.mark.parametrize("other", KINDS)
    def test_the_number_of_dimensions_does_not_matter(self, kind, other):
        a, b = Normalizer.of(kind(X)), Normalizer.of(KINDS[other](X.reshape(2, 12))[0])
        total = np.logaddexp(special.logsumexp(X), special.logsumexp(X[:3]))
        for n in (a + b, b + a):
            assert_allclose(n.logsumexp(), total, rtol=1e-14)
            assert n.axis is None
            assert n.logsumexp(keepdims=True).shape == (1, 1)
        cube = X.reshape(2, 3, 4)
        lazy_cube = da.from_array(cube, chunks=(1, 2, 3))
        for x, y in ((cube, b.softmax(cube)), (cube, b.softmax(lazy_cube)), (1.0, b.softmax(1.0))):
            assert_allclose(y, np.exp(x - special.logsumexp(X[:3])), rtol=1e-13)


class Weak(np.ndarray):
    """An array whose end can be seen."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


class TestStreams:
    def test_update_gives_the_next(self, kind):
        first = Normalizer.of(X[:2], axis=0)
        n = first.update(kind(X[2:5])).update(X[5:], b=[[2.0]])
        expected = logsumexp(X, axis=0, b=np.array([[1], [1], [1], [1], [1], [2.0]]))
        assert_allclose(n.logsumexp(), expected, rtol=1e-14)
        assert first == Normalizer.of(X[:2], axis=0)
        whole = Normalizer.identity().update(X[:2]).update(X[2, 0]).update(list(X[2, 1:]))
        assert_allclose(whole.update(X[3:]).logsumexp(), logsumexp(X), rtol=1e-14)

    def test_a_sum(self):
        parts = [Normalizer.of(row) for row in X]
        assert_allclose(sum(parts, Normalizer.identity()).logsumexp(), logsumexp(X), rtol=1e-14)
        assert_allclose(sum(parts).logsumexp(), logsumexp(X), rtol=1e-14)
        with pytest.raises(TypeError, match="unsupported operand"):
            parts[0] + 1
        with pytest.raises(TypeError, match="unsupported operand"):
            1 + parts[0]

    @pytest.mark.parametrize("axis", [None, 0, 1], ids=str)
    @pytest.mark.parametrize("n", [1, 15, 16, 17, 300])
    def test_from_blocks(self, n, axis):
        x = np.random.default_rng(n).normal(size=(n, 3)) * 9
        blocks = [x[i : i + 1] for i in range(n)]
        if axis == 1:
            blocks = [block.T for block in blocks]
        total = Normalizer.from_blocks(iter(blocks), axis=axis)
        expected = logsumexp(x, axis=None if axis is None else 0)
        assert_allclose(total.logsumexp(), expected, rtol=1e-14)
        assert total.dtype == "f8"

    def test_rounding_of_a_long_stream(self):
        exact = 4000 * (1 + mpmath.exp(mpmath.mpf(-0.3)))
        n = Normalizer.from_blocks([0.0, -0.3] for _ in range(4000))
        assert abs(n.d.item() - exact) <= 3 * 4 * EPS * exact  # three levels of sixteen

    def test_from_blocks_of_dask_arrays(self, lazily):
        n = lazily(Normalizer.from_blocks, [da.from_array(X, chunks=2), X], axis=0)
        assert_allclose(n.logsumexp(), logsumexp(X, axis=0) + np.log(2), rtol=1e-14)

    @pytest.mark.parametrize("kind", [{}, {"statistics": True}, {"exact": True}], ids=str)
    @pytest.mark.parametrize("axis", [None, 0])
    def test_a_single_dask_array_is_as_it_is(self, axis, kind, lazily):
        x = da.from_array(X, chunks=2)
        whole = lazily(Normalizer.of, x, axis, **kind)
        for n in (lazily(Normalizer.from_blocks, [x], axis, **kind), lazily(whole.merge)):
            assert (n.statistics, n.exact) == (whole.statistics, whole.exact)
            assert n.compute() == whole.compute()

    def test_one_block_of_a_stream_is_in_memory_at_a_time(self):
        alive = weakref.WeakSet()

        def blocks():
            for _ in range(5):
                assert len(alive) == 0
                block = np.zeros(9).view(Weak)
                alive.add(block)
                yield block
                del block

        Normalizer.from_blocks(blocks())

    def test_from_no_blocks(self):
        assert float(Normalizer.from_blocks([])) == -np.inf
        with pytest.raises(ValueError, match=r"no blocks.*axis 0; start from Normalizer.identity"):
            Normalizer.from_blocks([], axis=0)

    def test_from_what_is_no_stream(self):
        with pytest.raises(TypeError, match="blocks is of type float; pass an iterable"):
            Normalizer.from_blocks(1.0)
        with pytest.raises(
            TypeError, match=r"blocks is of type Array; .*Dask array to Normalizer.of"
        ):
            Normalizer.from_blocks(da.ones(3))

    @pytest.mark.parametrize("one", ["a", b"a", {1.0: 2}, np.ones(())], ids=type)
    def test_what_is_no_iterable_of_blocks(self, one):
        with pytest.raises(TypeError, match=f"blocks is of type {type(one).__name__}; pass an it"):
            Normalizer.from_blocks(one)


class TestRunningSums:
    """A normalizer is where the running log-sum-exps of the next block go on from."""

    @pytest.mark.parametrize("kind", [{}, {"exact": True}, {"statistics": True}], ids=str)
    def test_of_a_stream(self, kind):
        x = np.random.default_rng(0).normal(size=900) * 9
        n, found = Normalizer.identity(**kind), []
        for block in np.split(x, [0, 1, 7, 500]):
            found.append(n.cumulative_logsumexp(block))
            n = n.update(block)
        expected = cumulative_logsumexp(x)
        assert np.max(np.abs(np.concatenate(found) - expected) / np.abs(expected)) <= 8 * EPS

    @pytest.mark.parametrize("axis", [0, 1])
    def test_of_several_slices(self, axis):
        masked = np.ma.masked_less(X, -5)
        for x in (X, X.astype("f4"), masked, array_api_strict.asarray(X)):
            first, rest = (x[:2, :], x[2:, :]) if axis == 0 else (x[:, :2], x[:, 2:])
            expected = cumulative_logsumexp(x, axis)
            found = Normalizer.of(first, axis).cumulative_logsumexp(rest)
            assert (type(found), found.dtype) == (type(expected), expected.dtype)
            expected = expected[2:, :] if axis == 0 else expected[:, 2:]
            if x is masked:
                assert_array_equal(found.mask, expected.mask)
                found, expected = found.compressed(), expected.compressed()
            assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)

    @pytest.mark.parametrize(
        ("before", "expected"),
        [(-np.inf, [-np.inf, 1]), (np.inf, [np.inf] * 2), (np.nan, [np.nan] * 2), (1, [1, 1.6931])],
    )
    def test_what_came_before(self, before, expected):
        found = Normalizer.of([before]).cumulative_logsumexp([-np.inf, 1])
        assert_allclose(found, expected, atol=1e-4)

    @pytest.mark.parametrize("compiled", [True, False])
    def test_sums_that_are_negative_or_nothing_after_weights(self, compiled, monkeypatch):
        if not compiled:
            monkeypatch.setattr(running, "kernels_for", lambda x: None)

        def after(weights, x):
            first = [0.0, 1.0][: len(weights)]
            return Normalizer.of(first, b=weights).cumulative_logsumexp(x)

        nothing = [np.nan, np.nan, -np.inf, 0, np.log(2)]
        np.testing.assert_allclose(after([-3.0], np.zeros(5)), nothing, atol=1e-15)
        found = after([1.0, -1.0], np.zeros(3))
        right = [np.nan, np.log(3 - np.e), np.log(4 - np.e)]
        np.testing.assert_allclose(found, right, rtol=1e-14)
        cancelled = Normalizer.of([0.0, 0.0], b=[1.0, -1.0])
        assert cancelled.cumulative_logsumexp([-5.0, -np.inf]).tolist() == [-5, -5]
        np.testing.assert_allclose(after([1e-320], [-800.0]), np.log(1e-320), rtol=1e-12)
        assert after([np.inf], [2.0]).tolist() == [np.inf]

    def test_errors(self):
        n = Normalizer.of(X, axis=0)
        for x, message in (
            (X[:, 1:], r"x has shape \(6, 3\) and the normalizer \(1, 4\)"),
            (X[0], r"x has shape \(4,\) and the normalizer \(1, 4\)"),
        ):
            with pytest.raises(ValueError, match=message):
                n.cumulative_logsumexp(x)
        with pytest.raises(ValueError, match=r"shape \(6, 4\) and slices along axes \(0, 1\), but"):
            Normalizer.identity().cumulative_logsumexp(X)
        with pytest.raises(TypeError, match="cumulative_logsumexp: x is lazy; compute it first"):
            n.cumulative_logsumexp(da.ones((2, 4)))
        with pytest.raises(TypeError, match="cumulative_logsumexp: the normalizer is lazy"):
            Normalizer.of(da.ones((2, 4)), 0).cumulative_logsumexp(X)
        with pytest.raises(TypeError, match="arrays of different libraries"):
            n.cumulative_logsumexp(array_api_strict.asarray(X))
