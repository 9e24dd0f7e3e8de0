"""cross_entropy: against mpmath, SciPy and torch; and labels of all kinds, right and wrong."""

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dsoftmax import cross_entropy, log_softmax

from .. import oracle
from ..compare import assert_allclose, assert_array_equal
from ..processes import printed
from ..strategies import arrays, chunkings

INF, NAN = np.inf, np.nan
X = np.random.default_rng(5).normal(size=(6, 10)) * 5
LABELS = np.array([0, 9, 4, 4, 7, 2])


def expected(x, labels, axis=-1):
    with np.errstate(all="ignore"):
        logs = special.log_softmax(np.asarray(x, dtype=float), axis=axis)
    at = np.expand_dims(np.asarray(labels, dtype=int), axis)
    return -np.take_along_axis(logs, at, axis=axis).squeeze(axis)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 1e7])
@pytest.mark.parametrize("chunks", [None, 300, 7])
def test_values(dtype, offset, chunks):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(3, 1000)) * 5 + offset).astype(dtype)
    labels = rng.integers(0, 1000, size=3)
    lazy = x if chunks is None else da.from_array(x, chunks=chunks)
    result = dask.compute(cross_entropy(lazy, labels))[0]
    assert result.dtype == dtype
    exact = [-oracle.log_softmax(row)[label] for row, label in zip(x, labels, strict=True)]
    # E, the mean of |x - m|, is below 20 here; and one rounding
    assert oracle.relative_error(result, exact) < 4 * float(np.finfo(dtype).eps)


def test_a_sure_label_keeps_its_digits():
    x = [[0.0, -40.0], [1e300, -1e300]]
    value = float(-oracle.log_softmax(x[0])[0])
    assert_allclose(cross_entropy(x, [0, 0]), [value, 0], rtol=4e-16)
    assert value == pytest.approx(4.248354255291589e-18)
    assert_allclose(cross_entropy(da.from_array(x, chunks=1), [0, 0]), [value, 0], rtol=4e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_torch(dtype):
    torch = pytest.importorskip("torch", reason="its cross_entropy")
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(64, 10_000)) * 3).astype(dtype)
    labels = rng.integers(0, 10_000, size=64)
    labels[::7] = -100
    options = {"reduction": "none", "ignore_index": -100}
    theirs = torch.nn.functional.cross_entropy(*map(torch.asarray, (x, labels)), **options)
    ours = cross_entropy(da.from_array(x, chunks=(32, 1000)), labels, ignore_label=-100)
    assert_allclose(ours, theirs.numpy(), rtol=1e-6)
    assert_array_equal(ours.compute()[::7], 0)


@st.composite
def cases(draw):
    x = draw(arrays())
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    of_labels = x.shape[: axis % x.ndim] + x.shape[axis % x.ndim + 1 :]
    size = int(np.prod(of_labels))
    labels = draw(st.lists(st.integers(0, x.shape[axis] - 1), min_size=size, max_size=size))
    labels = np.array(labels, dtype=draw(st.sampled_from(["i8", "u1", "i2", "u8"])))
    labels = labels.reshape(of_labels)
    return x, labels, axis, draw(chunkings(x.shape)), draw(chunkings(labels.shape))


@settings(max_examples=80, deadline=None)
@given(cases(), st.booleans(), st.booleans())
def test_chunks_make_no_difference(case, x_is_lazy, labels_are):
    x, labels, axis, of_x, of_labels = case
    lazy_x = da.from_array(x, chunks=of_x) if x_is_lazy else x
    lazy_labels = da.from_array(labels, chunks=of_labels) if labels_are else labels
    result = cross_entropy(lazy_x, lazy_labels, axis, split_every=2)
    assert isinstance(result, da.Array) == (x_is_lazy or labels_are)
    assert result.shape == labels.shape
    # SciPy's is 0 beside a sure label, and ours keeps its digits
    assert_allclose(result, expected(x, labels, axis), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("chunks", [2, (4, 6, 3), (1, 6, 2)])
def test_axes_and_keepdims(axis, chunks, lazily):
    x = np.random.default_rng(3).normal(size=(4, 6, 3))
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis % 3)
    labels = np.random.default_rng(4).integers(0, x.shape[axis], size=shape)
    lazy = da.from_array(x, chunks=chunks)
    result = lazily(cross_entropy, lazy, labels, axis)
    assert result.chunks == tuple(c for i, c in enumerate(lazy.chunks) if i != axis % 3)
    assert_allclose(result, expected(x, labels, axis), rtol=1e-12)
    kept = cross_entropy(lazy, labels, axis, keepdims=True)
    assert kept.shape == tuple(1 if i == axis % 3 else n for i, n in enumerate(x.shape))
    assert_allclose(kept, np.expand_dims(expected(x, labels, axis), axis), rtol=1e-12)
    assert cross_entropy(x, labels, axis, keepdims=True).shape == kept.shape


