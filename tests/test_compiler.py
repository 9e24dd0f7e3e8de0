"""Kernels are compiled once, kept safely, let other threads run, and can be done without."""

import math
import os
import platform
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dsoftmax._kernels import cpu, topk_cpu

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
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", COLD], check=True, env=environment)


def run(program, tmp_path, **environment):
    """What a program prints in a process with an empty cache of compiled code."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)} | environment
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


UNCOMPILED = """
import warnings, numpy as np, dsoftmax
from dsoftmax._kernels import _rows
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
    [("", "1", "NUMBA_DISABLE_JIT is set"), ("_rows.add_compensated = print", "0", "TypingError")],
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


CACHED = """
import numpy as np, dsoftmax
from numba.core.caching import FunctionCache
saved = []
FunctionCache.save_overload = lambda self, *a, save=FunctionCache.save_overload: (
    saved.append(a), save(self, *a))
assert abs(dsoftmax.softmax(np.zeros(10**4, "f4")).sum() - 1) < 1e-5
print(len(saved))
"""


def test_damaged_files_of_compiled_code_are_replaced(tmp_path):
    assert int(run(CACHED, tmp_path)) > 0
    assert int(run(CACHED, tmp_path)) == 0
    for kind in ("nbi", "nbc"):
        files = list(tmp_path.rglob(f"*.{kind}"))
        assert files
        for file in files:
            file.write_bytes(b"damaged")
        assert int(run(CACHED, tmp_path)) > 0
        assert int(run(CACHED, tmp_path)) == 0


def test_compiled_code_that_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    run(CACHED, tmp_path / "file")


EVERY_KERNEL = """
import sys, numpy as np, dsoftmax
results = []
for dtype in ("f2", "f4", "f8"):
    x = np.random.default_rng(0).normal(size=(70, 300)).astype(dtype) * 9
    for axis in (0, 1, None):
        results += [dsoftmax.softmax(x, axis), dsoftmax.log_softmax(x, axis)]
        results += [dsoftmax.logsumexp(x, axis), dsoftmax.logsumexp(x, axis, b=x * x)]
np.savez(sys.argv[1], *results)
"""


@pytest.mark.parametrize("features", ["", "+avx2,+fma"])
def test_other_processors_compute_the_same(features, tmp_path):
    if features and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("there is no AVX2 on this machine")
    program = EVERY_KERNEL.replace("sys.argv[1]", repr(str(tmp_path / "theirs.npz")))
    run(program, tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    exec(EVERY_KERNEL.replace("sys.argv[1]", repr(str(tmp_path / "ours.npz"))), {})
    with np.load(tmp_path / "ours.npz") as ours, np.load(tmp_path / "theirs.npz") as theirs:
        assert len(ours.files) == 36
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


def test_without_numba_there_is_one_warning_and_the_same_result():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], check=True, capture_output=True, text=True
    )
    value, *rest = done.stdout.split()
    assert float(value) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15)
    assert rest == ["RuntimeWarning", "True"]
