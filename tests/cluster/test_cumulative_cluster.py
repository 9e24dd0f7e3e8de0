"""cumulative_logsumexp on a cluster: what the dashboard finds, and how much memory it takes."""

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait

from dsoftmax import cumulative_logsumexp

pytest.importorskip("bokeh", reason="draws the page")

from dsoftmax.dashboard import _colours, _jobs, _sums


@pytest.fixture(scope="module")
def client():
    options = {"processes": False, "dashboard_address": None, "threads_per_worker": 2}
    with LocalCluster(n_workers=1, **options) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_dashboard_names_its_tasks(client, reread, shifted):
    x = da.random.default_rng(1).normal(size=800 + shifted, chunks=100)[int(shifted) :]
    future = client.compute(cumulative_logsumexp(x, reread=reread))
    wait(future)
    (job,) = _jobs.find_jobs(client.cluster.scheduler)
    assert job.function == "cumulative_logsumexp"
    assert job.nbytes == x.nbytes
    names = [group.prefix.name for group in job.groups]
    colours = [_colours.colour_of(name) for name in names]
    assert colours == [_colours.FIRST, _colours.TREE, _colours.SECOND]
    assert names[-1] == "cumulative-logsumexp-scan"
    assert _jobs.progress(job.second)[1:3] == (x.numblocks[0], 0)
    assert _sums.unmerged(client.cluster.scheduler, job) is None
    expected = cumulative_logsumexp(x.compute(scheduler="sync"))
    np.testing.assert_allclose(future.result(), expected, rtol=1e-14, atol=1e-14)


def test_slices_within_chunks_are_a_job_of_one_pass(client):
    future = client.compute(cumulative_logsumexp(da.ones((8, 3), chunks=(1, 3)), 1))
    wait(future)
    (job,) = _jobs.find_jobs(client.cluster.scheduler)
    assert (job.function, job.levels, job.second) == ("cumulative_logsumexp", (), None)
