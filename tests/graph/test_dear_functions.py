"""Functions that may be expensive to compute, going by names: what uses them is held."""

import functools
import operator
from functools import partial
from types import ModuleType

import dask
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from numba import guvectorize, njit
from scipy import interpolate, ndimage, signal, stats
from scipy.signal import fftconvolve
from scipy.spatial.distance import cdist
from scipy.special import hermite

from dsoftmax._graph.dear import dear
from dsoftmax._graph.uses import Names, uses

from .sources import LARGE, files, load, why_held

SQUARE = np.ones((3, 3))
LAZY = ModuleType("scipy.signal")
INTERPOLATE = interpolate.RegularGridInterpolator((np.arange(3),), np.arange(3))


def product(block):
    return block @ SQUARE


def in_place(block):
    block @= SQUARE
    return block


def helped(block):
    return product(block) + 1


def within(block):
    return np.stack([(lambda row: row @ SQUARE)(row) for row in block])


def method(block):
    return block.reshape(-1, 3).dot(SQUARE)


def transformed(block):
    return np.fft.irfft(np.fft.rfft(block))


def imported(block):
    from scipy import ndimage as images

    return images.gaussian_filter(block, 2)


def imported_name(block):
    from scipy.ndimage import uniform_filter

    return uniform_filter(block)


def imported_library(block):
    import numpy.linalg

    return numpy.linalg.inv(block)


@njit
def compiled(block):
    return np.dot(block, SQUARE)


@guvectorize("(n)->(n)")
def running(row, result):
    result[:] = row


class Projection:
    def __init__(self):
        self.basis = SQUARE

    def __call__(self, block):
        return self.project(block)

    def project(self, block):
        return block @ self.basis


class Estimator:
    """Stands for one of scikit-learn, which is not installed here."""

    __module__ = "sklearn.linear_model._ridge"

    def predict(self, block):
        raise AssertionError("the graph is built, not computed")

    transform = predict


class Mine(Estimator):
    __module__ = __name__


ESTIMATOR = Mine()


def estimate(block, model=None):
    return (model or ESTIMATOR).transform(block)


def made(block):
    return Mine().transform(block)


def imported_model(block):
    import onnxruntime as runtime  # not installed, and not run

    return runtime.load(block)


def of_parameter(block, fitted):
    return fitted.predict_proba(block)


DEAR = {
    "a product": product,
    "a product in place": in_place,
    "of a helper": helped,
    "in a lambda in a comprehension": within,
    "a method": method,
    "a bound method": SQUARE.dot,
    "np.matmul": lambda b: np.matmul(b, SQUARE),
    "np.dot": lambda b: np.dot(b, SQUARE),
    "np.inner": lambda b: np.inner(b, SQUARE),
    "np.einsum": partial(np.einsum, "ij,kj->ik", SQUARE),
    "np.tensordot": partial(np.tensordot, b=SQUARE, axes=(1, 1)),
    "np.kron": partial(np.kron, SQUARE),
    "np.vecdot": np.vecdot,
    "np.cov": np.cov,
    "operator.matmul": partial(operator.matmul, SQUARE),
    "np.convolve": np.convolve,
    "np.correlate": lambda b: np.correlate(b, SQUARE[0], mode="same"),
    "np.linalg": np.linalg.inv,
    "scipy.linalg": lambda b: scipy.linalg.expm(b),
    "np.fft": transformed,
    "scipy.fft": scipy.fft.dct,
    "scipy.signal": partial(signal.savgol_filter, window_length=5, polyorder=2),
    "a name of scipy.signal": lambda b: fftconvolve(b, SQUARE, mode="same"),
    "scipy.ndimage": partial(ndimage.gaussian_filter, sigma=2),
    "scipy.ndimage in a lambda": lambda b: ndimage.median_filter(b, 5),
    "scipy.spatial": lambda b: cdist(b, b),
    "an interpolator": lambda b: INTERPOLATE(b),
    "a density": stats.gaussian_kde(np.arange(9)).evaluate,
    "imported": imported,
    "an imported name": imported_name,
    "an imported library": imported_library,
    "of a module loaded on first use": lambda b: LAZY.medfilt(b),
    "compiled": compiled,
    "a guvectorized function": running,
    "cached": functools.lru_cache(product),
    "wrapped": functools.wraps(np.exp)(lambda b: product(b)),
    "an object": Projection(),
    "an object's method": Projection().project,
    "np.vectorize": np.vectorize(abs),
    "np.vectorize in a lambda": lambda b: np.vectorize(abs)(b),
    "np.frompyfunc": np.frompyfunc(abs, 1, 1),
    "a method of a model": ESTIMATOR.transform,
    "a global model": estimate,
    "a model as an argument": partial(estimate, model=Estimator()),
    "a model made in it": made,
    "an imported model": imported_model,
    "a parameter": partial(of_parameter, fitted=None),
}


