"""Machine code on disk: the same whoever makes it, right whatever else is loaded, or not used."""

import collections
import io
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from elftools.elf.elffile import ELFFile

from dsoftmax._kernels.cpu import compiler, every, kept_code, kernels, machine_code, self_test
from dsoftmax._kernels.cpu.compiler import name_of

from .compiled import (
    KERNEL_NAMES,
    KERNELS,
    call_all,
    calling,
    command,
    compile_alone,
    compile_some,
    load_in_orders,
    run,
)

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every kernel, compiled in a process of its own but for those that are kept already."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "dsoftmax").mkdir()
    for kernel in KERNELS:
        file = Path(kept_code.__file__).parent / "__pycache__" / f"{name_of(*kernel)}.o"
        if file.exists():
            shutil.copy(file, folder / "dsoftmax")
    run(calling(compile_alone), folder)
    return folder


@pytest.fixture
def own(folder, monkeypatch):
    """That, which this process has as its own."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    monkeypatch.setattr(compiler, "_kernels", {})
    monkeypatch.setattr(compiler, "_failures", [])
    return folder


@pytest.fixture
def kept(own, tmp_path, monkeypatch):
    """A copy of that to write into."""
    shutil.copytree(own, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder, "dsoftmax").iterdir()}


def symbols(content):
    """The symbols of an object file that a linker sees, and whether they are defined there."""
    table = ELFFile(io.BytesIO(content)).get_section_by_name(".symtab")
    for symbol in table.iter_symbols():
        if symbol.entry.st_info.bind != "STB_LOCAL":
            yield symbol.name, symbol.entry.st_shndx != "SHN_UNDEF"


def test_the_kernels_for_some_dtypes_are_all_that_these_need(folder, tmp_path):
    dtypes = ("float32", "float64")
    (tmp_path / "dsoftmax").mkdir()
    for kernel in every.needed(dtypes):
        shutil.copy(folder / "dsoftmax" / f"{name_of(*kernel)}.o", tmp_path / "dsoftmax")
    assert run(calling(call_all, 0, *dtypes), tmp_path).split()[0] == "False"


def test_every_kernel_is_kept_with_one_global_symbol_and_calls_nothing_but_c(folder):
    contents = files(folder)
    assert sorted(contents) == sorted(f"{name_of(*kernel)}.o" for kernel in KERNELS)
    defined, called = collections.Counter(), set()
    for content in contents.values():
        for name, is_defined in symbols(content):
            defined.update([name] * is_defined)
            called |= set() if is_defined else {name}
    assert defined == collections.Counter(name.removesuffix(".o") for name in contents)
    assert called <= machine_code.C_FUNCTIONS


COMPARED = """
import sys, numpy as np
from dsoftmax._kernels import portable
from dsoftmax._kernels.cpu import block as cpu
for t in sys.argv[1:]:
    r = np.random.default_rng(4)
    x, b = (r.normal(size=(60, 70)) * 3).astype(t), (r.normal(size=(60, 70)) * 2).astype(t)
    print(np.array_equal(portable.of_block(x, (0,), b).m, cpu.of_block(x, (0,), b).m))
