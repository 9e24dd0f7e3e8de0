"""A test of each kernel on a few numbers, before its first use; a kernel that fails is not used.

It takes less than a millisecond, and guards against what nobody has thought of: code that was kept
by a faulty program, a processor that is not what it says it is, a bug in the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..modes import APPLY, LOGARITHM, REDUCE
from . import draw_tests as draws
from . import exact_test, kernels
from . import group_tests as groups
from .protocol import (
    ATTENTION_TILE_BYTES,
    SCRATCH_BYTES,
    Running,
    Selection,
    Work,
)
from .samples import close, in_memory, place_of, scores, scratch_memory

Array = np.ndarray
Function = Callable[..., None]
Address = Callable[..., int]

_SLICES, _LENGTH, _BEST = 3, 37, 5  # several vectors, and not whole ones


def passes(
    kernel: Function, address: Address, factory: Function, parameters: tuple[Any, ...]
) -> bool:
    """Whether the kernel that a factory makes of its parameters computes what it should.

    ``address`` gives the address of other kernels, as `compiler.address` does.
    """
    with np.errstate(all="ignore"):  # the numbers of a kernel that fails are any
        return bool(_TESTS[factory](kernel, address, *parameters))


def _load(kernel: Function, address: Address, name: str, swapped: bool, working: Any) -> bool:
    values = np.arange(_LENGTH) % (2 if name == "bool" else 100)
    stored = in_memory(values, name)
    if swapped:
        stored = stored.byteswap()
    tile = np.zeros(_LENGTH, working)
    kernel(place_of(stored), place_of(tile), stored.itemsize, _LENGTH)
    return np.array_equal(tile, values)


def _store(kernel: Function, address: Address, name: str, working: Any) -> bool:
    values = np.arange(_LENGTH)
    tile = values.astype(working)
    stored = in_memory(np.zeros(_LENGTH), name)
    kernel(place_of(tile), place_of(stored), stored.itemsize, _LENGTH)
    return np.array_equal(stored, in_memory(values, name))


def _rows(kernel: Function, address: Address, working: Any, weighted: bool, masked: bool) -> bool:
    kind = "weighted" if weighted else "plain"
    return _row_states(kernel, address, working, kind, masked)


def _row_sums(
    kernel: Function, address: Address, working: Any, moments: bool, masked: bool
) -> bool:
    return _row_states(kernel, address, working, "moments" if moments else "values", masked)


def _row_states(kernel: Function, address: Address, working: Any, kind: str, masked: bool) -> bool:
    work = Work(count=_SLICES, length=_LENGTH)
    return _computes_softmax(kernel, address, working, kind, masked, work, 1)


def _columns(kernel: Function, address: Address, working: Any, kind: str, masked: bool) -> bool:
    work = Work(count=1, length=_SLICES, width=_LENGTH)
    return _computes_softmax(kernel, address, working, kind, masked, work, 0)


def _computes_softmax(
    kernel: Function,
    address: Address,
    working: Any,
    kind: str,
    masked: bool,
    work: Work,
    axis: int,
) -> bool:
    """Whether the states and, of plain ones, the softmax and its logarithm are right."""
    x = scores((_SLICES, _LENGTH), working)
    b = 1 + np.abs(scores(x.shape, np.float64))[::-1]
    where = (np.arange(x.size) % 3 != 0).reshape(x.shape) | (not masked)
    y = np.empty_like(x)
    state = [np.full(x.shape[1 - axis], np.nan, x.dtype)]
    state += [np.full(x.shape[1 - axis], np.nan) for _ in range(4)]
    work.x_row, work.x_step = x.strides
    work.b_row, work.b_step = b.strides
    work.where_row, work.where_step = where.strides
    work.y_row, work.y_step = y.strides
    if kind == "values":
        b = b.astype(working)
        work.b_row, work.b_step = b.strides
    if kind == "weighted":
        work.load = address(kernels.load, x.dtype.name, False, working)
        work.load_b = address(kernels.load, "float64", False, np.float64)
    scratch = scratch_memory(SCRATCH_BYTES)
    work.x, work.b, work.where, work.y, work.scratch = map(place_of, (x, b, where, y, scratch))

    def run(mode: int, *state: Array) -> None:
        y.fill(np.nan)
        work.mode = mode
        for name, field in zip("mwstq", state, strict=False):
            setattr(work, name, place_of(field))
        kernel(work.address)

    run(REDUCE, *state)
    top = np.where(where, x, -np.inf).max(axis, keepdims=True)
    e = np.where(where, np.exp(x - top, dtype=np.float64), 0)
    at_top, rest = (np.where(choice, e, 0) for choice in (x == top, x != top))
    terms = b if kind == "weighted" else 1
    expected = [top, at_top * terms, rest * terms]
    if kind == "moments":
        expected += [rest * (x - top), rest**2]
    if kind == "values":
        expected += [e * b]
    right = all(
        close(found, right.sum(axis), x.dtype)
        for found, right in zip(state, expected, strict=False)
    )
    if kind == "plain":
        d, p = e.sum(axis), e / e.sum(axis, keepdims=True)
        with np.errstate(divide="ignore"):
            log_p = np.log(p)
        for mode, given in ((APPLY, d), (REDUCE | APPLY, d)):
            run(mode, *state[:2], given)
            right &= close(y, p, x.dtype)
        for mode, given in ((APPLY, np.log(d)), (REDUCE | APPLY, d)):
            run(mode | LOGARITHM, *state[:2], given)
            right &= close(y, log_p, x.dtype)
    return right


def _in_turns(kernel: Function, address: Address) -> bool:
    x, working = scores((_SLICES, _LENGTH), np.float32), np.float32
    m, w, s = np.zeros(_SLICES, working), np.zeros(_SLICES), np.zeros(_SLICES)
    works, taken, scratch = (Work * _SLICES)(), np.zeros(1, np.int64), scratch_memory(SCRATCH_BYTES)
    for i, work in enumerate(works):
        work.count, work.length, work.mode = 1, _LENGTH, REDUCE
        work.x, work.m, work.w, work.s = (place_of(a[i:]) for a in (x, m, w, s))
        work.x_step = x.itemsize
    other = address(kernels.rows, working, False, False)
    for _ in range(2):
        kernel(other, works[0].address, _SLICES, place_of(taken), place_of(scratch), 2)
    d = np.exp(x - m[:, None], dtype=np.float64).sum(1)
    return taken[0] == _SLICES + 1 and np.array_equal(m, x.max(1)) and close(w + s, d, working)


def _log_sums(kernel: Function, address: Address, working: Any) -> bool:
    m = scores((_LENGTH,), working)
    w, s = 1.0 + np.arange(_LENGTH) % 3, np.abs(scores((_LENGTH,), np.float64))
    result, unusable = np.zeros(_LENGTH), np.ones(1, np.int64)
    kernel(*map(place_of, (m, w, s, result, unusable)), _LENGTH)
    return unusable[0] == 0 and close(result, m + np.log(w + s), np.float64)


def _running_sums(kernel: Function, address: Address, working: Any) -> bool:
    x = scores((_SLICES, _LENGTH), np.float64)
    y, scratch = np.full(x.shape, np.nan, working), scratch_memory(SCRATCH_BYTES)
    m, d, lost = np.array([-np.inf, 1.0, -3.0]), np.array([0.0, 2.0, 3.0]), np.zeros(_SLICES)
    before = np.stack([m, np.log(np.maximum(d, 1))])[:, :, None].sum(0)
    record = Running(count=_SLICES, length=_LENGTH, x_row=x.strides[0], y_row=y.strides[0])
    record.x_step, record.y_step = x.itemsize, y.itemsize
    record.x, record.y, record.scratch = map(place_of, (x, y, scratch))
    record.m, record.d, record.lost = map(place_of, (m, d, lost))
    kernel(record.address)
    expected = np.logaddexp.accumulate(np.concatenate([before, x], axis=1), axis=1)
    after = m + np.log(d + lost)
    return close(y, expected[:, 1:], working) and close(after, expected[:, -1], np.float64)


def _products(kernel: Function, address: Address, working: Any) -> bool:
    item = np.dtype(working).itemsize
    length, width = ATTENTION_TILE_BYTES // item + _LENGTH, 4 * 64 // item
    x, v = scores((_SLICES, length), working), scores((length, width), working)
    m, sums = x.max(axis=1), np.ones((_SLICES, width))
    scratch = scratch_memory(SCRATCH_BYTES)
    at = place_of(x), x.strides[0], place_of(v), v.strides[0], place_of(m), place_of(sums)
    kernel(*at, *x.shape, width, place_of(scratch))
    e = np.exp((x - m[:, None]).astype(np.float64))
    error = abs(sums - 1 - e @ v.astype(np.float64))
    return bool((error <= 100 * np.finfo(working).eps * (e @ abs(v))).all())


def _best_rows(kernel: Function, address: Address, working: Any) -> bool:
    x, values, indices = _selection((_SLICES, _LENGTH), working)
    scratch = scratch_memory(2 * SCRATCH_BYTES)
    selection = _selecting(x, values, indices, scratch)
    selection.x_row, selection.x_step = x.strides
    selection.segment, selection.run, selection.together = _LENGTH, 16, 1
    selection.rows_scratch = place_of(scratch) + SCRATCH_BYTES
    kernel(selection.address)
    return _selected(x, values, indices)


def _best_columns(kernel: Function, address: Address, working: Any) -> bool:
    x, values, indices = _selection((_LENGTH, _SLICES), working)
    scratch = scratch_memory(SCRATCH_BYTES)
    selection = _selecting(x, values, indices, scratch)
    selection.x_step, selection.x_row = x.strides
    kernel(selection.address)
    return _selected(x.T, values, indices)


_TESTS: dict[Callable[..., Any], Callable[..., bool]] = {
    kernels.best_columns: _best_columns,
    kernels.best_rows: _best_rows,
    kernels.exact_columns: exact_test.columns,
    kernels.exact_finish: exact_test.finish,
    kernels.exact_rows: exact_test.rows,
    kernels.group_join: groups.group_join,
    kernels.group_labels: groups.group_labels,
    kernels.group_map: groups.group_map,
    kernels.group_merge: groups.group_merge,
    kernels.group_present: groups.group_present,
    kernels.group_scatter: groups.group_scatter,
    kernels.group_states: groups.group_states,
    kernels.gumbel_noise: draws.gumbel_noise,
    kernels.in_turns: _in_turns,
    kernels.integer_weights: draws.integer_weights,
    kernels.load: _load,
    kernels.noisy_candidates: draws.noisy_candidates,
    kernels.store: _store,
    kernels.columns: _columns,
    kernels.log_sums: _log_sums,
    kernels.row_sums: _row_sums,
    kernels.products: _products,
    kernels.random_bits: draws.random_bits,
    kernels.rows: _rows,
    kernels.running_sums: _running_sums,
}


def _selection(shape: tuple[int, ...], working: Any) -> tuple[Array, Array, Array]:
    return (
        scores(shape, working),
        np.zeros((_SLICES, _BEST), working),
        np.zeros((_SLICES, _BEST), np.int64),
    )


def _selecting(x: Array, values: Array, indices: Array, scratch: Array) -> Selection:
    arrays = dict(
        zip(
            ("x", "values", "indices", "scratch"),
            map(place_of, (x, values, indices, scratch)),
            strict=True,
        )
    )
    return Selection(count=_SLICES, length=_LENGTH, k=_BEST, **arrays)


def _selected(x: Array, values: Array, indices: Array) -> bool:
    expected = np.argsort(-x, axis=1)[:, :_BEST]
    found = np.take_along_axis(x, expected, axis=1)
    return np.array_equal(indices, expected) and np.array_equal(values, found)
