"""When did the flow of the Nile drop, and by how much?
====================================================

A posterior over a grid of 10^8 cells.

The model is the yearly flow at Aswan from 1871 to 1970 (Cobb 1978) with one change of its mean:

    y_t ~ N(mu1, sigma^2) up to and including the year tau,   y_t ~ N(mu2, sigma^2) after it,

with tau, mu1, mu2 and log sigma uniform a priori, so that p(sigma) is 1 / sigma (compare Carlin,
Gelfand & Smith 1992).  The log-posterior is a formula on a lazy Dask array over (tau, mu1, mu2,
log sigma).  In one pass over it, `dsoftmax.logsumexp` gives the marginal posteriors, which
`dsoftmax.softmax` turns into probabilities, and `dsoftmax.expectation` the mean relative fall.
``nile_closed_form`` gives the same answers without a grid: the program prints both and fails if
they differ.

- G. W. Cobb, "The problem of the Nile: conditional solution to a changepoint problem", Biometrika
  65(2), 243-251, 1978, doi 10.1093/biomet/65.2.243.
- B. P. Carlin, A. E. Gelfand, A. F. M. Smith, "Hierarchical Bayesian analysis of changepoint
  problems", Applied Statistics 41(2), 389-405, 1992, doi 10.2307/2347570.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click
import dask
import dask.array as da
import nile_closed_form
import numpy as np
from dask.diagnostics import ProgressBar
from matplotlib.figure import Figure
from nile_closed_form import INTERVAL, Segments, Summary, summarize_years
from statsmodels.datasets import nile

import dsoftmax

YEARS_PER_CHUNK = 4  # 34 MB at the default grid

# Where cells are no wider than the standard deviation, sums over them are exact but for the tails
# beyond the grid, and linear interpolation errs by (1/8 + 1/24) 1.96 cells at a 2.5% point.
MEAN_TOLERANCE = 1e-6  # of the width of the interval; of 1 for the log marginal likelihood
END_TOLERANCE = 1 / 3  # of a cell

LABELS = {
    "tau": "last year",
    "mu1": "mean until tau",
    "mu2": "mean after tau",
    "mu2 - mu1": "change",
    "sigma": "sd of a year",
}


class Cells(NamedTuple):
    """Cells of equal width along one parameter."""

    edges: np.ndarray
    centres: np.ndarray
    width: float

    @classmethod
    def between(cls, low: float, high: float, count: int) -> Cells:
        edges, width = np.linspace(low, high, count + 1, retstep=True)
        return cls(edges, edges[:-1] + width / 2, float(width))


def log_posterior(flow: np.ndarray, mu: Cells, log_sigma: Cells) -> da.Array:
    """The log-likelihood of each cell, lazily, over (tau, mu1, mu2, log sigma).

    The cells are uniform in the parameters that the prior is uniform in, so it adds a constant.
    """
    n1, mean1, n2, mean2, squares = (
        da.from_array(statistic, chunks=YEARS_PER_CHUNK)[:, None, None, None]
        for statistic in Segments.of(flow)
    )
    mu1, mu2 = mu.centres[:, None, None], mu.centres[:, None]
    residuals = squares + n1 * (mu1 - mean1) ** 2 + n2 * (mu2 - mean2) ** 2
    log_scale = log_sigma.centres + np.log(2 * np.pi) / 2
    return -residuals / (2 * np.exp(2 * log_sigma.centres)) - flow.size * log_scale


def summarize(probability: np.ndarray, values: np.ndarray, edges: np.ndarray) -> Summary:
    """The summary of a parameter, from the probabilities of its cells."""
    cumulative = np.concatenate([[0.0], probability.cumsum()])
    return Summary(probability @ values, *np.interp(INTERVAL, cumulative, edges))


def grid_answers(
    joint: np.ndarray, sigma: np.ndarray, years: np.ndarray, mu: Cells, log_sigma: Cells
) -> dict[str, Summary]:
    """All answers from the probabilities of (tau, mu1, mu2) and of sigma."""
    mu1_mu2 = joint.sum(axis=0)
    lags = range(1 - mu.centres.size, mu.centres.size)
    drop = np.array([mu1_mu2.trace(lag) for lag in lags])  # a diagonal has one mu2 - mu1
    change = Cells.between((lags[0] - 0.5) * mu.width, (lags[-1] + 0.5) * mu.width, len(lags))
    return {
        "tau": summarize_years(joint.sum(axis=(1, 2)), years[:-1]),
        "mu1": summarize(mu1_mu2.sum(axis=1), mu.centres, mu.edges),
        "mu2": summarize(mu1_mu2.sum(axis=0), mu.centres, mu.edges),
        "mu2 - mu1": summarize(drop, change.centres, change.edges),
        "sigma": summarize(sigma, np.exp(log_sigma.centres), np.exp(log_sigma.edges)),
    }


def level_by_year(joint: np.ndarray, mu: Cells) -> np.ndarray:
    """Mean, low and high of the mean flow of each year: mu1 up to tau and mu2 after it."""
    probability = np.zeros((joint.shape[0] + 1, mu.centres.size))
    probability[:-1] += joint.sum(axis=2)[::-1].cumsum(axis=0)[::-1]  # tau this year or later
    probability[1:] += joint.sum(axis=1).cumsum(axis=0)  # tau before this year
    return np.array([summarize(p, mu.centres, mu.edges) for p in probability]).T


def draw(
    path: Path, flow: np.ndarray, years: np.ndarray, joint: np.ndarray, mu: Cells, fall: float
) -> None:
    """The flow with its mean level, and under it the posterior of tau."""
    blue, orange = "#0072B2", "#D55E00"  # can be told apart with any colour vision
    tau = joint.sum(axis=(1, 2))
    best = tau.argmax()
    level, low, high = level_by_year(joint, mu)
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot(years, flow, color="#BBBBBB", linewidth=0.8)
    above.plot(years, flow, "o", color="#555555", markersize=3)
    above.fill_between(years, low, high, step="mid", color=blue, alpha=0.3, linewidth=0)
    above.step(years, level, where="mid", color=blue, linewidth=2)
    above.text(1901, 1150, "mean level and its 95% interval", color=blue)
    above.set_ylabel("Flow (10$^8$ m$^3$ a year)")
    title = f"The flow of the Nile at Aswan fell by {fall:.0%} after {years[best]}"
    above.set_title(title, loc="left", fontsize=13)
    below.bar(years[:-1], tau, color=orange)
    label = f"{years[best]}: {tau[best]:.0%}"
    below.text(years[best] + 3, tau[best], label, color=orange, va="top")
    below.set(ylabel="Probability", xlabel="Last year at the old level", xlim=(1869.5, 1971.5))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
    figure.savefig(path, dpi=150)


def compare(found: dict[str, Summary], exact: dict[str, Summary], cell: dict[str, float]) -> bool:
    """Print both sets of answers; return whether they agree."""
    print(f"\n{'':25}{'on the grid':>25}   {'in closed form':>25}".rstrip())
    print(f"{'':25}" + "   ".join(2 * [f"{'mean':>7}{'95% interval':>18}"]))
    for name, label in LABELS.items():
        digits = 0 if name == "tau" else 1
        columns = (
            f"{mean:7.1f}{low:10.{digits}f}{high:8.{digits}f}"
            for mean, low, high in (found[name], exact[name])
        )
        print(f"{name:10}{label:15}" + "   ".join(columns))
    pairs = [(found[name], exact[name], cell[name]) for name in LABELS]
    means = np.max([abs(f.mean - e.mean) / (e.high - e.low) for f, e, _ in pairs])
    ends = np.max([np.abs(np.subtract(f[1:], e[1:])) / width for f, e, width in pairs])
    print(f"The means agree to {means:.0e} of an interval, the intervals to {ends:.2f} of a cell.")
    return bool(means < MEAN_TOLERANCE and ends < END_TOLERANCE)


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), default="build/nile")
@click.option(
    "--mu-cells", type=click.IntRange(2), default=128, show_default=True, help="For mu1, mu2."
)
@click.option("--sigma-cells", type=click.IntRange(2), default=64, show_default=True)
@click.option(
    "--save-log-posterior",
    type=click.Path(path_type=Path),
    metavar="PATH.zarr",
    help="Also write the log-posterior, not yet normalised, to a new Zarr array.",
)
def main(output: Path, mu_cells: int, sigma_cells: int, save_log_posterior: Path | None) -> None:
    """Find when and by how much the flow of the Nile dropped, and draw OUTPUT/nile.png."""
    if save_log_posterior is not None and save_log_posterior.exists():
        raise click.ClickException(f"{save_log_posterior} exists; remove it or name another path")
    output.mkdir(parents=True, exist_ok=True)
    data = nile.load_pandas().data
    years, flow = data["year"].to_numpy().astype(int), data["volume"].to_numpy()
    mean, sd = flow.mean(), flow.std(ddof=1)
    mu = Cells.between(mean - 2 * sd, mean + 2 * sd, mu_cells)
    log_sigma = Cells.between(np.log(sd / 2), np.log(3 * sd / 2), sigma_cells)

    x = log_posterior(flow, mu, log_sigma)
    log_joint = dsoftmax.logsumexp(x, axis=3)  # of tau, mu1 and mu2
    relative_fall = 1 - mu.centres / mu.centres[:, None]  # from mu1 to mu2
    lazy = [
        log_joint,
        dsoftmax.logsumexp(x, axis=(0, 1, 2)),
        dsoftmax.expectation(log_joint, relative_fall),
    ]
    if save_log_posterior is not None:
        lazy.append(x.to_zarr(save_log_posterior, compute=False))
    shape = " x ".join(map(str, x.shape))
    print(f"{shape} = {x.size:,} cells, {x.nbytes / 1e9:.2f} GB in {x.npartitions} chunks")
    start = time.perf_counter()
    seen = sys.stderr.isatty()  # a file would get a line for each tenth of a second
    with ProgressBar(out=sys.stderr) if seen else contextlib.nullcontext():
        log_joint, log_p_sigma, fall, *_ = dask.compute(*lazy)
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s, {x.size / seconds / 1e6:.0f} million cells a second")

    joint, sigma = dsoftmax.softmax(log_joint), dsoftmax.softmax(log_p_sigma)
    found = grid_answers(joint, sigma, years, mu, log_sigma)
    exact = nile_closed_form.answers(flow, years)
    cell = dict.fromkeys(exact, mu.width)
    cell |= {"tau": 1, "sigma": exact["sigma"].high * log_sigma.width}
    agree = compare(found, exact, cell)
    evidence = dsoftmax.logsumexp(log_joint) + np.log(mu.width**2 * log_sigma.width)
    exact_evidence = nile_closed_form.log_marginal_likelihood(flow)
    print(f"Log marginal likelihood {evidence:.6f}, in closed form {exact_evidence:.6f}.")
    if not (agree and abs(evidence - exact_evidence) < MEAN_TOLERANCE):
        raise click.ClickException("the grid does not give the exact answers: use more cells")

    draw(output / "nile.png", flow, years, joint, mu, fall)
    print(f"wrote {output / 'nile.png'}")


if __name__ == "__main__":
    main()
