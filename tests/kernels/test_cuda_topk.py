"""Top-k of CuPy blocks by their own kernels, beside a stable sort: emulated, and on a device.

Emulated they run as in test_cuda.py. Cases are small there, for a barrier takes a microsecond of
every thread.
"""

import math

import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
import pytest

from dsoftmax import softmax_topk
from dsoftmax._algebra.normalizer import State
from dsoftmax._kernels.cuda import switch
from dsoftmax._kernels.cuda import topk as kernels
from dsoftmax._kernels.cuda.device import Properties
from dsoftmax._kernels.cuda.plan import MAX_GRID
from dsoftmax._kernels.cuda.source import MOST_K, TEAMS

from .. import fake_cupy
from ..blocks import ADVERSARIAL, DEVICE, ON_DEVICE, ON_HOST, cupy
from ..compare import assert_allclose, assert_array_equal
from ..cuda_kernels import topk_kernels
from ..emulator import Emulator, use
from ..oracle import EPS
from .topk_like_sort import DATA, INF, NAN, RTOL, Kernels, expected, rows

# (length, k): a team of each size and its limits; one tile, several, and several parts
LENGTHS = ((1, 1), (5, 5), (29, 7), (125, 5), (128, 64), (512, 40), (1021, 64), (1025, 1))
LENGTHS += ((2048, 64), (4099, 5), (10_241, 64), (15_000, 3))


@pytest.fixture
def emulator():
    return Emulator()


@pytest.fixture(
    params=[pytest.param("emulated", marks=ON_HOST), pytest.param("device", marks=ON_DEVICE)]
)
def topk(request, monkeypatch, emulator):
    if request.param == "device":
        return Kernels(cupy.asarray, cupy.asnumpy)
    use(monkeypatch, emulator)
    return Kernels(given, given)


def given(x):
    return x


@pytest.mark.parametrize(("length", "k"), LENGTHS)
@pytest.mark.parametrize("data", DATA)
def test_float32(data, length, k, topk):
    topk.check(rows(data, np.random.default_rng(length), length, "f4"), k)


@pytest.mark.emulated
@pytest.mark.parametrize("k", [1, 20, 64])
@pytest.mark.parametrize("data", DATA)
@ON_HOST[1]
def test_many_tiles_of_one_part(data, k, monkeypatch):
    """Which often have no room for what they might add to the candidates."""
    monkeypatch.setattr(kernels, "RESIDENT", 1)
    use(monkeypatch, Emulator(multiprocessors=1))
    Kernels(given, given).check(rows(data, np.random.default_rng(k), 24_001, "f4"), k)


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("length", [20, 31, 100, 126, 400, 1000])
def test_rows_of_every_kind_side_by_side(length, k, topk):
    """Those of a warp are selected in one way, by the best of groups or one after the other."""
    rng = np.random.default_rng(length)
    mixed = np.concatenate([rows(data, rng, length, "f4") for data in DATA])
    topk.check(mixed[rng.permutation(len(mixed))], k)


@pytest.fixture
def all_are_many(monkeypatch):
    """Have few rows count as many, so that tiny ones get their kernels."""
    monkeypatch.setattr(switch, "MANY_ROWS", 40)
    kernels.plan.cache_clear()
    yield
    kernels.plan.cache_clear()


TINY = [(2, 1, "float32"), (8, 5, "float32"), (33, 8, "float32"), (100, 5, "float32")]
TINY += [(32, 1, "float16"), (40, 5, "float64")]


@pytest.mark.parametrize(("length", "k", "dtype"), TINY)
def test_many_tiny_rows(length, k, dtype, topk, all_are_many, emulator):
    """With all kinds of data side by side, and a part of a tile at the end."""
    rng = np.random.default_rng(length)
    mixed = np.concatenate([rows(data, rng, length, dtype, count=5) for data in DATA])
    mixed = mixed[rng.permutation(len(mixed))]
    assert len(mixed) % 32 > 0
    topk.check(mixed, k)
    if topk.there is given:
        assert f"topk_tiny_{dtype}_values_{length}_{k}" in emulator.launched


