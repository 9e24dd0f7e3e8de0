"""The specification of the kernels of a block: kinds of block, their cases, and what is right.

A kind of block is a module of kernels and a library of arrays. A `Block` of it takes NumPy arrays
and gives NumPy arrays, whatever library computes in between, so that one test covers all kinds::

    @over(shape="shapes", dtype="dtypes")
    def test_something(block, shape, dtype): ...

SciPy is the oracle of the portable kernels with NumPy's arrays, and these are that of all others.
Kinds, cases and assertions are one file: none of them says much without the others.
"""

import importlib
import itertools
from dataclasses import dataclass
from types import ModuleType

import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from dsoftmax._algebra.normalizer import State, log_d, log_sum
from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cuda import block as cuda
from dsoftmax._kernels.cuda.source import ELEMENTS

from .emulator import COMPILER
from .layouts import LAYOUTS, Laid

# Rounding of the result, of the exponentials, and of their arguments up to 100.
RTOL = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-5, "float64": 4e-14}

SPECIAL = (0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)

# Terms that a sum may go wrong on.
ADVERSARIAL = {
    "normal": lambda rng, n: rng.normal(size=n),
    "equal": lambda rng, n: np.zeros(n),
    "ascending": lambda rng, n: np.linspace(-30, 30, n),
    "descending": lambda rng, n: np.linspace(30, -30, n),
    "huge spread": lambda rng, n: rng.normal(size=n) * 300,
    "one giant": lambda rng, n: np.where(np.arange(n) == n // 2, 12.0, rng.normal(size=n)),
    "uniform": lambda rng, n: rng.uniform(-1, 0, size=n),
}


def every_axes(ndim):
    return [c for r in range(ndim + 1) for c in itertools.combinations(range(ndim), r)]


# Kinds of block.

SHAPES = ((7,), (5000,), (1,), (3, 5), (300, 10), (10, 300), (20, 4, 60), (4, 20, 3), (2, 3, 4, 5))


@dataclass(frozen=True)
class Kind:
    """Kernels, arrays of a library, and the cases that matter to them."""

    name: str
    kernels: ModuleType
    library: str = "numpy"  # the module that has `asarray`
    marks: tuple = ()
    panel: int | None = None  # elements in a panel of the portable kernels, to cut small blocks
    dtypes: tuple = tuple(ELEMENTS)
    shapes: tuple = SHAPES
    layouts: tuple = tuple(LAYOUTS)
    layout_dtypes: tuple = ("float16", "float32", "float64", "int8", "int32")
    layout_shapes: tuple = ((5, 7, 6), (40, 6, 200))
    edges: tuple = ()  # where loops begin and end
    edge_shapes: tuple = ()
    edge_dtypes: tuple = ("float32", "float64")
    lopsided: tuple = ()  # shapes of several tiles along their longest axis
    sums: tuple = ()  # (shape, axis) of long sums
    sum_dtypes: tuple = ("float64",)
    sum_error: int = 8  # in units of 2^-53
    rising: int = 400_000  # elements in a row that rises, for a new maximum in every tile
    weighted: tuple = (60, 70)
    weights: tuple = ("float32", "float64", "int8", "bool")
    weighted_dtypes: tuple = ("float16", "float32", "float64", "int16")


def _cupy():
    """CuPy if there is a device for it."""
    try:
        import cupy

        return cupy if cupy.cuda.runtime.getDeviceCount() else None
    except Exception:  # not installed, no driver, a driver that is too old, ...
        return None


cupy = _cupy()
ON_DEVICE = (pytest.mark.gpu, pytest.mark.skipif(cupy is None, reason="no CUDA device"))
ON_HOST = (
    pytest.mark.emulated,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to emulate a device with"),
)

LONG = (((200_003,), 0), ((50_001, 4), 0), ((4, 50_001), 1), ((9000, 30), 0))
BIG = 3 * portable.PANEL + 17  # several panels and a rest
WITHOUT_BYTE_SWAPPED = tuple(name for name in LAYOUTS if name != "byte-swapped")
FLOATS = ("float16", "bfloat16", "float32", "float64")
STANDARD = ("float32", "float64", "bool", "int8", "uint8", "int16", "int32", "int64")


def _of_library(name, library, layout_shape=(5, 7, 6)):
    return Kind(
        name,
        portable,
        library,
        panel=64,
        dtypes=STANDARD,
        shapes=((200,), (12, 9)),
        layouts=("C", "transposed", "sliced", "unaligned", "broadcast"),
        layout_dtypes=("float64",),
        layout_shapes=(layout_shape,),
        edges=(64,),
        edge_shapes=((100, 2),),
        sums=(((150_001,), 0),),
        sum_error=12,  # every library rounds its exponentials in its own way, to 1 or 2 ulp
        weighted=(6, 40),
        weights=("float64",),
        weighted_dtypes=("float32", "float64"),
    )


PORTABLE = Kind(
    "portable",
    portable,
    panel=16,  # cuts across every axis
    dtypes=(*ELEMENTS, ">f4", ">f8"),
    shapes=((7,), (100,), (1,), (3, 5), (15, 6), (6, 15), (4, 2, 6), (3, 9, 2), (2, 3, 4, 5)),
    layout_shapes=((5, 7, 6),),
    layout_dtypes=("float64",),
    edges=(7, 15, 16, 17, 40),
    edge_shapes=((100, 2),),
    lopsided=((100,), (3, 50), (50, 3)),
    sums=(((BIG,), 0), ((BIG, 1), 0), ((BIG // 4, 4), 0), ((4, BIG // 4), 1)),
)
CPU = Kind(
    "cpu",
    cpu,
    dtypes=(*FLOATS, ">f4", ">f8", "bool", "int8", "uint16", "int64"),
    layout_dtypes=("float16", "float32", "float64", "int32"),
    edges=(7, 8, 11, 1023, 1024, 2047, 2048),
    edge_shapes=((3000, 2), (2, 3000), (700, 20), (20, 12), (5000,)),
    lopsided=((5000,), (3, 5000), (5000, 20), (5000, 3)),
    sums=LONG,
    rising=3_000_000,
)
EMULATED = Kind(
    "cuda",
    cuda,
    marks=ON_HOST,
    layouts=WITHOUT_BYTE_SWAPPED,
    layout_dtypes=("float16", "float32", "float64", "int8"),
    edges=(15, 16, 17, 4095, 4096),
    edge_shapes=((3000, 2), (2, 3000), (700, 20), (20, 12), (9000,)),
    lopsided=((20_000,), (3, 9000), (9000, 20), (9000, 3)),
    sums=LONG,
    sum_dtypes=("float32", "float64"),
    weighted=(60, 170),
    weights=tuple(name for name in ELEMENTS if name != "bfloat16"),
)
DEVICE = Kind(
    "cupy",
    cuda,
    "cupy",
    marks=ON_DEVICE,
    dtypes=tuple(
        name
        for name in ELEMENTS
        if name != "bfloat16" or cupy is None or int(cupy.__version__.partition(".")[0]) >= 14
    ),
    shapes=(*SHAPES, (3_000_001,), (4, 700_001), (9000, 33)),
    layouts=WITHOUT_BYTE_SWAPPED,
    layout_dtypes=("int8", "float16", "float32", "float64"),
    layout_shapes=((14, 40, 75),),
    edges=(4095,),
    edge_shapes=((50_000,), (3, 5000), (5000, 3)),
    edge_dtypes=("float16", "float32", "float64"),
    lopsided=EMULATED.lopsided,
    sums=(((5_000_003,), 0), ((500_001, 4), 0)),
    weighted=(60, 1700),
    weights=("float64",),
    weighted_dtypes=("float32", "float64", "int16"),
)
STRICT = _of_library("array-api-strict", "array_api_strict")
TORCH = _of_library("torch", "torch")
JAX = _of_library("jax", "jax.numpy", (2, 3, 4))  # it compiles for every shape
LIBRARIES = (STRICT, TORCH, JAX)
KINDS = (PORTABLE, CPU, EMULATED, DEVICE, *LIBRARIES)


def over(kinds=KINDS, **cases):
    """Parametrize a test over kinds of block and the cases of each.

    ``cases`` names an attribute of a kind for each argument of the test, or lists its values.
    """

    def values(kind, named):
        return getattr(kind, named) if isinstance(named, str) else named

    parameters = [
        pytest.param(kind, *chosen, marks=kind.marks, id="-".join(map(str, (kind.name, *chosen))))
        for kind in kinds
        for chosen in itertools.product(*(values(kind, named) for named in cases.values()))
    ]
    return pytest.mark.parametrize(("block", *cases), parameters, indirect=["block"])


class Block:
    """The kernels of a kind, from NumPy's arrays to NumPy's arrays."""

    def __init__(self, kind, call):
        self.kind, self._call = kind, call

    def run(self, function, *arguments):
        """A function of arrays of the library, which has to give such arrays."""
        return self._call(self.kind.library, portable.PANEL, function, arguments)

    def of_block(self, x, axes, b=None):
        return State(*self.run(self.kind.kernels.of_block, x, axes, b))

    def softmax(self, x, axes):
        return self.run(self.kind.kernels.softmax, x, axes)

    def log_softmax(self, x, axes):
        return self.run(self.kind.kernels.log_softmax, x, axes)

    def rescale(self, x, m, d):
        return self.run(self.kind.kernels.rescale, x, m, d)

    def log_rescale(self, x, m, logarithm):
        return self.run(self.kind.kernels.log_rescale, x, m, logarithm)


def applied(library, panel, function, arguments):
    """What `Block.run` gives, in the process that has the library."""
    portable.PANEL = panel
    xp = importlib.import_module(library)

    def given(argument):
        if isinstance(argument, Laid):
            return argument.viewed(given(argument.base))
        if not isinstance(argument, np.ndarray) or xp is np:
            return argument
        return xp.asarray(argument.copy())

    def returned(result):
        if isinstance(result, tuple):
            return tuple(map(returned, result))
        if xp is np:
            return result
        assert type(result) is type(xp.asarray(np.zeros(1)))
        return xp.asnumpy(result) if library == "cupy" else np.asarray(result)

    return returned(function(*map(given, arguments)))


# What is right.


def assert_right(block, x, axes):
    """Every kernel gives for a block what its oracle gives."""
    host = x.numpy() if isinstance(x, Laid) else x
    if block.kind is PORTABLE:
        _assert_like_scipy(block, x, host, axes)
    else:
        _assert_like_portable(block, x, host, axes)


def _assert_like_scipy(block, x, host, axes):
    wide = host.astype("f8").astype("g")  # integers of 64 bits are rounded to float64
    y, log_y = block.softmax(x, axes), block.log_softmax(x, axes)
    state = block.of_block(x, axes)
    rtol, atol = RTOL[y.dtype.name], RTOL[y.dtype.name]
    if y.dtype == "f8":
        rtol, atol = 1e-13, 1e-15
    with np.errstate(all="ignore"):
        total = special.logsumexp(wide, axis=axes, keepdims=True)
        expected, log_expected = special.softmax(wide, axis=axes), special.log_softmax(wide, axes)
    assert y.dtype == log_y.dtype == portable.softmax(host[..., :1], ()).dtype
    assert y.shape == log_y.shape == host.shape
    assert_allclose(log_sum(state), total, rtol=rtol / 100, atol=atol)
    for actual in (y, block.rescale(x, state.m, state.d)):
        assert_allclose(actual.astype("f8"), expected, rtol=rtol, atol=smallest(y.dtype))
    for actual in (log_y, block.log_rescale(x, state.m, log_d(state))):
        assert_allclose(actual.astype("f8"), log_expected, rtol=rtol, atol=atol)


def _assert_like_portable(block, x, host, axes):
    expected = portable.of_block(host, axes)
    state = block.of_block(x, axes)
    y, log_y = portable.softmax(host, axes), portable.log_softmax(host, axes)
    rtol = RTOL[y.dtype.name]
    assert [a.dtype for a in state] == [a.dtype for a in expected]
    assert_array_equal(state.m, expected.m)
    assert_array_equal(state.w, expected.w)
    assert_allclose(state.s, expected.s, rtol=2e-6 if state.m.dtype == "f4" else 1e-14)
    for actual in (block.softmax(x, axes), block.rescale(x, expected.m, expected.d)):
        assert (actual.dtype, actual.shape) == (y.dtype, y.shape)
        assert_allclose(actual.astype("f8"), y.astype("f8"), rtol=rtol, atol=smallest(y.dtype))
    for actual in (block.log_softmax(x, axes), block.log_rescale(x, expected.m, log_d(expected))):
        assert (actual.dtype, actual.shape) == (log_y.dtype, log_y.shape)
        assert_allclose(actual.astype("f8"), log_y.astype("f8"), rtol=rtol, atol=rtol)


def smallest(dtype):
    """The smallest number of a dtype that has all of its digits."""
    return float(ml_dtypes.finfo(dtype).smallest_normal)
