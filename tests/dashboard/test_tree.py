"""The figure of the tree: where its cells are, and how they fill up."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("bokeh", reason="draws the page")

from bokeh.document import Document

from dsoftmax.dashboard import _tree
from dsoftmax.dashboard._colours import FIRST, SECOND, TREE
from dsoftmax.dashboard._jobs import Progress


def totals_of(chunks, fan_in):
    """The numbers of tasks of a softmax."""
    rows = [chunks]
    while rows[-1] > 1:
        rows.append(-(-rows[-1] // fan_in))
    return [*rows, chunks]


SIZES = st.builds(totals_of, st.integers(2, 100_000), st.integers(2, 16))


@given(SIZES)
def test_rows_have_a_bounded_number_of_cells_which_do_not_touch(totals):
    cells = _tree.cells_of(totals)
    for row, total in enumerate(totals):
        at = cells.row == row
        assert np.count_nonzero(at) * _tree.tasks_per_cell(total) >= total
        assert np.count_nonzero(at) <= _tree.MOST_CELLS
        left, right = cells.centre[at] - cells.width[at] / 2, cells.centre[at] + cells.width[at] / 2
        assert left[0] >= 0
        assert right[-1] <= 1
        assert (right[:-1] < left[1:]).all()


def test_a_parent_is_in_the_middle_of_its_children():
    cells = _tree.cells_of([6, 2, 1, 6])
    np.testing.assert_allclose(cells.centre[6:9], [1 / 4, 3 / 4, 1 / 2])
    assert _tree.parents_of(6, 2).tolist() == [0, 0, 0, 1, 1, 1]


@given(st.integers(1, 1000), st.integers(1, 100))
def test_every_parent_has_children_in_order(children, parents):
    parents = min(children, parents)
    found = _tree.parents_of(children, parents)
    assert found[0] == 0
    assert found[-1] == parents - 1
    assert set(np.diff(found)) <= {0, 1}


@given(SIZES)
def test_lines_join_every_cell_to_the_next_row_and_are_bounded(totals):
    cells = _tree.cells_of(totals)
    edges = _tree.edges_of(cells)
    assert len(edges.start) <= _tree.MOST_CELLS * (len(totals) - 1)
    *merged, _ = [np.flatnonzero(cells.row == row) for row in range(len(totals) - 1)]
    for row in merged:  # all of them, down to the root
        assert np.isin(row, edges.start).all()
    down = edges.ends["y1"] - edges.ends["y0"]
    assert (down < 0).all()


def test_one_row_has_no_lines_and_a_chain_has_links():
    assert len(_tree.edges_of(_tree.cells_of([8])).start) == 0
    edges = _tree.edges_of(_tree.cells_of([4, 4, 4]), chain=True)
    assert len(edges.start) == 4 + 3 + 4
    assert np.count_nonzero(edges.ends["y0"] == edges.ends["y1"]) == 3


PROGRESS = st.integers(1, 100_000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.integers(0, 64)).map(
        lambda t: Progress(t[0], total, 0, min(t[1], total - t[0]))
    )
)


@given(PROGRESS)
def test_cells_fill_from_the_left_by_as_much_as_is_done(part):
    n = min(part.total, _tree.MOST_CELLS)
    done, begun, failed = _tree.shares(part, n)
    assert done.sum() == pytest.approx(n * part.done / part.total)
    assert begun.sum() == pytest.approx(n * (part.done + part.running) / part.total)
    assert (begun >= done).all()
    assert (np.diff(done) <= 0).all()
    assert not failed.any()


def test_what_has_failed_is_at_the_right():
    done, begun, failed = _tree.shares(Progress(2, 8, 3, 1), 8)
    assert done.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert begun.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert failed.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def job_of(levels, second):
    """What the figure asks of a job."""
    groups = [SimpleNamespace(dependencies=()) for _ in range(levels)]
    return SimpleNamespace(levels=groups, second=second or None)


def test_rows_are_named_in_title_case_and_coloured():
    parts = [Progress(0, n, 0, 0) for n in (32, 2, 1, 32)]
    rows = _tree.rows_of(job_of(2, True), parts)
    assert [row.title for row in rows] == ["First Pass", "Merges, Level 1", "Root", "Second Pass"]
    assert [row.colour for row in rows] == [FIRST, TREE, TREE, SECOND]
    (row,) = _tree.rows_of(job_of(0, False), parts[:1])
    assert (row.title, row.colour) == ("Each Chunk", SECOND)
    several = _tree.rows_of(job_of(1, False), [Progress(0, 8, 0, 0), Progress(0, 4, 0, 0)])
    assert several[-1].title == "Roots"


def test_only_what_has_changed_is_sent():
    tree, job = _tree.Tree(), job_of(2, True)
    document = Document()
    document.add_root(tree.root)
    sent = []

    def draw(done):
        parts = [Progress(done, 1000, 0, 0), *(Progress(0, n, 0, 0) for n in (63, 4, 1000))]
        tree.draw(job, _tree.rows_of(job, parts[:1] + parts[1:]))

    draw(100)
    document.on_change(sent.append)
    draw(100)
    assert sent == []
    draw(130)
    patches = [event.patches for event in sent if type(event).__name__ == "ColumnsPatchedEvent"]
    changed = [index for patch in patches for index, _ in patch.get("done", ())]
    assert sorted(changed) == [10, 11, 12]
    assert tree.parts.data["text"][0] == "130 of 1,000"
    assert tree.figure.xaxis[0].axis_label == "Each Cell: Up to 10 Tasks"
    drawn = tree.cells.data["done"] - tree.cells.data["left"]
    assert np.count_nonzero(drawn[:100] > 1e-9) == 13