@pytest.mark.parametrize("dtype", [dtype for dtype in TEAMS if dtype != "float32"])
@pytest.mark.parametrize("data", ["normal", "tied", "anything"])
@pytest.mark.parametrize(("length", "k"), [(9, 4), (100, 5), (500, 30), (1000, 2), (9001, 64)])
def test_every_dtype(data, length, k, dtype, topk):
    if topk.there is not given and dtype not in DEVICE.dtypes:
        pytest.skip("this CuPy has no bfloat16")
    topk.check(rows(data, np.random.default_rng(length), length, dtype), k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layout", "axis"),
    [
        (lambda x: x.reshape(3, 2, 700), 2),
        (lambda x: x.reshape(6, 1, 700), 2),
        (lambda x: x.T.copy("F"), 0),
        (lambda x: x.reshape(3, 2, 700).transpose(2, 1, 0), 0),
        (lambda x: x.reshape(3, 2, 700).transpose(1, 2, 0)[:, :, :1], 1),
        (lambda x: x[:, 3:-2], 1),
        (lambda x: x[::-2, 1:], 1),
        (lambda x: np.broadcast_to(x[:1], (4, 700)), 1),
        (lambda x: x[:, :1], 1),
        (lambda x: x.reshape(-1)[1:], 0),
        (lambda x: x.reshape(-1)[5:35], 0),
    ],
)
def test_layouts(layout, axis, dtype, topk):
    x = np.random.default_rng(0).integers(0, 500, (6, 700)).astype(dtype)
    y = layout(x)
    topk.check(y, min(5, y.shape[axis]), axis, laid_out=lambda: layout(topk.there(x)))


@pytest.mark.emulated
@ON_HOST[1]
def test_what_is_left_to_other_kernels(emulator, monkeypatch):
    use(monkeypatch, emulator)
    x = np.zeros((20, 30, 40), "f4")
    assert kernels.supports(x, MOST_K)
    assert kernels.supports(x, -1)
    assert not any(kernels.supports(x, k) for k in (0, MOST_K + 1, -MOST_K - 1))
    assert not kernels.supports(x.astype("i4"), 1)
    assert not kernels.supports(x[:0], 1)
    for y, axis in ((x, 0), (x, 1), (x[:, :, ::2], 2), (x[:, :20], 2), (x[:, :, ::-1], 2)):
        assert kernels.of_block(y, axis, 5, normalized=True) is None
    assert emulator.launched == []


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [120, 500, 50_001])
def test_sums(length, dtype, kind, topk):
    x = ADVERSARIAL[kind](np.random.default_rng(0), length).astype(dtype)
    _, _, state = topk.of_block(x, 0, 3)
    assert state.m == x.max()
    exact = math.fsum(np.exp(x.astype("g") - x.max()).astype("f8"))
    rounding = 0 if dtype == "float64" else 2.0**-22  # of exponentials and of their arguments
    assert abs(state.d - exact) <= (8 * EPS + rounding) * exact


def test_a_part_with_fewer_elements_than_are_wanted(topk, emulator):
    x = np.random.default_rng(0).normal(size=8202).astype("f4")
    x[-1], x[0] = NAN, INF
    topk.check(x, 64)
    x[-10:] = 9
    topk.check(x, 64)
    for value in (-INF, NAN):
        x[:] = value
        topk.check(x, 64)
    if emulator.launched:
        planned = plan_of(x.shape, 0, 64, Properties(2, 1 << 20))
        (parts, portion) = planned.numbers[-3:-1]
        assert 0 < len(x) - (parts - 1) * portion < 64


def test_without_the_normalizer(topk):
    x = rows("anything", np.random.default_rng(0), 5000, "f4")
    values, indices, state = topk.of_block(x, 1, 5, normalized=False)
    assert state is None
    assert_array_equal(indices, expected(x, 5))
    assert_array_equal(values, np.take_along_axis(x, indices, 1))


