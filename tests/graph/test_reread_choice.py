"""When an array is read again, and how the choice is set and told."""

import logging
import os
import random
import subprocess
import sys
from functools import lru_cache, partial, wraps

import dask
import dask.array as da
import numpy as np
import pytest
from dask.blockwise import Blockwise
from dask.layers import ArrayOverlapLayer
from numba import njit
from scipy import special, stats

from dsoftmax import Normalizer, log_softmax, reread, softmax
from dsoftmax._graph.choose import choose

from .sources import LARGE, files, increment, load, virtual

GENERATOR = np.random.default_rng(0)


def with_default(block, generator=GENERATOR):
    return block + generator.normal(size=block.shape)


def enclosing(generator):
    def within(block):
        return block + sum(generator.random() for _ in range(3))

    return within


def helped(block):
    return with_numpy(block)


def with_numpy(block):
    return block + 3 * np.random.normal(size=block.shape)  # noqa: NPY002


def with_python(block):
    return [random.random() for _ in block]


def unseeded(block):
    return block + np.random.default_rng().normal(size=block.shape)


def seeded(block, block_id):
    return block + np.random.default_rng(block_id).normal(size=block.shape)


def likelihood(block):
    return special.logsumexp(block) + stats.norm.logpdf(block)


class Noise:
    """Adds noise, as some do it."""

    def __init__(self):
        self.rng, self.scale = np.random.default_rng(0), 2.0

    def __call__(self, block):
        return self.noisy(block)

    def noisy(self, block):
        return block + self.scale * self.rng.normal(size=block.shape)

    def scaled(self, block):
        return block * self.scale


NOISE = Noise()


READ_AGAIN = {
    "stored": LARGE,
    "mapped": np.exp(LARGE - 3).astype("f8"),
    "sliced": LARGE[5:],
    "rechunked": LARGE.rechunk((10**4, 5000)),
    "overlapping": LARGE.map_overlap(increment, depth=1, boundary="reflect"),
    "of one value": da.ones(10**9, dtype="f4", chunks=10**7) + 1,
    "seeded": da.random.default_rng(0).normal(size=10**9, chunks=10**7),
    "seeded, legacy": da.random.RandomState(0).normal(size=10**9, chunks=10**7),
    "of files": files(lambda: load(10**7)),
    "of files, decoded": files(lambda: dask.delayed(np.exp)(load(10**7))),
    "unknown chunks": LARGE[LARGE > 0],
    "seeded by block": LARGE.map_blocks(seeded, meta=LARGE._meta),
    "of distributions": LARGE.map_blocks(likelihood, meta=LARGE._meta),
    "of a quiet method": LARGE.map_blocks(NOISE.scaled, meta=LARGE._meta),
}
HELD = {
    "it is in memory": da.from_array(np.zeros(10), chunks=2),
    "its slices span no more than 4 blocks": LARGE.rechunk((10**5, 2500)),
    "all blocks of a slice take 128.00 MiB": virtual(2**25, chunks=2**20),
    "'mean_agg-aggregate' below it may be expensive": LARGE - LARGE.mean(),
    "'cumsum' below it may be expensive": LARGE.cumsum(axis=0),
    "'sum-aggregate' below it may be expensive": da.einsum(
        "ij,j->i", virtual(10**9, 10, chunks=(10**7, 5)), da.ones(10, chunks=5)
    ),
    "'dot' below it may be expensive to compute, as it uses numpy.dot": da.linalg.qr(
        LARGE.rechunk((10**4, 10**4))
    )[0],
    "'svd' below it may be expensive": LARGE.map_blocks(np.linalg.svd, meta=LARGE._meta),
    "'rechunk' below it may be expensive": LARGE.rechunk((100, -1), method="p2p"),
    "'combine' below it may be expensive": files(
        lambda: dask.delayed(np.add, name="combine")(load(2), load(3), dask_key_name="combine")
    ),
    "'getitem' below it moves all blocks to all": LARGE[GENERATOR.permutation(10**5)],
    "'lambda' below it draws from a random": LARGE.map_blocks(lambda b: b + GENERATOR.random()),
    "'add' below it draws from a random": LARGE.map_blocks(np.add, GENERATOR, meta=LARGE._meta),
    "'normal' below it draws from a random": files(lambda: dask.delayed(np.random.normal)(0, 1)),
    "'random' below it draws": files(lambda: dask.delayed(random.Random(3).random)()),
    "'da.random.choice' below it draws": da.random.default_rng(0).choice(9, 10**9, chunks=10**7),
}
IMPURE = {
    "numpy.random": with_numpy,
    "a helper's": helped,
    "random": with_python,
    "made, not seeded": unseeded,
    "a default": with_default,
    "a keyword": partial(np.add, 1, out=GENERATOR),
    "of an enclosing function": enclosing(GENERATOR),
    "wrapped": wraps(np.exp)(enclosing(GENERATOR)),
    "of an object": NOISE,
    "of a method's object": NOISE.noisy,
    "of a global object": lambda block: NOISE.noisy(block),
    "vectorized": np.vectorize(with_python),
    "cached": lru_cache(with_numpy),
    "compiled": njit(with_python),
}


