"""The algorithms of the paper as it states them, in plain Python over NumPy arrays.

Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018, arXiv:1805.02867. They are
for reading beside the paper and for tests; use `dsoftmax.softmax` for real work. All take a vector,
any sequence of numbers, and return a vector of float64.

================== ========= ============== ==================================================
function           in paper  memory/element fails
================== ========= ============== ==================================================
`naive_softmax`    Alg. 1    3              overflows at 710, underflows to 0/0 below -745
`safe_softmax`     Alg. 2    4              for +inf, and for nothing but -inf
`online_softmax`   Alg. 3    3              also where x begins with -inf
`parallel_softmax` sect. 3.1 3, in parallel also if one begins with -inf, or the first is empty
================== ========= ============== ==================================================

Where one fails, results are NaN, and all but `naive_softmax` let NumPy warn.  `dsoftmax.softmax`
gives NaN where `safe_softmax` does, and nowhere else; it does not warn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

Float = np.float64
Vector = np.ndarray
Pair = tuple[Float, Float]

IDENTITY: Pair = (Float(-np.inf), Float(0.0))


def naive_softmax(x: ArrayLike) -> Vector:
    """exp(x_i) / sum_j exp(x_j): Algorithm 1, the definition.

    Two passes over x and one over the result. Right as long as no exponential overflows (as for
    x > 709.78 in float64, 88.72 in float32) and not all of them underflow.

    Parameters
    ----------
    x : array_like
        A vector: a sequence of numbers, which may be empty.

    Returns
    -------
    ndarray
        Of float64, and the length of x.

    Examples
    --------
    >>> naive_softmax([2, 4, 1, 300, 400, 500, 600, 700, 800, 900, 100000])
    array([ 0.,  0.,  0.,  0.,  0.,  0.,  0.,  0., nan, nan, nan])
    """
    x = np.asarray(x, dtype=Float)
    with np.errstate(over="ignore", invalid="ignore"):
        d = Float(0)
        for x_j in x:
            d = d + np.exp(x_j)
        return np.array([np.exp(x_i) / d for x_i in x])


def safe_softmax(x: ArrayLike) -> Vector:
    """exp(x_i - m) / sum_j exp(x_j - m) with m = max x: Algorithm 2, what libraries do.

    No exponential exceeds 1, so nothing overflows. NaN only where a maximum of +inf or -inf leaves
    inf - inf. The price is one more pass over x, for m.

    Parameters
    ----------
    x : array_like
        A vector: a sequence of numbers, which may be empty.

    Returns
    -------
    ndarray
        Of float64, and the length of x.

    Examples
    --------
    >>> safe_softmax([2, 4, 1, 300, 400, 500, 600, 700, 800, 900, 100000])
    array([0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1.])
    """
    x = np.asarray(x, dtype=Float)
    m = Float(-np.inf)
    for x_k in x:
        m = np.maximum(m, x_k)
    d = Float(0)
    for x_j in x:
        d = d + np.exp(x_j - m)
    return np.array([np.exp(x_i - m) / d for x_i in x])


def online_normalizer(x: ArrayLike) -> Pair:
    """The pair (m, d) in a single pass: lines 1-6 of Algorithm 3.

    A new maximum m' scales the sum so far by exp(m - m'). Starts from `IDENTITY`, so an empty
    vector gives (-inf, 0). If x begins with -inf, d is NaN, since exp(-inf - (-inf)) is NaN where 0
    is meant.

    Parameters
    ----------
    x : array_like
        A vector: a sequence of numbers, which may be empty.

    Returns
    -------
    tuple of two float64
        The maximum m and the sum d.

    Examples
    --------
    >>> m, d = online_normalizer([0.1, 0.3, 0.08, -0.09])
    >>> float(m), float(d)
    (0.3, 3.298306425538625)
    """
    m, d = IDENTITY
    for x_j in np.asarray(x, dtype=Float):
        larger = np.maximum(m, x_j)
        d = d * np.exp(m - larger) + np.exp(x_j - larger)
        m = larger
    return m, d


def online_softmax(x: ArrayLike) -> Vector:
    """exp(x_i - m) / d with (m, d) of `online_normalizer`: Algorithm 3.

    As safe as Algorithm 2, except if x begins with -inf, with as few memory accesses as Algorithm
    1.

    Parameters
    ----------
    x : array_like
        A vector: a sequence of numbers, which may be empty.

    Returns
    -------
    ndarray
        Of float64, and the length of x.

    Examples
    --------
    >>> online_softmax([2, 4, 1, 300, 400, 500, 600, 700, 800, 900, 100000])
    array([0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1.])
    """
    x = np.asarray(x, dtype=Float)
    m, d = online_normalizer(x)
    return np.array([np.exp(x_i - m) / d for x_i in x])


def merge(a: Pair, b: Pair) -> Pair:
    """The pair of two vectors joined, from their pairs: equation (4), section 3.1.

    Associative and commutative, with `IDENTITY` as the identity: the parts of a vector may be
    taken in any order and grouping.  As in the paper, it is undefined (NaN) where both maxima
    are -inf, or one is +inf; `dsoftmax.Normalizer.merge` is not.

    Parameters
    ----------
    a, b : tuple of two floats
        The pairs (m, d) of the parts.

    Returns
    -------
    tuple of two float64
        The pair of the whole.

    Examples
    --------
    >>> merge(online_normalizer([0.1, 0.3]), online_normalizer([0.08, -0.09]))
    (np.float64(0.3), np.float64(3.298306425538625))
    """
    (m_a, d_a), (m_b, d_b) = a, b
    m = np.maximum(m_a, m_b)
    return m, d_a * np.exp(m_a - m) + d_b * np.exp(m_b - m)


def rescale(o: ArrayLike, part: Pair, whole: Pair) -> Vector:
    """Turn the softmax of a part of a vector into its part of the softmax of the whole.

    o exp(m_part - m) d_part / d: outputs finished too early need not be computed again.

    Parameters
    ----------
    o : array_like
        The softmax of the part.
    part, whole : tuple of two floats
        The pairs (m, d) of both.

    Returns
    -------
    ndarray
        Of float64, and the length of o.

    Examples
    --------
    >>> part, whole = online_normalizer([1.0, 2.0]), online_normalizer([1.0, 2.0, 3.0])
    >>> rescale(online_softmax([1.0, 2.0]), part, whole).round(4)
    array([0.09  , 0.2447])
    """
    (m_part, d_part), (m, d) = part, whole
    return np.asarray(o, dtype=Float) * np.exp(m_part - m) * d_part / d


def parallel_softmax(parts: Iterable[Sequence[float]]) -> list[Vector]:
    """The softmax of a vector given in parts, each processed independently: section 3.1.

    Every part gives its pair and its own softmax, the pairs are merged, the outputs rescaled.
    This is what `dsoftmax.softmax` does with the chunks of a Dask array, except that it computes
    the outputs once, after the merge, and that its merge works for all values: here all outputs are
    NaN if the first part is empty, or one begins with -inf.

    Parameters
    ----------
    parts : iterable of sequences of numbers
        The vector, cut.

    Returns
    -------
    list of ndarray
        The softmax of the vector, cut in the same way.

    Examples
    --------
    >>> [part.round(4).tolist() for part in parallel_softmax([[1.0, 2.0], [3.0]])]
    [[0.09, 0.2447], [0.6652]]
    """
    parts = list(parts)
    pairs = [online_normalizer(part) for part in parts]
    whole = IDENTITY
    for pair in pairs:
        whole = merge(whole, pair)
    return [
        rescale(online_softmax(part), pair, whole) for part, pair in zip(parts, pairs, strict=True)
    ]