@pytest.mark.emulated
@ON_HOST[1]
def test_probabilities_only_of_rows_in_their_order(emulator, monkeypatch):
    use(monkeypatch, emulator)
    values, _, state = kernels.of_block(np.zeros((3, 50), "f4"), 1, 5, normalized=True)
    p = kernels.probabilities(values, state, logarithm=False)
    assert_array_equal(p, np.full((3, 5), 0.02, "f4"))
    wrong = state._replace(m=state.m.astype("f8"))
    for arrays in (
        (values.T, State(*(a.T for a in state))),
        (np.asfortranarray(values), state),
        (values, wrong),
        (values.astype("i4"), state),
    ):
        assert kernels.probabilities(*arrays, logarithm=False) is None


def plan_of(shape, axis, k, on, item=4, dtype="float32", aligned=True):
    strides = tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return kernels.plan(kernels.Block(shape, strides, axis, dtype, aligned), k, on)


@pytest.mark.parametrize("on", [Properties(2, 1 << 20), Properties(132, 50 << 20)])
@pytest.mark.parametrize(
    "shape",
    [(1,), (10**8, 10), (2000, 1025), (4000, 32_000), (300, 10**5), (10**9,), (2, 2**33 + 5)],
    ids=str,
)
def test_parts_cover_every_row(shape, on):
    planned = plan_of(shape, len(shape) - 1, 5, on)
    *_, count, length, stride, k, parts, portion, smallest = planned.numbers.tolist()
    assert (count * length, stride, k, smallest) == (math.prod(shape), stride, 5, False)
    assert (parts - 1) * portion < length <= parts * portion
    assert parts == planned.parts
    assert portion <= kernels.LONGEST_PART
    assert planned.grid[0] <= MAX_GRID[0]
    if parts > 1:
        assert portion % 2048 == 0
        assert planned.grid[0] == count * parts
    elif "rows" in planned.kernel.name:
        team, each = map(int, planned.kernel.name.split("_")[-2:])
        assert length <= team * each
        assert planned.grid[0] * planned.threads // team >= count
    # a device has enough to do where there is enough of it
    if math.prod(shape) > 10**8 and length > 1024:
        assert planned.grid[0] >= kernels.RESIDENT * on.multiprocessors * 0.9


def test_more_rows_than_a_grid_has_blocks():
    assert plan_of((2**31, 1025), 1, 5, Properties(132, 50 << 20)) is None


WHOLE = [((1000,), None), ((4, 1000), 1), ((4, 1000), -1), ((3, 5, 20), 2), ((2, 300), None)]
WHOLE += [((20_000,), 0), ((2, 9001), 1)]


@pytest.mark.emulated
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), WHOLE, ids=str)
@ON_HOST[1]
def test_whole_arrays(shape, axis, dtype, fake):
    """One launch, or two where a row is taken in parts, and no copies to the host."""
    host = np.random.default_rng(0).normal(size=(2, *shape)).astype(dtype)
    right = [softmax_topk(one, 5, axis) for one in host]
    fake.launched.clear()
    fake_cupy.transfers.clear()
    found = [softmax_topk(fake.asarray(one), 5, axis) for one in host]  # the second was seen before
    assert fake_cupy.transfers == []
    steps = [name.split("_")[1] for name in fake.launched]
    length = host[0].size if axis is None else shape[-1]
    first = "rows" if length <= (512 if dtype == "float64" else 1024) else "part"
    assert steps == 2 * ([first] if host[0].size < 10_000 else ["part", "merge"])
    for one, other in zip(found, right, strict=True):
        assert_array_equal(one.indices.get(), other.indices)
        assert (one.indices.dtype, one.values.dtype) == (np.int64, dtype)
        values = other.values.astype("f8")
        assert_allclose(one.values.get().astype("f8"), values, rtol=RTOL[dtype])


