"""What a program of a user looks like to type checkers: test_types.py runs them on it."""

from typing import Any, assert_type

import dask.array as da
import jax
import numpy as np
import torch

import dsoftmax
from dsoftmax import GumbelTopK, Normalizer, TopK, TopKWithLog, dataframe, xarray

NumPy = np.ndarray[Any, Any]
Reduced = np.ndarray[Any, Any] | Any  # an array if axes are left
Number = np.floating[Any] | Any


def lazy_gives_lazy(x: da.Array) -> None:
    assert_type(dsoftmax.softmax(x), da.Array)
    assert_type(dsoftmax.softmax(x, 1, where=x, split_every=8, reread=True), da.Array)
    assert_type(dsoftmax.log_softmax(x, axis=(0, 1), where=np.ones(3, bool)), da.Array)
    assert_type(dsoftmax.logsumexp(x), da.Array)
    assert_type(dsoftmax.logsumexp(x, axis=0, b=[1, 2], keepdims=True), da.Array)
    assert_type(dsoftmax.logsumexp(x, return_sign=True), tuple[da.Array, da.Array])
    assert_type(dsoftmax.expectation(x, [1.0, 2.0], axis=0), da.Array)
    assert_type(dsoftmax.expectation(x, ([1.0, 2.0], x)), tuple[da.Array, ...])
    assert_type(dsoftmax.entropy(x, axis=-1), da.Array)
    assert_type(dsoftmax.effective_sample_size(x), da.Array)
    assert_type(dsoftmax.softmax_matmul(x, x), da.Array)
    assert_type(dsoftmax.softmax_matmul(x, x, return_logsumexp=True), tuple[da.Array, da.Array])
    assert_type(dsoftmax.cross_entropy(x, [1, 2]), da.Array)
    assert_type(dsoftmax.cumulative_logsumexp(x, reverse=True), da.Array)
    assert_type(dsoftmax.softmax_topk(x, 3), TopK[da.Array])
    assert_type(dsoftmax.softmax_topk(x, 3, axis=None, return_log=True), TopKWithLog[da.Array])
    assert_type(dsoftmax.topk(x, -3, axis=1).indices, da.Array)
    assert_type(dsoftmax.choice(x, 10, rng=0), da.Array)
    assert_type(dsoftmax.gumbel_topk(x, 10, rng=0), GumbelTopK[da.Array])
    assert_type(dsoftmax.reread(x), da.Array)
    assert_type(dsoftmax.grouped.softmax(x, ["a", "b"], axis=0), da.Array)
    assert_type(dsoftmax.grouped.entropy(x, ["a", "b"]), tuple[Any, da.Array])
    assert_type(dsoftmax.grouped.effective_sample_size(x, ["a", "b"]), tuple[Any, da.Array])
    assert_type(dsoftmax.grouped.logsumexp(x, ["a", "b"], expected_groups=["b"]), da.Array)


def lazy_beside_numpy_gives_lazy(x: da.Array, y: np.ndarray) -> None:
    assert_type(dsoftmax.softmax(y, where=x), da.Array)
    assert_type(dsoftmax.logsumexp(y, b=x), da.Array)
    assert_type(dsoftmax.logsumexp(y, where=x), da.Array)
    assert_type(dsoftmax.expectation(y, x), da.Array)
    assert_type(dsoftmax.entropy(y, where=x), da.Array)
    assert_type(dsoftmax.softmax_matmul(y, x), da.Array)
    assert_type(dsoftmax.cross_entropy(y, x), da.Array)
    assert_type(dsoftmax.softmax_topk(y, 2, where=x), TopK[da.Array])


def numpy_gives_numpy(y: np.ndarray, i: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    assert_type(dsoftmax.softmax(y), NumPy)
    assert_type(dsoftmax.softmax(i, axis=1, where=y > 0), NumPy)
    assert_type(dsoftmax.log_softmax(y), NumPy)
    assert_type(dsoftmax.logsumexp(y), Number)
    assert_type(dsoftmax.logsumexp(y, axis=0, b=[1, 2]), Reduced)
    assert_type(dsoftmax.expectation(y, i, 0), Reduced)
    assert_type(dsoftmax.expectation([1, 2], ([1, 2], [3, 4])), tuple[Any, ...])
    assert_type(dsoftmax.softmax(np.float32(1)), NumPy)
    assert_type(dsoftmax.entropy(y), Number)
    assert_type(dsoftmax.effective_sample_size(y, axis=0), Reduced)
    assert_type(dsoftmax.softmax_matmul(y, y), Reduced)
    assert_type(dsoftmax.cross_entropy(y, i), Reduced)
    assert_type(dsoftmax.cumulative_logsumexp(y), NumPy)
    assert_type(dsoftmax.softmax_topk(y, 3), TopK[NumPy])
    assert_type(dsoftmax.softmax_topk(y, 3, return_log=True).log_values, NumPy)
    assert_type(dsoftmax.topk(i, 3), TopK[NumPy])
    assert_type(dsoftmax.choice(y, 10), NumPy)
    assert_type(dsoftmax.gumbel_topk(y, 10).keys, NumPy)
    assert_type(dsoftmax.grouped.log_softmax(y, (["a", "b"], i)), NumPy)


def lists_give_numpy(numbers: list[float]) -> None:
    assert_type(dsoftmax.softmax(numbers), NumPy)
    assert_type(dsoftmax.softmax([[1, 2], [3, 4]], axis=1), NumPy)
    assert_type(dsoftmax.softmax((1.0, 2.0), where=[True, False]), NumPy)
    assert_type(dsoftmax.logsumexp(numbers), Number)
    assert_type(dsoftmax.topk(numbers, 2), TopK[NumPy])


def others_keep_their_library(z: torch.Tensor, j: jax.Array) -> None:
    assert_type(dsoftmax.softmax(z, where=z), torch.Tensor)
    assert_type(dsoftmax.softmax(z, where=[True, False]), torch.Tensor)
    assert_type(dsoftmax.logsumexp(z, axis=0), torch.Tensor)
    assert_type(dsoftmax.entropy(z), torch.Tensor)
    assert_type(dsoftmax.softmax_topk(z, 2), TopK[torch.Tensor])
    assert_type(dsoftmax.softmax(j, axis=0), jax.Array)
    assert_type(dsoftmax.softmax_matmul(j, j), jax.Array)


class Labelled:
    """It stands in for a DataFrame or a DataArray: pandas has no types."""


def labelled_data_keep_their_type(data: Labelled) -> None:
    assert_type(dataframe.softmax(data, by="market"), Labelled)
    assert_type(dataframe.logsumexp(data, by=["market", "year"]), Labelled)
    assert_type(xarray.log_softmax(data, dim="mode"), Labelled)
    assert_type(xarray.entropy(data), Labelled)


def results_are_computed(x: da.Array, best: TopK[da.Array], n: Normalizer) -> None:
    assert_type(best.persist(), TopK[da.Array])
    assert_type(best.compute(), TopK[Any])
    values, indices = best
    assert_type((values, indices), tuple[da.Array, da.Array])
    assert_type(Normalizer.of(x).compute(), Normalizer)
    assert_type(n.persist() + n, Normalizer)
    assert_type(float(n), float)


def mistakes_are_found(x: da.Array) -> None:
    dsoftmax.softmax(x, axes=1)  # type: ignore
    dsoftmax.softmax(x, axis="rows")  # type: ignore
    dsoftmax.softmax(x, split_every="all")  # type: ignore
    dsoftmax.softmax_topk(x)  # type: ignore
    dsoftmax.softmin(x)  # type: ignore
