"""How blocks are shared out over a device, by arithmetic: no device, and no memory of that size."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsoftmax._kernels.cuda import plan as cuda_plan
from dsoftmax._kernels.cuda.device import Properties
from dsoftmax._kernels.cuda.plan import MAX_GRID, merge_plan, plan
from dsoftmax._kernels.cuda.source import MAX_LOOPS, THREADS

SMALL, A100, H100 = Properties(2, 1 << 20), Properties(108, 40 << 20), Properties(132, 50 << 20)


def strides_of(shape, item):
    return tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def planned(shape, axes, item=4, device=H100, y_item=0):
    """The plan for a C-contiguous block."""
    x = strides_of(shape, item)
    y = strides_of(shape, y_item) if y_item else (0,) * len(shape)
    reduced = tuple(i in axes for i in range(len(shape)))
    return plan(shape, reduced, (x, (0,) * len(shape), y), (item, y_item), device)


def elements(plan, thread_block):
    """The offsets in bytes that the threads of a block read, by a model of the kernels' indices."""
    x, y = thread_block

    def place(loops, index):
        offset = 0
        for loop in reversed(loops):
            index, step = divmod(index, loop.length)
            offset += step * loop.strides[0]
        return offset

    portions = plan.portions
    for part in range(y, plan.parts, plan.grid[1]):
        start = part % portions * plan.portion
        stop = min(start + plan.portion, plan.length)
        for first in range(x * plan.lanes, plan.slices, plan.grid[0] * plan.lanes):
            for slice_ in range(first, min(first + plan.lanes, plan.slices)):
                base = place(plan.kept, slice_) + place(plan.outer, part // portions)
                for i in range(start, stop):
                    yield slice_, part, base + place(plan.inner, i)


SHAPES = [
    (1,),
    (7,),
    (70_000,),
    (40, 3),
    (3, 40),
    (30, 20, 50),
    (4, 3, 5000),
    (2, 1, 9, 4),
    (5, 257),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_is_read_once(shape):
    for count in range(len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            found = planned(shape, axes, device=SMALL)
            blocks = itertools.product(*map(range, found.grid))
            read = [e for block in blocks for e in elements(found, block)]
            offsets = [offset for _, _, offset in read]
            assert sorted(offsets) == list(range(0, 4 * math.prod(shape), 4))
            slices = np.arange(math.prod(shape)).reshape(shape)
            kept = [i for i in range(len(shape)) if i not in axes]
            for slice_, part, offset in read[:: max(1, len(read) // 50)]:
                index = np.argwhere(slices == offset // 4)[0]
                own = np.ravel_multi_index(index[kept], [shape[i] for i in kept]) if kept else 0
                assert slice_ == own
                assert 0 <= part < found.parts


@given(
    shape=st.lists(st.integers(1, 2**20), min_size=1, max_size=4).map(tuple),
    axes=st.sets(st.integers(0, 3)),
    item=st.sampled_from([1, 2, 4, 8]),
    device=st.sampled_from([SMALL, A100, H100]),
)
def test_limits_of_the_device(shape, axes, item, device):
    found = planned(shape, axes, item, device)
    assert found.slices * found.length * math.prod(n.length for n in found.outer) == math.prod(
        shape
    )
    assert 1 <= found.threads == found.lanes * found.team <= THREADS
    assert found.team & (found.team - 1) == 0
    assert 1 <= found.grid[0] <= MAX_GRID[0]
    assert 1 <= found.grid[1] <= MAX_GRID[1]
    assert 1 <= found.portion <= found.length
    last = (math.ceil(found.length / found.portion) - 1) * found.portion
    assert last < found.length  # no part is empty


def test_one_huge_row_is_for_the_whole_device():
    for device in (A100, H100):
        found = planned((10**9,), (0,), device=device)
        assert found.contiguous
        assert found.team == THREADS
        assert found.parts >= 8 * device.multiprocessors
        assert found.portion % (16 * THREADS) == 0


@pytest.mark.parametrize("shape", [(2**31 + 16,), (2**33 + 5, 1), (1, 2**35)], ids=str)
def test_more_than_two_to_the_31_elements(shape):
    axis = int(np.argmax(shape))
    found = planned(shape, (axis,), item=1)
    assert found.length == max(shape)
    assert found.portion * (found.parts - 1) < found.length <= found.portion * found.parts
    kept = planned(shape, (1 - axis,) if len(shape) > 1 else (), item=1)
    assert kept.slices == max(shape)
    assert kept.grid[0] <= MAX_GRID[0]


def test_more_slices_than_a_grid_has_blocks(monkeypatch):
    found = planned((2**40, 2), (1,), item=1)
    assert found.slices == 2**40
    assert found.grid[0] == MAX_GRID[0]


def test_short_rows_share_a_thread_block():
    short = planned((10**6, 10), (1,))
    assert short.lanes == THREADS
    assert not short.contiguous  # each thread takes a row
    medium = planned((10**5, 1000), (1,))
    assert (medium.team, medium.lanes, medium.parts) == (32, 8, 1)
    assert medium.members_adjacent
    assert medium.cached
    assert planned((4000, 10**6), (1,)).team == THREADS


def test_columns_are_read_in_whole_lines():
    for item in (1, 2, 4, 8):
        found = planned((10**5, 4096), (0,), item=item)
        assert not found.members_adjacent
        assert found.lanes * item >= 128
    narrow = planned((10**7, 3), (0,))
    assert narrow.lanes == 3
    assert narrow.parts > 1
    assert planned((10**6, 10, 3), (1,)).lanes == THREADS // 3 * 3


def test_long_runs_with_kept_axes_between_are_parts():
    found = planned((50, 3, 10**5), (0, 2))
    assert [loop.length for loop in found.outer] == [50]
    assert found.contiguous
    assert found.parts >= 50
    short = planned((50, 3, 100), (0, 2))
    assert short.outer == []
    assert not short.contiguous


def test_what_does_not_fit_in_the_cache_is_not_read_twice_by_one_kernel():
    assert planned((10**5, 1000), (1,), y_item=4).cached
    assert not planned((10**5, 10**5), (1,), y_item=4).cached
    assert not planned((10**9,), (0,), y_item=4).cached


def test_a_block_of_another_layout_than_its_result():
    shape = (100, 200)
    strides = ((1000, 4), (0, 0), (800, 4))  # a part of longer rows
    found = plan(shape, (False, True), strides, (4, 4), H100)
    assert found.contiguous
    assert [loop.strides for loop in found.kept] == [(1000, 0, 800)]
    across = plan(shape, (False, True), ((1000, 4), (0, 0), (4, 400)), (4, 4), H100)
    assert not across.contiguous


def test_too_many_loops():
    shape = (2,) * (2 * MAX_LOOPS + 2)
    axes = tuple(range(0, len(shape), 2))
    assert planned(shape, axes) is None
    assert planned(shape[2:], axes[:-1]) is not None


@pytest.mark.parametrize(("slices", "parts"), [(1, 2), (1, 1584), (3, 40), (10**7, 2), (300, 257)])
def test_merges(slices, parts):
    found = merge_plan(slices, parts)
    assert found.threads <= THREADS
    assert found.team & (found.team - 1) == 0
    assert found.team <= parts
    assert found.grid[0] * found.lanes >= slices


def test_quotients_are_those_of_integers():
    assert cuda_plan._quotient_up(2**60 + 1, 2**30) == 2**30 + 1
