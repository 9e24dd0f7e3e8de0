"""Every CUDA source that can reach a device compiles, from the strings that CuPy is given."""

import re
from functools import cache

import pytest

from dsoftmax._kernels.cuda.draws import KEYS_KERNEL, MERGE_KERNEL, part_kernel
from dsoftmax._kernels.cuda.running import PARTS_KERNEL, RESULTS_KERNELS, SUMS_KERNEL
from dsoftmax._kernels.cuda.source import (
    CONTIGUOUS,
    MASKED,
    OPTIONS,
    OUTPUTS,
    STRIDED,
    WEIGHTED,
    apply_columns_kernel,
    apply_kernel,
    apply_short_kernel,
    finish_kernel,
    long_kernel,
    slices_kernel,
    source,
    staged_kernel,
    topk_kernel,
    topk_rows_kernel,
    unite_kernel,
)
from dsoftmax._kernels.cuda.switch import columns_launch, rows_launch, topk_tiny_launch
from dsoftmax._kernels.modes import APPLY

pytest.importorskip("cuda.bindings.nvrtc", reason="compiles with cuda-bindings")

from ..cuda_kernels import every_kernel, exact_kernels, general_kernels
from ..nvrtc import compiled

pytestmark = pytest.mark.emulated

ARCHITECTURES = ("75", "80", "90", "100")
# For this one all kernels are compiled, which takes a minute. The sources have no line that is for
# some architectures only, and those that follow have all that it has.
OLDEST = ARCHITECTURES[0]
SINGLE = ["slices_float32_0_1", "slices_float16_0_3", "slices_float32_1_2"]
SINGLE += ["merge_float64", "moments_float32_2_1", "values_any_float64_1_1", "slices_float32_3_1"]


def entries_in(ptx):
    """{kernel: its PTX}."""
    return dict(re.findall(r"\.entry (\w+)\((.*?)(?=\.entry|\Z)", ptx, re.DOTALL))


@pytest.fixture(scope="module")
def ptx():
    """{kernel: its PTX} of all kernels for the oldest architecture."""
    return entries_in(compiled(source(every_kernel()), OPTIONS, f"compute_{OLDEST}").ptx)


def test_every_kernel_compiles(ptx):
    assert set(ptx) == {kernel.name for kernel in every_kernel()}


def test_kernels_keep_everything_in_registers(ptx):
    """Local memory is memory of the device: for arrays that are indexed, and copied arguments."""
    found = [name for name, code in ptx.items() if "__local_depot" in code]
    assert found == []


@pytest.mark.parametrize("architecture", [OLDEST, ARCHITECTURES[-1]])
def test_no_product_of_noise_is_fused_with_a_sum(architecture):
    code = compiled(source([KEYS_KERNEL]), OPTIONS, f"compute_{architecture}").ptx
    assert "fma" not in entries_in(code)[KEYS_KERNEL.name]


def test_contiguous_memory_is_accessed_in_16_bytes(ptx):
    access = r"{}\.global(?:\.nc)?\.(v4\.[bfu]32|v2\.[bfu]64)"
    for kernel in general_kernels():
        *_, layout, mode = kernel.name.rsplit("_", 2)
        if layout == "0":
            code = ptx[kernel.name]
            assert re.search(access.format("ld"), code), kernel.name
            assert bool(re.search(access.format("st"), code)) == (mode != "1"), kernel.name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SINGLE)
def test_single_kernels_become_machine_code(architecture, name):
    kernel = next(kernel for kernel in every_kernel() if kernel.name == name)
    _, machine_code, log = compiled(source([kernel]), OPTIONS, f"sm_{architecture}")
    assert machine_code[:4] == b"\x7fELF"
    assert name.encode() in machine_code
    assert log.strip("\0\n ") == ""  # nor any warning


# Those of which the others are parts, or do the same with elements that are loaded alike.
EXACT = [one for one in exact_kernels() if not re.search("_0_[12]|any.*_2", one.name)]
OF_MACHINES = {
    "75": ("exact_float64_1_1", "exact_merge_float64"),
    "90": ("exact_float32_1_1", "exact_finish_float64"),
}


@pytest.mark.parametrize("architecture", OF_MACHINES)
def test_exact_sums_stay_in_registers(architecture):
    """In those that two thread blocks of a multiprocessor have, and in little shared memory."""
    kernels = [kernel for kernel in EXACT if kernel.name in OF_MACHINES[architecture]]
    options = (*kernels[0].options, "--ptxas-options=-v")
    log = compiled(source(kernels), options, f"sm_{architecture}").log
    parts = log.split("Compiling entry function '")[1:]
    assert {part.partition("'")[0] for part in parts} == {*OF_MACHINES[architecture]}
    for part in parts:
        assert "0 bytes stack frame, 0 bytes spill stores" in part
        assert int(re.search(r"Used (\d+) registers", part)[1]) <= 128
        assert all(int(n) <= 48 << 10 for n in re.findall(r"(\d+) bytes smem", part))


def test_exact_sums_fuse_nothing_but_exponentials():
    """Else bits would depend on the compiler."""
    code, _, log = compiled(source(EXACT), EXACT[0].options, "compute_75")
    assert log.strip("\0\n ") == ""
    entries = entries_in(code)
    assert set(entries) == {kernel.name for kernel in EXACT}
    for name, ptx in entries.items():
        assert "__local_depot" not in ptx, name
        assert not re.search(r"\b(mul|add|sub|div)\.f(32|64)", ptx), name  # but .rn, as they are
        assert ("fma.rn" in ptx) != bool(re.search("finish|merge", name)), name


