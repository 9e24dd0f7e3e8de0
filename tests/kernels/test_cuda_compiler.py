"""Where the machine code of CUDA kernels is kept; the compiler itself: test_cuda_compiles."""

import os
from pathlib import Path

import pytest

from dsoftmax._kernels.cuda import compiler
from dsoftmax._kernels.cuda.source import merge_kernel, source

from .. import fake_cupy

KERNEL, OTHER = merge_kernel("float32"), merge_kernel("float64")


@pytest.fixture
def cupy(monkeypatch):
    """CuPy's stand-in; it has a list of what it compiled."""
    with fake_cupy.installed(None) as cupy:
        nvrtc, cupy.compiled = cupy.cuda.compiler.compile_using_nvrtc, []

        def compile_using_nvrtc(code, options):
            cupy.compiled.append(code)
            return nvrtc(code, options)

        cupy.cuda.compiler.compile_using_nvrtc = compile_using_nvrtc
        yield cupy


def kept():
    return sorted(Path(os.environ["CUPY_CACHE_DIR"]).iterdir())


def test_code_is_kept_for_other_processes(cupy):
    for _ in range(2):
        for kernel in (KERNEL, OTHER):
            assert compiler.compiled(kernel, 0).source == kernel
    assert cupy.compiled == [source([KERNEL]), source([OTHER])]
    names = [path.name.rpartition("-")[0] for path in kept()]
    assert names == ["dsoftmax-merge_float32", "dsoftmax-merge_float64"]


@pytest.mark.parametrize("what", ["options", "capability", "version"])
def test_code_serves_no_other_device_compiler_or_options(what, cupy, monkeypatch):
    compiler.compiled(KERNEL, 0)
    if what == "options":
        options = (*fake_cupy.cuda_source.OPTIONS, "-DOTHER")
        monkeypatch.setattr(fake_cupy.cuda_source, "OPTIONS", options)
    elif what == "capability":
        monkeypatch.setattr(fake_cupy.Device, "compute_capability", "90")
    else:
        monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", lambda: (13, 1))
    compiler.compiled(KERNEL, 0)
    assert len(cupy.compiled) == len(kept()) == 2


def test_the_usual_folder(cupy, tmp_path, monkeypatch):
    monkeypatch.delenv("CUPY_CACHE_DIR")
    monkeypatch.setattr(compiler.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "new")
    compiler.compiled(KERNEL, 0)
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_folder_that_cannot_be_written_to(cupy, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "folder"))
    for _ in range(2):
        assert compiler.compiled(KERNEL, 0).source == KERNEL
    assert len(cupy.compiled) == 2  # for each process and device that asks


@pytest.mark.parametrize("full", [1, 2])
def test_folders_without_room(full, cupy, tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    write, tried = Path.write_bytes, []

    def write_bytes(path, content):
        tried.append(path.parent)
        write(path, content[:5])
        if len(tried) <= full:
            raise OSError("No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    if full == 1:
        assert compiler.compiled(KERNEL, 0).source == KERNEL
    else:
        with pytest.raises(OSError, match="machine code of a kernel .* set CUPY_CACHE_DIR to a"):
            compiler.compiled(KERNEL, 0)
    assert tried[0] == tmp_path != tried[1]
    assert list(tmp_path.iterdir()) == []
