"""Which digit is it?
==================

Attention to 899 handwritten digits recognises 898 others.

An image q attends to the images k of a memory, with the scores -(q - k)^2 / (2 h^2), and weights
their labels by the softmax of the scores.  `dsoftmax.softmax_matmul` of the scores and the labels
does this in one pass over both: it is attention (Vaswani et al. 2017), and also the estimate of
Nadaraya (1964) and Watson (1964).  `dsoftmax.softmax_topk` retrieves the images that it looked at
most, with their probabilities, again in one pass.

The width h is the one with the largest likelihood of the labels of the memory, where each image
attends to all others: two calls of `dsoftmax.logsumexp`, with masks passed as ``where=``.

The scores are a lazy Dask array over (images, memory), chunked along both: it is never in memory as
a whole, and the same code works for a memory of millions.  The images, of 8 x 8 pixels, are those
of Alpaydin and Kaynak (1998), as shipped with scikit-learn.  The program prints how many it
recognises, and fails if the distances of the images retrieved differ from those that scikit-learn
finds, or the probabilities from those of `scipy.special.softmax` over all scores at once.

- E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning
  Repository, 1998, doi 10.24432/C50P49.
- E. A. Nadaraya, "On estimating regression", Theory of Probability and its Applications 9(1),
  141-142, 1964, doi 10.1137/1109020.
- Ashish Vaswani et al., "Attention is all you need", 2017, arXiv:1706.03762.
- Geoffrey S. Watson, "Smooth regression analysis", Sankhya A 26(4), 359-372, 1964.
"""

from __future__ import annotations

from pathlib import Path

import click
import dask
import dask.array as da
import numpy as np
from matplotlib.figure import Figure
from scipy import special
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

import dsoftmax

WIDTHS = np.arange(2.0, 13.0)  # of a pixel's grey, which is 0 to 16
RETRIEVED = 6
CHUNK = 250  # images
TOLERANCE = 1e-12


def distances(queries: np.ndarray, memory: np.ndarray) -> da.Array:
    """Squared distances of images, lazily, over (queries, memory)."""
    q, k = (da.from_array(images, chunks=(CHUNK, -1)) for images in (queries, memory))
    squares = (q**2).sum(axis=1)[:, None] + (k**2).sum(axis=1)
    return squares - 2 * q @ k.T  # of integers, and so exact


def log_likelihood(squared: da.Array, labels: np.ndarray) -> da.Array:
    """Of the labels of a memory, where each image attends to all others; for each of WIDTHS."""
    others = ~np.eye(labels.size, dtype=bool)
    same = others & (labels[:, None] == labels)
    total = []
    for width in WIDTHS:
        scores = squared / (-2 * width**2)
        right = dsoftmax.logsumexp(scores, axis=1, where=same)
        total.append((right - dsoftmax.logsumexp(scores, axis=1, where=others)).sum())
    return da.stack(total)


def draw(
    path: Path,
    images: np.ndarray,
    true: np.ndarray,
    memory: np.ndarray,
    nearest: dsoftmax.TopK,
    p: np.ndarray,
    title: str,
) -> None:
    """Each image with its label, those that it looked at most, and what it was taken for."""
    blue = "#0072B2"  # can be told apart from grey with any colour vision
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    rows, columns = len(images), RETRIEVED + 2
    axes = figure.subplots(rows, columns, width_ratios=[*[1] * (RETRIEVED + 1), 3])
    for image, label, found, weights, probability, row in zip(
        images, true, nearest.indices, nearest.values, p, axes, strict=True
    ):
        pictures = [image, *memory[found]]
        words = [f"a {label}", *(f"{weight:.0%}" for weight in weights)]
        for picture, word, place in zip(pictures, words, row[:-1], strict=True):
            place.imshow(picture.reshape(8, 8), cmap="Greys")
            place.set_title(word, fontsize=9, pad=2)
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
        colours = np.where(np.arange(10) == probability.argmax(), blue, "#BBBBBB")
        row[-1].bar(np.arange(10), probability, color=colours)
        row[-1].set(ylim=(0, 1), yticks=[])
        row[-1].set_xticks(range(10), range(10), fontsize=8)
        row[-1].tick_params(length=0)
        row[-1].spines[["top", "left", "right"]].set_visible(False)
    axes[0, -1].set_title("taken for", fontsize=9, pad=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.savefig(path, dpi=150)


def agrees(queries: np.ndarray, memory: np.ndarray, width: float, found: tuple) -> bool:
    """Whether scikit-learn and SciPy find the same."""
    p, nearest, one_hot = found
    theirs, _ = NearestNeighbors(algorithm="brute").fit(memory).kneighbors(queries, RETRIEVED)
    ours = np.linalg.norm(queries[:, None] - memory[nearest.indices], axis=2)
    squared = ((queries[:, None] - memory) ** 2).sum(axis=2)
    weights = special.softmax(squared / (-2 * width**2), axis=1)
    best = np.sort(weights, axis=1)[:, : -RETRIEVED - 1 : -1]
    differences = (ours - theirs, nearest.values - best, p - weights @ one_hot)
    return all(np.abs(difference).max() < TOLERANCE for difference in differences)


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), default="build/digits")
def main(output: Path) -> None:
    """Recognise handwritten digits by attention, and draw OUTPUT/attention-digits.png."""
    images, labels = load_digits(return_X_y=True)
    memory, queries = images[:899], images[899:]
    known, true = labels[:899], labels[899:]

    likelihood = log_likelihood(distances(memory, memory), known).compute()
    width = WIDTHS[likelihood.argmax()]
    for tried, value in zip(WIDTHS, likelihood, strict=True):
        mark = " <" if tried == width else ""
        click.echo(f"width {tried:4.0f}   log-likelihood {value:9.2f}{mark}")

    scores = distances(queries, memory) / (-2 * width**2)
    one_hot = np.eye(10)[known]
    lazy = (
        dsoftmax.softmax_matmul(scores, one_hot),
        dsoftmax.softmax_topk(scores, RETRIEVED, axis=1),
        dsoftmax.entropy(scores, axis=1),
    )
    p, nearest, entropy = dask.compute(*lazy)
    right = p.argmax(axis=1) == true
    blocks = " x ".join(map(str, scores.numblocks))
    click.echo(f"{scores.shape[0]} x {scores.shape[1]} scores in {blocks} chunks")
    click.echo(f"{right.sum()} of {right.size} images recognised, {right.mean():.1%}.")
    click.echo(f"An image looked at {np.exp(np.median(entropy)):.0f} others, by the perplexity.")
    if not agrees(queries, memory, width, (p, nearest, one_hot)):
        raise click.ClickException("dsoftmax and scikit-learn differ, or SciPy")

    output.mkdir(parents=True, exist_ok=True)
    unsure = np.argsort(special.entr(p).sum(axis=1))[-5:][::-1]
    nearest = dsoftmax.TopK(nearest.values[unsure], nearest.indices[unsure])
    title = f"Attention recognised {right.mean():.0%}; of these it was least sure"
    draw(
        output / "attention-digits.png",
        queries[unsure],
        true[unsure],
        memory,
        nearest,
        p[unsure],
        title,
    )
    click.echo(f"wrote {output / 'attention-digits.png'}")


if __name__ == "__main__":
    main()
