# The image of the scheduler, the workers and the demo in docker-compose.yml.
#
# The base has to have python3 (3.11 or newer) with venv; it is pinned here and can be replaced.
ARG BASE_IMAGE=python:3.12.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG EXTRAS=zarr,dashboard
# Kernels for blocks of these dtypes, and for the processor that this runs on: else each worker
# compiles what it needs at its start.
ARG COMPILE="float32 float64"
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY dsoftmax dsoftmax
RUN python3 -m venv /opt/dsoftmax \
 && /opt/dsoftmax/bin/pip install --no-cache-dir ".[${EXTRAS}]" \
 && /opt/dsoftmax/bin/dsoftmax compile ${COMPILE}

FROM ${BASE_IMAGE}
# Memory goes back to the system when chunks are freed.
ENV PATH=/opt/dsoftmax/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_TRIM_THRESHOLD_=65536 \
    OMP_NUM_THREADS=1
# The workers are not root: whoever reaches the scheduler can run code on them.
RUN groupadd --gid 1000 dask \
 && useradd --uid 1000 --gid 1000 --create-home dask \
 && mkdir /data /certificates \
 && chown dask:dask /data /certificates
COPY docker/make-certificates examples/cluster_demo.py /opt/demo/
WORKDIR /data
USER dask
# The large layer last: storage drivers without copy-on-write repeat it in every later one.
COPY --from=build /opt/dsoftmax /opt/dsoftmax
