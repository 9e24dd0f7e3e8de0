"""Types as users see them: those of the stub are of the functions, and mypy and pyright agree."""

import inspect
import shutil
import subprocess
import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import get_origin, get_overloads

import pytest

import dsoftmax

ROOT = Path(__file__).parents[2]
STUBS = {
    module: Path(module.__file__).with_suffix(".pyi") for module in (dsoftmax, dsoftmax.grouped)
}
USER = Path(__file__).with_name("user.py")
ONE_TYPE = {"Normalizer", "reread", "compile"}  # not overloaded


@cache
def stub_of(module):
    """The stub as a module: its overloads are registered as it runs."""
    for library in ("pandas", "xarray"):
        pytest.importorskip(library, reason="the stub imports all modules")
    loader = SourceFileLoader(f"dsoftmax.stub_of_{STUBS[module].stem}", str(STUBS[module]))
    stub = module_from_spec(spec_from_loader(loader.name, loader, is_package=False))
    loader.exec_module(stub)
    return stub


def functions():
    for module in STUBS:
        given = {name: getattr(module, name) for name in module.__all__}
        names = sorted({n for n, f in given.items() if inspect.isfunction(f)} - ONE_TYPE)
        yield from (pytest.param(module, n, id=f"{module.__name__}.{n}") for n in names)


@pytest.mark.parametrize("module", [*STUBS], ids=lambda module: module.__name__)
def test_a_stub_has_the_names_of_its_module(module):
    stub = stub_of(module)
    assert stub.__all__ == module.__all__
    assert {*module.__all__, *getattr(module, "_HOMES", ())} <= set(vars(stub))


@pytest.mark.parametrize(("module", "name"), [*functions()])
def test_overloads_have_the_arguments_of_the_function(module, name):
    stub = stub_of(module)
    real = inspect.signature(getattr(module, name)).parameters
    of_the_stub = SimpleNamespace(__module__=stub.__name__, __qualname__=name)
    overloads = get_overloads(of_the_stub)
    assert len(overloads) >= 3
    for overload in overloads:
        parameters = dict(inspect.signature(overload).parameters)
        options = parameters.pop("options", None)
        keywords = options.annotation.__args__[0] if options else None
        keywords = (get_origin(keywords) or keywords).__annotations__ if options else {}
        assert {*parameters, *keywords} == set(real)
        assert list(parameters) == [parameter for parameter in real if parameter in parameters]
        for parameter in parameters.values():
            own = real[parameter.name]
            assert parameter.default in (inspect.Parameter.empty, ..., own.default)
            assert own.kind is own.POSITIONAL_OR_KEYWORD or parameter.kind is own.kind
        assert all(real[keyword].kind is inspect.Parameter.KEYWORD_ONLY for keyword in keywords)


@pytest.mark.parametrize(("module", "name"), [*functions()])
def test_the_program_of_a_user_calls_every_function(module, name):
    assert f"{module.__name__}.{name}(" in USER.read_text(), "see tests/project/user.py"


@pytest.mark.system
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_program_of_a_user_has_the_types_that_it_says(checker, tmp_path):
    for library in (checker, "jax", "torch"):
        pytest.importorskip(library, reason="its types are checked")
    shutil.copy(USER, tmp_path)
    package = Path(dsoftmax.__file__).parent
    if checker == "mypy":
        settings = f"[mypy]\nmypy_path = {package.parent}\nfollow_imports = silent\n"
        tmp_path.joinpath("mypy.ini").write_text(f"{settings}warn_unused_ignores = True\n")
        kept = ROOT / ".mypy_cache" / "user"
        command = [
            "mypy",
            "--config-file",
            "mypy.ini",
            "--cache-dir",
            kept,
            *STUBS.values(),
            USER.name,
        ]
    else:
        settings = f'{{"extraPaths": ["{package.parent}"], "include": ["user.py"],'
        settings += '"reportUnnecessaryTypeIgnoreComment": "error"}'
        tmp_path.joinpath("pyrightconfig.json").write_text(settings)
        command = ["pyright", "--pythonpath", sys.executable]
    command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.strip().splitlines()[-1]
    assert summary in (
        "Success: no issues found in 3 source files",
        "0 errors, 0 warnings, 0 informations",
    )
    user = tmp_path / USER.name  # the checker does look
    user.write_text(user.read_text().replace("(x), da.Array)", "(x), np.ndarray)"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
