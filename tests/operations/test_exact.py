"""exact=True: the same bits whatever the chunks, the order, the threads; errors and the setting."""

import itertools

import dask
import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import dsoftmax
from dsoftmax import Normalizer

from ..exact_sums import DATA

FUNCTIONS = (dsoftmax.softmax, dsoftmax.log_softmax, dsoftmax.logsumexp)


def data(name, n, dtype):
    with np.errstate(over="ignore"):
        return DATA[name](np.random.default_rng(0), n).astype(dtype)


def chunks(rng, n, most=9):
    """Some, of which a few are empty or of one element."""
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, most)))
    cuts = np.sort(np.concatenate([cuts, cuts[:1], cuts[-1:] - 1])).clip(0, n)
    return tuple(np.diff(cuts, prepend=0, append=n).tolist())


def setting(rng):
    """A scheduler and a number of threads."""
    threads = int(rng.integers(0, 5))
    return {"scheduler": "threads", "num_workers": threads} if threads else {"scheduler": "sync"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", DATA)
def test_one_result_whatever_the_chunks_and_the_order(name, dtype):
    x = data(name, 9000, dtype)
    rng, found = np.random.default_rng(1), set()
    for k in range(6):
        order = rng.permutation(x.size) if k else np.arange(x.size)
        lazy = da.from_array(x[order], chunks=(chunks(rng, x.size),))
        options = {"exact": True, "split_every": int(rng.integers(2, 9))}
        n = Normalizer.of(lazy, exact=True)
        results = [f(lazy, **options) for f in FUNCTIONS]
        p, log_p, *numbers = dask.compute(*results, n.d, n.softmax(lazy), **setting(rng))
        back = np.argsort(order)
        found.add((p[back].tobytes(), log_p[back].tobytes(), *(v.tobytes() for v in numbers[:2])))
        assert numbers[2].tobytes() == p.tobytes()
    (only,) = found
    for f, there in zip(FUNCTIONS, only, strict=False):
        assert np.asarray(f(x, exact=True)).tobytes() == there


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_one_result_for_tables_of_any_layout(axis, dtype):
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(30, 40, 12)) * 20).astype(dtype)
    where = rng.random(x.shape) < 0.9
    for f, mask in itertools.product(FUNCTIONS, (None, where)):
        found = set()
        for order in "CF":
            laid = x.copy(order)
            lazy = da.from_array(laid, chunks=tuple(chunks(rng, n, 4) for n in x.shape))
            for y in (lazy, laid):
                found.add(np.asarray(f(y, axis=axis, where=mask, exact=True)).tobytes())
        assert len(found) == 1


def test_results_are_those_of_inexact_sums():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 60)) * 9
    where = rng.random(x.shape) < 0.7
    for f, axis, mask in itertools.product(FUNCTIONS, (0, 1, None), (None, where)):
        options = {"axis": axis, "where": mask}
        assert_allclose(f(x, exact=True, **options), f(x, **options), rtol=1e-13)
    masked = np.ma.array(x, mask=~where)
    y = dsoftmax.softmax(masked, axis=1, exact=True)
    assert_array_equal(y.mask, ~where)
    assert_allclose(y, dsoftmax.softmax(masked, axis=1), rtol=1e-13)


@pytest.mark.parametrize("x", [3.0, 7, [1, 2], [True, False], np.float32(2), np.zeros((0, 3))])
def test_whatever_is_an_array(x):
    for f in FUNCTIONS[np.size(x) == 0 and 2 :]:
        found, expected = f(x, exact=True), f(x)
        assert type(found) is type(expected)
        assert_allclose(found, expected, rtol=1e-15)
        assert found.dtype == expected.dtype


def test_the_sign_of_a_sum():
    x = np.array([[1.0, 2.0], [-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0]])
    for y in (x, da.from_array(x, chunks=1)):
        found = dsoftmax.logsumexp(y, axis=1, return_sign=True, exact=True)
        expected = dsoftmax.logsumexp(x, axis=1, return_sign=True)
        for one, other in zip(found, expected, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_topk(axis):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(40, 50)) * 9).astype(np.float32)
    where = rng.random(x.shape) < 0.5
    for k, mask in itertools.product((0, 1, 7), (None, where)):
        options = {"axis": axis, "where": mask, "return_log": True}
        expected = dsoftmax.softmax_topk(x, k, **options)
        found = dsoftmax.softmax_topk(x, k, exact=True, **options)
        assert_array_equal(found.indices, expected.indices)
        assert_allclose(found.values, expected.values, rtol=1e-6)
        assert_allclose(found.log_values, expected.log_values, rtol=1e-6)
        all_of_it = dsoftmax.softmax(x, axis=axis, where=mask, exact=True)
        all_of_it = all_of_it.ravel() if axis is None else all_of_it
        best = np.take_along_axis(all_of_it, found.indices, axis=axis or 0)
        assert best.tobytes() == found.values.tobytes()
        for _ in range(3):
            lazy = da.from_array(x, chunks=tuple(chunks(rng, n) for n in x.shape))
            again = dask.compute(*dsoftmax.softmax_topk(lazy, k, exact=True, **options))
            assert [a.tobytes() for a in again] == [a.tobytes() for a in found]


