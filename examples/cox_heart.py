"""Does age shorten life after a heart transplant?
===============================================

Cox's partial likelihood of 69 patients.

In the proportional hazards model (Cox 1972) a patient with covariate z has the hazard exp(beta z)
times a hazard common to all patients, and the partial log-likelihood of beta is ::

    sum over the deaths i of   beta z_i - log(sum of exp(beta z_j) over all j with t_j >= t_i)

With the patients in the order of their times, the sums over all who are still at risk are running
sums from the end: `dsoftmax.cumulative_logsumexp` in reverse.  They are computed here for a grid of
beta at once, a lazy Dask array over (beta, patients), chunked along both.  Patients with the same
time all have the sum of the first of them (Breslow 1974).  With a flat prior on beta the likelihood
becomes a posterior, whose mean `dsoftmax.expectation` gives.

The data are those of Miller (1976), as shipped with statsmodels.  Its ``PHReg`` computes the
likelihood by other means: the program prints both, and fails if they differ.

- N. E. Breslow, "Covariance analysis of censored survival data", Biometrics 30(1), 89-99, 1974, doi
  10.2307/2529620.
- D. R. Cox, "Regression models and life-tables", Journal of the Royal Statistical Society B 34(2),
  187-202, 1972, doi 10.1111/j.2517-6161.1972.tb00899.x.
- R. G. Miller, "Least squares regression with censored data", Biometrika 63(3), 449-464, 1976, doi
  10.1093/biomet/63.3.449.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
from matplotlib.figure import Figure
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


def draw(path: Path, beta: np.ndarray, p: np.ndarray, age: np.ndarray, died: np.ndarray) -> None:
    """The posterior of the hazard for each year of age, and the hazard over age."""
    blue, orange = "#0072B2", "#D55E00"  # can be told apart with any colour vision
    low, middle, high = np.interp([0.025, 0.5, 0.975], p.cumsum(), beta)
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    percent, density = 100 * np.expm1(beta), p / p.max()
    inside = (low <= beta) & (beta <= high)
    left.fill_between(percent[inside], density[inside], color=blue, alpha=0.3, linewidth=0)
    left.plot(percent, density, color=blue, linewidth=2)
    left.axvline(0, color="#BBBBBB", linewidth=0.8)
    left.set(xlabel="Hazard added by a year of age (%)", ylabel="Posterior density", yticks=[])
    left.set(xlim=(-5, 18), ylim=(0, 1.1))
    left.text(100 * np.expm1(high) + 0.5, 0.5, "95% interval\nshaded", color=blue)

    years = np.linspace(age.min(), age.max(), 100)
    hazard = np.exp(np.multiply.outer([low, middle, high], years - age.mean()))
    right.fill_between(years, hazard[0], hazard[2], color=blue, alpha=0.3, linewidth=0)
    right.plot(years, hazard[1], color=blue, linewidth=2)
    for seen, colour, place in ((died, orange, 0.015), (~died, "#555555", 0.008)):
        right.plot(age[seen], np.full(seen.sum(), place), "|", color=colour, markersize=9)
    right.text(age.min(), 0.022, "died", color=orange)
    right.text(age.min() + 6, 0.022, "still alive", color="#555555")
    right.set(yscale="log", ylim=(0.006, 10), xlabel="Age (years)")
    right.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    right.set_ylabel(f"Hazard, relative to age {age.mean():.0f}")
    title = f"Each year of age adds {np.expm1(middle):.0%} to the hazard after a heart transplant"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
    figure.savefig(path, dpi=150)


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), default="build/heart")
@click.option("--betas", default=3001, show_default=True, help="Points of the grid.")
def main(output: Path, betas: int) -> None:
    """Print the likelihood of the effect of age and statsmodels', and draw OUTPUT/cox-heart.png."""
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

    output.mkdir(parents=True, exist_ok=True)
    draw(output / "cox-heart.png", beta, dsoftmax.softmax(found), age, died)
    click.echo(f"wrote {output / 'cox-heart.png'}")


if __name__ == "__main__":
    main()
