"""Did a new way of teaching help?
===============================

Importance weights of a million draws, and what they are worth.

The data are 32 students of economics, of whom 14 were taught in the new way, PSI (Spector & Mazzeo
1980).  A logit models the odds of an A by their average grade, a test score and PSI, with normal
priors.  The posterior has no closed form.  Draws from another distribution, the proposal, each with
the weight posterior / proposal, take its place (Geweke 1989).  The logarithms of the weights are a
lazy Dask array, and

- `dsoftmax.effective_sample_size` says how many draws of the posterior they are worth: few if the
  proposal is the prior, nearly all if it is a Student t at the mode;
- `dsoftmax.logsumexp` is the evidence, the probability of the data;
- `dsoftmax.expectation` gives posterior means and variances, and the probability that PSI helped;
- `dsoftmax.choice` resamples: its draws have equal weights, and can be used like any sample.

Gauss-Hermite quadrature computes the same without any draws.  The program prints both, and fails if
they differ by more than five standard errors.

- J. Geweke, "Bayesian inference in econometric models using Monte Carlo integration", Econometrica
  57(6), 1317-1339, 1989, doi 10.2307/1913710.
- L. C. Spector, M. Mazzeo, "Probit analysis and economic education", Journal of Economic Education
  11(2), 37-44, 1980, doi 10.1080/00220485.1980.10844952.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click
import dask
import dask.array as da
import numpy as np
from matplotlib.figure import Figure
from scipy import optimize, stats
from statsmodels.datasets import spector

import dsoftmax

NAMES = ("intercept", "grade average", "test score", "PSI")
PRIOR = stats.norm(0, 5)
DEGREES = 5  # of freedom of the Student t: tails heavier than those of the posterior
CHUNK = 100_000  # draws
NODES = 24  # of the quadrature, along each axis


class Data(NamedTuple):
    """A row (1, grade average, test score, PSI) for each student, and whether the grade is an A."""

    x: np.ndarray
    a: np.ndarray

    @classmethod
    def load(cls) -> Data:
        data = spector.load_pandas().data
        columns = (data.GPA**0, data.GPA - 3, (data.TUCE - 22) / 4, data.PSI)
        return cls(np.stack(columns, axis=1), data.GRADE.to_numpy())

    def log_posterior(self, theta: np.ndarray) -> np.ndarray:
        """The logarithm of likelihood times prior, for each row of theta."""
        v = theta @ self.x.T
        log_likelihood = (self.a * v - np.logaddexp(0, v)).sum(axis=1)
        return log_likelihood + PRIOR.logpdf(theta).sum(axis=1)


class Mode(NamedTuple):
    """Where the posterior is largest, and a square root of its covariance there."""

    centre: np.ndarray
    root: np.ndarray

    @classmethod
    def find(cls, data: Data) -> Mode:
        found = optimize.minimize(
            lambda theta: -data.log_posterior(theta[None])[0], np.zeros(len(NAMES)), tol=1e-10
        )
        v = data.x @ found.x
        information = (data.x.T / (2 + 2 * np.cosh(v))) @ data.x + np.eye(len(NAMES)) / PRIOR.var()
        return cls(found.x, np.linalg.cholesky(np.linalg.inv(information)))


def from_prior(n: int, data: Data, seed: int) -> tuple[da.Array, da.Array]:
    """Draws of the prior, and the logarithms of their weights, lazily."""
    rng = da.random.default_rng(seed)
    theta = rng.normal(0, PRIOR.std(), size=(n, len(NAMES)), chunks=(CHUNK, -1))
    log_prior = theta.map_blocks(lambda t: PRIOR.logpdf(t).sum(axis=1), drop_axis=1, dtype=float)
    return theta, theta.map_blocks(data.log_posterior, drop_axis=1, dtype=float) - log_prior


def from_student(n: int, data: Data, mode: Mode, seed: int) -> tuple[da.Array, da.Array]:
    """Draws of a Student t at the mode, and the logarithms of their weights, lazily."""
    rng = da.random.default_rng(seed)
    normal = rng.normal(size=(n, len(NAMES)), chunks=(CHUNK, -1))
    scale = da.sqrt(DEGREES / rng.chisquare(DEGREES, size=n, chunks=CHUNK))
    theta = mode.centre + (normal * scale[:, None]) @ mode.root.T
    student = stats.multivariate_t(mode.centre, mode.root @ mode.root.T, DEGREES)
    log_proposal = theta.map_blocks(student.logpdf, drop_axis=1, dtype=float)
    return theta, theta.map_blocks(data.log_posterior, drop_axis=1, dtype=float) - log_proposal


def by_quadrature(data: Data, mode: Mode) -> tuple[float, np.ndarray]:
    """The logarithm of the evidence, and the posterior means, by Gauss-Hermite quadrature."""
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    z = np.array(list(product(node, repeat=len(NAMES))))
    log_weight = np.log(list(product(weight, repeat=len(NAMES)))).sum(axis=1)
    theta = mode.centre + z @ mode.root.T
    log_terms = log_weight + data.log_posterior(theta) + (z**2).sum(axis=1) / 2
    evidence = dsoftmax.logsumexp(log_terms) + np.log(np.diag(mode.root)).sum()
    return float(evidence), dsoftmax.softmax(log_terms) @ theta


def draw(path: Path, data: Data, sample: np.ndarray, worth: dict[str, float]) -> None:
    """The probability of an A with and without PSI, and what the draws of a proposal are worth."""
    blue, orange = "#0072B2", "#D55E00"  # can be told apart with any colour vision
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[5, 1])
    average = np.linspace(2, 4, 50)
    for psi, colour, words, place in ((1, orange, "with PSI", 2.55), (0, blue, "without", 3.72)):
        v = sample[:, [0]] + sample[:, [1]] * (average - 3) + sample[:, [3]] * psi
        p = 1 / (1 + np.exp(-v))
        above.plot(average, p[::20].T, color=colour, alpha=0.15, linewidth=0.7)
        above.plot(average, p.mean(axis=0), color=colour, linewidth=2.5)
        above.text(place, 0.45 if psi else 0.28, words, color=colour, fontsize=12, weight="bold")
        students = data.x[:, 3] == psi
        height = data.a[students] * 1.06 - 0.03 + (0.02 if psi else -0.02)
        above.plot(data.x[students, 1] + 3, height, "|", color=colour, markersize=9)
    above.text(2, 0.93, "ticks: students with an A, and without", color="#555555")
    above.set(xlabel="Grade average", ylabel="Probability of an A", ylim=(-0.08, 1.08))
    title = "Students taught by PSI had better odds of an A"
    above.set_title(title, loc="left", fontsize=13)
    below.barh(list(worth), worth.values(), color="#555555", height=0.6)
    for place, share in enumerate(worth.values()):
        below.text(share + 0.01, place, f"{share:.1%}", va="center")
    below.set(xlim=(0, 1), xlabel="Effective share of the draws of a proposal")
    below.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
    figure.savefig(path, dpi=150)


def estimates(theta: da.Array, log_weight: da.Array) -> tuple[Any, ...]:
    """Effective sample size, logarithm of the evidence, means and second moments, lazily."""
    n = log_weight.shape[0]
    columns = tuple(theta[:, k] for k in range(len(NAMES)))
    return (
        dsoftmax.effective_sample_size(log_weight),
        dsoftmax.logsumexp(log_weight) - np.log(n),
        dsoftmax.expectation(log_weight, columns),
        dsoftmax.expectation(log_weight, tuple(column**2 for column in columns)),
        dsoftmax.expectation(log_weight, columns[-1] > 0),
    )


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), default="build/psi")
@click.option("--draws", default=1_000_000, show_default=True, help="From each proposal.")
def main(output: Path, draws: int) -> None:
    """Estimate what PSI does to the odds of an A, and draw OUTPUT/importance-weights.png."""
    data = Data.load()
    mode = Mode.find(data)
    proposals = {
        "the prior": from_prior(draws, data, seed=1),
        "a Student t": from_student(draws, data, mode, seed=2),
    }
    theta, log_weight = proposals["a Student t"]
    index = dsoftmax.choice(log_weight, 1000, method="systematic", rng=3)
    *found, index = dask.compute(*(estimates(*proposal) for proposal in proposals.values()), index)
    sample = theta[index].compute()
    exact_evidence, exact_means = by_quadrature(data, mode)

    worst, worth = 0.0, {}
    for name, (size, evidence, means, squares, helped) in zip(proposals, found, strict=True):
        worth[name] = size / draws
        errors = np.sqrt((np.array(squares) - np.square(means)) / size)
        click.echo(f"\n{draws:,} draws of {name} are worth {size:,.0f} of the posterior.")
        click.echo(f"{'':15}{'mean':>10}{'error':>10}{'quadrature':>13}")
        for row in zip(NAMES, means, errors, exact_means, strict=True):
            click.echo("{:15}{:10.4f}{:10.4f}{:13.4f}".format(*row))
        error = np.sqrt(1 / size - 1 / draws)
        click.echo(f"{'log evidence':15}{evidence:10.4f}{error:10.4f}{exact_evidence:13.4f}")
        click.echo(f"PSI helped with the probability {helped:.3f}.")
        off = np.append(np.subtract(means, exact_means), evidence - exact_evidence)
        worst = max(worst, np.abs(off / np.append(errors, error)).max())
    click.echo(f"\nThe largest difference is {worst:.1f} standard errors.")
    if not worst < 5:
        raise click.ClickException("the draws and the quadrature differ")

    output.mkdir(parents=True, exist_ok=True)
    draw(output / "importance-weights.png", data, sample, worth)
    click.echo(f"wrote {output / 'importance-weights.png'}")


if __name__ == "__main__":
    main()
