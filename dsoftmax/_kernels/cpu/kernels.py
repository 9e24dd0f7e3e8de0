"""The compiled kernels: what makes each, from a few parameters, where it has to be compiled.

Numba is imported by the modules of the kernels, and so only then: code that was kept needs none.
"""

from __future__ import annotations

from typing import Any

Scalar = type  # of NumPy: the working dtype


def rows(working: Scalar, weighted: bool, masked: bool) -> Any:
    """States and outputs of slices along the fastest axis."""
    from . import rows

    return rows.rows(working, weighted, masked)


def columns(working: Scalar, kind: str, masked: bool) -> Any:
    """States and outputs of slices across the fastest axis, or of many short ones."""
    from . import columns

    return columns.columns(working, kind, masked)


def row_sums(working: Scalar, moments: bool, masked: bool) -> Any:
    """States with further sums of slices along the fastest axis."""
    from . import row_sums

    return row_sums.row_sums(working, moments, masked)


def exact_rows(working: Scalar, masked: bool) -> Any:
    """Exact states of slices along one axis."""
    from . import exact_rows

    return exact_rows.exact_rows(working, masked)


def exact_columns(working: Scalar, masked: bool) -> Any:
    """Exact states of slices across the fastest axis."""
    from . import exact_columns

    return exact_columns.exact_columns(working, masked)


def exact_finish(working: Scalar) -> Any:
    """The numbers that exact states stand for."""
    from . import exact_finish

    return exact_finish.exact_finish(working)


def best_rows(working: Scalar) -> Any:
    """The k best of slices, with their states if asked for."""
    from . import best

    return best.rows(working)


def best_columns(working: Scalar) -> Any:
    """The k best of slices that lie side by side."""
    from . import best

    return best.columns(working)


def in_turns() -> Any:
    """Another kernel on many pieces, which threads take in turns."""
    from . import turns

    return turns.in_turns()


def log_sums(working: Scalar) -> Any:
    """The logarithms of the sums of many states."""
    from . import log

    return log.sums(working)


def running_sums(working: Scalar) -> Any:
    """The logarithms of the running sums of slices."""
    from . import running_sums

    return running_sums.running_sums(working)


def random_bits() -> Any:
    """Random bits of counters."""
    from . import philox

    return philox.random_bits()


def gumbel_noise() -> Any:
    """Gumbel noise of random bits."""
    from . import philox

    return philox.gumbel_noise()


def noisy_candidates(element: Scalar) -> Any:
    """The elements that may be among the best, with Gumbel noise."""
    from . import philox

    return philox.noisy_candidates(element)


def integer_weights(element: Scalar) -> Any:
    """Weights as integers, and their sums."""
    from . import weights

    return weights.integer_weights(element)


def products(working: Scalar) -> Any:
    """Products of exponentials with a matrix."""
    from . import attention

    return attention.products(working)


def load(dtype: str, swapped: bool, working: Scalar) -> Any:
    """From elements of a dtype and layout to a contiguous tile."""
    from . import codecs

    return codecs.load(dtype, swapped, working)


def store(dtype: str, working: Scalar) -> Any:
    """From a contiguous tile to elements of a dtype and layout."""
    from . import codecs

    return codecs.store(dtype, working)


def group_labels(word: Scalar) -> Any:
    """From labels to numbers of groups."""
    from . import group_labels

    return group_labels.labels(word)


def group_join(word: Scalar) -> Any:
    """From labels of several parts, in order in each, to numbers of groups."""
    from . import group_labels

    return group_labels.join(word)


def group_scatter(element: Scalar) -> Any:
    """Elements of neighbouring groups together."""
    from . import group_labels

    return group_labels.scatter(element)


def group_states(element: Scalar, moments: bool) -> Any:
    """The states, or moments, of groups whose elements are anywhere."""
    from . import groups

    return groups.states(element, moments)


def group_present(moments: bool) -> Any:
    """The groups that there are, of a table."""
    from . import groups

    return groups.present(moments)


def group_merge(moments: bool) -> Any:
    """States, or moments, of groups from those of parts."""
    from . import groups

    return groups.merge(moments)


def group_map(element: Scalar, logarithm: bool) -> Any:
    """The softmax, or its logarithm, of elements whose groups have states."""
    from . import groups

    return groups.apply(element, logarithm)
