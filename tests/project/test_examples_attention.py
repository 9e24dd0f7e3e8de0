"""The example of attention to digits: against all scores at once, and the labels one by one."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import special

pytest.importorskip("sklearn", reason="has the data")
pytest.importorskip("matplotlib", reason="draws")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def attention():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("attention_digits")


def test_likelihood_is_that_of_attention_to_all_others(attention, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 7)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 17, (20, 64)).astype(float), np.arange(20) % 3
    squared = attention.distances(images, images)
    assert squared.numblocks == (3, 3)
    found = attention.log_likelihood(squared, labels).compute()
    expected = np.zeros(attention.WIDTHS.size)
    for i in range(20):
        others = np.delete(np.arange(20), i)
        distance = ((images[i] - images[others]) ** 2).sum(axis=1)
        for j, width in enumerate(attention.WIDTHS):
            p = special.softmax(-distance / (2 * width**2))
            expected[j] += np.log(p[labels[others] == labels[i]].sum())
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_program_prints_agreeing_answers_and_draws(attention, tmp_path):
    result = CliRunner().invoke(attention.main, [str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "width    6   log-likelihood    -41.85 <" in result.output
    assert "898 x 899 scores in 4 x 4 chunks" in result.output
    assert "865 of 898 images recognised, 96.3%." in result.output
    assert (tmp_path / "attention-digits.png").stat().st_size > 10_000


def test_the_program_fails_where_they_differ(attention, monkeypatch, tmp_path):
    monkeypatch.setattr(attention, "TOLERANCE", -1.0)
    monkeypatch.setattr(attention, "WIDTHS", np.array([6.0]))
    result = CliRunner().invoke(attention.main, [str(tmp_path / "output")])
    assert result.exit_code == 1
    assert "dsoftmax and scikit-learn differ, or SciPy" in result.output
    assert not (tmp_path / "output").exists()
