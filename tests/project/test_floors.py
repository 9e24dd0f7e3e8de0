"""The package as a house: modules import what is below them, and no other's private names."""

import ast
from pathlib import Path

import pytest

import dsoftmax

ROOT = Path(dsoftmax.__file__).parent
# From the ground up; those in one row know nothing of each other.
FLOORS = (
    {"_algebra", "_html", "_install"},
    {"_graph", "_kernels", "_not_arrays"},
    {"_arguments", "_compile", "_operation", "_reread", "_results"},
    {"_draw_arguments", "_group_blocks", "_terms", "_topk_operation"},
    {"_engine", "_group_arguments", "_gumbel_operation", "_placed"},
    {"_frame_arguments", "_group_plan"},
    {"_group_parts"},
    {"_groups"},
    {"_frames", "operations", "_topk"},
    {"_normalizer_blocks", "_normalizer_dict", "_replacement"},
    set(),  # functions: the homes of public names that are on no other floor
    {"_named_beside", "dataframe", "grouped"},
    {"_named"},
    {"xarray"},
    {"reference"},
    {"dashboard"},
    {"cli"},
)
LEVELS = dict.fromkeys(dsoftmax._HOMES.values(), FLOORS.index(set()))
LEVELS |= {name: level for level, names in enumerate(FLOORS) for name in names}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
LONGEST = 300


def imports(path):
    """The module of each import from the package, as a path from its root, with the names."""
    package = path.parent.parts
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            yield (*above, *(node.module or "").split(".")), [name.name for name in node.names]


def test_every_module_has_a_floor():
    names = {path.parts[0].removesuffix(".py") for path in MODULES}
    assert names - {"__init__", "__main__"} == LEVELS.keys(), "see FLOORS"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path):
    own = path.parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for module, names in imports(path):
        for other in [part for part in (*module[:1], *(names if module == ("",) else ())) if part]:
            if other in LEVELS and other != own:
                assert LEVELS[other] < LEVELS[own], f"{path} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_private_names_stay_at_home(path):
    for module, names in imports(path):
        modules = {part for part in ROOT.rglob("*") if part.is_dir() or part.suffix == ".py"}
        known = {part.stem for part in modules}
        private = [name for name in names if name[:1] == "_" != name[1:2] and name not in known]
        assert not private, f"{path} imports {private} of {module}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_only_one_module_imports_what_is_private_in_dask(path):
    source = (ROOT / path).read_text()
    assert ("dask._" in source) == (path.name == "dask_private.py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_long_files_say_why(path):
    source = (ROOT / path).read_text()
    if source.count("\n") > LONGEST:
        assert "one file" in ast.get_docstring(ast.parse(source))
