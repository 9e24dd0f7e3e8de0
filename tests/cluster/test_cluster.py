"""The cluster of docker-compose.yml, for real: containers, a killed worker, TLS.

The engine has to be able to pull the base image, or BASE_IMAGE names one that it has.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The demo is of float32.
ENVIRONMENT = os.environ | {"DASHBOARD_PORT": "0", "WORKER_MEMORY": "512m", "COMPILE": "float32"}
WORKERS = 3


def succeeds(*command):
    """Whether a command is there and ends well."""
    return bool(shutil.which(command[0])) and not subprocess.call(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


COMPOSE = ["docker", "compose"] if succeeds("docker", "compose", "version") else ["docker-compose"]

pytestmark = pytest.mark.skipif(
    not (succeeds("docker", "info") and succeeds(*COMPOSE, "version")),
    reason="no Docker engine with compose",
)


class Project:
    """A compose project of its own name, and the files that it is made of."""

    def __init__(self, name, *files):
        self.command = [*COMPOSE, "-p", name]
        self.command += [part for file in files for part in ("-f", file)]

    def call(self, *arguments):
        """A compose command once it has ended."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def run(self, *arguments):
        """What a compose command prints; it has to end well."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def fails(self, *arguments):
        """What a compose command prints that has to fail."""
        done = self.call(*arguments)
        assert done.returncode not in (0, 127)
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def start(self, *arguments):
        """A compose command that is running; its output is one stream."""
        with subprocess.Popen(
            [*self.command, *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def containers(self, service):
        """The ids of the containers of a service."""
        return self.run("ps", "-q", service).split()


@contextlib.contextmanager
def up(project, workers):
    """The project's scheduler and workers; nothing is left of them afterwards."""
    try:
        project.run("build", "scheduler")
        project.run("up", "--detach", "--no-build", "--scale", f"worker={workers}")
        yield project
    finally:
        project.run("down", "--volumes", "--remove-orphans")


def inspect(container):
    """All that the engine knows of a container."""
    return json.loads(subprocess.check_output(["docker", "inspect", container]))[0]


@pytest.fixture(scope="module")
def cluster():
    with up(Project("dsoftmax-test", "docker-compose.yml"), WORKERS) as project:
        yield project


def test_more_than_the_workers_hold_and_a_killed_worker(cluster):
    demo = ("run", "--rm", "-T", "demo", "--workers", str(WORKERS), "--size", "1.7 GB")
    victim = cluster.containers("worker")[0]
    with cluster.start(*demo) as process:
        lines = iter(process.stdout.readline, "")
        half = next(line for line in lines if re.match(r" *[3-9]\d% of \d+ tasks", line))
        subprocess.check_call(["docker", "kill", victim], stdout=subprocess.DEVNULL)
        rest = "".join(lines)
        assert process.wait(timeout=60) == 0, half + rest
    assert "the result is right" in rest
    assert not inspect(victim)["State"]["Running"]
    report = cluster.run(
        "run", "--rm", "-T", "--entrypoint", "head", "demo", "-c", "2000", "report.html"
    )
    assert "Dask Performance Report" in report


def test_a_worker_that_the_demo_kills(cluster):
    demo = ("run", "--rm", "-T", "demo", "--workers", "2", "--size", "400 MB", "--kill-worker")
    printed = cluster.run(*demo)
    assert "killing tcp://" in printed
    assert "the result is right" in printed


def test_a_wrong_result_is_noticed(cluster):
    spoil = "import zarr; y = zarr.open_array('probabilities.zarr'); y[5] = 0"
    check = "from cluster_demo import verify; verify('scores.zarr', 'probabilities.zarr')"
    spoiled = f"import sys; sys.path.append('/opt/demo'); {spoil}; {check}"
    message = cluster.fails("run", "--rm", "-T", "--entrypoint", "python", "demo", "-c", spoiled)
    assert "the result is wrong" in message


def test_ports_users_and_memory(cluster):
    scheduler = inspect(cluster.containers("scheduler")[0])
    ports = scheduler["NetworkSettings"]["Ports"]
    assert [port["HostIp"] for port in ports["8787/tcp"]] == ["127.0.0.1"]
    assert {name for name, open_to in ports.items() if open_to} == {"8787/tcp"}
    worker = inspect(cluster.containers("worker")[-1])
    assert not any((worker["NetworkSettings"]["Ports"] or {}).values())
    assert worker["HostConfig"]["Memory"] == 512 * 2**20
    for container in (scheduler, worker):
        assert container["Config"]["User"] == "dask"
        assert not container["HostConfig"]["Privileged"]


def test_clients_without_a_certificate_are_refused():
    files = ("docker-compose.yml", "docker-compose.tls.yml")
    with up(Project("dsoftmax-test-tls", *files), 1) as tls:
        assert "the result is right" in tls.run("run", "--rm", "-T", "demo", "--size", "40 MB")
        command = ("run", "--rm", "-T", "--entrypoint", "dsoftmax")
        source = ("demo", "logsumexp", "scores.zarr", "--scheduler")
        assert "logsumexp " in tls.run(*command, *source, "tls://scheduler:8786")
        nothing = [f"DASK_DISTRIBUTED__COMM__TLS__CLIENT__{name}=" for name in ("CERT", "KEY")]
        without = [part for name in nothing for part in ("-e", name)]
        refused = tls.fails(*command, *without, *source, "tls://scheduler:8786")
        assert "no Dask scheduler answers at tls://scheduler:8786" in refused
        plain = ("-e", "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=false")
        refused = tls.fails(*command, *plain, *source, "tcp://scheduler:8786")
        assert "no Dask scheduler answers at tcp://scheduler:8786" in refused


def test_the_gpu_profile_is_well_formed():
    config = Project("dsoftmax-gpu", "docker-compose.yml").run("--profile", "gpu", "config")
    assert "dask cuda worker tcp://scheduler:8786" in config
    assert re.search(r"driver: nvidia", config)
