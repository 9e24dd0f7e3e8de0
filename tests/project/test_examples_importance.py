"""The example of importance weights: against a posterior that has a closed form, and quadrature."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import dsoftmax

pytest.importorskip("statsmodels", reason="has the data")
pytest.importorskip("matplotlib", reason="draws")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def importance():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("importance_weights")


@pytest.fixture
def of_the_prior(importance):
    """Data of no students: the posterior is the prior, and the evidence 1."""
    return importance.Data(np.zeros((0, 4)), np.zeros(0))


def test_log_posterior_is_that_of_the_formula(importance):
    data = importance.Data.load()
    theta = np.array([[-3.0, 2.0, 0.5, 1.0], [0.0, -1.0, 0.1, 3.0]])
    found = data.log_posterior(theta)
    for row, value in zip(theta, found, strict=True):
        p = 1 / (1 + np.exp(-data.x @ row))
        likelihood = np.prod(np.where(data.a == 1, p, 1 - p))
        assert value == pytest.approx(np.log(likelihood * np.prod(stats.norm(0, 5).pdf(row))))


def test_the_mode_is_one_and_its_curvature_that_of_the_posterior(importance):
    data = importance.Data.load()
    mode = importance.Mode.find(data)
    steps = 1e-3 * np.linalg.norm(mode.root, axis=0)
    for direction, step in zip(mode.root.T / np.linalg.norm(mode.root, axis=0), steps, strict=True):
        ends = mode.centre + step * np.outer([-1, 0, 1], direction)
        low, middle, high = data.log_posterior(ends)
        assert abs(high - low) / (2 * step) < 1e-4
        precision = np.linalg.inv(mode.root @ mode.root.T)
        curvature = direction @ precision @ direction
        assert (2 * middle - low - high) / step**2 == pytest.approx(curvature, rel=1e-3)


def test_quadrature_and_weights_of_a_posterior_in_closed_form(importance, of_the_prior):
    mode = importance.Mode(np.array([1.0, 0.0, -1.0, 2.0]), np.diag([4.0, 5.0, 6.0, 5.0]))
    evidence, means = importance.by_quadrature(of_the_prior, mode)
    assert evidence == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(means, 0, atol=1e-9)

    _, equal = importance.from_prior(1000, of_the_prior, seed=0)
    np.testing.assert_allclose(equal.compute(), 0, atol=1e-12)
    _, weights = importance.from_student(100_000, of_the_prior, mode, seed=0)
    weights = weights.compute()
    size = dsoftmax.effective_sample_size(weights)
    log_mean = dsoftmax.logsumexp(weights) - np.log(weights.size)
    assert abs(log_mean) < 5 * np.sqrt(1 / size - 1 / weights.size)


def test_the_program_prints_agreeing_answers_and_draws(importance, tmp_path):
    arguments = [str(tmp_path), "--draws", "200000"]
    result = CliRunner().invoke(importance.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "log evidence" in result.output
    assert result.output.count("     -20.7826\n") == 2  # of the quadrature
    assert "PSI helped with the probability 0.99" in result.output
    assert (tmp_path / "importance-weights.png").stat().st_size > 10_000


def test_the_program_fails_where_they_differ(importance, monkeypatch, tmp_path):
    monkeypatch.setattr(importance, "by_quadrature", lambda data, mode: (-20.7, np.zeros(4)))
    arguments = [str(tmp_path / "output"), "--draws", "20000"]
    result = CliRunner().invoke(importance.main, arguments)
    assert result.exit_code == 1
    assert "the draws and the quadrature differ" in result.output
    assert not (tmp_path / "output").exists()