def test_a_vector_has_one_label():
    assert_allclose(cross_entropy(X[0], 3), expected(X[:1], [3])[0], rtol=1e-13)
    for label in (3, np.uint8(3), da.from_array(np.array(3), chunks=())):
        result = cross_entropy(da.from_array(X[0], chunks=3), label)
        assert result.shape == result.compute().shape == ()
        assert_allclose(result, expected(X[:1], [3])[0], rtol=1e-13)


@pytest.mark.parametrize("chunks", [None, 1, 2, 3])
def test_special_values(chunks):
    x = np.array(
        [
            [-INF, -INF, -INF],
            [0.0, INF, 1.0],
            [0.0, INF, 1.0],
            [0.0, NAN, 1.0],
            [0.0, -INF, 1.0],
            [0.0, -INF, 1.0],
            [-1000.0, 1000.0, 0.0],
        ]
    )
    labels = [0, 1, 0, 0, 1, 2, 0]
    result = cross_entropy(x if chunks is None else da.from_array(x, chunks=chunks), labels)
    assert_allclose(result, [NAN, NAN, INF, NAN, INF, 0.3132616875182228, 2000], rtol=1e-15)
    assert_allclose(result, expected(x, labels), rtol=1e-15)


@pytest.mark.parametrize("chunks", [None, 1, 2, (2, 3)])
def test_what_is_left_out_is_0_whatever_it_is(chunks):
    x = np.array([[NAN, 1.0, 2.0], [-INF, -INF, -INF], [INF, INF, 0.0], [0.0, 1.0, 2.0]])
    lazy = x if chunks is None else da.from_array(x, chunks=chunks)
    for ignored, left_out in ((-100, -100), (2**62, 2**62), (0, 0)):
        result = cross_entropy(lazy, [left_out] * 3 + [2], ignore_label=ignored)
        assert_array_equal(result[:3], [0, 0, 0])
        assert_allclose(result[3], expected(x[3:], [2])[0], rtol=1e-15)
    labels = np.ma.array([0, 1, 7, 2], mask=[True, True, True, False])
    for given_labels in (labels, da.from_array(labels, chunks=2)):
        assert_array_equal(cross_entropy(lazy, given_labels)[:3], [0, 0, 0])


def test_a_label_is_not_left_out_for_what_it_is_in_another_dtype():
    """2**64 - 100 is -100 in int64, and 300 is 44 in uint8."""
    labels = np.array([2**64 - 100], np.uint64)
    for given_labels in (labels, da.from_array(labels, chunks=1)):
        with pytest.raises(ValueError, match=f"a label is {2**64 - 100}"):
            dask.compute(cross_entropy(X[:1], given_labels, ignore_label=-100))
    assert_array_equal(cross_entropy(X[:1], labels, ignore_label=2**64 - 100), [0])
    x = np.zeros((1, 301))
    assert_allclose(cross_entropy(x, np.array([44], np.uint8), ignore_label=300), [np.log(301)])


def test_masked_scores_take_no_part():
    x = np.ma.array(X, mask=np.random.default_rng(6).random(X.shape) < 0.3)
    x.mask[0, 0], x.mask[1, 9] = True, False
    for lazy in (x, da.from_array(x, chunks=4)):
        result = dask.compute(cross_entropy(lazy, LABELS))[0]
        assert_allclose(result, expected(x.filled(-INF), LABELS), rtol=1e-13)
        assert result[0] == INF
        assert not isinstance(result, np.ma.MaskedArray)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [("float16", "float16"), ("float32", "float32"), ("int8", "float64"), ("bool", "float64")],
)
def test_dtypes(dtype, result):
    x = X.astype(dtype)
    for lazy in (x, da.from_array(x, chunks=3)):
        actual = cross_entropy(lazy, LABELS)
        assert actual.dtype == dask.compute(actual)[0].dtype == result
        assert_allclose(
            actual, expected(x, LABELS).astype(result), rtol=float(np.finfo(result).eps)
        )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_labels_of_every_integer_dtype(dtype):
    labels = LABELS.astype(dtype)
    for given_labels in (labels, da.from_array(labels, chunks=4)):
        result = cross_entropy(da.from_array(X, chunks=4), given_labels)
        assert_allclose(result, expected(X, LABELS), rtol=1e-13)


