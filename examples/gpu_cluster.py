"""The softmax of 10^9 scores on the GPUs of this machine, with one worker per GPU.

    python examples/gpu_cluster.py

Every chunk is made, reduced and mapped on one GPU. Only states travel between workers, three
numbers for each slice of a chunk, and only what is printed comes to the host.
"""

import importlib.util
import sys

import click
import dask
import dask.array as da

import dsoftmax


def scores(block_info=None):
    """A chunk of standard normal scores, made on the GPU of the worker that asks for it."""
    import cupy

    (place,) = (info for key, info in block_info.items() if key is None)
    row, column = place["chunk-location"]
    rng = cupy.random.default_rng([row, column])
    return rng.standard_normal(place["chunk-shape"], dtype="float32")


def scores_on_gpus(rows, columns, chunk_rows):
    """The lazy array of all chunks; its meta tells Dask that they are CuPy arrays."""
    import cupy

    chunks = da.core.normalize_chunks((chunk_rows, columns), shape=(rows, columns))
    meta = cupy.empty((0, 0), dtype="float32")
    return da.map_blocks(scores, chunks=chunks, dtype="float32", meta=meta)


def report(x):
    """Compute the lines of the report."""
    by_row, everything = dsoftmax.softmax(x, axis=1), dsoftmax.softmax(x)
    best = dsoftmax.softmax_topk(x, 3, axis=None)
    sums, total, log_total, values, indices = dask.compute(
        by_row.sum(axis=1), everything.sum(dtype="float64"), dsoftmax.logsumexp(x), *best
    )
    yield f"chunks of {type(sums).__module__.partition('.')[0]}, {x.npartitions} of them"
    yield f"each row sums to 1 within {abs(sums - 1).max().item():.0e}"
    yield f"all rows as one distribution sum to {total.item():.6f}"
    yield f"its logsumexp is {log_total.item():.6f}; most probable are"
    for value, index in zip(values.tolist(), indices.tolist(), strict=True):
        yield f"  {value:.3e} at {divmod(index, x.shape[1])}"


def missing():
    """The first requirement that this machine lacks, or None."""
    for module in ("cupy", "dask_cuda"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    import cupy

    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "CuPy finds no GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)


@click.command()
@click.option("--rows", default=200_000, show_default=True)
@click.option("--columns", default=5000, show_default=True)
@click.option("--chunk-rows", default=25_000, show_default=True, help="500 MB with 5000 columns.")
def main(rows, columns, chunk_rows):
    """Softmax over the GPUs of this machine."""
    if reason := missing():
        sys.exit(
            f"{reason}: this example needs a GPU, CuPy and dask-cuda, which pip install '.[gpu]' "
            "(CUDA 12) or '.[gpu-cuda13]' brings, in a clone of dsoftmax's repository"
        )
    from dask_cuda import LocalCUDACluster
    from distributed import Client

    with LocalCUDACluster() as cluster, Client(cluster) as client:
        print(f"{len(client.scheduler_info()['workers'])} GPUs, dashboard {client.dashboard_link}")
        for line in report(scores_on_gpus(rows, columns, chunk_rows)):
            print(line)


if __name__ == "__main__":
    main()
