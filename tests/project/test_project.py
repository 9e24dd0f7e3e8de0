"""What the documents say of the project itself: commands, files, versions."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import dsoftmax

ROOT = Path(__file__).parents[2]
TEXTS = {".ipynb", ".md", ".py", ".rst", ".yml"}
DOCUMENTS = (
    *(
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "DESIGN.md",
        "SECURITY.md",
        "changes/README.md",
    ),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("**/*.md")),
)


def read(name):
    return ROOT.joinpath(name).read_text(encoding="utf-8")


def make(*arguments):
    """The lines that make prints, whatever make and variables these tests are run with."""
    only = {"PATH": os.environ["PATH"]}
    output = subprocess.check_output(["make", *arguments], cwd=ROOT, env=only, text=True)
    return output.splitlines()


def test_make_alone_lists_the_targets():
    assert make() == make("help")
    rows = [re.fullmatch(r"make (([a-z-]+) +)(\S.*)", line) for line in make()]
    assert all(rows)
    assert len({len(row[1]) for row in rows}) == 1  # one column below the other
    phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)[1].split()
    assert [row[2] for row in rows] == phony


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_a_document_names_are_there(document):
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(document), re.MULTILINE))
    assert named <= {line.split()[1] for line in make("help")}
    if document in ("README.md", "CONTRIBUTING.md"):
        assert "test" in named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_are_there(document):
    text = re.sub(r"^ *```.*?^ *```", "", read(document), flags=re.MULTILINE | re.DOTALL)
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    missing = {link for link in links if not ROOT.joinpath(document).parent.joinpath(link).exists()}
    paths = set(re.findall(r"`(\.?\w[\w*-]*/[\w./*-]+|\w+\.(?:cff|md|py))`", text))
    folders = ("", "dsoftmax/**/", "tests/**/", "examples/", "docs/")  # what names begin in
    missing |= {p for p in paths if not any(any(ROOT.glob(f"{f}{p}")) for f in folders)}
    assert missing == set()
    if document == "CONTRIBUTING.md":
        assert len(paths) > 20


@pytest.mark.parametrize("target", ["lowest", "quick"])
def test_the_core_is_made_of_folders_and_markers_that_are_there(target):
    line = next(line for line in make("--dry-run", target) if " pytest " in line)
    folders = set(re.findall(r"tests/\w+", line))
    assert len(folders) >= 4
    assert {folder for folder in folders if not ROOT.joinpath(folder).is_dir()} == set()
    options = tomllib.loads(read("pyproject.toml"))["tool"]["pytest"]["ini_options"]
    markers = {marker.partition(":")[0] for marker in options["markers"]}
    left_out = set(re.findall(r"not (\w+)", line))
    assert left_out == {"emulated", "gpu", "huge", "system"} <= markers


def test_hooks_run_what_make_lint_runs():
    hooks = [
        hook
        for repository in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
        for hook in repository["hooks"]
        if repository["repo"] == "local"
    ]
    *whole, of_files = make("--dry-run", "lint")[-len(hooks) :]
    assert [hook["entry"] for hook in hooks[:-1]] == whole
    assert [hook["pass_filenames"] for hook in hooks[:-1]] == [False] * 3
    assert of_files.startswith(f"{hooks[-1]['entry']} dsoftmax/")
    assert "pass_filenames" not in hooks[-1]


def test_docstrings_of_public_names_are_linted():
    numpydoc = pytest.importorskip("numpydoc.hooks.validate_docstrings", reason="lints")
    config = numpydoc.parse_config(ROOT)
    linted = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("dsoftmax/**/*.py")
        if not config["exclude_files"].match(path.relative_to(ROOT).as_posix())
    }
    public = {name for name in dir(dsoftmax) if name[0] != "_"}
    homes = {f"dsoftmax/{dsoftmax._HOMES[name]}.py" for name in public}
    homes = {h if ROOT.joinpath(h).exists() else f"{h[:-3]}/__init__.py" for h in homes}
    homes.add("dsoftmax/_operation.py")  # the types of dsoftmax.operations
    assert linted == homes, "see exclude_files in pyproject.toml"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"] == dsoftmax.__name__
    assert citation["version"] == dsoftmax.__version__
    assert citation["abstract"] == project["description"]
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    assert {"message", "authors"} <= set(citation)
    latest, date = re.search(r"^## (\S+) \((\S+)\)$", read("CHANGELOG.md"), re.MULTILINE).groups()
    if "date-released" in citation:
        assert (latest, date) == (dsoftmax.__version__, str(citation["date-released"]))
    else:  # what has changed since is in changes/
        assert latest != dsoftmax.__version__ or date == "unreleased"


def test_the_citation_has_the_papers_of_the_docstrings():
    references = yaml.safe_load(read("CITATION.cff"))["references"]
    papers = ("arXiv:1805.02867", "10.1093/imanum/draa038")
    for paper, reference in zip(papers, references, strict=True):
        assert paper in str(reference)
        assert paper in dsoftmax.softmax.__doc__


def test_nobody_is_told_to_install_by_name():
    """What has this name on a package index may be somebody else's (dsoftmax/_install.py)."""
    named = re.compile(r"pip install +['\"]?dsoftmax")
    assert named.search('python -m pip install "dsoftmax[zarr]"')
    folders = ("benchmarks", "docs", "dsoftmax", "examples")
    files = [path for f in folders for path in (ROOT / f).rglob("*") if path.suffix in TEXTS]
    files = [*files, *ROOT.glob("*.md")]
    assert len(files) > 100
    telling = {path.name for path in files if named.search(path.read_text(encoding="utf-8"))}
    assert telling == {"_install.py"}