class TestNormalizer:
    """Merging rounds nothing."""

    def test_a_chain_gives_what_one_merge_gives(self):
        x = np.random.default_rng(5).normal(size=8000) * 9
        whole = Normalizer.of(x, exact=True)
        chain = Normalizer.identity(exact=True)
        for part in x.reshape(4000, 2):
            chain = chain.update(part)
        assert chain == whole
        assert chain.d.tobytes() == whole.d.tobytes()
        assert Normalizer.from_blocks(x.reshape(-1, 5), exact=True) == whole
        assert float(chain) == float(dsoftmax.logsumexp(x, exact=True))

    @pytest.mark.parametrize("axis", [0, 1, (0, 1), None])
    def test_lazily_as_in_memory(self, axis, lazily):
        rng = np.random.default_rng(6)
        x = rng.normal(size=(60, 30)) * 20
        lazy = da.from_array(x, chunks=(17, 9))
        n = Normalizer.of(x, axis, exact=True)
        later = lazily(Normalizer.of, lazy, axis, exact=True)
        assert later.exact
        assert later.compute() == later.persist().compute() == n
        for name in "mwsd":
            one, other = getattr(later, name), getattr(n, name)
            assert one.shape == np.shape(other)
            assert_array_equal(one, other)
            assert_allclose(other, getattr(Normalizer.of(x, axis), name), rtol=1e-14)
        for name in ("softmax", "log_softmax"):
            expected = getattr(n, name)(x)
            for part in (lazy, lazy.rechunk((30, 30))):
                assert_array_equal(getattr(later, name)(part), expected)
                assert_array_equal(getattr(n, name)(part), expected)
        assert_array_equal(later.logsumexp(keepdims=True), n.logsumexp(keepdims=True))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_slice_of_nothing_leaves_the_others_their_bits(self, dtype, axis):
        x = (np.random.default_rng(8).normal(size=(70, 90)) * 5).astype(dtype)
        where = np.ones(x.shape, bool)
        where.swapaxes(0, axis)[:, 3] = False
        n = Normalizer.of(x, axis, where=where, exact=True)
        expected = dsoftmax.softmax(x, axis, where=where, exact=True)
        for chunks in (-1, (7, 90), (70, 9)):
            y = n.softmax(da.from_array(x, chunks=chunks)).compute()
            assert_array_equal(y[where], expected[where])
            assert np.isnan(y[~where]).all()
        assert_array_equal(n.softmax(x)[where], expected[where])

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_an_element_far_above_the_maximum_leaves_the_others_their_bits(self, dtype):
        x = np.random.default_rng(9).normal(size=(4000, 2)).astype(dtype)
        x[10] = 700
        where = x < 100
        n = Normalizer.of(x, 0, where=where, exact=True)
        expected = dsoftmax.softmax(x, 0, where=where, exact=True)
        for chunks in (-1, (1000, 2), (999, 1)):
            y = n.softmax(da.from_array(x, chunks=chunks)).compute()
            assert_array_equal(y[where], expected[where])
            assert (y[10] > 1e30).all()

    def test_logarithms_beyond_a_dtype_do_not_warn(self):
        n = Normalizer.of(np.array([1e6]), exact=True)
        assert n.log_softmax(np.array([1.0], np.float16)) == -np.inf

    def test_parts_with_other_chunks(self):
        x = np.random.default_rng(7).normal(size=(60, 30))
        parts = [
            Normalizer.of(da.from_array(x[i : i + 20], chunks=(7, 30 - i)), 0, exact=True)
            for i in (0, 20)
        ]
        last = Normalizer.of(x[40:], 0, exact=True)
        assert parts[0].merge(last, parts[1]).compute() == Normalizer.of(x, 0, exact=True)

    def test_float32_and_float64(self):
        x = np.random.default_rng(8).normal(size=60)
        one, other = (Normalizer.of(x.astype(t), exact=True) for t in ("f4", "f8"))
        both = one + other
        assert both == other + one
        assert both.dtype == np.float64
        assert_allclose(both.d, (Normalizer.of(x.astype("f4")) + Normalizer.of(x)).d, rtol=1e-6)
        assert one.softmax(x).dtype == np.float64
        assert other.softmax(x.astype("f4")).dtype == np.float32

    def test_as_numbers(self):
        for x in ([1.0, 2.0, -70.0], np.float32([[1, 2], [np.inf, 0], [np.nan, 0]])):
            for axis in (None, -1):
                n = Normalizer.of(x, axis, exact=True)
                assert Normalizer.from_dict(n.to_dict()) == n
        nothing = Normalizer.identity((3, 2), 1, exact=True)
        assert Normalizer.from_dict(nothing.to_dict()) == nothing
        assert nothing.exact


