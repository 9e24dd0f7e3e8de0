"""expectation, entropy and effective_sample_size: values, dtypes, plans, errors; normalizers."""

import json
import pickle
from collections import Counter

import dask
import dask.array as da
import mpmath
import numpy as np
import pytest
from click.testing import CliRunner
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st

import dsoftmax
from dsoftmax import Normalizer, effective_sample_size, entropy, expectation, softmax
from dsoftmax._kernels.cpu import block as compiled
from dsoftmax.cli.commands import main
from dsoftmax.operations import ENTROPY, expectation_of, reduce

from ..compare import assert_allclose, assert_array_equal
from ..oracle import EPS
from ..strategies import chunked_arrays

X = np.random.default_rng(0).normal(size=(6, 8)) * 5
V = np.random.default_rng(1).normal(size=(6, 8))
STATISTICS = (entropy, effective_sample_size)
CHUNKS = [None, (6, 8), (2, 3), (6, 1)]


def as_lazy(x, chunks=(2, 3)):
    return x if chunks is None else da.from_array(x, chunks=chunks)


def direct(x, axis):
    """By the formulas, in longdouble."""
    p = softmax(x.astype("g"), axis)
    size = 1 / (p * p).sum(axis)
    return -(p * np.log(p)).sum(axis), size, (p * V).sum(axis)


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (1,), ()], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_values_and_axes(chunks, axis, keepdims, lazily):
    x = as_lazy(X, chunks)
    expected = [np.asarray(a, float) for a in direct(X, axis)]
    found = [lazily(f, x, axis, keepdims) for f in STATISTICS]
    found.append(lazily(expectation, x, V, axis, keepdims))
    shape = X.sum(axis=axis, keepdims=keepdims).shape
    for one, right in zip(found, expected, strict=True):
        assert one.shape == shape
        assert one.dtype == np.float64
        assert isinstance(one, da.Array) == (chunks is not None)
        assert_allclose(one, right.reshape(shape), rtol=1e-14, atol=1e-15)
    assert chunks is not None or shape or all(isinstance(one, np.float64) for one in found)


@pytest.mark.parametrize("chunks", [1, (1, 2)])
def test_the_entropy_of_one_that_has_nearly_all(chunks):
    expected = 1.7418252446695515e-16  # mpmath, 60 digits
    assert entropy([0.0, -40.0]) == pytest.approx(expected, rel=4 * EPS)
    lazy = da.from_array(np.array([[-40.0, 0.0]]), chunks=chunks)
    assert entropy(lazy).compute() == pytest.approx(expected, rel=4 * EPS)


def least(x):
    """What entropies may differ by where NumPy's exponentials are rounded to subnormal numbers.

    Each is off by half of the smallest one, times its distance of up to 745.2 to the maximum.
    """
    return 746 * x.size * np.finfo(float).smallest_subnormal


@settings(max_examples=30, deadline=None)
@given(chunked_arrays(max_dims=3, special=True), st.integers(2, 5))
def test_chunks_do_not_matter(case, split_every):
    x, chunks, axis = case
    lazy = da.from_array(x, chunks=chunks)
    found = [f(lazy, axis, split_every=split_every) for f in STATISTICS]
    found.append(expectation(lazy, 1.0, axis, split_every=split_every))
    expected = [*(f(x, axis) for f in STATISTICS), expectation(x, 1.0, axis)]
    for one, right in zip(dask.compute(*found), expected, strict=True):
        assert_allclose(one, right, rtol=1e-11, atol=least(x))


@pytest.mark.parametrize("chunks", [None, (1, 1), (1, 2), (1, 4)], ids=str)
@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0, np.nan, 1, 2], np.nan),
        ([0, np.inf, 1, 2], np.nan),
        ([np.inf, np.inf, np.nan, -np.inf], np.nan),
        ([-np.inf] * 4, np.nan),
        ([-np.inf, -np.inf, 0, -np.inf], 1),
    ],
)
def test_special_values(x, expected, chunks):
    x = as_lazy(np.array([x], float), chunks)
    assert_array_equal(effective_sample_size(x, 1), [expected])
    assert_array_equal(entropy(x, 1), [expected - 1])
    assert_array_equal(expectation(x, 2.0, 1), [2 * expected])


def test_empty_slices():
    for x in (np.empty((2, 0)), da.empty((2, 0)), da.empty((2, 0), chunks=1)):
        for found in (entropy(x, 1), effective_sample_size(x, 1), expectation(x, x, 1)):
            assert_array_equal(found, [0, 0])


