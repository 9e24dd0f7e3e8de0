"""Kernels are compiled once, kept safely, let other threads run, and can be done without."""

import math
import platform
import re
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._kernels.cpu import block as cpu
from dsoftmax._kernels.cpu import kernels, machine_code
from dsoftmax._kernels.cpu import topk as topk_cpu

from .compiled import run

pytestmark = pytest.mark.system

COLD = """
import threading, numpy as np, dsoftmax
x = [np.random.default_rng(i).normal(size=5000) for i in range(8)]
y = [None] * 8
def work(i): y[i] = dsoftmax.softmax(x[i])
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
assert all(abs(v.sum() - 1) < 1e-14 for v in y)
"""


def test_threads_that_meet_at_a_cold_kernel(tmp_path):
    run(COLD, tmp_path, PATH="")


def test_vectors_are_aligned_on_the_stack():
    """However deep it is where a kernel is called: see `machine_code._DEFINITION`."""
    module = machine_code.module_of(kernels.columns(np.float64, "plain", False), "columns")
    assembly = machine_code.target_machine().emit_assembly(module)
    moves = set(re.findall(r"\b(v?mov[au]p[sd])\b.*\(%r[sb]p\)", assembly))
    if "x86" in module.triple:
        assert {move.removeprefix("v") for move in moves} >= {"movapd"}
    assert not any("movup" in move for move in moves)


UNCOMPILED = """
import warnings, numpy as np, dsoftmax
from dsoftmax._kernels.cpu import compiler, rows
BREAK
x = np.linspace(-1, 0, 10**4)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        y, l, t = dsoftmax.softmax(x), dsoftmax.logsumexp(x), dsoftmax.softmax(x[:, None], 0)
print(y.sum(), l, t.sum(), *[w.category.__name__ for w in caught], caught[0].message)
"""


@pytest.mark.parametrize(
    ("broken", "disabled", "reason"),
    [
        ("", "1", "NUMBA_DISABLE_JIT is set"),
        ("rows.add_compensated = print", "0", "TypingError"),
        ("compiler.passes = lambda *kernel: False", "0", "computes wrong numbers"),
    ],
)
def test_kernels_that_do_not_compile(broken, disabled, reason, tmp_path):
    program = UNCOMPILED.replace("BREAK", broken)
    printed = run(program, tmp_path, NUMBA_DISABLE_JIT=disabled)
    total, log, total_of_column, category, _ = printed.split(maxsplit=4)
    assert [float(total), float(total_of_column)] == pytest.approx([1, 1], rel=1e-14)
    assert float(log) == pytest.approx(math.log(math.fsum(np.exp(np.linspace(-1, 0, 10**4)))))
    assert category == "RuntimeWarning"
    assert printed.count("dsoftmax runs without compiled kernels") == 1
    assert reason in printed


NESTED = """
import warnings, numpy as np
from dsoftmax._kernels.cpu import codecs, compiler, kernels
codecs.load = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        try:
            compiler.compiled(kernels.rows, np.float64, True, False)
        except compiler.CannotCompileError:
            print("not compiled")
print(*[str(w.message) for w in caught], sep="\\n")
"""


def test_a_kernel_that_needs_one_that_does_not_compile(tmp_path):
    first, second, *warnings = run(NESTED, tmp_path).splitlines()
    assert first == second == "not compiled"
    assert len(warnings) == 1
    assert "'NoneType' object is not callable" in warnings[0]


ONLY_TOPK = """
import warnings, numpy as np, dsoftmax
from dsoftmax._kernels.cpu import best
best.rows = best.columns = None
x = np.random.default_rng(0).permutation(9 * 10**4).reshape(300, 300).astype("f4")
dsoftmax.softmax(x, 1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = [dsoftmax.softmax_topk(x, 3, axis).indices for axis in (0, 1, None)]
    found += [dsoftmax.topk(x, k, 1).values for k in (3, -3)]
assert (found[0] == np.argsort(-x, axis=0)[:3]).all()
assert (found[1] == np.argsort(-x, axis=1)[:, :3]).all()
assert (found[2] == np.argsort(-x, axis=None)[:3]).all()
assert (found[3] == -np.sort(-x, axis=1)[:, :3]).all()
assert (found[4] == np.sort(x, axis=1)[:, :3]).all()
print(*[w.category.__name__ for w in caught])
"""


