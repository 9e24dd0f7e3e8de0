"""The animation of a run: what is recorded is the graph and its states, and what is drawn moves."""

import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from dask.utils import key_split

import dsoftmax

pytest.importorskip("matplotlib", reason="draws")
Image = pytest.importorskip("PIL.Image", reason="writes the animation")

EXAMPLES = Path(__file__).parents[2] / "examples"
ELEMENTS = 80


@pytest.fixture(scope="module")
def animation():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("run_animation")


@pytest.fixture(scope="module")
def run(animation):
    return animation.record(ELEMENTS, threads=2)


def test_all_tasks_are_recorded_after_those_that_they_need(run):
    counts = Counter(key_split(key) for key in run.tasks)
    assert counts == {
        "softmax-normalizer": 8,
        "softmax-merge-partial": 6,
        "softmax-merge-aggregate": 1,
        "softmax-rescale": 8,
    }
    for key, task in run.tasks.items():
        assert 0 <= task.begin <= task.end <= run.seconds
        for needed in run.needs[key] & set(run.tasks):
            assert run.tasks[needed].end <= task.begin


def test_states_and_results_are_those_of_the_softmax(animation, run):
    chunks = [animation.log_density((i,), ELEMENTS) for i in range(8)]
    (root,) = (key for key in run.tasks if key_split(key) == "softmax-merge-aggregate")
    m, w, s = (np.ravel(part) for part in run.tasks[root].result)
    whole = dsoftmax.Normalizer.of(np.concatenate(chunks))
    np.testing.assert_allclose((m[0], w[0] + s[0]), (whole.m, whole.d), rtol=1e-14)
    for key, task in run.tasks.items():
        if key_split(key) == "softmax-rescale":
            np.testing.assert_allclose(task.result, whole.softmax(chunks[key[1]]), rtol=1e-13)


def test_the_tree_has_its_parents_between_and_above_their_children(animation, run):
    where = animation.places(run)
    assert Counter(level for _, level in where.values()) == {0: 8, 1: 4, 2: 2, 3: 1}
    assert max(where.values(), key=lambda place: place[1]) == (4.0, 3)


def test_the_program_writes_an_animation(animation, monkeypatch, tmp_path):
    monkeypatch.setattr(animation, "ELEMENTS", ELEMENTS)
    monkeypatch.setattr(animation, "FRAMES", 3)
    result = CliRunner().invoke(animation.main, [str(tmp_path / "run.gif")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "23 tasks in" in result.output
    with Image.open(tmp_path / "run.gif") as written:
        assert written.n_frames == 3
        first = written.convert("RGB").tobytes()
        written.seek(2)
        assert written.convert("RGB").tobytes() != first


def test_the_animation_of_the_documents_is_small():
    path = EXAMPLES.parent / "docs" / "images" / "run.gif"
    assert path.stat().st_size < 1_000_000
