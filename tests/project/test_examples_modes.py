"""The example of travel modes: against the formula, statsmodels, and what people chose."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("statsmodels", reason="has the data")
pytest.importorskip("matplotlib", reason="draws")
dd = pytest.importorskip("dask.dataframe", reason="has DataFrames in partitions")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def mode_choice():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("mode_choice")


@pytest.fixture(scope="module")
def df(mode_choice):
    return mode_choice.travellers()


@pytest.mark.parametrize("partitions", [None, 1, 11])
def test_likelihood_is_that_of_the_formula(mode_choice, df, partitions):
    beta = np.array([-0.02, -0.1, 0.01, 5, 4, 3])
    v = df[mode_choice.COVARIATES].to_numpy() @ beta
    choices = v.reshape(-1, 4)  # in the file, a person has four rows
    chosen = v[df["chosen"]]
    expected = (chosen - np.log(np.exp(choices).sum(axis=1))).sum()
    data = df if partitions is None else dd.from_pandas(df, npartitions=partitions)
    found = mode_choice.log_likelihood(data, beta)
    found = found if partitions is None else found.compute()
    assert found == pytest.approx(expected, rel=1e-13)


def test_expected_shares_at_the_maximum_are_those_that_were_chosen(mode_choice, df):
    """The constants see to that, in a logit."""
    beta, _ = mode_choice.estimate(df)
    shares = mode_choice.shares(df, beta)
    chosen = df["chosen"].groupby(df["mode"]).mean()
    np.testing.assert_allclose(shares, chosen, atol=1e-12)


def test_a_change_is_worth_its_dollars_if_all_modes_have_it(mode_choice, df):
    beta, _ = mode_choice.estimate(df)
    cheaper = df.assign(gc=df["gc"] - 7)
    np.testing.assert_allclose(mode_choice.worth(df, cheaper, beta), 7, rtol=1e-10)


def test_the_program_prints_agreeing_answers_and_draws(mode_choice, tmp_path):
    result = CliRunner().invoke(mode_choice.main, [str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "ttme          -0.09612   0.01044     -0.09612" in result.output
    assert "Log-likelihood -199.1284, of Dask -199.1284; Greene has -199.1284." in result.output
    assert "Ten minutes less at the airport: $20.79 a traveller." in result.output
    assert (tmp_path / "mode-choice.png").stat().st_size > 10_000


def test_the_program_fails_where_they_differ(mode_choice, monkeypatch, tmp_path):
    monkeypatch.setattr(mode_choice, "TOLERANCE", -1.0)
    result = CliRunner().invoke(mode_choice.main, [str(tmp_path)])
    assert result.exit_code == 1
    assert "dsoftmax and statsmodels differ, or Greene" in result.output