print("numba" in sys.modules)
"""


def test_kernels_of_several_processes_in_one(tmp_path):
    dtypes = ("f8", "i4", "f4")
    for dtype in dtypes:
        assert run(COMPARED, tmp_path, dtype).split() == ["True", "True"]
    for order in (dtypes, dtypes[::-1]):
        *right, numba_was_needed = run(COMPARED, tmp_path, *order).split()
        assert right == ["True"] * len(dtypes)
        assert numba_was_needed == "False"


def test_every_two_kernels_in_both_orders(folder):
    processes_with_numba = run(calling(load_in_orders, 3), folder)
    assert processes_with_numba == "0\n"


def test_processes_that_fill_a_folder_together(folder, tmp_path):
    """Every process compiles many kernels, and each comes out as it does elsewhere."""
    processes = [
        subprocess.Popen(**command(calling(compile_some, seed), tmp_path)) for seed in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    kept, whole = files(tmp_path), files(folder)
    assert len(kept) > 10
    assert all(whole[name] == content for name, content in kept.items())
    for name in whole.keys() - kept.keys():
        (tmp_path / "dsoftmax" / name).write_bytes(whole[name])
    assert run(calling(call_all, 4), tmp_path).split() == ["False", str(len(KERNELS))]
    assert files(tmp_path) == whole


def damaged(content):
    """Content in the ways in which it may be damaged."""
    other = bytearray(content)
    other[len(content) // 2] ^= 4
    yield bytes(other)
    yield content[:-1]
    yield content[100:]
    yield content + b"\0"
    yield b"damaged"
    yield b""


def test_damaged_files_are_replaced(kept):
    kernel = (kernels.store, "float16", np.float32)
    path = kept / "dsoftmax" / f"{name_of(*kernel)}.o"
    content = path.read_bytes()
    others = path.with_name(f"{name_of(kernels.store, 'bfloat16', np.float32)}.o").read_bytes()
    for bad in (*damaged(content), others):
        path.write_bytes(bad)
        assert list(kept_code.read(path.stem)) == []
        compiler._kernels.clear()
        compiler.compiled(*kernel)
        assert path.read_bytes() == content


def test_code_that_computes_something_else_is_replaced(kept):
    from dsoftmax._kernels.cpu import columns

    kernel = (kernels.columns, np.float64, "weighted", False)
    name = name_of(*kernel)
    content = (kept / "dsoftmax" / f"{name}.o").read_bytes()
    unweighted = columns.columns(np.float64, "plain", False)
    kept_code.write(machine_code.compile_function(unweighted, name))
    assert (kept / "dsoftmax" / f"{name}.o").read_bytes() != content
    assert len(list(kept_code.read(name))) == 1
    compiler.compiled(*kernel)
    assert (kept / "dsoftmax" / f"{name}.o").read_bytes() == content


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_NAMES)
def test_a_kernel_that_does_nothing_fails_its_test(kernel, own):
    compiled = compiler.compiled(*kernel)

    def nothing(*arguments):
        """Fails the test."""

    factory, *parameters = kernel
    assert self_test.passes(compiled, compiler.address, factory, tuple(parameters))
    assert not self_test.passes(nothing, compiler.address, factory, tuple(parameters))


def test_a_kernel_that_fails_raises():
    def steps(n):
        for _ in range(0, 1, n):
            pass

    code = machine_code.compile_function(steps, "steps")
    call = compiler.callable_at(machine_code.load(code), code.arguments)
    assert call(1) is None
    with pytest.raises(RuntimeError, match=r"failed with status 1 for \(0,\)"):
        call(0)


def test_a_kernel_that_calls_what_may_not_be_there_is_not_compiled():
    from numba import types

    abort = types.ExternalFunction("abort", types.void())

    def ends(n):
        abort()

    with pytest.raises(RuntimeError, match="ends calls abort, which is not one of C_FUNCTIONS"):
        machine_code.compile_function(ends, "ends")


def test_an_entry_that_is_not_there():
    def nothing(n):
        pass

    code = machine_code.compile_function(nothing, "nothing")
    with pytest.raises(RuntimeError, match="no function another in the machine code"):
        machine_code.load(code._replace(entry="another"))


def test_no_file_serves_other_sources_versions_or_processors(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "dsoftmax", tmp_path / "dsoftmax")
    program = "from dsoftmax._kernels.cpu import kept_code as k; print(k.__file__, k.fingerprint())"
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"

    def fingerprint(**environment):
        file, fingerprint = run(program, tmp_path, **environment).split()
        assert Path(file).is_relative_to(tmp_path)
        return fingerprint

    found = [fingerprint(), fingerprint(NUMBA_CPU_NAME="generic"), fingerprint(NUMBA_OPT="1")]
    assert found[0] == kept_code.fingerprint() == fingerprint()
    for source in ("_groups.py", "machine_code.py"):
        with (tmp_path / "dsoftmax" / "_kernels" / source).open("a") as file:
            file.write("\n")
        found.append(fingerprint())
    with monkeypatch.context() as patch:
        patch.setattr(kept_code.metadata, "version", lambda package: "0.0")
        found.append(kept_code.fingerprint.__wrapped__())
    with monkeypatch.context() as patch:
        other = machine_code.target()._replace(triple="x86_64-pc-windows-msvc-elf")
        patch.setattr(kept_code, "target", lambda: other)
        found.append(kept_code.fingerprint.__wrapped__())
    assert len(set(found)) == 7


def test_nothing_is_kept_where_sources_or_versions_are_not_known(kept, monkeypatch, tmp_path):
    def unknown(package):
        raise PackageNotFoundError(package)

    with monkeypatch.context() as patch:
        patch.setattr(kept_code.metadata, "version", unknown)
        assert kept_code.fingerprint.__wrapped__() is None
    with monkeypatch.context() as patch:
        (tmp_path / "empty").mkdir()
        patch.setattr(kept_code.resources, "files", lambda package: tmp_path / "empty")
        assert kept_code.fingerprint.__wrapped__() is None
        patch.setattr(kept_code.resources, "files", lambda package: tmp_path / "nothing")
        assert kept_code.fingerprint.__wrapped__() is None
    before = files(kept)
    monkeypatch.setattr(kept_code, "fingerprint", lambda: None)
    assert compiler.compiled(kernels.store, "float16", np.float32)
    assert files(kept) == before


VECTOR_LIBRARY = """
import llvmlite.binding as llvm
llvm.set_option("vectors", "-vector-library=SVML")
import numpy as np
from dsoftmax._kernels.cpu import kernels
from dsoftmax._kernels.cpu.compiler import compiled
for dtype in (np.float32, np.float64):
    compiled(kernels.rows, dtype, False, False), compiled(kernels.columns, dtype, "plain", False)
    compiled(kernels.row_sums, dtype, True, False)
"""


def test_no_library_of_vector_functions_is_called(tmp_path):
    run(VECTOR_LIBRARY, tmp_path)
    contents = files(tmp_path)
    assert len(contents) == 6
    for content in contents.values():
        assert {name for name, is_defined in symbols(content) if not is_defined} <= {
            *machine_code.C_FUNCTIONS
        }


def test_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    beside, users = kept_code.folders()
    assert beside == Path(kept_code.__file__).parent / "__pycache__"
    assert users == platformdirs.user_cache_path("dsoftmax", appauthor=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache"))
    assert list(kept_code.folders()) == [beside]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert list(kept_code.folders()) == [tmp_path / "dsoftmax"]


def test_a_file_is_written_to_the_first_folder_that_takes_it(monkeypatch, tmp_path):
    code = machine_code.MachineCode("name", 3, b"code")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "busy" / "name.o").mkdir(parents=True)  # a file cannot get this name
    closed = [tmp_path / "file" / "folder", tmp_path / "busy"]
    monkeypatch.setattr(kept_code, "folders", lambda: iter(closed))
    kept_code.write(code)
    assert list(kept_code.read("name")) == []
    monkeypatch.setattr(kept_code, "folders", lambda: iter([*closed, tmp_path / "new"]))
    kept_code.write(code)
    assert list(kept_code.read("name")) == [code]
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert written == ["busy", "busy/name.o", "file", "new", "new/name.o"]