@pytest.mark.emulated
@pytest.mark.parametrize("length", [20, 300, 1500, 50_000])
@ON_HOST[1]
def test_whole_arrays_with_anything(length, fake):
    """Probabilities are those of a state and of the k best, NaN included."""
    host = np.concatenate([rows(data, np.random.default_rng(1), length, "f4") for data in DATA])
    with np.errstate(all="ignore"):
        right = softmax_topk(host, 9, -1)
    found = softmax_topk(fake.asarray(host), 9, -1)
    assert_array_equal(found.indices.get(), right.indices)
    assert_allclose(found.values.get(), right.values, rtol=4e-6, atol=1e-37)


@pytest.mark.emulated
@ON_HOST[1]
def test_many_tiny_rows_of_whole_arrays(fake, all_are_many):
    host = np.concatenate([rows(data, np.random.default_rng(1), 21, "f4", 3) for data in DATA])
    with np.errstate(all="ignore"):
        right = softmax_topk(host, 5, -1)
    found = softmax_topk(fake.asarray(host), 5, -1)
    assert fake.launched == ["topk_tiny_float32_probabilities_21_5"]
    assert_array_equal(found.indices.get(), right.indices)
    assert_allclose(found.values.get(), right.values, rtol=4e-6, atol=1e-37)


@pytest.mark.emulated
@ON_HOST[1]
def test_other_arrays_take_the_long_way(fake):
    host = np.random.default_rng(0).normal(size=(40, 60)).astype("f4")
    x = fake.asarray(host)
    for y, like, k, axis, options in (
        (x, host, 5, 0, {}),
        (x.T, host.T, 5, 1, {}),
        (x.T, host.T, 5, None, {}),
        (x.T, host.T, 5, 0, {}),
        (x, host, 5, np.int64(1), {}),
        (x, host, np.int64(5), 1, {}),
        (x, host, 0, 1, {}),
        (x, host, 5, 1, {"return_log": True}),
        (x, host, 5, 1, {"split_every": 4}),
        (x.astype("i4"), host.astype("i4"), 5, 1, {}),
    ):
        found, right = softmax_topk(y, k, axis, **options), softmax_topk(like, k, axis, **options)
        assert_array_equal(found.indices.get(), right.indices)
        for one, other in zip(found, right, strict=True):
            assert_allclose(one.get(), other, rtol=2e-6)
    for k, axis, error in ((61, 1, ValueError), (-1, 1, ValueError), (5, 2, ValueError)):
        with pytest.raises(error, match="softmax_topk: "):
            softmax_topk(x, k, axis)


@pytest.fixture
def fake():
    """A module like CuPy on an emulator, with a list of the kernels that ran."""
    emulator = Emulator()
    with fake_cupy.installed(emulator) as module:
        module.launched = emulator.launched
        yield module


@pytest.mark.emulated
@ON_HOST[1]
def test_every_kernel_was_run(emulator, monkeypatch):
    """The kernels that the package can ask for are those that this module asks for."""
    use(monkeypatch, emulator)
    x = np.random.default_rng(0).normal(size=25_000)
    for dtype, teams in TEAMS.items():
        for length in (*(team * each for team, each in teams), x.size):
            values, _, state = kernels.of_block(x[:length].astype(dtype), 0, 2, normalized=True)
            kernels.probabilities(values, state, logarithm=False)
    assert set(emulator.launched) == {kernel.name for kernel in topk_kernels()}


@pytest.mark.parametrize("k", [1, 5, 64])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.gpu
@ON_DEVICE[1]
def test_on_a_device(data, k):
    topk = Kernels(cupy.asarray, cupy.asnumpy)
    for length in (64, 100, 333, 1000, 1001, 2000, 5000, 12_345, 32_000, 100_000):
        rng = np.random.default_rng(length)
        topk.check(rows(data, rng, length, "f4", count=3), k)
        x = rows(data, rng, length, "f4", count=4)
        values, indices, _ = topk.of_block(np.tile(x, (300, 1)), 1, k)
        assert_array_equal(indices, np.tile(expected(x, k), (300, 1)))
        assert_array_equal(values, np.take_along_axis(np.tile(x, (300, 1)), indices, 1))