def test_only_the_kernels_of_topk_do_not_compile(tmp_path):
    assert run(ONLY_TOPK, tmp_path) == "RuntimeWarning\n"


WITHOUT_WARNINGS = """
import warnings, numpy as np
warnings.simplefilter("error")
import sys, dsoftmax
assert abs(dsoftmax.softmax(np.zeros(10**4, "f4")).sum() - 1) < 1e-5
print("numba" in sys.modules)
"""


def test_code_that_was_kept_needs_no_numba(tmp_path):
    assert run(WITHOUT_WARNINGS, tmp_path) == "True\n"
    assert run(WITHOUT_WARNINGS, tmp_path) == "False\n"


def test_compiled_code_that_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        assert run(WITHOUT_WARNINGS, tmp_path / "file") == "True\n"


OF_MANY_KERNELS = """
import itertools, sys, numpy as np, dsoftmax
results = []
x = np.random.default_rng(0).normal(size=(70, 300)) * 9
for y, axis in itertools.product((x, x.astype("f4")), (0, 1)):
    results += [dsoftmax.softmax(y, axis), dsoftmax.log_softmax(y, axis)]
    results += [dsoftmax.logsumexp(y, axis)]
y = x.astype("f4")
results += [dsoftmax.softmax(x.astype("f2"), 0)]
results += [dsoftmax.logsumexp(x, 0, b=x * x), dsoftmax.logsumexp(y, 1, b=y * y)]
np.savez(sys.argv[1], *results)
"""


@pytest.mark.parametrize("features", ["", "+avx2,+fma"])
def test_other_processors_compute_the_same(features, tmp_path):
    if features and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("there is no AVX2 on this machine")
    program = OF_MANY_KERNELS.replace("sys.argv[1]", repr(str(tmp_path / "theirs.npz")))
    run(program, tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    exec(OF_MANY_KERNELS.replace("sys.argv[1]", repr(str(tmp_path / "ours.npz"))), {})
    with np.load(tmp_path / "ours.npz") as ours, np.load(tmp_path / "theirs.npz") as theirs:
        assert len(ours.files) == 15
        for name in ours.files:
            eps = np.finfo(ours[name].dtype).eps
            smallest = np.finfo(ours[name].dtype).smallest_subnormal
            assert_allclose(theirs[name], ours[name], rtol=4 * eps, atol=smallest)


CALLS = {
    "a row": lambda: cpu.of_block(np.broadcast_to(np.float32(0), 10**8), (0,)),
    "columns": lambda: cpu.of_block(np.broadcast_to(np.float32(0), (10**6, 64)), (0,)),
    "an output": lambda: cpu.log_softmax(np.zeros((10**4, 2000), "f4"), (1,)),
    "the k best": lambda: topk_cpu.of_block(np.zeros((10**4, 2000), "f4"), 1, 5, True),
}


@pytest.mark.parametrize("kind", CALLS)
def test_kernels_let_other_threads_run(kind):
    CALLS[kind]()
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(1e-4):
            ticks.append(time.perf_counter())

    other = threading.Thread(target=tick)
    other.start()
    start = time.perf_counter()
    CALLS[kind]()
    end = time.perf_counter()
    done.set()
    other.join()
    # The first and the last part may be Python's; a lock that was held would stop the rest.
    quarter = (end - start) / 4
    assert any(start + quarter < t < end - quarter for t in ticks)


WITHOUT = """
import sys, warnings
sys.modules["numba"] = None
import numpy as np, dsoftmax
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for x in ([1.0, 2.0], [3.0, 4.0]):
        y = dsoftmax.softmax(x)
        dsoftmax.logsumexp(np.float32(x))
print(y[1], *[w.category.__name__ for w in caught], "numba" in str(caught[0].message))
"""


def test_without_numba_there_is_one_warning_and_the_same_result(tmp_path):
    value, *rest = run(WITHOUT, tmp_path).split()
    assert float(value) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15)
    assert rest == ["RuntimeWarning", "True"]