# Rows one after the other: of all the kernels that they can get, some from each family.


def of_rows(dtype, output, length, rows=1):
    return rows_launch(dtype, output, rows, length, aligned=True).kernel


MANY = 10**6
TYPICAL = {  # and how many exponentials have to overlap
    of_rows("float32", "softmax", 1000): 16,  # 4 pieces
    of_rows("float32", "log_softmax", 504): 16,
    of_rows("float32", "state", 1000): 32,  # 8 pieces
    of_rows("float32", "logsumexp", 252): 32,
    of_rows("float16", "softmax", 1000): 32,
    of_rows("float64", "softmax", 1000): 0,  # whose exponential is long and branches
    of_rows("float64", "state", 1000): 0,
    of_rows("float32", "softmax", 10, MANY): 10,
    of_rows("float32", "state", 33, MANY): 33,
    of_rows("float32", "logsumexp", 2, MANY): 2,
    long_kernel("float32"): 16,
    long_kernel("float16"): 16,
    long_kernel("float64"): 0,
    apply_kernel("float32", "softmax"): 4,
    apply_kernel("bfloat16", "log_softmax"): 0,
    apply_short_kernel("float32", "softmax"): 4,
    apply_columns_kernel("float32", "softmax", 4): 4,
    columns_launch("float32", 1000, 10_000, 132).launch.kernel: 16,
    columns_launch("float64", 1000, 10_000, 132).launch.kernel: 0,
    staged_kernel("float32", "softmax", 256, 3): 16,
    finish_kernel("float32"): 0,
    unite_kernel("float64"): 0,
    topk_tiny_launch("float32", "probabilities", MANY, 100, 5).kernel: 100,
    topk_tiny_launch("float32", "values", MANY, 33, 8).kernel: 33,
    topk_rows_kernel("float32", 8, 16): 16,
    topk_rows_kernel("float32", 32, 32): 32,
    topk_kernel("part", "float32"): 8,
    topk_kernel("part", "float16"): 16,
    topk_kernel("part", "float64"): 0,
    topk_kernel("merge", "float32"): 0,
    KEYS_KERNEL: 0,
    part_kernel("float32"): 1,  # of a tile, for the test that skips logarithms
    part_kernel("float16"): 1,
    part_kernel("float64"): 1,
    MERGE_KERNEL: 0,
    SUMS_KERNEL: 0,
    PARTS_KERNEL: 0,
    RESULTS_KERNELS["float32"]: 0,
    # of any layout
    slices_kernel("float32", "float32", CONTIGUOUS): 16,
    slices_kernel("int32", "float64", CONTIGUOUS): 8,
    slices_kernel("float32", "float32", STRIDED): 8,
    slices_kernel("float32", "float32", STRIDED, APPLY): 8,
    slices_kernel("float32", "float32", MASKED): 8,
    slices_kernel("float64", "float64", MASKED, APPLY): 4,
    slices_kernel("float32", "float32", WEIGHTED): 8,
    slices_kernel("float32", "float32", STRIDED, kind="moments"): 8,
    slices_kernel("float64", "float64", MASKED, kind="values"): 4,
}


def exponentials_in(block):
    """How many there are in a basic block: of floats one power of 2, of doubles two exponents."""
    return block.count("ex2.") + len(re.findall(r"shl\.b64[^;]*, 52;", block)) // 2


@cache
def typical(architecture):
    """Those kernels for an architecture."""
    return compiled(source(TYPICAL), (*OPTIONS, "--ptxas-options=-v"), f"sm_{architecture}")


@pytest.mark.parametrize("architecture", ["75", "90"])
def test_rows_stay_in_registers(architecture):
    """No local memory, neither for arrays nor, but for a number or two, for what found no room."""
    frame = r"entry function '(\w+)'.*?(\d+) bytes stack frame"
    entries = re.findall(frame, typical(architecture).log, re.DOTALL)
    assert {name for name, _ in entries} == {kernel.name for kernel in TYPICAL}
    spilling = {name: int(nbytes) for name, nbytes in entries if nbytes != "0"}
    assert {name for name in spilling if not re.search("columns|part_float16", name)} == set()
    # Of 32 elements at a time of columns, and what is known of two of these, few find no room.
    assert spilling.pop("columns_float32", 0) <= 40
    assert max(spilling.values(), default=0) <= 16


@pytest.mark.parametrize("architecture", ["75", "90", "100"])
def test_exponentials_overlap(architecture):
    """Those of a tile, or of what a thread has of a row, are not kept apart by branches."""
    entries = entries_in(typical(architecture).ptx)
    for kernel, exponentials in TYPICAL.items():
        blocks = re.split(r"\bbra\b|^\$", entries[kernel.name], flags=re.MULTILINE)
        assert max(map(exponentials_in, blocks)) >= exponentials, kernel.name


def test_every_output_has_kernels_for_any_length():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for output in OUTPUTS:
            for length in (*range(2, 300), 1000, 1001, 2048, 4095, 8192):
                for rows in (1, MANY):
                    assert rows_launch(dtype, output, rows, min(length, 4000), aligned=False)
