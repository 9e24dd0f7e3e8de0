"""What would be released: the sdist, the wheel, their metadata, the recipe and the changelog.

Both are built here, or are those in the folder DISTRIBUTIONS, which `make release-check` names.
"""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import dsoftmax

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    folder = os.environ.get("DISTRIBUTIONS")
    if folder is None:
        for library in ("build", "hatchling", "hatch_fancy_pypi_readme"):
            pytest.importorskip(library, reason="builds the distributions")
        folder = tmp_path_factory.mktemp("distributions")
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = Path(folder).glob("*.tar.gz"), Path(folder).glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def metadata(distributions):
    _, wheel = distributions
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(files.read(name).decode())


def tracked(*folders):
    """The files of the repository, and those that are new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository to compare with")
    options = ("-z", "--cached", "--others", "--exclude-standard")
    files = subprocess.check_output(["git", "ls-files", *options, *folders], cwd=ROOT, text=True)
    return {name for name in files.split("\0") if name and (ROOT / name).exists()}


def test_the_sdist_is_the_repository(distributions):
    sdist, _ = distributions
    with tarfile.open(sdist) as files:
        names = {member.name.partition("/")[2] for member in files if member.isfile()}
    assert names == tracked() | {"PKG-INFO"}


def test_the_wheel_is_the_package(distributions):
    _, wheel = distributions
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
    assert names == tracked("dsoftmax")
    assert "dsoftmax/py.typed" in names
    assert "dsoftmax/_kernels/cuda/src/kernels.cu" in names


def test_the_metadata_say_who_and_for_what(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("dsoftmax", dsoftmax.__version__)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    authors = [author["name"] for author in citation["authors"]]
    assert [author["name"] for author in PROJECT["authors"]] == authors
    assert metadata["Author"] == ", ".join(authors)
    license_text = (ROOT / "LICENSE").read_text()
    assert re.search(rf"^Copyright .*, {authors[0]}$", license_text, re.MULTILINE | re.IGNORECASE)
    python = "Programming Language :: Python :: 3."
    minors = [int(c.removeprefix(python)) for c in PROJECT["classifiers"] if c.startswith(python)]
    assert f">=3.{minors[0]}" == PROJECT["requires-python"]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_the_page_on_an_index_has_only_links_that_work_there(metadata):
    page = metadata.get_payload()
    readme = (ROOT / "README.md").read_text()
    assert [link for link in LINK.findall(page) if not link.startswith(("https://", "#"))] == []
    assert re.findall("^#.*$", page, re.MULTILINE) == re.findall("^#.*$", readme, re.MULTILINE)
    if PROJECT.get("urls"):  # then nothing has to be left out
        assert len(LINK.findall(page)) == len(LINK.findall(readme))


def test_the_recipe_for_conda_is_that_of_the_project():
    rattler_build = pytest.importorskip("rattler_build", reason="reads the recipe")
    (variant,) = rattler_build.Stage0Recipe.from_file(ROOT / "conda-recipe/recipe.yaml").render()
    recipe = variant.recipe.to_dict()
    assert recipe["package"] == {"name": PROJECT["name"], "version": dsoftmax.__version__}
    host, run = (requirements(recipe["requirements"][name]) for name in ("host", "run"))
    python = {"python": PROJECT["requires-python"]}
    run["dask"] = run.pop("dask-core")
    assert run == requirements(PROJECT["dependencies"]) | python
    build = requirements(PYPROJECT["build-system"]["requires"])
    assert host == build | {"pip": "", "python": f"{python['python'].removeprefix('>=')}.*"}
    scripts = [f"{name} = {function}" for name, function in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    about = {"summary": PROJECT["description"], "license": PROJECT["license"]}
    assert recipe["about"] == about | {"license_file": PROJECT["license-files"]}


def requirements(lines):
    """Versions by names, from lines of Python's or of conda's."""
    return dict(re.fullmatch(r"([\w-]+) ?(.*)", line).groups() for line in lines)


def test_every_fragment_is_in_the_next_changelog():
    kinds = [kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"]]
    own = {"README.md", "template.md.jinja"}
    fragments = {path for path in (ROOT / "changes").iterdir() if path.name not in own}
    named = re.compile(rf"\+[a-z0-9-]+\.({'|'.join(kinds)})\.md")
    assert [path.name for path in fragments if not named.fullmatch(path.name)] == []
    readme = (ROOT / "changes" / "README.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == kinds
    if find_spec("towncrier") is None:
        pytest.skip("towncrier drafts the changelog")
    command = ["towncrier", "build", "--draft", "--version", "9.9", "--date", "2026-12-01"]
    command = [sys.executable, "-m", *command]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert draft.startswith("## 9.9 (2026-12-01)\n")
    words = " ".join(draft.split())
    assert [p.name for p in fragments if " ".join(p.read_text().split()) not in words] == []
    start = PYPROJECT["tool"]["towncrier"]["start_string"]
    assert (ROOT / "CHANGELOG.md").read_text().count(start) == 1
