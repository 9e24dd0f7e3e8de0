"""Does age shorten life after a heart transplant? Cox's partial likelihood of 69 patients.

In the proportional hazards model (Cox 1972) a patient of covariate z has the hazard exp(beta z)
times one that all have in common, and the partial log-likelihood of beta is

    sum over the deaths i of   beta z_i - log(sum of exp(beta z_j) over all j with t_j >= t_i)

With the patients in the order of their times the sums over all who are still at risk are running
sums from the end: `dsoftmax.cumulative_logsumexp(..., reverse=True)`.  It is computed here for
a grid of beta at once, a lazy Dask array over (beta, patients), cut along both.  Of those who have
one time each has the sum of the first (Breslow 1974).  A flat prior on beta makes a posterior of
it, of which `dsoftmax.expectation` gives the mean.

The data are those of Miller (1976), as statsmodels has them.  Its `PHReg` computes the likelihood
by other means: the program prints both, and fails if they differ.

N. E. Breslow, "Covariance analysis of censored survival data", Biometrics 30(1), 89-99, 1974, doi
10.2307/2529620.
D. R. Cox, "Regression models and life-tables", Journal of the Royal Statistical Society B 34(2),
187-202, 1972, doi 10.1111/j.2517-6161.1972.tb00899.x.
R. G. Miller, "Least squares regression with censored data", Biometrika 63(3), 449-464, 1976, doi
10.1093/biomet/63.3.449.
"""

from __future__ import annotations

from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from statsmodels.datasets import heart
from statsmodels.duration.hazard_regression import PHReg

import dsoftmax

TOLERANCE = 1e-8  # of the log-likelihood
PATIENTS_PER_CHUNK, BETAS_PER_CHUNK = 20, 1000


def log_partial_likelihood(risk: Any, time: np.ndarray, died: np.ndarray) -> Any:
    """The log-likelihoods of log-hazards ``risk``, of which the last axis is that of the patients.

    The patients are in the order of their times; ``died`` is False of those who were lost sight of
    alive. Lazy for a Dask array.
    """
    at_risk = dsoftmax.cumulative_logsumexp(risk, axis=-1, reverse=True)
    first = np.searchsorted(time, time[died])  # of all who have the same time
    return (risk[..., died] - at_risk[..., first]).sum(axis=-1)


def patients() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days that they lived, whether they died then, and their ages, in the order of the days."""
    data = heart.load_pandas().data.sort_values("survival", kind="stable")
    return data.survival.to_numpy(), data.censors.to_numpy() == 1, data.age.to_numpy()


@click.command()
@click.option("--betas", default=3001, show_default=True, help="Points of the grid.")
def main(betas: int) -> None:
    """Print the likelihood of the effect of age, and what statsmodels says of it."""
    time, died, age = patients()
    beta = np.linspace(-0.1, 0.2, betas)
    covariate = da.from_array(age - age.mean(), chunks=PATIENTS_PER_CHUNK)
    risk = da.from_array(beta, chunks=BETAS_PER_CHUNK)[:, None] * covariate
    likelihood = log_partial_likelihood(risk, time, died)
    mean = dsoftmax.expectation(likelihood, beta)
    found, mean = dask.compute(likelihood, mean)
    best = found.argmax()

    model = PHReg(time, (age - age.mean())[:, None], status=died)
    checked = np.linspace(0, betas - 1, 9).astype(int)
    expected = np.array([model.loglike(beta[[i]]) for i in checked])
    difference = np.abs(found[checked] - expected).max()
    maximum = float(model.fit().params[0])

    click.echo(
        f"{died.sum()} of {time.size} patients died; {betas} values of beta, per year of age."
    )
    click.echo(f"Largest likelihood at beta = {beta[best]:.4f}, by statsmodels {maximum:.4f}.")
    click.echo(f"Log-likelihood there {found[best]:.6f}; {found[np.abs(beta).argmin()]:.6f} at 0.")
    click.echo(f"Posterior mean of beta {mean:.4f}: hazards grow by {np.expm1(mean):.1%} a year.")
    click.echo(f"Largest difference of the log-likelihood from statsmodels' {difference:.1e}.")
    spacing = beta[1] - beta[0]
    if not (difference <= TOLERANCE and abs(beta[best] - maximum) <= spacing):
        raise click.ClickException("dsoftmax and statsmodels differ")


if __name__ == "__main__":
    main()