@pytest.mark.parametrize("v", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_values_that_are_not_finite_count_as_in_a_sum(v, chunks):
    values = np.where(X.max(axis=1, keepdims=True) == X, v, V)
    with np.errstate(invalid="ignore"):
        expected = (softmax(X, 1) * values).sum(axis=1)
    assert_array_equal(expectation(as_lazy(X, chunks), values, 1), expected)
    zero = np.where(X < 0, -np.inf, X)  # of probability 0: 0 * inf
    assert_array_equal(expectation(as_lazy(zero, chunks), np.where(X < 0, v, V), 1), [np.nan] * 6)


@pytest.mark.parametrize("chunks", [None, 3000, 5000, 20_000], ids=str)  # compiled from 4096 on
@pytest.mark.parametrize("values", [[np.inf], [-np.inf], [np.inf, -np.inf], [np.nan]], ids=str)
def test_values_that_are_not_finite_in_long_arrays(values, chunks):
    rng = np.random.default_rng(0)
    x, v = as_lazy(rng.normal(size=20_000), chunks), rng.normal(size=20_000)
    finite = expectation(x, v)
    v[7 : 20_000 : 20_000 // len(values)] = values
    with np.errstate(invalid="ignore"):
        assert_array_equal(expectation(x, v), np.sum(values))
    where = as_lazy(np.isfinite(v), chunks)
    assert_allclose(expectation(x, v, where=where), finite, rtol=0.01, atol=0.001)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u2", "i8", "f2", "f4", "f8", "g", ">f4"])
def test_dtypes(dtype):
    x = (np.random.default_rng(0).random((4, 90)) * 3).astype(dtype)
    result = x.dtype.newbyteorder("=") if x.dtype.kind == "f" else np.dtype(float)
    exact = [np.asarray(f(x.astype("g"), 1)) for f in STATISTICS]
    for array in (x, da.from_array(x, chunks=(2, 40))):
        for function, right in zip(STATISTICS, exact, strict=True):
            found = function(array, 1)
            assert found.dtype == result
            assert_allclose(found, right.astype(float), rtol=2 * np.finfo(result).eps + 4 * EPS)


@pytest.mark.parametrize(
    ("x", "v", "result"),
    [
        ("f4", "f4", "f4"),
        ("f4", "f8", "f8"),
        ("f2", "f4", "f4"),
        ("i4", "f4", "f8"),
        ("f4", "i2", "f4"),
        ("f4", "i8", "f8"),
        ("i1", "bool", "f8"),
        ("f8", "g", "g"),
        ("f4", None, "f4"),
    ],
)
def test_the_dtype_is_that_of_both_together(x, v, result):
    x = np.ones((3, 4), x)
    v = 2 if v is None else np.ones(4, v)
    for array in (x, da.from_array(x, chunks=2)):
        (found,) = dask.compute(expectation(array, v, 1))
        lazy = expectation(array, v, 1)
        assert lazy.dtype == found.dtype == np.dtype(result)
        assert_allclose(found, [2 if np.isscalar(v) else 1] * 3)
        several = expectation(array, (v, 1, array), 1)[:2]
        assert [one.dtype for one in several] == [np.dtype(result), expectation(array, 1).dtype]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_values_broadcast_both_ways(chunks):
    x = as_lazy(X, chunks)
    p = softmax(X, 1)
    column = np.arange(6.0)[:, None]
    for v in (np.arange(8.0), column, 3, V, as_lazy(np.arange(8.0), 3), as_lazy(column, 4)):
        right = (p * np.asarray(dask.compute(v)[0])).sum(axis=1)
        assert_allclose(expectation(x, v, 1), right, rtol=1e-13)
    stack = np.random.default_rng(2).normal(size=(3, 6, 8))
    for v in (stack, da.from_array(stack, chunks=(2, 3, 3))):
        found = expectation(x, v, axis=-1)
        assert found.shape == (3, 6)
        assert_allclose(found, (p * stack).sum(axis=-1), rtol=1e-13)
    lazy = expectation(X, as_lazy(V), 1)
    assert isinstance(lazy, da.Array)
    assert_allclose(lazy, (p * V).sum(axis=1), rtol=1e-13)


def test_several_values_of_one_reading(lazily):
    read = []

    def load(block):
        read.append(block.shape)
        return block.copy()

    x = da.from_array(X, chunks=(2, 3)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    means = lazily(expectation, x, (V, V**2, 1, np.arange(8.0)), 1)
    assert isinstance(means, tuple)
    found = dask.compute(*means)
    assert len(read) == x.npartitions
    p = softmax(X, 1)
    for one, v in zip(found, (V, V**2, np.ones((6, 8)), np.arange(8.0)), strict=True):
        assert_allclose(one, (p * v).sum(axis=1), rtol=1e-13)
    alone = expectation(x, (V,), 1)
    assert len(alone) == 1
    assert_array_equal(alone[0], expectation(x, V, 1))


@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_masked_entries_take_no_part(chunks):
    masked = np.ma.masked_greater(X, 4)
    masked[3] = np.ma.masked
    x = as_lazy(masked, chunks)
    where = ~masked.mask
    for function in STATISTICS:
        found = dask.compute(function(x, 1))[0]
        assert type(found) is np.ndarray
        assert_allclose(found, function(X, 1, where=where), rtol=1e-14)
        assert found[3] == 0
    hidden = np.where(where, V, np.inf)
    assert_allclose(
        expectation(x, hidden, 1), expectation(X, V, 1, where=where), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("axis", [0, 1, None])
def test_unknown_lengths(axis):
    every = da.from_array(np.ones(6, bool), chunks=2)
    x, v = (da.from_array(a, chunks=(2, 3))[every] for a in (X, V))
    *statistics, mean = direct(X, axis)
    for function, right in zip(STATISTICS, statistics, strict=True):
        assert_allclose(function(x, axis), right.astype(float), rtol=1e-13)
    assert_allclose(expectation(x, v, axis), mean.astype(float), rtol=1e-13)
    assert_allclose(expectation(x, 1.0, axis), np.ones(np.shape(mean)), rtol=1e-13)


class TestPlan:
    def tasks(self, *arrays):
        """How many tasks there are of each name, before Dask fuses any."""
        graph = {}
        for array in arrays:
            graph.update(dict(array.__dask_graph__()))
        return Counter(key_split(key) for key in graph)

    @pytest.mark.parametrize(("chunks", "states"), [((2, 4), 6), ((3, 8), 2)])
    def test_both_of_one_set_of_states_and_one_reading(self, chunks, states, monkeypatch):
        read, made = [], []

        def load(block):
            read.append(block.shape)
            return block.copy()

        def moments(*args):
            made.append(args)
            return of_block(*args)

        of_block = compiled.moments
        monkeypatch.setattr(compiled, "moments", moments)
        x = da.from_array(X, chunks=chunks).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
        n = Normalizer.of(x, 1, statistics=True)
        lazy = (entropy(x, 1), effective_sample_size(x, axis=1), n.entropy())
        assert lazy[0].name == lazy[2].name
        assert self.tasks(*lazy)["softmax-moments"] == states
        dask.compute(*lazy)
        assert (len(read), len(made)) == (states, states)

    def test_one_task_for_each_chunk(self):
        x = (da.ones((40, 6), chunks=(4, 2)) + 1) * 2
        v = da.ones((40, 6), chunks=(4, 2)) * 3
        assert self.tasks(entropy(x, 1))["softmax-moments"] == x.npartitions
        means = expectation(x, (v, 1.0), 1)
        tasks = self.tasks(*means)
        assert tasks["expectation-sums"] == tasks["expectation-terms"] == x.npartitions
        assert tasks["expectation"] == 2 * 10
        fused = self.tasks(*dask.optimize(*means))
        assert fused["expectation-sums"] == x.npartitions
        assert not any("terms" in name for name in fused)  # joined in the task that reduces
        within = self.tasks(*dask.optimize(expectation(x.rechunk({1: 6}), 1.0, 1)))
        assert within["expectation"] == 10

    def test_of_masked_ones_too(self):
        x = da.from_array(X, chunks=(2, 3)) + 1
        where = da.from_array(V > 0, chunks=(2, 3))
        one, other = entropy(x, 1, where=where), effective_sample_size(x, 1, where=where)
        tasks = self.tasks(one, other)
        assert tasks["softmax-moments"] == x.npartitions

    def test_keys_are_deterministic(self, lazily):
        x = da.from_array(X, chunks=2)
        for call in (
            lambda v: expectation(x, v, 1),
            lambda v: entropy(x * v, 1),
            lambda v: effective_sample_size(x * v, 1),
        ):
            assert lazily(call, 2.0).name == lazily(call, 2.0).name != lazily(call, 3.0).name


class TestNormalizers:
    @pytest.mark.parametrize("axis", [None, 0, 1])
    @pytest.mark.parametrize("chunks", CHUNKS, ids=str)
    def test_of_arrays(self, axis, chunks, lazily):
        n = lazily(Normalizer.of, as_lazy(X, chunks), axis, statistics=True)
        for one in (n, n.compute(), n.persist(), pickle.loads(pickle.dumps(n))):
            assert one.statistics
            for keepdims in (False, True):
                for name in ("entropy", "effective_sample_size"):
                    found = getattr(one, name)(keepdims)
                    right = getattr(dsoftmax, name)(X, axis, keepdims)
                    assert found.shape == np.shape(right)
                    assert_allclose(found, right, rtol=1e-14)
            assert_allclose(one.logsumexp(), dsoftmax.logsumexp(X, axis), rtol=1e-14)
            assert_allclose(one.softmax(X), softmax(X, axis), rtol=1e-13)
        assert n.compute() == Normalizer.of(as_lazy(X, chunks), axis, statistics=True).compute()
        assert n.compute() != Normalizer.of(X, axis)

    @pytest.mark.parametrize("chunks", [None, (2, 3)])
    def test_merging_and_streams(self, chunks):
        parts = [as_lazy(X[:, :3], chunks), as_lazy(X[:, 3:], None)]
        made = [Normalizer.of(part, 1, statistics=True) for part in parts]
        stream = Normalizer.identity((6, 8), 1, statistics=True)
        for part in parts:
            stream = stream.update(part)
        for n in (
            made[0] + made[1],
            sum(made),
            made[1].merge(made[0], Normalizer.identity((6, 8), 1)),
            Normalizer.from_blocks(parts, 1, statistics=True),
            stream,
        ):
            assert_allclose(n.entropy(), entropy(X, 1), rtol=1e-14)
            assert_allclose(n.effective_sample_size(), effective_sample_size(X, 1), rtol=1e-14)
        nothing = Normalizer.identity(statistics=True)
        assert (nothing + Normalizer.identity()).statistics
        assert nothing.entropy() == nothing.effective_sample_size() == 0
        assert Normalizer.from_blocks([], statistics=True).statistics

    def test_unknown_lengths_and_other_chunks(self):
        every = da.from_array(np.ones(6, bool), chunks=2)
        rows = da.from_array(X, chunks=(2, 3))[every]
        known = Normalizer.of(da.from_array(X, chunks=(3, 8)), 1, statistics=True)
        n = Normalizer.of(rows, 1, statistics=True)
        twice = n + known
        assert_allclose(twice.entropy(), entropy(X, 1) + np.log(2), rtol=1e-13)
        assert_allclose(twice.effective_sample_size(), 2 * effective_sample_size(X, 1), rtol=1e-13)
        assert_allclose(known.softmax(rows), softmax(X, 1), rtol=1e-13)

    def test_plain_numbers_keep_them(self):
        n = Normalizer.of(X.astype("f4"), 1, statistics=True)
        kept = json.loads(json.dumps(n.to_dict()))
        assert Normalizer.from_dict(kept) == n
        assert_array_equal(Normalizer.from_dict(kept).entropy(), n.entropy())
        del kept["q"]
        with pytest.raises(ValueError, match="from_dict: kept has no 'q'"):
            Normalizer.from_dict(kept)
        del kept["t"]
        plain = Normalizer.from_dict(kept)
        assert not plain.statistics
        assert_array_equal(plain.logsumexp(), n.logsumexp())

    def test_errors(self):
        n = Normalizer.of(X)
        assert not n.statistics
        with pytest.raises(ValueError, match="entropy: this normalizer was made without statist"):
            n.entropy()
        with pytest.raises(ValueError, match="effective_sample_size: .* make it with statistics="):
            n.effective_sample_size()
        with pytest.raises(ValueError, match="some normalizers have statistics and others do not"):
            n.merge(Normalizer.of(X, statistics=True))
        with pytest.raises(ValueError, match=r"Normalizer.of: statistics .* add log\(b\) to x"):
            Normalizer.of(X, b=2, statistics=True)
        with pytest.raises(TypeError, match="Normalizer.of: x has dtype complex128"):
            Normalizer.of(X * 1j, statistics=True)


def of_ones(x, *args, **kwargs):
    return expectation(x, 1, *args, **kwargs)


@pytest.mark.parametrize("x", [X, da.from_array(X, chunks=3)], ids=["numpy", "dask"])
class TestErrors:
    @pytest.mark.parametrize("values", [V * 1j, da.from_array(V * 1j, chunks=3)])
    def test_complex_values(self, x, values):
        match = r"expectation: values has dtype complex128; pass .* the tuple \(v.real, v.imag\)"
        with pytest.raises(TypeError, match=match):
            expectation(x, values)
        with pytest.raises(TypeError, match=r"expectation: values\[1\] has dtype complex128"):
            expectation(x, (V, values))

    def test_masked_values(self, x):
        masked = np.ma.masked_greater(V, 0)
        for values in (masked, da.from_array(masked, chunks=3)):
            with pytest.raises(TypeError, match="expectation: values is masked; fill it, and"):
                expectation(x, values)
        hidden = da.from_array(V, chunks=3).map_blocks(np.ma.masked_greater, 0, meta=V[:0])
        with pytest.raises(TypeError, match="expectation: a block of values is masked"):
            expectation(x, hidden).compute()

    def test_shapes(self, x):
        match = r"expectation: values of shape \(5,\) does not broadcast with x of shape \(6, 8\)"
        with pytest.raises(ValueError, match=match):
            expectation(x, np.ones(5))
        match = r"values\[1\] of shape \(2, 1, 1\) does not broadcast with values\[0\] of shape"
        with pytest.raises(ValueError, match=match):
            expectation(x, (np.ones((3, 1, 1)), np.ones((2, 1, 1))))
        with pytest.raises(ValueError, match="expectation: values is an empty tuple"):
            expectation(x, ())
        match = r"values is the tuple \(1, 2.5\) of scalars.* pass one array as a list, \[1, 2.5\]"
        with pytest.raises(TypeError, match=match):
            expectation(x, (1, 2.5))
        assert expectation(2.0, (1, 2.5)) == (1, 2.5)  # of which each is as long as x

    @pytest.mark.parametrize(
        "function", [*STATISTICS, lambda x, *a, **k: expectation(x, 1, *a, **k)]
    )
    def test_arguments(self, x, function):
        name = getattr(function, "__name__", "expectation").replace("<lambda>", "expectation")
        with pytest.raises(np.exceptions.AxisError, match=f"{name}: axis 2 is out of bounds"):
            function(x, 2)
        with pytest.raises(ValueError, match=f"{name}: split_every is 1"):
            function(x, split_every=1)
        with pytest.raises(TypeError, match=f"{name}: x has dtype complex128, and the softmax of"):
            function(x * 1j)
        with pytest.raises(TypeError, match=f"{name}: x is of type dict"):
            function({1: 2})

    def test_as_operations(self, x):
        assert_allclose(reduce(ENTROPY, x, 1), entropy(X, 1), rtol=1e-14)
        with pytest.raises(ValueError, match="operation expectation takes 2 arrays; call"):
            reduce(expectation_of(("float64",)), x)


@pytest.mark.system
@pytest.mark.parametrize("command", ["entropy", "effective-sample-size"])
def test_commands(tmp_path, command):
    function = getattr(dsoftmax, command.replace("-", "_"))
    np.save(tmp_path / "x.npy", X)
    source, target = str(tmp_path / "x.npy"), str(tmp_path / "y.npy")
    arguments = [command, source, target, "--axis", "1", "--chunk-size", "100 B"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert_allclose(np.load(target), function(X, 1), rtol=1e-14)
    done = CliRunner().invoke(main, [command, source], catch_exceptions=False)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(function.__name__))
    assert float(line.split()[-1]) == pytest.approx(function(X), rel=1e-14)


def test_perplexity_and_size_beside_mpmath():
    x = np.random.default_rng(3).normal(size=200).astype("f4") * 3 - 300
    weights = [mpmath.exp(mpmath.mpf(float(a))) for a in x]
    total = mpmath.fsum(weights)
    exact = float(1 / mpmath.fsum((w / total) ** 2 for w in weights))
    found = effective_sample_size(da.from_array(x, chunks=30)).compute()
    assert found.dtype == np.float32
    assert found == pytest.approx(exact, rel=1e-6)


def test_integers_are_computed_in_float64_whatever_is_beside_them():
    x, k = np.array([-110, 0, 3], "i1"), np.array([1, 0, 2], "u1")
    exact = expectation(x, k)
    assert_allclose(exact, expectation(x.astype("f8"), k.astype("f8")), rtol=1e-15)
    for beside in (np.ones(3, "f4"), np.ones(3, "f2")):
        for one in (x, da.from_array(x, chunks=3)):
            assert np.asarray(expectation(one, (k, beside))[0]) == exact


@pytest.mark.parametrize("axis", [0, 1])
def test_products_of_float32_are_added_in_float64(axis):
    """All are float32, and their sums no float32."""
    v = np.zeros((64, 4, 16), "f4")
    v[:, 0], v[:, 1:3], v[:, 3] = 2**25, 1, -(2**25)
    v = np.repeat(np.expand_dims(v.ravel(), 1 - axis), 32, 1 - axis)
    assert_array_equal(expectation(np.zeros(v.shape, "f4"), v, axis), 0.5)
