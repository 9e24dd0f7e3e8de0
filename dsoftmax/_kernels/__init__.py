"""One block on its own device: the state of a block, and the maps from a state to an output.

Kernels know one block and nothing of its neighbours.  They are chosen by the type of the block:
compiled ones for NumPy's, CUDA for CuPy's, else those that any array-API library runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._algebra.moments import Moments
from .._algebra.moments import effective_sample_size as sample_size_of
from .._algebra.moments import entropy as entropy_of
from .._algebra.normalizer import State, common_namespace, log_d
from .._algebra.normalizer import merge as merge_states
from .._algebra.sums import Sums
from . import portable
from .blocks import Terms, as_block, is_masked_alone, laid_out, masked_like, unmasked_terms
from .choose import can_compile, kernels_for
from .cpu import block as on_cpu
from .cpu import log_calls
from .cpu import quick as quick_on_cpu
from .cuda import block as on_cuda
from .cuda import finish, quick
from .in_memory import InMemory
from .running import cumulative_logsumexp

__all__ = [
    "InMemory",
    "Terms",
    "as_block",
    "cumulative_logsumexp",
    "effective_sample_size",
    "entropy",
    "log_rescale",
    "log_softmax",
    "log_sum",
    "logsumexp",
    "merge",
    "moments",
    "of_block",
    "quick_result",
    "quick_softmax",
    "quick_state",
    "rescale",
    "softmax",
    "sums",
]

Array = Any
Axes = tuple[int, ...]


def quick_result(output: str, x: Any, axis: Any, keepdims: bool = False, b: Any = None) -> Any:
    """The result of an operation on an array of NumPy's or CuPy's; None for what takes more."""
    if type(x) is np.ndarray:
        return quick_on_cpu.result(output, x, axis, keepdims, b)
    return quick.result(output, x, axis, keepdims) if b is None else None


def quick_softmax(x: Any, state: Any) -> Any:
    """exp(x - m) / d of an array that is one slice; None for what takes more."""
    if type(x) is not np.ndarray or type(state.m) is not np.ndarray:
        return None
    return quick_on_cpu.applied(x, state.m, np.asarray(state.d))


quick_state = quick_on_cpu.state  # of an array of NumPy's; None for what takes more


def of_block(x: Array | Terms, axes: Axes) -> State:
    """The state (m, w, s) of a block over ``axes``, which stay with length 1.

    Masked entries take no part, and masked weights are 0.
    """
    state = _of_terms(laid_out(x), axes)
    if is_masked_alone(x) and (state.m == -np.inf).any():  # -inf in the place of all of a slice?
        return _of_terms(unmasked_terms(x), axes)
    return state


def _of_terms(terms: Terms, axes: Axes) -> State:
    x, b, where, _ = terms
    if where is not None and b is not None:
        xp = common_namespace(b)
        b, where = xp.where(where, b, xp.zeros_like(b)), None
    arrays = (a for a in (x, b, where) if a is not None)
    return kernels_for(*arrays).of_block(x, axes, b, where)


def moments(x: Array | Terms, axes: Axes) -> Moments:
    """The moments (m, w, s, t, q) of a block over ``axes``, which stay with length 1."""
    x, _, where, _ = unmasked_terms(x)
    return kernels_for(x).moments(x, axes, where)


def sums(x: Terms, axes: Axes) -> Sums:
    """The sums (m, w, s, o) of a block and the values beside it over ``axes``."""
    x, _, where, values = unmasked_terms(x)
    return kernels_for(x, *values).sums(x, axes, values, where)


def rescale(x: Array | Terms, state: Any) -> Array:
    """exp(x - m) / d; masked entries stay masked."""
    data, _, where, _ = laid_out(x)
    common_namespace(data, state.m)
    return masked_like(x, kernels_for(data).rescale(data, state.m, state.d, where))


def log_rescale(x: Array | Terms, state: Any) -> Array:
    """(x - m) - log d; masked entries stay masked."""
    data, _, where, _ = laid_out(x)
    common_namespace(data, state.m)
    logarithm = finish.log_d(state) if finish.supports(state) else log_d(state)
    return masked_like(x, kernels_for(data).log_rescale(data, state.m, logarithm, where))


def merge(*states: State) -> State:
    """The state of the union of the slices, in one launch where states are on a device."""
    return finish.merge(*states) if finish.merges(states) else merge_states(*states)


def log_sum(state: Any) -> Array:
    """log(sum b exp(x)), in the accumulator's precision; NaN where a real sum is negative."""
    if finish.supports(state):
        return finish.log_sum(state)
    state = State(state.m, state.w, state.s)
    here = all(map(on_cpu.supports, state)) and state.s.dtype == np.float64 and can_compile()
    return (on_cpu if here else portable).log_sum(state)


def entropy(state: Moments) -> Array:
    """-sum p log p in nats; 0 of nothing, NaN where there is no softmax."""
    return finish.entropy(state) if finish.supports(state) else entropy_of(state)


def effective_sample_size(state: Moments) -> Array:
    """1 / sum p^2; 0 of nothing, NaN where there is no softmax."""
    if finish.supports(state):
        return finish.effective_sample_size(state)
    return sample_size_of(state)


def logsumexp(x: Array | Terms, axes: Axes) -> Array:
    """The log-sum-exp of a block that holds its slices whole, which stay with length 1."""
    if on_cuda.supports(x):
        return on_cuda.logsumexp(x, axes)
    data, b, where, _ = laid_out(x)
    plain = b is None and where is None and kernels_for(data) is on_cpu
    found = log_calls.logsumexp(data, axes) if plain else None
    return log_sum(of_block(x, axes)) if found is None else found


def softmax(x: Array | Terms, axes: Axes) -> Array:
    """The softmax of a block that holds its slices whole."""
    data, _, where, _ = laid_out(x)
    return masked_like(x, kernels_for(data).softmax(data, axes, where))


def log_softmax(x: Array | Terms, axes: Axes) -> Array:
    """The log-softmax of a block that holds its slices whole."""
    data, _, where, _ = laid_out(x)
    return masked_like(x, kernels_for(data).log_softmax(data, axes, where))