@pytest.mark.parametrize("labels", [LABELS * 1.0, LABELS > 3, LABELS * 1j, [[1.5]] * 6])
def test_labels_that_are_no_integers(labels):
    message = "cross_entropy: labels have dtype .*; pass integers, the indices of the classes"
    with pytest.raises(TypeError, match=message):
        cross_entropy(X, labels)
    lazy = da.from_array(np.asarray(labels), chunks=3)
    with pytest.raises(TypeError, match=message):
        cross_entropy(X, lazy)
    disguised = lazy.map_blocks(lambda block: block, dtype=int, meta=np.empty((0,), int))
    if disguised.ndim == 1:
        with pytest.raises(TypeError, match=message):
            cross_entropy(X, disguised).compute()


def test_labels_out_of_range_are_named_with_their_place(lazily):
    x, labels = np.zeros((4, 5, 10)), np.zeros((4, 5), int)
    labels[2, 3], labels[3, 1] = 10, -1
    message = (
        r"cross_entropy: a label is 10 at \(2, 3\) \(and 1 more are out of range\), and x has 10 "
        "classes along axis 2; use 0 to 9, or ignore_label=10 to leave it out"
    )
    with pytest.raises(ValueError, match=message):
        lazily(cross_entropy, da.from_array(x, chunks=2), labels)
    with pytest.raises(ValueError, match=message):
        cross_entropy(x, labels)
    result = lazily(cross_entropy, da.from_array(x, chunks=2), da.from_array(labels, chunks=(2, 3)))
    with pytest.raises(
        ValueError, match=r"cross_entropy: a label is -?10? at \((2, 3|3, 1)\), and x "
    ):
        result.compute()
    with pytest.raises(ValueError, match="a label is -1 at .3, 1., and x has 10 classes"):
        cross_entropy(x, labels, ignore_label=10)
    with pytest.raises(ValueError, match="a label is 10, and x has 10 classes"):
        cross_entropy(x[0, 0], 10)
    unknown = da.from_array(labels, chunks=(2, 5))[da.from_array(np.ones(4, bool), chunks=2)]
    rows = da.from_array(x, chunks=(2, 5, 5))[da.from_array(np.ones(4, bool), chunks=2)]
    with pytest.raises(
        ValueError, match=r"a label is 10 at \(0, 3\) of chunk \(1, 0\) \(and 1 more"
    ):
        cross_entropy(rows, unknown).compute()


def test_blocks_with_other_classes_than_their_array_says():
    x = da.from_array(X, chunks=(6, 5)).map_blocks(lambda block: block[:, 1:], dtype=X.dtype)
    with pytest.raises(ValueError, match="a block of x has 4 classes along axis 1, and its Dask a"):
        cross_entropy(x, LABELS).compute()


def test_unknown_lengths():
    every = da.from_array(np.ones(6, bool), chunks=2)
    rows = da.from_array(X, chunks=(2, 3))[every]
    labels = da.from_array(LABELS, chunks=2)[every]
    result = cross_entropy(rows, labels)
    assert np.isnan(result.shape[0])
    assert_allclose(result, expected(X, LABELS), rtol=1e-13)
    with pytest.raises(
        ValueError,
        match=r"labels have shape \(6,\), and x without axis 1 has shape "
        r"\(nan,\); call .compute_chunk_sizes",
    ):
        cross_entropy(rows, LABELS)
    with pytest.raises(
        ValueError, match="3 chunks of unknown sizes along axis 0, and labels have 2"
    ):
        cross_entropy(
            rows, da.from_array(LABELS, chunks=3)[da.from_array(np.ones(6, bool), chunks=3)]
        )
    with pytest.raises(
        ValueError,
        match="the chunk sizes of x along axis 0 are unknown, and so is "
        r"where a label is; call x.compute_chunk_sizes\(\)",
    ):
        cross_entropy(rows, np.zeros(10, int), axis=0)
    other = da.from_array(LABELS, chunks=((1, 3, 2),))[
        da.from_array(np.ones(6, bool), chunks=((1, 3, 2),))
    ]
    with pytest.raises(
        ValueError,
        match=r"cross_entropy: a block of x of shape \(2, .\) beside a block "
        r"of labels of shape \([13],\): the lengths of their chunks do not agree",
    ):
        cross_entropy(rows, other).compute()


