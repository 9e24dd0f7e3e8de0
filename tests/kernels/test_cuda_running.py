"""Running log-sum-exps of CuPy blocks by their own kernels: emulated, and on a device."""

import dask.array as da
import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
import pytest

from dsoftmax import cumulative_logsumexp
from dsoftmax._algebra.prefix import after
from dsoftmax._kernels import of_block as state_of
from dsoftmax._kernels import running as portable
from dsoftmax._kernels.cuda import running as kernels

from .. import fake_cupy
from ..blocks import ON_DEVICE, ON_HOST, cupy
from ..compare import assert_allclose, assert_array_equal
from ..cuda_kernels import running_kernels
from ..emulator import Emulator, use
from ..running_sums import DATA, EXPECTED, SPECIAL, worst

PART = 4 * kernels.TILE  # of a slice, on two multiprocessors


@pytest.fixture
def emulator():
    return Emulator()


@pytest.fixture(
    params=[pytest.param("emulated", marks=ON_HOST), pytest.param("device", marks=ON_DEVICE)]
)
def summed(request, monkeypatch, emulator):
    """The kernels with NumPy's arrays."""
    if request.param == "emulated":
        use(monkeypatch, emulator)
        return kernels.of_block

    def of_block(x, before, axis, reverse):
        before = before and type(before)(*map(cupy.asarray, before))
        return cupy.asnumpy(kernels.of_block(cupy.asarray(x), before, axis, reverse))

    return of_block


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("reverse", [False, True])
def test_error_of_a_block(name, reverse, summed):
    x = DATA[name][::-1].copy() if reverse else DATA[name]
    y = summed(x, None, 0, reverse)
    assert worst(y[::-1] if reverse else y, EXPECTED[name]) <= 4


@pytest.mark.parametrize("name", DATA)
def test_error_after_what_comes_before(name, summed):
    x = DATA[name]
    before = after(None, state_of(x[:1001], (0,)))
    y = summed(x[1001:], before, 0, False)
    rounded, rest = EXPECTED[name]
    assert worst(y, (rounded[1001:], rest[1001:])) <= 4


@pytest.mark.parametrize("name", ["normal", "rising slowly", "steps", "late"])
def test_many_parts_and_tiles(name, summed, emulator):
    """Of which some have nothing, and the maximum of others comes early or late."""
    x = np.concatenate([np.full(2500, -np.inf), np.tile(DATA[name], 9), np.full(2500, -np.inf)])
    for y, other in ((summed(x, None, 0, False), x), (summed(x, None, 0, True)[::-1], x[::-1])):
        expected = portable.of_block(other.astype("g"), None, 0, False)
        assert_array_equal(y == -np.inf, expected == -np.inf)
        some = y > -np.inf
        errors = np.abs(y[some] - expected[some]) / np.maximum(1, np.abs(expected[some]))
        assert errors.max() <= 4 * 2.0**-53
    if emulator.launched:
        assert emulator.launched == 2 * ["run_sums", "run_parts", "run_float64"]


@pytest.mark.parametrize(("x", "expected"), SPECIAL)
def test_special_values(x, expected, summed):
    x = np.concatenate([np.full(5000, -np.inf), x, np.full(5000, -np.inf)])
    wanted = np.array([*[-np.inf] * 5000, *expected, *expected[-1:] * 5000], float)
    assert_allclose(summed(x, None, 0, False), wanted, rtol=1e-15, atol=1e-16)
    assert_allclose(summed(x[::-1], None, 0, True)[::-1], wanted, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "int8", "uint64", "bool"])
def test_dtypes(dtype, summed):
    if summed is not kernels.of_block and dtype == "bfloat16":
        pytest.skip("not every CuPy has bfloat16")
    x = (40 * np.random.default_rng(0).random(3000)).astype(dtype)
    y, expected = summed(x, None, 0, False), portable.of_block(x, None, 0, False)
    assert y.dtype == expected.dtype
    rtol = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-7}.get(dtype, 1e-15)
    assert_allclose(y.astype("f8"), expected.astype("f8"), rtol=rtol)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_layouts(axis, reverse, summed):
    x = np.moveaxis(np.random.default_rng(1).normal(size=(2, 3, 300)) * 5, -1, axis).copy()
    strided = np.zeros((*x.shape[:2], 2 * x.shape[2]))[:, :, ::-2]
    strided[:] = x
    swapped = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)
    before = after(None, state_of(x + 1, (axis,)))
    for one in (None, before):
        expected = portable.of_block(x, one, axis, reverse)
        for block in (x, strided, swapped, np.asfortranarray(x)):
            assert_allclose(summed(block, one, axis, reverse), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.emulated
@ON_HOST[1]
def test_short_slices_are_left_to_the_portable_kernels(emulator, monkeypatch):
    use(monkeypatch, emulator)
    assert kernels.of_block(np.zeros((400, kernels.SHORTEST - 1)), None, 1, False) is None
    assert emulator.launched == []


@pytest.mark.emulated
@ON_HOST[1]
def test_every_kernel_was_run(emulator, monkeypatch):
    use(monkeypatch, emulator)
    for dtype in ("float32", "float64"):
        kernels.of_block(np.zeros(3 * PART, dtype), None, 0, False)
    assert set(emulator.launched) == {kernel.name for kernel in running_kernels()}


@pytest.mark.emulated
@ON_HOST[1]
def test_chunks_on_a_device(emulator):
    host = np.random.default_rng(2).normal(size=(3, 900)).astype("f4")
    expected = cumulative_logsumexp(host, 1, include_initial=True)
    with fake_cupy.installed(emulator) as fake:
        x = da.from_array(host, chunks=(2, 300)).map_blocks(fake.asarray)
        fake_cupy.transfers.clear()
        found = cumulative_logsumexp(x, 1, include_initial=True).compute(scheduler="sync")
        assert fake_cupy.transfers == []
        assert_allclose(found.get(), expected, rtol=2e-7)
    assert emulator.launched.count("run_float32") == x.npartitions