class TestErrors:
    """What has no exact sums is refused when the graph is built."""

    @pytest.mark.parametrize("dtype", ["complex64", "complex128", "longdouble"])
    def test_dtypes(self, dtype, lazily):
        x = da.zeros(8, chunks=2, dtype=dtype)
        with pytest.raises(TypeError, match=r"logsumexp: a has dtype .*exact sums are for real"):
            lazily(dsoftmax.logsumexp, x, exact=True)
        with pytest.raises(TypeError, match="Normalizer.of: x has dtype"):
            lazily(Normalizer.of, x, exact=True)

    def test_libraries(self):
        xp = pytest.importorskip("array_api_strict")
        x = xp.zeros(3)
        for f in (dsoftmax.softmax, dsoftmax.log_softmax, Normalizer.of):
            with pytest.raises(
                TypeError, match="x is of type array_api_strict Array, and exact sums"
            ):
                f(x, exact=True)
        with pytest.raises(TypeError, match=r"softmax_topk: x is of type .*exact=False"):
            dsoftmax.softmax_topk(x, 1, exact=True)

    def test_blocks_that_are_not_what_their_array_says(self):
        x = da.zeros(8, chunks=4).map_blocks(lambda b: b.astype(np.longdouble), dtype=float)
        with pytest.raises(TypeError, match="a block has dtype .*convert the blocks first"):
            dsoftmax.softmax(x, exact=True).compute()

    def test_weights_and_statistics(self, lazily):
        x = da.zeros(8, chunks=4)
        with pytest.raises(ValueError, match="logsumexp: weights b have no exact sum; add log"):
            lazily(dsoftmax.logsumexp, x, b=2.0, exact=True)
        with pytest.raises(ValueError, match="Normalizer.of: statistics have no exact sums"):
            lazily(Normalizer.of, x, exact=True, statistics=True)
        with pytest.raises(ValueError, match="Normalizer.identity: statistics have no exact"):
            Normalizer.identity(exact=True, statistics=True)

    def test_merges(self):
        with pytest.raises(ValueError, match="some normalizers have exact sums and others"):
            Normalizer.of([1.0], exact=True).merge(Normalizer.of([1.0]))

    def test_no_compiler(self, monkeypatch):
        from dsoftmax._kernels.cpu import exact
        from dsoftmax._kernels.cpu.compiler import CannotCompileError

        def call(*args, **options):
            raise CannotCompileError from OSError("there is none")

        monkeypatch.setattr(exact, "Call", call)
        with pytest.raises(RuntimeError, match="exact sums need compiled kernels, and these"):
            dsoftmax.softmax([1.0, 2.0], exact=True)

    def test_no_fused_multiply_adds(self, monkeypatch):
        from dsoftmax._kernels.cpu import exact

        monkeypatch.setattr(exact, "can_fuse", lambda: False)
        with pytest.raises(RuntimeError, match="exact sums need fused multiply-adds, which this"):
            dsoftmax.softmax([1.0, 2.0], exact=True)

    @pytest.mark.parametrize("wrong", ["yes", 1, "auto"])
    def test_other_values(self, wrong):
        with pytest.raises(ValueError, match=f"softmax: exact is {wrong!r}; use True or False"):
            dsoftmax.softmax([1.0], exact=wrong)


def test_the_setting(lazily):
    x = np.random.default_rng(9).normal(size=9000)
    expected = dsoftmax.softmax(x, exact=True)
    lazy = da.from_array(x, chunks=700)
    with dask.config.set({"dsoftmax.exact": True}):
        assert_array_equal(dsoftmax.softmax(lazy), expected)
        assert Normalizer.of(x).exact
        assert Normalizer.from_blocks([x]).exact
        assert not Normalizer.of(x, exact=False).exact
        assert dsoftmax.softmax(lazy).name == dsoftmax.softmax(lazy, exact=True).name
        dsoftmax.entropy(x)  # has no exact sums, and does as ever
        with pytest.raises(ValueError, match="logsumexp: weights b have no exact sum"):
            dsoftmax.logsumexp(x, b=2.0)
    assert dsoftmax.softmax(lazy).name != dsoftmax.softmax(lazy, exact=True).name
    with (
        dask.config.set({"dsoftmax.exact": "twice"}),
        pytest.raises(ValueError, match="softmax: Dask's setting dsoftmax.exact is 'twice'; use"),
    ):
        lazily(dsoftmax.softmax, lazy)