def noted(read, label, x, chunks):
    def note(block):
        read.append(label)
        return block

    lazy = da.from_array(x, chunks=chunks)
    return lazy.map_blocks(note, dtype=x.dtype, meta=np.empty((0,) * x.ndim, x.dtype))


@pytest.mark.parametrize("chunks", [(2, 3), (6, 3), (2, 10)])
def test_x_and_labels_are_read_once(chunks, lazily):
    read = []
    x, labels = noted(read, "x", X, chunks), noted(read, "labels", LABELS, 2)
    cross = lazily(cross_entropy, x, labels)
    assert read == []
    cross.compute()
    assert sorted(read) == ["labels"] * 3 + ["x"] * x.npartitions


def test_tasks():
    x = da.zeros((4, 640), chunks=(4, 10))
    count = Counter(map(key_split, dask.optimize(cross_entropy(x, [0] * 4))[0].__dask_graph__()))
    assert count["cross-entropy-normalizer"] == 64
    assert count["cross-entropy-merge-partial"] == 4
    assert count["cross-entropy-merge-aggregate"] == 1
    in_memory = 64 + 1  # where each chunk of classes begins, and the labels
    assert count.total() == 64 + 4 + 1 + in_memory
    within = cross_entropy(da.zeros((4, 640), chunks=(2, 640)), [0] * 4)
    names = set(map(key_split, dask.optimize(within)[0].__dask_graph__()))
    assert "cross-entropy" in names
    assert not any("merge" in name for name in names)


def test_keys_are_deterministic():
    x = da.zeros((4, 6), chunks=2)
    labels = da.zeros(4, chunks=2, dtype=int)
    assert cross_entropy(x, labels).name == cross_entropy(x, labels).name
    assert cross_entropy(x, labels).name != cross_entropy(x, labels, ignore_label=0).name


def test_inputs_stay_as_they_are():
    x, labels = X.copy(), LABELS.copy()
    labels[0] = -100
    kept = labels.copy()
    cross_entropy(x, labels, ignore_label=-100)
    cross_entropy(da.from_array(x, chunks=3), labels, ignore_label=-100).compute()
    assert_array_equal(x, X)
    assert_array_equal(labels, kept)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X * 1j, LABELS), {}, TypeError, "cross_entropy: x has dtype complex128"),
        ((1.0, 0), {}, ValueError, "cross_entropy: x is a scalar; pass an array with an axis of"),
        ((X, LABELS[:5]), {}, ValueError, r"labels have shape \(5,\), and x without axis 1 has"),
        ((X, LABELS[:, None]), {}, ValueError, "pass one label for each slice"),
        ((X, LABELS, (1,)), {}, TypeError, r"cross_entropy: axis is \(1,\); use one int, the axis"),
        ((X, LABELS, None), {}, TypeError, "cross_entropy: axis is None; use one int"),
        ((X, LABELS, 2), {}, np.exceptions.AxisError, "cross_entropy: axis 2 is out of bounds"),
        ((np.zeros((2, 0)), [0, 0]), {}, ValueError, r"x has shape \(2, 0\), empty along axis 1"),
        ((X, LABELS), {"ignore_label": 1.5}, TypeError, "ignore_label is 1.5; use an int, or None"),
        ((X, LABELS), {"ignore_label": True}, TypeError, "ignore_label is True; use an int"),
        (
            (X, LABELS),
            {"split_every": 1},
            ValueError,
            "cross_entropy: split_every is 1; use an int",
        ),
        ((X, [da.zeros(1, dtype=int)] * 6), {}, TypeError, "labels is a list of Dask arrays"),
    ],
)
def test_wrong_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(*arguments, **options)


def test_the_recipes_of_the_docstring():
    labels = np.where(LABELS == 4, -100, LABELS)
    losses = cross_entropy(da.from_array(X, chunks=3), labels, ignore_label=-100)
    counted = labels != -100
    mean = losses.sum() / counted.sum()
    assert_allclose(mean, expected(X[counted], labels[counted]).mean(), rtol=1e-13)


