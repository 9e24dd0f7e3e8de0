"""The example of Cox's partial likelihood: against statsmodels, and against the formula."""

import importlib
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("statsmodels", reason="has the data")
pytest.importorskip("matplotlib", reason="draws")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cox_heart():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("cox_heart")


def by_the_formula(risk, time, died):
    return sum(risk[i] - np.log(np.exp(risk[time >= time[i]]).sum()) for i in np.flatnonzero(died))


@pytest.mark.parametrize("chunks", [None, (2, 7), (1, 69), (3, 1)])
def test_likelihood_equals_that_of_statsmodels(cox_heart, chunks):
    from statsmodels.duration.hazard_regression import PHReg

    time, died, age = cox_heart.patients()
    assert np.unique(time[died]).size < died.sum()  # there are ties
    covariates = np.stack([age, np.sin(age)], axis=1)
    betas = np.array([[0.0, 0.0], [0.05, -1.0], [0.3, 2.0]])
    risk = betas @ covariates.T
    lazy = risk if chunks is None else da.from_array(risk, chunks=chunks)
    found = np.asarray(cox_heart.log_partial_likelihood(lazy, time, died))
    model = PHReg(time, covariates, status=died)
    np.testing.assert_allclose(found, [model.loglike(beta) for beta in betas], rtol=0, atol=1e-8)
    expected = [by_the_formula(row, time, died) for row in risk]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_program_prints_agreeing_answers_and_draws(cox_heart, tmp_path):
    arguments = [str(tmp_path), "--betas", "601"]
    result = CliRunner().invoke(cox_heart.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "45 of 69 patients died" in result.output
    assert "at beta = 0.0545, by statsmodels 0.0545." in result.output
    assert "Log-likelihood there -158.018" in result.output
    assert (tmp_path / "cox-heart.png").stat().st_size > 10_000


def test_the_program_fails_where_they_differ(cox_heart, monkeypatch, tmp_path):
    monkeypatch.setattr(cox_heart, "TOLERANCE", -1.0)
    result = CliRunner().invoke(cox_heart.main, [str(tmp_path / "output"), "--betas", "61"])
    assert result.exit_code == 1
    assert "dsoftmax and statsmodels differ" in result.output
    assert not (tmp_path / "output").exists()
