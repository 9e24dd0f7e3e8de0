"""A test of each kernel on a few numbers, before its first use; a kernel that fails is not used.

It takes less than a millisecond, and guards against what nobody has thought of: code that was kept
by a faulty program, a processor that is not what it says it is, a bug in the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import philox
from ..modes import APPLY, LOGARITHM, REDUCE
from . import exact_test, kernels
from .protocol import (
    GROUP_MOMENTS,
    GROUP_SCRATCH_BYTES,
    GROUP_STATE,
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


def _random_bits(kernel: Function, address: Address) -> bool:
    index, bits = 2**40 + 7 * np.arange(_LENGTH), np.zeros(_LENGTH, np.int64)
    kernel(*map(place_of, (index, bits)), _LENGTH, 0xA4093822, 0x299F31D0)
    return np.array_equal(bits, philox.bits(index, (0xA4093822, 0x299F31D0)))


def _group_labels(kernel: Function, address: Address, word: Any) -> bool:
    labels = (np.arange(2 * _LENGTH, dtype=word) * 7 % 12).reshape(-1, 2)
    expected = np.unique(labels, axis=0, return_index=True)[1]
    slots, firsts = np.full(64, -1), np.zeros(32, np.int64)
    numbers, groups = np.zeros(len(labels), np.int64), np.zeros(1, np.int64)
    addresses = map(place_of, (firsts, numbers, groups))
    kernel(place_of(labels), 2, len(labels), place_of(slots), slots.size, *addresses)
    found = firsts[: groups[0]]
    same = np.array_equal(found, np.sort(expected))
    return same and np.array_equal(labels[found[numbers]], labels)


def _group_states(kernel: Function, address: Address, element: Any, moments: bool) -> bool:
    x, numbers = _grouped(element)
    table = np.zeros((_SLICES, GROUP_MOMENTS if moments else GROUP_STATE))
    table[:, 0] = -np.inf
    scratch = scratch_memory(GROUP_SCRATCH_BYTES)
    kernel(place_of(x), place_of(numbers), 5, x.size, place_of(table), _SLICES, place_of(scratch))
    right = True
    for k in range(_SLICES):
        own = x[numbers == 5 + k].astype(np.float64)
        t = own - own.max()
        e = np.exp(t)
        expected = np.array([own.max(), 1, e.sum() - 1, (t * e).sum(), (e * e).sum() - 1])
        found = table[k, [0, 1, 2, 4, 6] if moments else [0, 1, 2]]
        right &= close(found, expected[: found.size], np.float64)
    return right


def _group_merge(kernel: Function, address: Address, moments: bool) -> bool:
    m, numbers = np.array([1.0, 3, 2, 3]), np.array([5, 5, 6, 5])
    w, s, t, q = np.array([2.0, 1, 3, 1]), np.array([0.5, 0.25, 1, 0.5]), -m, m / 8
    table = np.zeros((2, GROUP_MOMENTS if moments else GROUP_STATE))
    table[:, 0] = -np.inf
    for step, size in ((0, 4), (1, 4), (2, 0)):
        kernel(step, *map(place_of, (m, w, s, t, q, numbers)), 5, size, place_of(table), 2)
    f = np.exp(-2)
    first = [3, 2, 0.75 + 2.5 * f, -6 - 6 * f, 0.75 + 2.125 * f * f]
    columns = [0, 1, 2, 4, 6] if moments else [0, 1, 2]
    expected = np.array([first, [2, 3, 1, -2, 0.25]])[:, : len(columns)]
    return close(table[:, columns], expected, np.float64)


def _group_map(kernel: Function, address: Address, element: Any, logarithm: bool) -> bool:
    x, numbers = _grouped(element)
    table = np.array([[np.nan, np.nan], [9, 0.25], [12, 0.5], [9.5, 2]])
    y, scratch = np.zeros_like(x), scratch_memory(GROUP_SCRATCH_BYTES)
    at = (place_of(x), place_of(numbers), 5, x.size)
    kernel(*at, place_of(table), len(table), place_of(y), place_of(scratch))
    m, factor = table[np.where(numbers < 5, 0, numbers - 4)].T
    expected = (x - m) - factor if logarithm else np.exp(x - m) * factor
    return np.allclose(y, expected, rtol=100 * np.finfo(element).eps, atol=0, equal_nan=True)


def _grouped(element: Any) -> tuple[Array, Array]:
    """Elements and their numbers, of which 5, 6 and 7 are groups, and 4 is none."""
    return scores((_LENGTH,), element), 4 + np.arange(_LENGTH) * 3 % 4


_TESTS: dict[Callable[..., Any], Callable[..., bool]] = {
    kernels.best_columns: _best_columns,
    kernels.best_rows: _best_rows,
    kernels.exact_finish: exact_test.finish,
    kernels.exact_rows: exact_test.rows,
    kernels.group_labels: _group_labels,
    kernels.group_map: _group_map,
    kernels.group_merge: _group_merge,
    kernels.group_states: _group_states,
    kernels.load: _load,
    kernels.store: _store,
    kernels.columns: _columns,
    kernels.log_sums: _log_sums,
    kernels.row_sums: _row_sums,
    kernels.random_bits: _random_bits,
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
