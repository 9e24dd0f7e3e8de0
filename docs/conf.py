"""How Sphinx builds the site, from this folder, the docstrings and the examples.

The pages are those that one reads in the repository, and so are their links: a link to a file that
has a page here becomes one to the page.  Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import dsoftmax

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.append(str(DOCS))  # for site_gallery

METADATA = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]

project = METADATA["name"]
author = "The dsoftmax developers"
project_copyright = f"2026, {author}"
release = version = dsoftmax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "myst_nb",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["gallery/*.ipynb"]
default_role = "py:obj"
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}

# Public names in backticks lead somewhere; those of other packages are not looked up.
nitpicky = True
OTHERS = r"(numpy|scipy|dask|distributed|functools|pandas|xarray)\."
nitpick_ignore_regex = [("py:.*", rf"({OTHERS}|_).*")]

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have them in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template of classes does

myst_enable_extensions = ["colon_fence", "dollarmath", "html_image"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # a test compares the results that are kept in notebooks

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": project},
    "show_prev_next": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": []}

# Examples that are no analyses, or take a cluster or a GPU.
NO_PAGE = "cluster_demo|dashboard_tour|gpu_cluster|nile_closed_form|run_animation"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/(attention|cox|importance|mode|nile_change)",
    "ignore_pattern": NO_PAGE,
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("site_gallery.pictures",),
    "reset_modules": ("site_gallery.returns",),
    "reset_argv": "site_gallery.folder",
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
}

# Files of the repository that are pages here, beside those of this folder and the examples.
PAGES = {
    "README.md": "index.md",
    "docs": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "DESIGN.md": "project/design.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "benchmarks/thresholds.md": "project/thresholds.md",
    "examples/README.md": "gallery/index.rst",
    "examples/online_softmax.ipynb": "online_softmax.ipynb",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def page_of(path: Path) -> str | None:
    """The page of a file of the repository, from this folder, or None if it has none."""
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    if path.parent.name == "examples" and not re.search(NO_PAGE, path.name):
        return f"gallery/{path.stem}.rst"
    if path.is_relative_to(DOCS) or not path.exists():  # Sphinx says so if it is not there
        return os.path.relpath(path, DOCS)
    return None


def linked(text: str, folder: Path) -> str:
    """Markdown of a file in a folder, with links to its files made links to pages of the site.

    A file that has no page is a link to the repository, if that has an address, else no link.
    """

    def replaced(match: re.Match[str]) -> str:
        image, words, target, anchor = match.groups(default="")
        path = Path(os.path.normpath(folder / target))
        page = page_of(path)
        if page is not None:
            return f"{image}[{words}](/{page}{anchor})"
        repository = METADATA.get("urls", {}).get("Repository")
        return (
            f"[{words}]({repository}/blob/main/{path.relative_to(ROOT)})" if repository else words
        )

    return LINK.sub(replaced, text)


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the links of a page."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        content[0] = linked(content[0], path.parent)


def included(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Replace the links of a file that a page includes."""
    content[0] = linked(content[0], Path(os.path.normpath(DOCS / path)).parent)


def names(app: Sphinx, page: nodes.document) -> None:
    """Make names of ours that a page has as code, such as `dsoftmax.softmax`, links."""
    for code in list(page.findall(nodes.literal)):
        name = code.astext()
        if re.fullmatch(r"dsoftmax(\.\w+)+", name) and isinstance(code.parent, nodes.paragraph):
            link = pending_xref(refdomain="py", reftype="obj", reftarget=name, ours=True)
            code.replace_self(link)
            link += code


def unknown(app: Sphinx, env: object, link: pending_xref, code: nodes.Element) -> object:
    """Leave those that have no page, as settings and modules have none, as they were."""
    return code if link.get("ours") else None


def formula(writer: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """A formula as MathML, which browsers draw by themselves."""
    mathml = tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
    writer.body.append(mathml)
    raise nodes.SkipNode


def signature(app: Sphinx, what: str, name: str, *_: object) -> tuple[str, None] | None:
    """No signature for a class that its class methods make."""
    return ("", None) if name == "dsoftmax.Normalizer" else None


def skipped(app: Sphinx, what: str, name: str, member: object, *_: object) -> bool | None:
    """No second description of the fields of a named tuple, which its docstring describes."""
    return True if str(member.__doc__).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Copy the notebook beside the pages, and have links, names and formulas replaced."""
    shutil.copy(ROOT / "examples" / "online_softmax.ipynb", DOCS)
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skipped)
    app.connect("doctree-read", names)
    app.connect("missing-reference", unknown)
    app.connect("source-read", read)
    app.connect("include-read", included)