@pytest.mark.parametrize("kind", DEAR)
def test_dear_functions_are_held(kind):
    mapped = LARGE.map_blocks(DEAR[kind], meta=LARGE._meta, name="f")
    assert why_held(mapped).startswith("'f' below it may be expensive to compute, as it uses ")


@pytest.mark.parametrize("kind", ["np.convolve", "a name of scipy.signal", "scipy.ndimage"])
def test_dear_functions_of_overlapping_blocks_are_held(kind):
    x = LARGE.map_overlap(DEAR[kind], depth=3, boundary="reflect", meta=LARGE._meta)
    assert " below it may be expensive to compute, as it uses " in why_held(np.exp(x))


def test_dear_delayed_functions_are_held():
    x = files(lambda: dask.delayed(np.fft.fft, name="fft")(load(10**7), dask_key_name="fft"))
    assert why_held(x).startswith(
        "'fft' below it may be expensive to compute, as it uses numpy.fft.fft"
    )
    x = files(lambda: dask.delayed(np.linalg.inv)(2))
    assert why_held(x).startswith(
        "'inv' below it may be expensive to compute, as it uses numpy.linalg"
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            "@ .dot block.dot np.inner xp.matmul numpy.cov torch.bmm torch.conv2d cupy.linalg.norm "
            "jax._src.numpy.linalg.svd jax._src.scipy.signal.convolve cupyx.scipy.ndimage.zoom "
            "pyfftw.interfaces.x scipy.cluster.vq.vq scipy.integrate scipy.optimize._root.root "
            "opt_einsum.contract cv2.GaussianBlur skimage.filters sklearn.svm._classes.SVC "
            "torch.hub.load torch.jit.load keras.src.models.model.Model lightgbm.basic.Booster "
            "tensorflow.python.x onnxruntime.InferenceSession transformers.pipeline model.predict "
            "self.net.predict_proba svm.decision_function model.score_samples",
            True,
        ),
        (
            "block.T np.exp numpy.add scipy.special.gamma scipy.stats scipy.sparse units.mm "
            "self.inner result.cov cv2.imread skimage.io.imread sklearn.datasets.load_digits torch "
            "skimage.color.rgb2gray torch.load torch.exp model.predictor signal.scale optimize "
            "dotted.path plant.offtake f.<locals>.dot decorate.<locals>.predict",
            False,
        ),
    ],
    ids=["dear", "cheap"],
)
def test_names(names, expected):
    assert [name for name in names.split() if bool(dear([Names([name])])) != expected] == []


def test_torch_models_are_held_and_its_other_functions_read_again():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 3)
    for model in (net, net.forward, lambda b: net(torch.from_numpy(b)).numpy(), torch.matmul):
        assert "may be expensive" in why_held(LARGE.map_blocks(model, meta=LARGE._meta))
    for cheap in (torch.exp, torch.load, lambda b: torch.exp(torch.from_numpy(b)).numpy()):
        assert why_held(LARGE.map_blocks(cheap, meta=LARGE._meta)) is None


def test_common_functions_of_numpy_are_cheap():
    names = "abs add clip diff digitize exp flip gradient interp isin log1p maximum mean median"
    names += " nan_to_num nansum pad percentile quantile roll searchsorted select sort sum unique"
    assert not [name for name in names.split() if dear(uses([getattr(np, name)], {}))]


# How far the functions are looked into.


@pytest.mark.parametrize("function", [lambda b: np.roots(b), lambda b: hermite(3)(b)])
def test_functions_of_other_modules_go_by_their_names(function):
    assert dear(uses([np.roots], {}))
    assert dear(uses([hermite], {}))
    assert dear(uses([function], {})) is None


class Circular:
    def even(self):
        return self.odd()

    def odd(self):
        return self.even()


def test_methods_that_call_each_other_are_looked_into_once():
    assert len(uses([Circular().even], {})) < 10


def test_what_was_seen_in_another_layer_is_not_looked_into_again():
    seen = {}
    first = uses([product, helped], seen)
    assert len(first) > 4
    assert [value for value in uses([product, helped], seen) if value is not None] == [
        [product, helped]
    ]
