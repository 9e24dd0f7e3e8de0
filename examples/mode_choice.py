"""What is a shorter wait at the airport worth?
============================================

The travel modes that 210 people chose.

Each could fly, or go by train, bus or car, from Sydney to Melbourne and elsewhere.  In McFadden's
conditional logit the utility of a mode is V = beta' x, and a person chooses with the probabilities
of a softmax among their own modes: `dsoftmax.dataframe.softmax` on a table with a row for each
mode of each person.  The log-likelihood of beta is the sum of the log-probabilities of the modes
that were chosen, and Newton's method finds its maximum.

log sum exp(V) of a person, the inclusive value, is what the choice is worth to them; divided by the
utility of a dollar it says how many dollars a change is worth (Small & Rosen 1981).

The data, from a survey of 1986, are those of Greene & Hensher, as shipped with statsmodels.  Its
``ConditionalLogit`` estimates beta by other means: the program prints both, and fails if they
differ, or if the likelihood is not that of Greene's textbook.

- D. McFadden, "Conditional logit analysis of qualitative choice behavior", in P. Zarembka (ed.),
  Frontiers in Econometrics, 105-142, 1974.
- William H. Greene, Econometric Analysis, 5th edition, 2003, table 21.11.
- K. A. Small, H. S. Rosen, "Applied welfare economics with discrete choice models", Econometrica
  49(1), 105-130, 1981, doi 10.2307/1911129.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from statsmodels.datasets import modechoice
from statsmodels.discrete.conditional_models import ConditionalLogit

from dsoftmax import dataframe

MODES = {1: "air", 2: "train", 3: "bus", 4: "car"}
COVARIATES = ["gc", "ttme", "air_income", "air", "train", "bus"]
GREENE = -199.1284  # the log-likelihood at the maximum
TOLERANCE = 1e-8  # of the log-likelihood
ERRORS = 1e-3  # of the estimates, in standard errors: statsmodels stops there


def travellers() -> pd.DataFrame:
    """A row for each mode of each person: its covariates, and whether it was chosen.

    These are its generalised cost in dollars, the minutes of waiting at the terminal, the income of
    those who may fly, and a constant of each mode but the car.
    """
    data = modechoice.load_pandas().data
    df = data[["individual", "gc", "ttme"]].astype({"individual": int})
    for number, mode in MODES.items():
        df[mode] = (data["mode"] == number).astype(float)
    df["air_income"] = df["air"] * data["hinc"]
    df["mode"] = data["mode"].map(MODES)
    df["chosen"] = data["choice"] == 1
    return df


def utility(df: Any, beta: np.ndarray) -> Any:
    return sum(df[name] * value for name, value in zip(COVARIATES, beta, strict=True))


def log_likelihood(df: Any, beta: np.ndarray) -> Any:
    """The log-likelihood of a DataFrame of pandas, or lazily of Dask."""
    log_p = dataframe.log_softmax(utility(df, beta), by=df["individual"])
    return log_p[df["chosen"]].sum()


def estimate(df: pd.DataFrame, steps: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The most likely beta by Newton's method, and the standard errors."""
    x, beta = df[COVARIATES], np.zeros(len(COVARIATES))
    for _ in range(steps):
        p = dataframe.softmax(utility(df, beta), by=df["individual"])
        mean = x.mul(p, axis=0).groupby(df["individual"]).transform("sum")
        information = (x - mean).T @ x.mul(p, axis=0)
        step = np.linalg.solve(information, x.T @ (df["chosen"] - p))
        beta = beta + step
        if np.abs(step).max() < 1e-12:
            break
    return beta, np.sqrt(np.diag(np.linalg.inv(information)))


def shares(df: pd.DataFrame, beta: np.ndarray) -> pd.Series:
    """The share of the people whom each mode is expected to have."""
    p = dataframe.softmax(utility(df, beta), by=df["individual"])
    return p.groupby(df["mode"]).sum() / df["individual"].nunique()


def with_wait(df: pd.DataFrame, minutes: float) -> pd.DataFrame:
    """The same people, if those who fly waited longer; not less than no minute."""
    return df.assign(ttme=(df["ttme"] + minutes * df["air"]).clip(lower=0))


