"""dsoftmax.compile: the kernels that blocks of some dtypes need, on disk before they are needed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

import dsoftmax
from dsoftmax._kernels.cpu import compiler, every, kept_code, kernels
from dsoftmax._kernels.cpu.block import NAMES
from dsoftmax.cli.commands import main

from . import compiled

DTYPES = ["float32", "float64"]  # the default
LOAD = (kernels.load, "float32", False, np.float32)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty folder for code, in a process that has none."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiler, "_kernels", {})
    monkeypatch.setattr(compiler, "_failures", [])
    return tmp_path


def test_all_dtypes_need_every_kernel_but_those_that_load_odd_ones():
    needed = set(every.needed(NAMES))
    assert needed <= set(compiled.KERNELS)
    for factory, *parameters in set(compiled.KERNELS) - needed:
        _, swapped, working = parameters
        assert factory is kernels.load
        assert swapped or working is np.float32


def test_code_is_on_disk_afterwards(fresh, monkeypatch):
    monkeypatch.setattr(every, "needed", lambda names: [LOAD])
    assert dsoftmax.compile(["float32"]) == 1
    (file,) = fresh.glob("dsoftmax/*.o")
    assert file.stem == compiler.name_of(*LOAD)
    written = file.stat().st_mtime_ns
    done = CliRunner().invoke(main, ["compile", "float32"], catch_exceptions=False)
    assert (done.exit_code, done.output) == (0, "1 kernel on disk\n")
    assert file.stat().st_mtime_ns == written
    file.unlink()
    compiler._kernels.clear()
    done = CliRunner().invoke(main, ["compile", "float32"], catch_exceptions=False)
    assert done.output == "compiling kernels, which may take minutes\n1 kernel on disk\n"


SMALL = (
    LOAD,
    (kernels.group_present, False),
    (kernels.in_turns,),
    (kernels.log_sums, np.float32),
    (kernels.random_bits,),
)


@pytest.fixture
def missing(tmp_path, monkeypatch):
    """The number of kernels that this process compiles, in a folder without some small ones."""
    dsoftmax.compile()
    code = [next(kept_code.read(compiler.name_of(*one))) for one in every.needed(DTYPES)]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiler, "_kernels", {})
    for one in code:
        if one.entry not in {compiler.name_of(*kernel) for kernel in SMALL}:
            kept_code.write(one)
    count = []
    monkeypatch.setattr(compiler, "listeners", {lambda: count.append(1)})
    yield count
    assert all(next(kept_code.read(one.entry)) == one for one in code)
    assert [file.suffix for file in tmp_path.glob("dsoftmax/*")] == [".o"] * len(code)


@pytest.mark.system
def test_other_processes_compile_all_but_the_first(missing):
    assert dsoftmax.compile(processes=3) == len(every.needed(DTYPES))
    assert len(missing) == 1


@pytest.mark.system
def test_this_process_compiles_what_others_do_not(missing, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(Path("no") / "such" / "python"))
    dsoftmax.compile(processes=2)
    assert len(missing) == len(SMALL)


@pytest.mark.system
def test_the_others_end_if_this_process_is_interrupted(missing, monkeypatch):
    started, wait = [], subprocess.Popen.wait

    def interrupted(process, timeout=None):
        started.append(process)
        if len(started) == 1:
            raise KeyboardInterrupt
        return wait(process, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dsoftmax.compile(processes=2)
    assert len({*started}) == 2
    assert {process.returncode for process in started} == {-signal.SIGKILL}
    dsoftmax.compile()  # what they had begun


def test_a_process_that_is_left_alone_ends(monkeypatch):
    monkeypatch.setattr(os, "read", None)
    every._work(os.getpid(), ["float32"])  # which is not the parent of this one


def test_where_no_code_can_be_kept(fresh, monkeypatch):
    monkeypatch.setattr(every, "needed", lambda names: [LOAD])
    monkeypatch.setattr(kept_code, "folders", lambda: iter(()))
    with pytest.raises(RuntimeError, match="compile: 1 of 1 kernels cannot be kept on disk; set"):
        dsoftmax.compile()


def test_where_nothing_can_be_compiled(fresh, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with (
        pytest.warns(RuntimeWarning, match="without compiled kernels"),
        pytest.raises(RuntimeError, match="nothing can be compiled here .*NUMBA_DISABLE_JIT"),
    ):
        dsoftmax.compile()
    done = CliRunner().invoke(main, ["compile"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: compile: nothing can be compiled here")


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ("float32", "dtypes is 'float32'; give names or dtypes of real numbers"),
        (32, "dtypes is 32; give"),
        (["float32", "complex64"], "dtypes has 'complex64', which has no compiled kernels"),
        ([np.longdouble], "which has no compiled kernels"),
        (["float31"], "dtypes has 'float31'"),
    ],
)
def test_refusals(dtypes, message):
    with pytest.raises(TypeError, match=message):
        dsoftmax.compile(dtypes)


@pytest.mark.parametrize(
    ("processes", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_numbers_of_processes_that_are_none(processes, error):
    with pytest.raises(error, match=f"compile: processes is {processes}; use an int from 1"):
        dsoftmax.compile(processes=processes)
    done = CliRunner().invoke(main, ["compile", "--processes", "0"])
    assert done.exit_code == 2
    assert "0 is not in the range x>=1" in done.output


@pytest.mark.parametrize(
    "dtype", ["f4", np.float32, np.dtype(">f4"), "bfloat16", ml_dtypes.bfloat16], ids=str
)
def test_dtypes_by_name_or_as_they_are(monkeypatch, dtype):
    monkeypatch.setattr("dsoftmax._compile.compile_all", lambda names, processes: (len(names),) * 2)
    assert dsoftmax.compile([dtype]) == 1
