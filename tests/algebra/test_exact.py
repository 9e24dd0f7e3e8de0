"""The state of exact sums: its classes, and the laws of its merge."""

import math
import random
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsoftmax._algebra.exact import SLICE_BYTES, Exact, anchor_of, as_dtype, identity, merge

from ..exact_sums import anchor_of as anchor_by_definition

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ELEMENTS = st.one_of(
    *(st.floats(-low, low) for low in (1, 40, 400)),
    st.sampled_from([32.0, -32.0, 96.0, 1e300, -1e300, np.inf, -np.inf, np.nan]),
)


@given(FLOATS)
@example(np.nextafter(32, 0))
@example(np.nextafter(-32, -64))
@example(-1e-20)
@example(2.0**58 + 64)
def test_the_anchor_of_a_number(x):
    with np.errstate(all="raise", under="ignore"):
        anchor = anchor_of(np.array(x))
    assert anchor == anchor_by_definition(x)
    assert x - anchor == Fraction(x) - Fraction(float(anchor))  # without rounding


def one(x, shape=(1,)):
    """The state of one element, with a whole number for its exponential."""
    state = identity(shape, "float64")
    state.records["m"] = x
    state.records["w"] = not math.isnan(x)
    if math.isfinite(x):
        e = int(np.exp(x - anchor_of(np.array(x))) * 2**30)
        state.records["top"][..., 1] = e % 2**43
        state.records["top"][..., 2] = e // 2**43
    return state


def in_order(states):
    return reduce(merge, states, identity((1,), "float64"))


def in_halves(states):
    if len(states) < 2:
        return in_order(states)
    half = len(states) // 2
    return merge(in_halves(states[half:]), in_halves(states[:half]))


@settings(max_examples=100, deadline=None)
@given(st.lists(ELEMENTS, max_size=40), st.randoms(use_true_random=False))
@example([0.0, -0.0], random.Random(0))
@example([-0.0, 0.0], random.Random(0))
def test_any_tree_gives_the_same_bits(elements, generator):
    states = [one(x) for x in elements]
    expected = merge(identity((1,), "float64"), *states).records.tobytes()
    assert in_order(states).records.tobytes() == expected
    assert in_halves(states).records.tobytes() == expected
    generator.shuffle(states)
    assert in_order(states).records.tobytes() == expected
    assert in_halves(states).records.tobytes() == expected


def test_the_highest_two_classes_of_the_rest_are_kept():
    state = merge(*(one(x) for x in (0.0, -400.0, -70.0, -600.0, -401.0)))
    (record,) = state.records
    assert (record["m"], record["w"]) == (0, 1)
    assert record["anchor"].tolist() == [-64, -384]
    both = merge(one(-400.0), one(-401.0)).records[0]
    assert (record["rest"][1] == both["top"] + both["rest"][0]).all()


def test_slices_do_not_meet():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(5, 6)) * 60
    parts = []
    for row in columns:
        states = [one(x).records for x in row]
        parts.append(Exact(np.stack(states, axis=1)))
    together = merge(*parts).records
    for k in range(6):
        alone = merge(*(one(x) for x in columns[:, k])).records
        assert together[:, k].tobytes() == alone.tobytes()


def test_sums_of_float32_and_float64_merge():
    narrow, wide = as_dtype(one(1.5), "float32"), one(-2.5)
    assert narrow.records.dtype["m"] == np.float32
    for merged in (merge(narrow, wide), merge(wide, narrow)):
        assert merged.records.tobytes() == merge(one(1.5), wide).records.tobytes()


def test_the_size_of_a_state():
    assert SLICE_BYTES == 152
    assert {identity((3,), name).records.nbytes for name in ("float16", "int8")} == {3 * 152}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_is_kept_beside_what_decides(bad):
    (record,) = merge(one(3.0), one(bad), one(bad)).records
    assert record["w"] == (0 if math.isnan(bad) else 2)
    assert not record["top"].any()
    assert not record["rest"].any()
    assert (record["anchor"] == -np.inf).all()
