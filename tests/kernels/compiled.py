"""Every compiled kernel there is, and functions that compile and run them in other processes."""

import contextlib
import gc
import itertools
import multiprocessing
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np

from dsoftmax._kernels import exact, groups, gumbel, noise, philox, portable, running, weights
from dsoftmax._kernels.blocks import Terms
from dsoftmax._kernels.cpu import attention_calls, compiler, kernels, random_bits, weight_calls
from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cpu import running as running_cpu
from dsoftmax._kernels.cpu import topk as topk_cpu
from dsoftmax._kernels.cpu.compiler import compiled
from dsoftmax._kernels.cpu.exact import can_fuse
from dsoftmax._kernels.in_memory import InMemory

SMALL = ("bool", "int8", "uint8", "int16", "uint16", "float16", "bfloat16", "float32")
LARGE = ("int32", "uint32", "int64", "uint64", "float64")
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
STORED = (("float16", 4), ("bfloat16", 4), ("float32", 4), ("float64", 8))


def every_kernel():
    """The arguments of `compiled` for each kernel."""
    yield from ((kernels.group_labels, word) for word in (np.uint8, np.uint32, np.uint64))
    yield from ((kernels.group_join, word) for word in (np.int64, np.uint64, np.float64))
    yield (kernels.random_bits,)
    yield (kernels.gumbel_noise,)
    yield (kernels.in_turns,)
    yield from ((kernels.group_merge, moments) for moments in (False, True))
    yield from ((kernels.group_present, moments) for moments in (False, True))
    for working in (np.float32, np.float64):
        yield from _of_slices(working)
        yield from _of_elements(working)


def _of_slices(working):
    yield kernels.rows, working, True, False
    yield kernels.columns, working, "weighted", False
    for masked in (False, True):
        yield kernels.rows, working, False, masked
        if can_fuse():  # else it is nowhere used
            yield kernels.exact_rows, working, masked
            yield kernels.exact_columns, working, masked
        for moments in (False, True):
            yield kernels.row_sums, working, moments, masked
        for kind in ("plain", "moments", "values"):
            yield kernels.columns, working, kind, masked
    yield kernels.best_rows, working
    yield kernels.best_columns, working
    yield kernels.integer_weights, working
    yield kernels.log_sums, working
    yield kernels.exact_finish, working
    yield kernels.noisy_candidates, working
    yield kernels.products, working
    yield kernels.running_sums, working
    yield kernels.group_scatter, working
    for either in (False, True):
        yield kernels.group_states, working, either
        yield kernels.group_map, working, either


def _of_elements(working):
    # A block of these dtypes, alone or with weights, or weights of them.
    for name in SMALL if working is np.float32 else (*SMALL, *LARGE):
        yield kernels.load, name, False, working
        if name not in ("bool", "int8", "uint8", "bfloat16"):  # byte-swapped
            yield kernels.load, name, True, working
    for name, item in STORED:
        if item == np.dtype(working).itemsize:
            yield kernels.store, name, working


KERNELS = tuple(every_kernel())
KERNEL_NAMES = [
    "-".join(getattr(word, "__name__", str(word)) for word in kernel) for kernel in KERNELS
]


def command(program, folder, *arguments, **environment):
    """What `subprocess` needs to run a program that has its compiled code in a folder."""
    return {
        "args": [sys.executable, "-c", program, *map(str, arguments)],
        "env": os.environ | {"NUMBA_CACHE_DIR": str(folder)} | environment,
        "cwd": Path(__file__).parents[2],
        "text": True,
    }


def run(*arguments, **environment):
    """What such a program prints."""
    process = command(*arguments, **environment)
    return subprocess.run(**process, check=True, stdout=subprocess.PIPE).stdout


def calling(function, *arguments):
    """A program that calls one of the functions below."""
    return f"from tests.kernels.compiled import *; {function.__name__}{arguments}"


def compile_in_processes(groups):
    """Each group in a process of its own, two at a time."""
    import numba  # noqa: F401  # what all processes begin with

    in_processes(_compile, groups)