@pytest.mark.parametrize("kind", IMPURE)
def test_functions_that_draw_random_numbers_are_held(kind):
    x = LARGE.map_blocks(IMPURE[kind], meta=LARGE._meta, name="noisy")
    assert choose(x, (0, 1)).why == "'noisy' below it draws from a random generator"


def test_noise_is_seen_in_optimized_arrays():
    z = virtual(10**5, 10**4, chunks=(10**4, 10**3))
    (x,) = dask.optimize(np.exp(da.concatenate([z, z.map_blocks(with_numpy, dtype="f4")])))
    assert choose(x, (0, 1)).why == "'exp' below it draws from a random generator"


def test_noise_is_drawn_once():
    x = da.zeros(1000, chunks=100).map_blocks(with_numpy)
    with dask.config.set({"array.chunk-size": 1}):
        assert softmax(x).sum().compute() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("kind", READ_AGAIN)
def test_what_is_loaded_and_mapped_is_read_again(kind):
    x = READ_AGAIN[kind]
    assert choose(x, tuple(range(x.ndim))).again


@pytest.mark.parametrize("why", HELD)
def test_what_is_in_memory_small_or_dear_is_held(why):
    x = HELD[why]
    choice = choose(x, tuple(range(x.ndim)))
    assert not choice.again
    assert choice.why.startswith(why)


def test_the_choice_is_by_the_blocks_of_a_slice(lazily):
    x = virtual(10**6, 10**4, chunks=(1000, 1000))  # 4 MB
    assert choose(x, (0,)).again
    assert choose(x, (1,)).why == "all blocks of a slice take 38.15 MiB"
    with dask.config.set({"array.chunk-size": "38MiB"}):
        assert choose(x, (1,)).again


def test_layers_stay_lazy():
    x = np.exp(LARGE.map_overlap(increment, depth=1))
    y = softmax(x, reread=True)
    blockwise = [layer for layer in y.dask.layers.values() if isinstance(layer, Blockwise)]
    assert len(blockwise) > 5
    assert not any(layer.is_materialized() for layer in blockwise)
    assert not any(x.dask.layers[name].is_materialized() for name in x.dask.layers if "lap" in name)


def test_lazy_layers_are_listed_once(monkeypatch):
    listed = []
    build = ArrayOverlapLayer._construct_graph
    monkeypatch.setattr(
        ArrayOverlapLayer,
        "_construct_graph",
        lambda self, *args, **kwargs: listed.append(self) or build(self, *args, **kwargs),
    )
    reread(LARGE.map_overlap(increment, depth=1))
    assert len(listed) == 1


# The setting and the report.


@pytest.mark.parametrize(
    ("setting", "again"), [(True, True), (False, False), ("auto", True), (None, True)]
)
def test_the_default_is_a_setting_of_dask(setting, again):
    chosen, other = softmax(LARGE, reread=again), softmax(LARGE, reread=not again)
    assert chosen.name != other.name
    with dask.config.set({"dsoftmax.reread": setting}):
        assert softmax(LARGE).name == chosen.name
        assert softmax(LARGE, reread=not again).name == other.name


@pytest.mark.parametrize("reread", ["twice", None, 1])
def test_other_values_are_errors(reread):
    x = da.ones(3, chunks=1)
    with pytest.raises(ValueError, match=f"^log_softmax: reread is {reread!r}; use True"):
        log_softmax(x, reread=reread)
    with pytest.raises(ValueError, match=f"^Normalizer.softmax: reread is {reread!r}; use True"):
        Normalizer.of(x).softmax(x, reread=reread)
    with (
        dask.config.set({"dsoftmax.reread": "twice"}),
        pytest.raises(ValueError, match="softmax: Dask's setting dsoftmax.reread is 'twice'; use"),
    ):
        softmax(x)


def test_the_choice_is_reported(caplog):
    caplog.set_level(logging.INFO, logger="dsoftmax")
    softmax(LARGE)
    softmax(LARGE, axis=1, reread=False)
    reread(da.from_array(np.zeros(9), chunks=3))
    assert [record.getMessage() for record in caplog.records] == [
        f"softmax of {LARGE} over axis (0, 1): read twice, since its 100 blocks per slice "
        "are only loaded and mapped",
        f"softmax of {LARGE} over axis (1,): held, since reread=False",
        f"reread of {da.from_array(np.zeros(9), chunks=3)}: held, since it is in memory",
    ]


@pytest.mark.parametrize(
    "read_twice",
    [
        lambda x: softmax(x, reread=True),
        lambda x: Normalizer.of(x).log_softmax(x, reread=True),
        lambda x: reread(x),
    ],
)
def test_random_generators_are_warned_about(read_twice):
    x = da.ones((12, 8), chunks=3).map_blocks(lambda b: b + GENERATOR.random())
    with pytest.warns(UserWarning, match="'lambda' draws from a random generator") as warned:
        read_twice(x)
    assert warned[0].filename == __file__


def test_the_array_expression_mode_holds_and_says_so():
    program = """
import logging, dask.array, dsoftmax
logging.basicConfig(level="INFO")
x = dask.array.ones(3, chunks=1)
print(dsoftmax.softmax(x + 1, reread=True).compute(), dsoftmax.reread(x) is x)
"""
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[0.33333333 0.33333333 0.33333333] True\n"
    assert run.stderr.count("held, since Dask's array-expression mode has no second read") == 2