def worth(before: pd.DataFrame, after: pd.DataFrame, beta: np.ndarray) -> pd.Series:
    """What a change is worth to each person, in dollars."""
    values = [dataframe.logsumexp(utility(d, beta), by=d["individual"]) for d in (before, after)]
    return (values[1] - values[0]) / -beta[COVARIATES.index("gc")]


def draw(path: Path, df: pd.DataFrame, beta: np.ndarray) -> None:
    """Expected shares, and dollars for each person, over the change of the wait."""
    minutes = np.arange(-40, 41, 2)
    share = pd.DataFrame([shares(with_wait(df, m), beta) for m in minutes], index=minutes)
    dollars = [worth(df, with_wait(df, m), beta) for m in minutes]
    low, middle, high = np.quantile(dollars, [0.1, 0.5, 0.9], axis=1)
    colours = {"air": "#0072B2", "train": "#D55E00", "bus": "#009E73", "car": "#555555"}
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for mode, colour in colours.items():
        above.plot(minutes, share[mode], color=colour, linewidth=2)
        above.text(41, share[mode].iloc[-1], mode, color=colour, va="center")
        chosen = df["chosen"][df["mode"] == mode].mean()
        above.plot(0, chosen, "o", color=colour, markersize=5)
    above.text(1, 0.4, "dots: what they chose", color="#555555")
    above.set(ylabel="Share of those asked", ylim=(0, None))
    title = "Longer waits at the airport send travellers to train and car"
    above.set_title(title, loc="left", fontsize=13)
    blue = colours["air"]
    below.fill_between(minutes, low, high, color=blue, alpha=0.3, linewidth=0)
    below.plot(minutes, middle, color=blue, linewidth=2)
    below.axhline(0, color="#BBBBBB", linewidth=0.8)
    below.text(-20, high.max() * 0.8, "median traveller, and 80% of them", color=blue)
    below.set(ylabel="Worth to a traveller ($)", xlabel="Change of the wait for a flight (minutes)")
    below.set_xlim(-41, 47)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
    figure.savefig(path, dpi=150)


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), default="build/modes")
@click.option("--partitions", default=4, show_default=True, help="Of the DataFrame of Dask.")
def main(output: Path, partitions: int) -> None:
    """Estimate what people look for in a journey, and draw OUTPUT/mode-choice.png."""
    df = travellers()
    beta, error = estimate(df)
    model = ConditionalLogit(df["chosen"].astype(int), df[COVARIATES], groups=df["individual"])
    theirs = model.fit(disp=False)
    lazy = dd.from_pandas(df, npartitions=partitions)
    likelihood, in_parts = dask.compute(log_likelihood(df, beta), log_likelihood(lazy, beta))

    click.echo(
        f"{df['individual'].nunique()} people, {len(df)} rows, {lazy.npartitions} partitions"
    )
    click.echo(f"\n{'':12}{'estimate':>10}{'error':>10}{'statsmodels':>13}")
    for row in zip(COVARIATES, beta, error, theirs.params, strict=True):
        click.echo("{:12}{:10.5f}{:10.5f}{:13.5f}".format(*row))
    click.echo(f"Log-likelihood {likelihood:.4f}, of Dask {in_parts:.4f}; Greene has {GREENE}.")
    gain = worth(df, with_wait(df, -10), beta)
    click.echo(f"Ten minutes less at the airport: ${gain.mean():.2f} a traveller.")
    others = np.array([in_parts, model.loglike(beta)])
    likely = np.abs(others - likelihood).max() <= TOLERANCE and abs(likelihood - GREENE) < 1e-4
    if not (likely and (np.abs(beta - theirs.params) < ERRORS * error).all()):
        raise click.ClickException("dsoftmax and statsmodels differ, or Greene")

    output.mkdir(parents=True, exist_ok=True)
    draw(output / "mode-choice.png", df, beta)
    click.echo(f"wrote {output / 'mode-choice.png'}")


if __name__ == "__main__":
    main()
