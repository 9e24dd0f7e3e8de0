"""The pages of the site: their code runs, and every public name has a place in the reference."""

import ast
import doctest
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import dsoftmax

from .. import fake_cupy
from ..emulator import COMPILER, Emulator

DOCS = Path(__file__).parents[2] / "docs"
NEEDS = {"howto/markets": ("dask.dataframe", "xarray"), "howto/logits": ("zarr",)}
PAGES = {f"howto/{path.stem}" for path in DOCS.glob("howto/*.md")} - {"howto/index", "howto/gpu"}


def check(name):
    """Run the examples of a page one after the other; returns how many there are."""
    text = re.sub("^```.*", "", DOCS.joinpath(f"{name}.md").read_text(), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    return runner.run(examples)


@pytest.mark.parametrize(
    "page", [page for page in sorted(PAGES) if page not in ("howto/gpu", "howto/index")]
)
def test_the_code_of_a_page(page, tmp_path, monkeypatch):
    for library in NEEDS.get(page, ()):
        pytest.importorskip(library, reason="the page is about it")
    monkeypatch.chdir(tmp_path)
    done = check(page)
    assert done.failed == 0
    assert done.attempted >= 5


@pytest.mark.system
def test_the_code_of_the_tutorial(tmp_path, monkeypatch):
    for library in ("bokeh", "zarr"):
        pytest.importorskip(library, reason="the tutorial has a cluster and a store")
    monkeypatch.chdir(tmp_path)
    assert check("tutorial").failed == 0


@pytest.mark.emulated
@pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
def test_the_code_of_the_page_of_gpus(monkeypatch):
    code = re.findall(r"```python\n(.*?)```", DOCS.joinpath("howto/gpu.md").read_text(), re.DOTALL)
    assert len(code) == 2
    found = {}
    with fake_cupy.installed(Emulator()) as cupy:
        exec(compile(code[0], "gpu.md", "exec"), found)
        assert isinstance(found["p"], cupy.ndarray)
        p = cupy.asnumpy(found["p"])
        exec(compile(code[1], "gpu.md", "exec"), found)
        rows = found["p"].sum(axis=1).compute()
        total = cupy.asnumpy(found["total"].compute())
    np.testing.assert_allclose(p, dsoftmax.softmax([[0.0, 1, 2], [3, 3, 3]], axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows, 1, rtol=1e-5)
    expected = dsoftmax.logsumexp(found["host"], axis=1).compute()
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def listed(page):
    """The names that a page of the reference lists or describes."""
    text = DOCS.joinpath("reference", f"{page}.rst").read_text()
    tables = re.findall(r"\.\. autosummary::\n(?:   :.*\n)+\n((?:   \w+\n)+)", text)
    return {*" ".join(tables).split(), *re.findall(r"^\.\. py:data:: (\w+)", text, re.MULTILINE)}


def defined(module):
    """The public functions and constants of a module that has no ``__all__``."""
    body = ast.parse(Path(module.__file__).read_text()).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return {name for name in functions | {*filter(str.isupper, vars(module))} if name[0] != "_"}


@pytest.mark.parametrize(
    ("page", "library"),
    [
        ("grouped", None),
        ("dataframe", "dask.dataframe"),
        ("xarray", "xarray"),
        ("dashboard", None),
        ("operations", None),
        ("paper", None),
    ],
)
def test_the_reference_has_every_name_of_a_module(page, library):
    if library:
        pytest.importorskip(library, reason="the module needs it")
    module = importlib.import_module("dsoftmax." + {"paper": "reference"}.get(page, page))
    names = set(getattr(module, "__all__", defined(module)))
    assert listed(page) == names, f"see docs/reference/{page}.rst"


def test_the_reference_has_every_name_of_the_package():
    modules = {name for name in dir(dsoftmax) if f"dsoftmax.{name}" in sys.modules}
    modules |= {"dashboard", "dataframe", "grouped", "operations", "reference", "xarray"}
    public = {name for name in dir(dsoftmax) if not name.startswith("_")}
    assert listed("dsoftmax") == public - modules, "see docs/reference/dsoftmax.rst"


def test_links_that_lead_nowhere_are_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    broken = importlib.import_module("check_links").broken
    assert broken(tmp_path) == [f"{tmp_path}: no pages"]
    tmp_path.joinpath("a.html").write_text(
        '<h1 id="top"></h1><a href="b.html#below">1</a><a href="#top">2</a><img src="c.png">'
        '<a href="https://dask.org/none">3</a><a href="b.html#above">4</a><a href="d.html">5</a>'
    )
    tmp_path.joinpath("b.html").write_text('<p id="below"><a href="a.html">1</a><a href="#">2</a>')
    assert broken(tmp_path) == ["a.html: b.html#above", "a.html: c.png", "a.html: d.html"]
    tmp_path.joinpath("c.png").touch()
    tmp_path.joinpath("d.html").touch()
    assert broken(tmp_path) == ["a.html: b.html#above"]
