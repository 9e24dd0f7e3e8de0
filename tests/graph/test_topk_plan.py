"""The plan of topk and softmax_topk: laziness, tasks, names, what is read and kept."""

import math
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split

from dsoftmax import softmax_topk, topk
from dsoftmax._kernels import topk as kernel

from ..compare import assert_array_equal
from ..operations.sorting import (
    FUNCTIONS,
    INF,
    NAN,
    assert_topk,
    dask_array,
    normal,
)
from .plans import lazy_source, merges, tasks


class TestPlan:
    @pytest.mark.parametrize("special", [INF, NAN])
    def test_negative_k_as_in_dask(self, special):
        x = dask_array(np.where(np.arange(50) % 3, normal(50), special), 9)
        for k in (-1, -40):
            assert_array_equal(topk(x, k).values, da.topk(x, k))

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_nothing_computes_while_building(self, function, axis, lazily):
        x = da.random.default_rng(0).normal(size=(6, 6), chunks=(2, 6))
        result = lazily(function, x, 2, axis)
        assert all(isinstance(y, da.Array) for y in result)
        assert all(type(y._meta) is np.ndarray for y in result)

    @staticmethod
    def tasks_run(results):
        """How many tasks of each name run when all results are computed together."""
        names = Counter()

        class Recorder(dask.callbacks.Callback):
            def _posttask(self, key, value, *rest):
                names[key_split(key)] += 1

        with Recorder():
            dask.compute(*results)
        del names["finalize-hlgfinalizecompute"]
        return names

    @pytest.mark.parametrize("split_every", [2, 5, 16])
    def test_one_task_per_chunk_and_a_tree_of_bounded_fan_in(self, split_every):
        result = softmax_topk(lazy_source(125), 4, split_every=split_every)
        assert max(merges(tasks(*result))) == split_every
        names = self.tasks_run(result)
        assert sum(n for name, n in names.items() if "block" in name) == 125
        merged = 125 / (split_every - 1) + math.log(125, split_every)
        assert names.total() <= 125 + merged + 2
        assert_array_equal(result.indices, range(4))

    def test_names_on_the_dashboard(self):
        names = self.tasks_run(softmax_topk(lazy_source(40), 2, return_log=True, split_every=4))
        assert {name.removeprefix("softmax-topk-"): n for name, n in names.items()} == {
            "block": 40,
            "merge-partial": 13,
            "merge-aggregate": 1,
            "probabilities": 1,
            "indices": 1,
            "log-probabilities": 1,
        }

    def test_chunks_of_the_result(self):
        x = da.ones((8, 9), chunks=((3, 5), (2, 7)))
        assert softmax_topk(x, 4, axis=-1).indices.chunks == ((3, 5), (4,))
        assert softmax_topk(x, 4, 0).values.chunks == ((4,), (2, 7))
        assert softmax_topk(x, 4, None).values.chunks == ((4,),)

    def test_all_results_together_read_once(self):
        reads = []

        def read(block_info):
            reads.append(block_info[None]["chunk-location"])
            return np.arange(5.0)

        x = da.map_blocks(read, chunks=((5,) * 20,), dtype=float, meta=np.empty(0))
        dask.compute(*softmax_topk(x, 3, return_log=True))
        assert len(reads) == len(set(reads)) == 20

    @pytest.mark.parametrize("axis", [0, None])
    def test_a_chunk_gives_its_k_best_and_no_more(self, axis):
        sizes = []

        class Recorder(dask.callbacks.Callback):
            def _posttask(self, key, value, *rest):
                sizes.extend(a.size for a in getattr(value, "normalizer", ()))
                sizes.extend(a.size for a in value[:2] if isinstance(value, kernel.Top))

        x = da.random.default_rng(0).normal(size=(4000, 3), chunks=(1000, 3))
        with Recorder():
            dask.compute(*softmax_topk(x, 5, axis))
        assert len(sizes) >= 5 * 4
        assert max(sizes) <= 5 * 3

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_keys_are_deterministic(self, function):
        x, other = da.ones((4, 4), chunks=2), da.zeros((4, 4), chunks=2)
        one, two = function(x, 2, axis=0), function(x, np.int64(2), axis=-2)
        assert [y.name for y in one] == [y.name for y in two]
        assert set(one.values.dask) == set(two.values.dask)
        results = [
            one,
            function(x, 1, axis=0),
            function(x, 2, axis=-1),
            function(x, 2, None),
        ]
        results += [function(other, 2, axis=0), softmax_topk(x, 3, axis=0), topk(x, 3, axis=0)]
        assert len({y.name for result in results for y in result}) == 2 * len(results)

    def test_large_states_are_merged_few_at_a_time(self):
        x = da.ones((200, 64 * 1000), chunks=(200, 1000))
        assert max(merges(tasks(*softmax_topk(x, 2, axis=-1)))) == 16
        assert max(merges(tasks(*softmax_topk(x, 900, axis=-1)))) == 4
        with dask.config.set(split_every=7):
            assert max(merges(tasks(*softmax_topk(x, 900, axis=-1)))) == 7

    def test_other_schedulers(self):
        x = normal(50, 40)
        result = softmax_topk(dask_array(x, 9), 7, None)
        with dask.config.set(scheduler="threads"):
            assert_topk(result, x, 7, None)
        with dask.config.set(scheduler="processes", num_workers=2):
            assert_topk(result, x, 7, None)
