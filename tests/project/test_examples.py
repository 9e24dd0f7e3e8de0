"""The examples: the Nile analysis against integration by other means, and the notebook."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import dsoftmax

pytestmark = pytest.mark.system

for library in ("ipykernel", "matplotlib", "statsmodels", "zarr"):
    pytest.importorskip(library, reason=f"the examples need {library}")
nbclient = pytest.importorskip("nbclient", reason="runs the notebook")
nbformat = pytest.importorskip("nbformat", reason="reads the notebook")

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")

# Few enough values that the tails of the posterior matter, with an evident change.
SERIES = np.array([10.1, 9.2, 10.7, 6.3, 5.9, 6.8])
YEARS = np.arange(2001, 2007)


@pytest.fixture(scope="module")
def nile_changepoint():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("nile_changepoint")


@pytest.fixture(scope="module")
def nile_closed_form(nile_changepoint):
    return sys.modules["nile_closed_form"]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """What the program prints and writes for a grid of 5 million cells."""
    output = tmp_path_factory.mktemp("nile")
    program, saved = EXAMPLES / "nile_changepoint.py", output / "log-posterior.zarr"
    options = ["--mu-cells", "48", "--sigma-cells", "24", "--save-log-posterior", saved]
    command = [sys.executable, program, output, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout, output


@pytest.fixture(scope="module")
def weighted_points():
    """Points of the posterior of SERIES and their weights: the rectangle rule.

    The likelihood is that of the single values, for every tau, over log sigma and over the means
    in units of their standard errors.
    """
    z, log_sigma = np.arange(-8, 8.1, 0.5), np.arange(-3, 12, 0.1)
    z1, z2, sigma = np.meshgrid(z, z, np.exp(log_sigma))
    parts = []
    for tau in range(1, SERIES.size):
        se1, se2 = sigma / np.sqrt(tau), sigma / np.sqrt(SERIES.size - tau)
        mu1, mu2 = SERIES[:tau].mean() + se1 * z1, SERIES[tau:].mean() + se2 * z2
        log_likelihood = sum(stats.norm.logpdf(y, mu1, sigma) for y in SERIES[:tau])
        log_likelihood += sum(stats.norm.logpdf(y, mu2, sigma) for y in SERIES[tau:])
        weight = np.exp(log_likelihood) * (se1 * 0.5) * (se2 * 0.5) * 0.1
        year = np.full(sigma.shape, YEARS[tau - 1])
        parts.append(np.stack([year, mu1, mu2, mu2 - mu1, sigma, weight]).reshape(6, -1))
    *points, weights = np.concatenate(parts, axis=1)
    return dict(zip(["tau", "mu1", "mu2", "mu2 - mu1", "sigma"], points, strict=True)), weights


def test_closed_form_of_the_marginal_likelihood(nile_closed_form, weighted_points):
    _, weights = weighted_points
    closed = nile_closed_form.log_marginal_likelihood(SERIES)
    np.testing.assert_allclose(closed, np.log(weights.sum()), rtol=1e-10)


@pytest.mark.parametrize("name", ["tau", "mu1", "mu2", "mu2 - mu1", "sigma"])
def test_closed_form_of_the_answers(nile_closed_form, weighted_points, name):
    points, weights = weighted_points
    order = np.argsort(points[name], kind="stable")
    values, probability = points[name][order], weights[order] / weights.sum()
    low, high = values[probability.cumsum().searchsorted([0.025, 0.975])]

    closed = nile_closed_form.answers(SERIES, YEARS)[name]

    np.testing.assert_allclose(closed.mean, values @ probability, rtol=1e-8)
    spacing = 0.05 * (high - low)  # of the points
    np.testing.assert_allclose(closed[1:], (low, high), rtol=0, atol=spacing)


def test_level_is_mu1_up_to_tau_and_mu2_after_it(nile_changepoint):
    mu = nile_changepoint.Cells.between(0.0, 10.0, 10)
    joint = np.zeros((4, 10, 10))  # tau is the second of five years, mu1 is 7.5 and mu2 2.5
    joint[1, 7, 2] = 1.0
    mean, low, high = nile_changepoint.level_by_year(joint, mu)
    np.testing.assert_allclose(mean, [7.5, 7.5, 2.5, 2.5, 2.5])
    np.testing.assert_allclose(low, [7.025, 7.025, 2.025, 2.025, 2.025])
    np.testing.assert_allclose(high, [7.975, 7.975, 2.975, 2.975, 2.975])


def test_nile_prints_agreeing_answers(small_run):
    printed, _ = small_run
    assert "99 x 48 x 48 x 24 = 5,474,304 cells" in printed
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    numbers = [float(number) for number in NUMBER.findall(rows["sigma"])]
    np.testing.assert_allclose(numbers[:3], numbers[3:], atol=1)
    assert "Log marginal likelihood -619.558946, in closed form -619.558946." in printed


def test_nile_draws_a_picture(small_run):
    _, output = small_run
    picture = (output / "nile.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_nile_saves_the_log_posterior(small_run):
    _, output = small_run
    saved = da.from_zarr(output / "log-posterior.zarr")
    assert saved.shape == (99, 48, 48, 24)
    years = 1871 + np.arange(99)
    probability = dsoftmax.softmax(saved).sum(axis=(1, 2, 3)).compute()
    np.testing.assert_allclose(probability @ years, 1897.828121, rtol=1e-9)


def test_nile_does_not_overwrite_what_it_may_not_have_written(nile_changepoint, tmp_path):
    arguments = [str(tmp_path / "output"), "--save-log-posterior", str(tmp_path)]
    result = CliRunner().invoke(nile_changepoint.main, arguments)
    assert result.exit_code == 1
    assert f"{tmp_path} exists; remove it or name another path" in result.output
    assert not (tmp_path / "output").exists()


def test_nile_fails_where_the_grid_is_too_coarse(nile_changepoint, tmp_path):
    arguments = [str(tmp_path), "--mu-cells", "16", "--sigma-cells", "16"]
    result = CliRunner().invoke(nile_changepoint.main, arguments)
    assert result.exit_code == 1
    assert "the grid does not give the exact answers: use more cells" in result.output
    assert not (tmp_path / "nile.png").exists()


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(EXAMPLES / "online_softmax.ipynb", as_version=4)


@pytest.fixture(scope="module")
def fresh_notebook(notebook):
    """The notebook run again, from the top in a new kernel; an error of a cell is one here."""
    fresh = nbformat.from_dict(notebook)
    nbclient.NotebookClient(fresh, timeout=60, record_timing=False).execute()
    return fresh


def texts(notebook):
    """What the cells show, as text."""
    return [
        output.get("text") or output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]


def test_notebook_shows_what_its_cells_give(notebook, fresh_notebook):
    shown, given = ("\n".join(texts(n)) for n in (notebook, fresh_notebook))
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", given)
    shown, given = (np.array(NUMBER.findall(text), dtype=float) for text in (shown, given))
    np.testing.assert_allclose(shown, given, rtol=1e-13)


def test_notebook_is_stored_as_run_once_from_the_top(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.metadata == {} for cell in code)  # no times of the run
    assert notebook.metadata.kernelspec.name == "python3"
