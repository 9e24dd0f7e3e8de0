"""Stored arrays that count how often they are read, and arrays made of them."""

import gc
import threading
import tracemalloc
from collections import Counter

import dask
import dask.array as da
import numpy as np

from dsoftmax._graph.choose import choose

DATA = np.random.default_rng(3).normal(size=(12, 8))


class Source:
    """Something to read from, as `dask.array.from_array` takes it, that counts what is read."""

    def __init__(self, data=DATA):
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        rows, columns = np.indices(data.shape)
        self.chunk = rows // 3 * 100 + columns // 4
        self.reads = Counter()
        self.lock = threading.Lock()

    def __getitem__(self, index):
        block = self.data[index].copy()
        if block.size:  # Dask tries sources on nothing
            with self.lock:
                self.reads[self.chunk[index].flat[0]] += 1
        return block

    def array(self, chunks=(3, 4), **options):
        return da.from_array(self, chunks=chunks, **options)

    def times(self, *arrays, **options):
        """How often each chunk is read to compute the arrays."""
        self.reads.clear()
        dask.compute(*arrays, **options)
        return dict(self.reads)


def doubled(times):
    return {chunk: 2 * n for chunk, n in times.items()}


def increment(block):
    return block + 1


def set_item(z):
    z[2:5] = 0
    return z


# Arrays as Dask makes them of a stored one: 48 kinds of graphs.
KINDS = {
    "stored": lambda z: z,
    "map_blocks": lambda z: z.map_blocks(increment),
    "block_id": lambda z: z.map_blocks(lambda b, block_id: b + block_id[0], dtype=z.dtype),
    "elementwise": lambda z: np.exp(z) + 1,
    "used twice": lambda z: np.exp(z) + z,
    "where": lambda z: da.where(z > 0.5, z, 0),
    "transposed": lambda z: z.T,
    "swapaxes": lambda z: da.swapaxes(z, 0, 1),
    "sliced": lambda z: z[1:],
    "one axis more": lambda z: z[None],
    "squeezed": lambda z: z[None].squeeze(),
    "reversed": lambda z: z[::-1],
    "fancy": lambda z: z[[3, 1, 5, 9, 11]],
    "take": lambda z: da.take(z, [0, 7, 3, 5], axis=1),
    "compress": lambda z: da.compress([True] * 11, z[:11], axis=0),
    "boolean": lambda z: z[z > 0],
    "vindex": lambda z: z.vindex[list(range(8)), list(range(8))],
    "shuffled": lambda z: z.shuffle([list(range(0, 12, 2)), list(range(1, 12, 2))], axis=0),
    "rechunked": lambda z: z.rechunk((6, 4)),
    "rechunked finer": lambda z: z.rechunk((1, 8)),
    "rechunked across": lambda z: z.rechunk({0: 1, 1: -1}).rechunk({0: -1, 1: 1}),
    "reshaped": lambda z: z.reshape(-1),
    "blocks": lambda z: z.blocks[1:4],
    "broadcast": lambda z: da.broadcast_to(z, (2, 12, 8)),
    "concatenated": lambda z: da.concatenate([z, z + 1]),
    "stacked": lambda z: da.stack([z, z]),
    "rolled": lambda z: da.roll(z, 2, axis=0),
    "padded": lambda z: da.pad(z, 1),
    "tiled": lambda z: da.tile(z, 2),
    "repeated": lambda z: da.repeat(z, 2, axis=0),
    "inserted": lambda z: da.insert(z, 1, 0, axis=0),
    "set item": set_item,
    "diagonal": lambda z: da.diag(z[:, 0]),
    "coarsened": lambda z: da.coarsen(np.sum, z, {0: 3}),
    "overlapping": lambda z: z.map_overlap(increment, depth=1, boundary="none"),
    "gufunc": lambda z: da.apply_gufunc(np.sort, "(i)->(i)", z.rechunk((3, 8))),
    "reduced": lambda z: z.sum(axis=1),
    "centred": lambda z: z - z.mean(axis=0),
    "lazy argument": lambda z: da.map_blocks(np.add, z, z.mean(), dtype=z.dtype),
    "lazy keyword": lambda z: da.map_blocks(lambda b, m: b - m, z, m=z.mean(), dtype=z.dtype),
    "product": lambda z: z @ z.T,
    "einsum": lambda z: da.einsum("ij,jk->ik", z, z.T),
    "cumulated": lambda z: z.cumsum(axis=0),
    "qr": lambda z: da.linalg.qr(z.rechunk((3, 8)))[0],
    "solved": lambda z: da.linalg.solve(da.eye(12, chunks=6), z.rechunk((6, 8))),
    "percentile": lambda z: da.percentile(z.reshape(-1), [10, 50, 90]),
    "unique": lambda z: da.unique(z),
    "delayed": lambda z: da.concatenate(
        [da.from_delayed(d, (3, 4), dtype=z.dtype) for d in z[:, :4].to_delayed().ravel()]
    ),
    "optimized": lambda z: dask.optimize(z + 1)[0],
}
OF_ONE_BLOCK = {"vindex", "percentile", "unique"}

# Memory, in chunks.
MANY = np.random.default_rng(4).normal(size=(300, 20000))  # 80 chunks of 600 kB


def many(source):
    return source.array(chunks=(75, 1000))


def chunks_in_memory(compute):
    """The most memory that is used at a time beyond what was before."""
    gc.collect()
    tracemalloc.start()
    with dask.config.set(scheduler="threads", num_workers=2):
        compute()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (75 * 1000 * 8)


class Virtual:
    """As large as one likes, and never read."""

    dtype = np.dtype("f4")

    def __init__(self, *shape):
        self.shape, self.ndim = shape, len(shape)

    def __getitem__(self, index):
        raise AssertionError(f"read {index} while the graph was built")


def virtual(*shape, chunks):
    return da.from_array(Virtual(*shape), chunks=chunks, meta=np.empty((0,) * len(shape), "f4"))


LARGE = virtual(10**5, 10**4, chunks=(10**4, 10**3))


class File(Source):
    """A source that notes reads in a file, for all processes."""

    def __init__(self, path, data=DATA):
        super().__init__(data)
        self.path = path
        del self.reads, self.lock  # a lock stays where it is made

    def __getitem__(self, index):
        block = self.data[index].copy()
        if block.size:
            with open(self.path, "ab") as file:
                file.write(b"%d\n" % self.chunk[index].flat[0])
        return block

    def times(self, *arrays, **options):
        self.path.write_bytes(b"")
        dask.compute(*arrays, **options)
        return dict(Counter(map(int, self.path.read_text().split())))


EACH = [row + column for row in (0, 100, 200, 300) for column in (0, 1)]  # of 8 chunks
load = dask.delayed(np.ones)


def files(function):
    return da.concatenate([da.from_delayed(function(), (10**7,), dtype="f8") for _ in range(20)])


def why_held(x):
    choice = choose(x, tuple(range(x.ndim)))
    return None if choice.again else choice.why
