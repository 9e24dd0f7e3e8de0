"""The posterior of one change in the mean of a normal series, in closed form and without a grid.

The model and the priors are those of `nile_changepoint`, which checks itself against this.  With n
observations and S the sum of squared deviations from the means of the two segments,

    p(tau | y)         is proportional to  (n1 n2)^(-1/2) S^(-(n - 2)/2)
    mu_k | tau, y      is Student t with n - 2 degrees of freedom, located at the mean of segment k,
                       of scale (S / (n - 2) / n_k)^(1/2)
    sigma^2 | tau, y   is inverse gamma of shape (n - 2)/2 and scale S/2

so that every parameter has a mixture of known distributions, one for each tau.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

INTERVAL = (0.025, 0.975)


class Segments(NamedTuple):
    """Statistics for the likelihood of each tau, from the first year to the last but one.

    A segment of one year has no deviations, and needs no care: sigma is common to both segments.
    """

    n1: np.ndarray
    mean1: np.ndarray
    n2: np.ndarray
    mean2: np.ndarray
    squares: np.ndarray  # S: the squared deviations from both means, added up

    @classmethod
    def of(cls, y: np.ndarray) -> Segments:
        splits = ((y[:n], y[n:]) for n in range(1, y.size))
        rows = [
            (a.size, a.mean(), b.size, b.mean(), a.size * a.var() + b.size * b.var())
            for a, b in splits
        ]
        return cls(*np.array(rows, dtype=float).T)


class Summary(NamedTuple):
    """Posterior mean and equal-tailed 95% interval."""

    mean: float
    low: float
    high: float


def log_marginal_likelihood(y: np.ndarray) -> float:
    """log p(y), where all priors have the density 1."""
    return special.logsumexp(_log_marginal_by_tau(Segments.of(y)))


def answers(y: np.ndarray, years: np.ndarray) -> dict[str, Summary]:
    """The summaries of tau, mu1, mu2, mu2 - mu1 and sigma."""
    segments = Segments.of(y)
    n1, mean1, n2, mean2, squares = segments
    df = y.size - 2
    scale = np.sqrt(squares / df)
    tau = special.softmax(_log_marginal_by_tau(segments))
    return {
        "tau": summarize_years(tau, years[:-1]),
        "mu1": _mixture(tau, stats.t(df, mean1, scale / np.sqrt(n1))),
        "mu2": _mixture(tau, stats.t(df, mean2, scale / np.sqrt(n2))),
        "mu2 - mu1": _mixture(tau, stats.t(df, mean2 - mean1, scale * np.sqrt(1 / n1 + 1 / n2))),
        # The root of an inverse gamma variable is a generalised gamma one.
        "sigma": _mixture(tau, stats.gengamma(df / 2, -2, scale=np.sqrt(squares / 2))),
    }


def summarize_years(probability: np.ndarray, years: np.ndarray) -> Summary:
    low, high = years[probability.cumsum().searchsorted(INTERVAL)]
    return Summary(probability @ years, low, high)


def _log_marginal_by_tau(segments: Segments) -> np.ndarray:
    """log p(tau, y), with mu1, mu2 and log sigma integrated out."""
    n1, _, n2, _, squares = segments
    half = (n1[0] + n2[0] - 2) / 2
    return special.gammaln(half) - half * np.log(np.pi * squares) - np.log(4 * n1 * n2) / 2


def _mixture(tau: np.ndarray, given_tau: Any) -> Summary:
    ends = []
    for level in INTERVAL:
        quantiles = given_tau.ppf(level)  # the quantile of the mixture lies between these
        bracket = quantiles.min(), quantiles.max()
        ends.append(optimize.brentq(lambda x, p=level: tau @ given_tau.cdf(x) - p, *bracket))
    return Summary(tau @ given_tau.mean(), *ends)