@pytest.mark.parametrize("name", ["array_api_strict", "torch"])
def test_blocks_of_other_libraries(name):
    xp = pytest.importorskip(name, reason="blocks of other libraries")
    x = xp.asarray(X)
    for labels in (LABELS, LABELS.astype("uint8"), xp.asarray(LABELS)):
        result = cross_entropy(x, labels)
        assert type(result) is type(x)
        assert_allclose(np.asarray(result), expected(X, LABELS), rtol=1e-13)
    with pytest.raises(ValueError, match=r"a label is 300 at \(1,\), and x has 10 classes"):
        cross_entropy(x, xp.asarray([0, 300, 0, 0, 0, 0]))
    with pytest.raises(TypeError, match="cross_entropy: arrays of different libraries"):
        cross_entropy(X, xp.asarray(LABELS))
    if name == "torch":  # the dtypes of the other one have no size, which Dask asks for
        lazy = da.from_array(X, chunks=(6, 4)).map_blocks(xp.asarray)
        for labels in (LABELS, da.from_array(LABELS, chunks=6).map_blocks(xp.asarray)):
            result = cross_entropy(lazy, labels).compute()
            assert_allclose(np.asarray(result), expected(X, LABELS), rtol=1e-13)


JAX = """
import dask.array as da, jax, jax.numpy as jnp, numpy as np
from dsoftmax import cross_entropy
jax.config.update("jax_enable_x64", True)
x, labels = np.random.default_rng(0).normal(size=(6, 10)), np.array([0, 9, 4, -1, 7, 2])
expected = cross_entropy(x, labels, ignore_label=-1)
lazy = da.from_array(x, chunks=(6, 4)).map_blocks(jnp.asarray)
for given in (labels, jnp.asarray(labels), jnp.asarray(labels, dtype="int8")):
    for scores in (jnp.asarray(x), lazy)[: 1 if isinstance(given, jnp.ndarray) else 2]:
        result = cross_entropy(scores, given, ignore_label=-1)
        result = result.compute(scheduler="sync") if scores is lazy else result
        assert isinstance(result, jnp.ndarray)
        np.testing.assert_allclose(result, expected, rtol=1e-13)
"""


def test_blocks_of_jax():
    """In a process of its own: with its threads JAX warns of every fork afterwards."""
    pytest.importorskip("jaxlib", reason="blocks of JAX")
    assert printed(JAX) == ""


def test_it_is_the_log_softmax_at_the_label():
    logs = log_softmax(X, axis=1)
    assert_allclose(cross_entropy(X, LABELS), -logs[np.arange(6), LABELS], rtol=1e-14)


EXPRESSIONS = """
import dask.array as da, numpy as np
from dsoftmax import cross_entropy
x, labels = np.random.default_rng(0).normal(size=(6, 10)), np.array([0, 9, 4, 255, 7, 2])
expected = cross_entropy(x, labels, ignore_label=255)
for given in (labels, da.from_array(labels, chunks=4)):
    result = cross_entropy(da.from_array(x, chunks=(2, 3)), given, ignore_label=255)
    np.testing.assert_allclose(result.compute(), expected, rtol=1e-14)
print(da.array_expr_enabled())
"""


def test_the_array_expression_mode():
    assert printed(EXPRESSIONS, expressions=True) == "True\n"


def test_complex_blocks_of_a_real_array():
    x = da.from_array(np.arange(4.0), chunks=2)
    x = x.map_blocks(lambda block: block + 1j, dtype=float, meta=np.empty(0))
    with pytest.raises(TypeError, match="a block has dtype complex128, and its Dask array a real"):
        cross_entropy(x, 1).compute()


def test_labels_that_are_no_numbers_or_too_large():
    for labels in ([None, 1], [2**64, 0]):
        with pytest.raises(TypeError, match="labels have dtype object; pass integers"):
            cross_entropy(np.zeros((2, 3)), labels)


def test_an_ignored_label_of_torch_that_no_int64_equals():
    torch = pytest.importorskip("torch")
    for label in (2**64 - 1, 2**70):
        with pytest.raises(ValueError, match=r"a label is -1 at .1,."):
            cross_entropy(torch.zeros(2, 3), torch.tensor([0, -1]), ignore_label=label)