def in_processes(function, tasks):
    """Results of a function, each in a process of its own, two at a time."""
    gc.freeze()  # the processes share the memory of this one
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        return pool.map(function, tasks, chunksize=1)


def _compile(group):
    # Each is tested before its first use.
    for kernel in group:
        compiled(*kernel)


def compile_alone():
    """Compile each kernel in a process of its own."""
    compile_in_processes([[kernel] for kernel in KERNELS])


def load_in_orders(count):
    """Load all kernels in so many random orders and their reverse, in a process each."""
    orders = [random.Random(seed).sample(KERNELS, len(KERNELS)) for seed in range(count)]
    print(sum(in_processes(_load, [*orders, *(order[::-1] for order in orders)])))


def _load(order):
    """Whether Numba was needed."""
    _compile(order)
    return "numba" in sys.modules


def every_call():
    """(dtype, dtype of the weights, axis, shape) of calls that need every kernel."""
    swapped = [f">{kind}" for kind in ("i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]
    blocks = list(itertools.product([None], (0, 1), [(60, 70), (7, 600), (600, 7)]))
    weights = ("float32", "float64", "int8", "bfloat16")
    blocks += itertools.product(weights, (0, 1), [(60, 70)])
    for dtype, block in itertools.product((*SMALL, *LARGE, *swapped), blocks):
        call = (dtype, *block)
        with contextlib.suppress(np.exceptions.DTypePromotionError):  # bfloat16 and integers
            np.result_type(*(name for name in call[:2] if name))
            yield call


def call(dtype, weights, axis, shape):
    """Compare the compiled kernels' results with those of the portable ones and a stable sort."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape) * 3
    x = x.astype(np.dtype(dtype))
    b = None if weights is None else (rng.normal(size=shape) * 2).astype(np.dtype(weights))
    state, expected = cpu.of_block(x, (axis,), b), portable.of_block(x, (axis,), b)
    np.testing.assert_array_equal(state.m, expected.m)
    np.testing.assert_allclose(state.w, expected.w, rtol=1e-13, atol=1e-13)
    tolerance = TOLERANCES[state.m.dtype.name]
    np.testing.assert_allclose(state.s, expected.s, rtol=tolerance, atol=tolerance)
    if b is None and state.m.size > 16:
        actual, expected = cpu.log_sum(state), portable.log_sum(state)
        np.testing.assert_allclose(actual, expected, rtol=1e-14, atol=1e-14)
    if b is None:
        index = np.arange(x.size) << 20
        bits = philox.bits(index, (1, 2))
        np.testing.assert_array_equal(random_bits.of_indices(index, (1, 2)), bits)
        np.testing.assert_array_equal(random_bits.noise(bits), noise.noise(bits))
        if dtype in TOLERANCES:
            _draw(x.ravel())
            if can_fuse():
                for where in (None, x < 3):
                    found = exact.log_sum(exact.of_block(Terms(x, None, where), (axis,)))
                    wanted = portable.log_sum(portable.of_block(x, (axis,), None, where))
                    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
            m, v = x.max(axis=1, keepdims=True), rng.normal(size=(shape[1], 64)).astype(dtype)
            found, expected = attention_calls.products(x, m, v), np.exp(x - m) @ v
            near = TOLERANCES[dtype]
            np.testing.assert_allclose(found, expected, rtol=near, atol=100 * near)
        y, expected = (one.of_block(x, None, axis, False) for one in (running_cpu, running))
        eps = max(float(ml_dtypes.finfo(y.dtype).eps), 1e-14)  # computed in float64
        np.testing.assert_allclose(y.astype("f8"), expected.astype("f8"), rtol=eps, atol=eps)
    y, expected = cpu.softmax(x, (axis,)), portable.softmax(x, (axis,))
    eps = float(ml_dtypes.finfo(y.dtype).eps)
    np.testing.assert_allclose(y.astype("f8"), expected.astype("f8"), rtol=200 * eps, atol=eps**2)
    where, v = rng.random(shape) < 0.7, rng.normal(size=shape) if b is None else b
    for mask in (None, where):
        for name, further in (("moments", ()), ("sums", ((v,),))):
            found, expected = (
                getattr(k, name)(x, (axis,), *further, mask) for k in (cpu, portable)
            )
            near = TOLERANCES[found[0].dtype.name]  # x may be float32 and its weights float64
            for one, other in zip(found[1:], expected[1:], strict=True):
                np.testing.assert_allclose(one, other, rtol=near, atol=100 * near)
    y, expected = cpu.softmax(x, (axis,), where), portable.softmax(x, (axis,), where)
    np.testing.assert_allclose(y.astype("f8"), expected.astype("f8"), rtol=200 * eps, atol=eps**2)
    if topk_cpu.supports(x):
        values, indices, _ = topk_cpu.of_block(x, axis, 5, True)
        order = np.argsort(-x.astype("f8"), axis=axis, kind="stable").take(range(5), axis=axis)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis=axis))


def _draw(x):
    """Compare candidates and weights with those of the portable functions."""
    for found, expected in zip(
        *(gumbel._candidates(x, 5, 4.0, (1, 2), either) for either in (True, False)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    m, k = x.max().astype("f8"), np.array([50])
    pieces = np.array([0]), np.array([x.size]), np.array([m]), k
    found, _ = weight_calls.weights(x, pieces, x.size)
    np.testing.assert_array_equal(found[0], weights.integer_weights(x.astype("f8") - m, k))


def call_grouped(dtype, count):
    """Compare softmaxes within so many groups with sums by `numpy.bincount`."""
    rng = np.random.default_rng(4)
    size = 4 * count
    x, by = rng.normal(size=size).astype(dtype), rng.integers(0, count, size)
    d = np.bincount(by, np.exp(x.astype("f8")))
    halves = slice(size // 2), slice(size // 2, None)
    # Words of 8, 4 and 1 bytes, and of 8 that are joined in other ways.
    kinds = by * 10**10, by.astype("U5"), by.astype("S5"), by / 3, by.astype("u8") << np.uint64(44)
    for labels in kinds:
        for moments in (False, True):
            parts = (groups.Labelled(x[half], (labels[half],)) for half in halves)
            found = groups.merge(*(groups.of_block(part, 0, moments) for part in parts))
            order = np.searchsorted(found.labels[0], labels)
            log_sum = (found.state.m + np.log(found.state.d))[order]
            np.testing.assert_allclose(log_sum, np.log(d[by]), rtol=TOLERANCES[dtype], atol=1e-12)
    for logarithm in (False, True):
        y = groups.whole(groups.Labelled(x, (by,)), 0, logarithm)
        y = np.exp(y) if logarithm else y
        np.testing.assert_allclose(y, np.exp(x) / d[by], rtol=TOLERANCES[dtype])


def call_large():
    """Compare a softmax of an array that is cut in pieces."""
    x = np.random.default_rng(4).normal(size=(2**15, 8))
    with InMemory(x.shape, lambda: 2):
        found = cpu.softmax(x, (1,))
    np.testing.assert_allclose(found, portable.softmax(x, (1,)), rtol=1e-13)


def compile_some(seed):
    """Compile in random order some that take long, and more that do not."""
    choose = random.Random(seed)
    short = [kernel for kernel in KERNELS if kernel[0] in (kernels.load, kernels.store)]
    long = [kernel for kernel in KERNELS if kernel not in short]
    some = choose.sample(long, 4) + choose.sample(short, 12)
    _compile(choose.sample(some, len(some)))


def call_all(seed, *dtypes):
    """Call all, or those of blocks and weights of some dtypes.

    Print whether Numba was needed, and how many kernels were.
    """
    calls = [call_large] if not dtypes else []
    calls += [
        partial(call, *one)
        for one in every_call()
        if not dtypes or (one[0] in dtypes and one[1] in (None, *dtypes))
    ]
    calls += [
        partial(call_grouped, dtype, count)
        for dtype in TOLERANCES
        if dtype in dtypes or not dtypes
        for count in (3000, 30_000)  # the latter in several tables
    ]
    for one in random.Random(seed).sample(calls, len(calls)):
        one()
    print("numba" in sys.modules, len(compiler._kernels))
