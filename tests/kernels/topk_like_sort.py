"""Top-k by the CUDA kernels beside a stable sort: rows to sort, the order, and what is right."""

import numpy as np

from dsoftmax._algebra.normalizer import State
from dsoftmax._kernels import portable
from dsoftmax._kernels.cuda import topk as kernels

from ..compare import assert_allclose, assert_array_equal

INF, NAN = np.inf, np.nan
RTOL = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-14}
SOME = np.array([0.0, -0.0, 1.0, -3.0, INF, -INF, NAN])
DATA = {
    "normal": lambda rng, n: rng.normal(size=n) * 5,
    "ascending": lambda rng, n: np.arange(n) / 64,
    "descending": lambda rng, n: -np.arange(n) / 64,
    "constant": lambda rng, n: np.full(n, 2.5),
    "tied": lambda rng, n: rng.integers(0, 5, n),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, -0.0),
    "few NaN": lambda rng, n: np.where(rng.random(n) < 0.002, NAN, rng.normal(size=n)),
    "many NaN": lambda rng, n: np.where(rng.random(n) < 0.9, NAN, 1.0),
    "NaN at the end": lambda rng, n: np.where(np.arange(n) == n - 1, NAN, rng.normal(size=n)),
    "infinity": lambda rng, n: np.where(rng.random(n) < 0.01, INF, -INF),
    "minus infinity": lambda rng, n: np.full(n, -INF),
    "few finite": lambda rng, n: np.where(rng.random(n) < 0.99, -INF, rng.normal(size=n)),
    "anything": lambda rng, n: rng.choice(SOME, n),
    # each thread that has some of the best has nothing else: as many candidates as there can be
    "by threads": lambda rng, n: np.arange(n) // 4 % 256 * 4096.0 + rng.permutation(n) % 4096,
}


def expected(x, k):
    """The indices of the k best of rows: NaN, then by value; and by index. Smallest for k < 0."""
    nan = np.isnan(x)
    key = np.where(nan, -INF, -x.astype("f8")) if k > 0 else np.where(nan, INF, x.astype("f8"))
    order = np.argsort(key, axis=-1, kind="stable")
    parted = np.take_along_axis(nan ^ (k > 0), order, axis=-1)
    order = np.take_along_axis(order, np.argsort(parted, axis=-1, kind="stable"), axis=-1)
    return order[..., : abs(k)]


class Kernels:
    """The kernels with NumPy's arrays."""

    def __init__(self, there, back):
        self.there, self.back = there, back

    def of_block(self, x, axis, k, normalized=True, laid_out=None):
        x = laid_out() if laid_out else self.there(x)
        found = kernels.of_block(x, axis, k, normalized)
        if found is None:
            return None
        values, indices, state = found
        state = None if state is None else State(*map(self.back, state))
        return self.back(values), self.back(indices), state

    def probabilities(self, values, state, logarithm=False):
        arrays = State(*map(self.there, state))
        return self.back(kernels.probabilities(self.there(values), arrays, logarithm))

    def check(self, x, k, axis=-1, laid_out=None):
        """The values, indices and probabilities of a block, and its states."""
        axis %= x.ndim
        for sign in (1, -1):
            values, indices, state = self.of_block(x, axis, sign * k, sign > 0, laid_out)
            order = np.moveaxis(expected(np.moveaxis(x, axis, -1), sign * k), -1, axis)
            assert_array_equal(indices, order)
            assert (values.dtype, indices.dtype) == (x.dtype, np.int64)
            taken = np.take_along_axis(x, order, axis)
            assert_array_equal(values.astype("f8"), taken.astype("f8"))
            assert_array_equal(np.signbit(values), np.signbit(taken))
            if sign > 0:
                self.check_state(x, axis, values, state)

    def check_state(self, x, axis, values, state):
        with np.errstate(all="ignore"):
            right = portable.of_block(x, (axis,))
            p = portable.rescale(values, right.m, right.d).astype("f8")
        assert [a.dtype for a in state] == [a.dtype for a in right]
        assert_array_equal(state.m, right.m)
        assert_array_equal(state.w, right.w)
        assert_allclose(state.s, right.s, rtol=2e-6 if state.m.dtype == "f4" else 1e-14, atol=1e-30)
        if axis == x.ndim - 1:
            found = self.probabilities(values, state)
            assert found.dtype == x.dtype
            assert_allclose(found.astype("f8"), p, rtol=RTOL[x.dtype.name], atol=1e-30)
            with np.errstate(all="ignore"):
                logarithms = np.log(np.where(p > 1e-30, p, NAN))
            found = self.probabilities(values, state, logarithm=True).astype("f8")
            rtol = RTOL[x.dtype.name]
            assert_allclose(np.where(p > 1e-30, found, NAN), logarithms, rtol=rtol, atol=rtol)


def rows(data, rng, length, dtype, count=2):
    with np.errstate(over="ignore"):
        return np.stack([DATA[data](rng, length) for _ in range(count)]).astype(dtype)
