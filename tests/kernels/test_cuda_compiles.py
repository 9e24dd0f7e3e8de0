"""Every CUDA source that can reach a device compiles, from the strings that CuPy is given."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsoftmax._kernels.cuda.source import OPTIONS, every_kernel, source

pytest.importorskip("cuda.bindings.nvrtc", reason="compiles with cuda-bindings")

from ..nvrtc import compiled

pytestmark = pytest.mark.emulated

ARCHITECTURES = ("75", "80", "90", "100")
# For these all kernels are compiled, which takes ten seconds each: the sources have no line that is
# for some architectures only, so the oldest and the newest stand for those between.
ENDS = ("75", "100")
SINGLE = ["slices_float32_0_1", "slices_float16_0_3", "slices_float32_1_2"]
SINGLE += ["merge_float64", "moments_float32", "values_float64"]


@pytest.fixture(scope="module")
def ptx():
    """{architecture: {kernel: PTX}} of all kernels for the ends of the architectures."""

    def entries(architecture):
        code, _ = compiled(source(every_kernel()), OPTIONS, f"compute_{architecture}")
        text = code.decode("ascii", "replace")
        return dict(re.findall(r"\.entry (\w+)\((.*?)(?=\.entry|\Z)", text, re.DOTALL))

    with ThreadPoolExecutor(2) as threads:  # the compiler runs without the GIL
        return dict(zip(ENDS, threads.map(entries, ENDS), strict=True))


@pytest.mark.parametrize("architecture", ENDS)
def test_every_kernel_compiles(architecture, ptx):
    assert set(ptx[architecture]) == {kernel.name for kernel in every_kernel()}


@pytest.mark.parametrize("architecture", ENDS)
def test_kernels_keep_everything_in_registers(architecture, ptx):
    """Local memory is memory of the device: for arrays that are indexed, and copied arguments."""
    found = [name for name, code in ptx[architecture].items() if "__local_depot" in code]
    assert found == []


@pytest.mark.parametrize("architecture", ENDS)
def test_contiguous_memory_is_accessed_in_16_bytes(architecture, ptx):
    access = r"{}\.global(?:\.nc)?\.(v4\.[bfu]32|v2\.[bfu]64)"
    for kernel in every_kernel():
        *_, layout, mode = kernel.name.rsplit("_", 2)
        if layout == "0":
            code = ptx[architecture][kernel.name]
            assert re.search(access.format("ld"), code), kernel.name
            assert bool(re.search(access.format("st"), code)) == (mode != "1"), kernel.name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SINGLE)
def test_single_kernels_become_machine_code(architecture, name):
    kernel = next(kernel for kernel in every_kernel() if kernel.name == name)
    code, log = compiled(source([kernel]), OPTIONS, f"sm_{architecture}")
    assert code[:4] == b"\x7fELF"
    assert name.encode() in code
    assert log.strip("\0\n ") == ""  # nor any warning
